#!/usr/bin/env python3
"""run.py [HARNESS...]: fuzzes what is built in build/fuzz-*; ./dev fuzz builds it first. See fuzz/README.md.

Every fuzz_NAME.c is a harness. It starts from fuzz/seeds/NAME (written by hand or recorded) and fuzz/corpus/NAME (found by
fuzzing, minimised), with fuzz/dictionaries/NAME.dict and the mutator of mutate_NAME.c where they exist. It fails when an input
crashes, hangs or leaks. It needs Python and nothing else."""
import argparse
import collections
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HERE = ROOT / "fuzz"
BUILD = ROOT / "build"  # --build says another
WORK = BUILD / "fuzz-run"  # what runs find: NAME/ENGINE/...
# Seeds that lie elsewhere, because they are more than seeds.
OTHER_SEEDS = {"metadata": ["spec/examples/valid", "spec/examples/invalid"]}
PROGRESS_S = 5
PLANTED_S = 120  # a planted bug is found within this
TIMEOUT_MS = 1000  # an input that takes longer is tried again,
HANG_MS = 10000  # and is a hang if it takes longer than this
LENGTH_MAX = 65536
START_S = 180  # most time for reading seeds, beside that for fuzzing

AFL_ENVIRONMENT = {
    "AFL_NO_UI": "1",
    "AFL_QUIET": "1",
    "AFL_SKIP_CPUFREQ": "1",
    "AFL_I_DONT_CARE_ABOUT_MISSING_CRASHES": "1",  # crash handlers of the system delay a crash, no more
    "AFL_NO_AFFINITY": "1",  # others may share the cores
    "AFL_NO_CRASH_README": "1",
    "AFL_HANG_TMOUT": str(HANG_MS),
    "AFL_IGNORE_UNKNOWN_ENVS": "1",
    "AFL_TESTCACHE_SIZE": "100",
    "AFL_FORKSRV_INIT_TMOUT": "30000",
}

Stats = collections.namedtuple("Stats", "executions speed edges edges_total inputs crashes hangs")


def fail(text):
    sys.exit(f"fuzz: {text}")


def say(text):
    print(text, flush=True)


def harnesses():
    return sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.c"))


def seed_folders(name):
    folders = [ROOT / folder for folder in OTHER_SEEDS.get(name, [])] + [HERE / "seeds" / name]
    return [folder for folder in folders if folder.is_dir()]


def files(folders):
    """Every input of these folders; what stands beside an example (its .expect) is none."""
    return [path for folder in folders for path in sorted(folder.iterdir())
            if path.is_file() and path.suffix != ".expect" and path.name != "README.txt"]


def copy_inputs(paths, folder):
    """Numbered copies, each content once: names may be equal."""
    folder.mkdir(parents=True)
    seen = set()
    for path in paths:
        content = path.read_bytes()
        if content not in seen and 0 < len(content) <= LENGTH_MAX:
            (folder / f"{len(seen):05d}").write_bytes(content)
            seen.add(content)
    if not seen:
        (folder / "00000").write_bytes(b"0")


def program(engine, name, planted=False):
    path = BUILD / f"fuzz-{engine}" / "fuzz" / f"fuzz_{name}{'_planted' if planted else ''}"
    if not path.exists():
        fail(f"{path.relative_to(ROOT)} is not built; run this by ./dev fuzz")
    return path


def tail(path, lines):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def processor_seconds(roots):
    """User and system time of these processes and all below them: what a core really gave, however many wanted it."""
    rows = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it ended
            continue
        # parent; its own time and its dead children's
        rows[int(path.parent.name)] = (int(fields[1]), sum(map(int, fields[11:15])))
    total = 0
    for pid, (parent, ticks) in rows.items():
        while pid not in roots and parent in rows:
            pid, parent = parent, rows[parent][0]
        total += ticks if pid in roots else 0
    return total / os.sysconf("SC_CLK_TCK")


# ---- the two fuzzers --------------------------------------------------------------------------------------------------


class Job:
    """One harness, run by one or more processes of one fuzzer."""

    def __init__(self, name, options, processes):
        self.name, self.options, self.planted, self.seconds = name, options, options.planted, options.seconds
        self.folder = WORK / name / (self.engine + ("-planted" if self.planted else ""))
        shutil.rmtree(self.folder, ignore_errors=True)
        # A corpus may hold the very inputs that find a planted bug.
        found = [] if self.planted and seed_folders(name) else [HERE / "corpus" / name]
        copy_inputs(files(seed_folders(name) + [f for f in found if f.is_dir()]), self.folder / "seeds")
        self.program = program(self.engine, name, self.planted)
        self.started = time.monotonic()
        self.ended = None
        self.core_s, self.sampled = 0.0, 0.0
        self.listeners = []
        self.processes = [self.start(number, processes) for number in range(processes)]

    def spawn(self, arguments, number, environment=None):
        with open(self.folder / f"log-{number}", "wb") as log:
            return subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
                                    env={**os.environ, **(environment or {})}, start_new_session=True)

    def elapsed(self):
        return (self.ended or time.monotonic()) - self.started

    def sample(self):
        """Processor time so far; the last second's is lost."""
        if time.monotonic() - self.sampled > 1:
            self.sampled = time.monotonic()
            self.core_s = max(self.core_s, processor_seconds({process.pid for process in self.processes}))

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        # AFL++ 4.04c leaves the fork server of its CMPLOG program behind, in a session of its own.
        # Only this job's processes are in this folder.
        for path in pathlib.Path("/proc").glob("[0-9]*/cwd"):
            try:
                if path.resolve() == self.folder.resolve():
                    os.kill(int(path.parent.name), signal.SIGKILL)
            except OSError:  # it ended, or is not ours to see
                continue

    def finished(self):
        """One crash is enough, but for a release: then the others run on."""
        if self.ended is None:
            self.sample()
            stats = self.stats()
            over = all(process.poll() is not None for process in self.processes)
            stuck = self.elapsed() > self.seconds + START_S
            if over or stuck or (not self.options.release and (stats.crashes or stats.hangs)):
                self.stop()
                self.ended = time.monotonic()
        return self.ended is not None

    def broken(self):
        """Why the fuzzer itself did not do its work, or None."""
        if self.stats().crashes or self.stats().hangs:
            return None
        for number, process in enumerate(self.processes):
            if process.returncode not in (0, -signal.SIGINT):
                return f"{self.engine} ended with {process.returncode}:\n{tail(self.folder / f'log-{number}', 12)}"
        if self.stats().executions == 0:
            return f"{self.engine} executed nothing:\n{tail(self.folder / 'log-0', 12)}"
        return None


class AflJob(Job):
    engine = "afl"

    def start(self, number, processes):
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        self.listeners.append((listener, {}))
        dictionary = HERE / "dictionaries" / f"{self.name}.dict"
        mutator = BUILD / "fuzz-afl" / "fuzz" / f"mutate_{self.name}.so"
        environment = {**AFL_ENVIRONMENT, "AFL_STATSD": "1", "AFL_STATSD_PORT": str(listener.getsockname()[1])}
        if mutator.exists() and (HERE / f"mutate_{self.name}.c").exists():
            environment["AFL_CUSTOM_MUTATOR_LIBRARY"] = str(mutator)
        if not self.options.release:
            environment["AFL_BENCH_UNTIL_CRASH"] = "1"
        tool = BUILD / "tools" / "afl-fuzz"  # of a pack
        arguments = [str(tool) if tool.exists() else "afl-fuzz",
    "-i",
    "seeds",
    "-o",
    "out",
    "-M" if number == 0 and processes > 1 else "-S",
    f"fuzzer{number}",
    "-V",
    str(self.seconds),
    "-m",
    "none",
    "-t",
    str(TIMEOUT_MS),
    "-G",
     str(LENGTH_MAX)]
        if self.options.seed is not None:
            arguments += ["-s", str(self.options.seed + number)]
        if dictionary.exists():
            arguments += ["-x", str(dictionary)]
        if number % 2 == 0:  # every second process is enough to learn from comparisons
            arguments += ["-c", str(program("cmplog", self.name, self.planted))]
        return self.spawn([*arguments, "--", str(self.program)], number, environment)

    def said(self, number):
        """What a process last said of itself: every second by StatsD, and at its end in a file."""
        listener, fields = self.listeners[number]
        try:
            while True:
                fields.update(re.findall(rb"fuzzing\.(\w+):([0-9.]+)\|", listener.recv(65536)))
        except BlockingIOError:
            pass
        path = self.folder / "out" / f"fuzzer{number}" / "fuzzer_stats"
        found = dict(re.findall(rb"^(\w+) *: *([0-9.]+)$", path.read_bytes(), re.MULTILINE)) if path.exists() else {}
        over = self.processes[number].poll() is not None
        return {**fields, **found} if over else {**found, **fields}

    def stats(self):
        said = [{key.decode(): float(value) for key, value in self.said(number).items()} for number in range(len(self.processes))]

        def values(key):
            return [fields.get(key, 0.0) for fields in said]

        return Stats(int(sum(values("execs_done"))),
    sum(values("execs_per_sec")),
    int(max(values("edges_found"))),
    int(max(values("total_edges"))),
    int(max(values("corpus_count"))),
    sorted(self.folder.glob("out/*/crashes/id*")),
     sorted(self.folder.glob("out/*/hangs/id*")))

    def corpus(self):
        return sorted(self.folder.glob("out/*/queue/id*"))


class LibFuzzerJob(Job):
    engine = "libfuzzer"

    def start(self, number, processes):
        dictionary = HERE / "dictionaries" / f"{self.name}.dict"
        (self.folder / "corpus").mkdir(exist_ok=True)
        (self.folder / "found").mkdir(exist_ok=True)
        arguments = [str(self.program), f"-max_total_time={self.seconds}", f"-max_len={LENGTH_MAX}", "-artifact_prefix=found/",
                     f"-timeout={HANG_MS // 1000}", "-print_final_stats=1", "-reload=5", "-verbosity=1"]
        if self.options.seed is not None:
            arguments.append(f"-seed={self.options.seed + number + 1}")
        if dictionary.exists():
            arguments.append(f"-dict={dictionary}")
        # A leak ends it as a crash does; the harnesses count blocks themselves, which is quicker.
        return self.spawn([*arguments, "corpus", "seeds"], number)

    def stats(self):
        executions = speed = edges = total = inputs = 0
        for path in self.folder.glob("log-*"):
            text = path.read_text(errors="replace")
            rows = re.findall(r"^#(\d+)\s.*?cov: (\d+).*?corp: (\d+).*?exec/s: (\d+)", text, re.MULTILINE)
            counters = re.search(r"\((\d+) inline 8-bit counters\)", text)
            total = int(counters[1]) if counters else total
            final = re.search(r"stat::number_of_executed_units: (\d+)", text)
            if rows:
                executions += int(final[1]) if final else int(rows[-1][0])
                speed += int(rows[-1][3])
                edges, inputs = max(edges, int(rows[-1][1])), max(inputs, int(rows[-1][2]))
        found = sorted((self.folder / "found").glob("*"))
        hangs = [path for path in found if path.name.startswith(("timeout-", "slow-unit-"))]
        return Stats(executions, speed, edges, total, inputs, [path for path in found if path not in hangs],
                     [path for path in hangs if path.name.startswith("timeout-")])

    def corpus(self):
        return sorted((self.folder / "corpus").iterdir())


ENGINES = {"afl": AflJob, "libfuzzer": LibFuzzerJob}


# ---- running ----------------------------------------------------------------------------------------------------------


def replay(name):
    """Runs all seeds and the corpus once: a fuzzer leaves out seeds that crash, and would say nothing."""
    paths = files([*seed_folders(name), *[f for f in [HERE / "corpus" / name] if f.is_dir()]])
    engine = "afl" if (BUILD / "fuzz-afl" / "fuzz" / f"fuzz_{name}").exists() else "libfuzzer"
    binary = program(engine, name)
    for start in range(0, len(paths), 1000):
        done = subprocess.run([binary, *paths[start:start + 1000]], capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            last = re.findall(r"(?:Running:|from) (\S+)", done.stderr + done.stdout)
            print(done.stderr[-4000:])
            fail(f"{name}: a known input fails: {last[-1] if last else '?'}\n  replay: {binary} INPUT")
    return len(paths)


def progress(job):
    s = job.stats()
    edges = f"{s.edges:,}" + (f" of {s.edges_total:,} ({100 * s.edges / s.edges_total:.1f} %)" if s.edges_total else "")
    say(f"{job.elapsed():5.0f} s  {job.name:15} {s.executions:>13,} executions  {s.speed:>9,.0f}/s  edges {edges}  "
        f"inputs {s.inputs:,}  crashes {len(s.crashes)}  hangs {len(s.hangs)}")


def run_jobs(names, options):
    """Each harness for the given time: one process each, as many at once as there are jobs; in a release all processes
    on one harness after the other."""
    waiting, running, done = list(names), [], []
    at_once, processes = (1, options.jobs) if options.release else (options.jobs, 1)
    said = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(ENGINES[options.engine](waiting.pop(0), options, processes))
            time.sleep(0.2)
            over = [job for job in running if job.finished()]
            running = [job for job in running if job not in over]
            for job in over:
                progress(job)
            done += over
            if time.monotonic() - said >= PROGRESS_S:
                said = time.monotonic()
                for job in running:
                    progress(job)
    finally:
        for job in running:
            job.stop()
    return done


def show_findings(job):
    stats = job.stats()
    for kind, paths in (("crash", stats.crashes), ("hang", stats.hangs)):
        for path in paths[:10]:
            say(f"\n{kind} of {job.name}: {path}\n  replay: {job.program} {path}")
    if stats.crashes:
        again = subprocess.run([job.program, stats.crashes[0]], capture_output=True, text=True, errors="replace", check=False,
                               timeout=60)
        lines = again.stderr.splitlines()
        start = next(
    (i for i, line in enumerate(lines) if re.search(
        r"ERROR|runtime error|memory:", line)), max(
            0, len(lines) - 20))
        print("\n".join("    " + line for line in lines[start:start + 25]))


def table(jobs):
    """In Markdown, as it stands in README.md."""
    rows = [
    ("harness",
    "fuzzer",
    "executions",
    "core-hours",
    "executions/s of a core",
    "edges",
    "inputs kept",
    "crashes",
     "hangs")]
    total = [0, 0.0, 0, 0]
    for job in jobs:
        s, core_s = job.stats(), max(job.core_s, 0.01)
        rows.append((job.name, job.engine, f"{s.executions:,}", f"{core_s / 3600:.2f}", f"{s.executions / core_s:,.0f}",
                     f"{s.edges:,}" + (f" of {s.edges_total:,}" if s.edges_total else ""), f"{s.inputs:,}", str(len(s.crashes)),
                     str(len(s.hangs))))
        total = [total[0] + s.executions, total[1] + core_s / 3600, total[2] + len(s.crashes), total[3] + len(s.hangs)]
    rows.append(("all", "", f"{total[0]:,}", f"{total[1]:.2f}", "", "", "", str(total[2]), str(total[3])))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def fuzz(names, options):
    for name in names:
        say(f"{name}: {replay(name)} known inputs pass")
    jobs = run_jobs(names, options)
    failed = False
    for job in jobs:
        why = job.broken()
        if why:
            failed = True
            say(f"{job.name}: {why}")
        show_findings(job)
        failed |= bool(job.stats().crashes or job.stats().hangs)
    say("\n" + table(jobs))
    (WORK / "results.json").write_text(json.dumps([{"harness": job.name,
    "engine": job.engine,
    "processes": len(job.processes),
    "core_s": job.core_s,
    "seconds": job.elapsed(),
    **job.stats()._asdict()} for job in jobs],
    default=lambda value: str(value),
     indent=1))
    if options.release:
        say(f"what was found: {archive(jobs)}")
    if failed:
        fail("crashes, hangs or fuzzers that did not run: see above")


def planted(names, options):
    options.seconds = PLANTED_S
    missed = []
    for job in run_jobs(names, options):
        found = job.stats().crashes
        if not found:
            missed.append(job.name)
            why = job.broken()
            if why:
                say(why)
        say(f"{job.name}: the planted bug was {'found' if found else 'NOT found'} after {job.elapsed():.0f} s and "
            f"{job.stats().executions:,} executions")
    if missed:
        fail(f"planted bugs were not found in {PLANTED_S} s: {', '.join(missed)}")


# ---- on another machine -----------------------------------------------------------------------------------------------


def pack():
    """build/fuzz-pack: what a machine without compilers and packages needs beside this repository to fuzz."""
    target = BUILD / "fuzz-pack"
    shutil.rmtree(target, ignore_errors=True)
    for preset, pattern in (("fuzz-afl", "fuzz_*"), ("fuzz-afl", "mutate_*.so"),
                            ("fuzz-cmplog", "fuzz_*"), ("fuzz-libfuzzer", "fuzz_*")):
        folder = target / preset / "fuzz"
        folder.mkdir(parents=True, exist_ok=True)
        for path in (BUILD / preset / "fuzz").glob(pattern):
            if path.is_file() and not path.name.endswith("_planted"):
                shutil.copy(path, folder)
    tools = target / "tools"
    tools.mkdir()
    afl = shutil.which("afl-fuzz") or fail("there is no afl-fuzz")
    shutil.copy(afl, tools)
    programs = [afl, *target.glob("fuzz-*/fuzz/fuzz_*")]
    libraries = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    for name, path in re.findall(r"(\S+) => (\S+)", libraries):
        if not re.match(r"lib(c|m)\.so", name):  # every machine has these, and they belong to its loader
            shutil.copy(path, tools / name)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    say(f"{target.relative_to(ROOT)}: {size / 1048576:.1f} MiB. There: "
        "python3 fuzz/run.py --build build/fuzz-pack --release --seconds N")


def archive(jobs):
    """Everything that the jobs kept, each content once: NAME/HASH, for --minimize --found here."""
    path = WORK / "found.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for job in jobs:
            inputs = {hashlib.sha256(kept.read_bytes()).hexdigest()[:16]: kept for kept in job.corpus()}
            for name, kept in sorted(inputs.items()):
                tar.add(kept, f"{job.name}/{name}", recursive=False)
    return path


# ---- corpora ----------------------------------------------------------------------------------------------------------


def minimize(names, also):
    """The corpus becomes the fewest inputs, smallest first, that reach everything that corpus and last runs reach and the
    seeds do not."""
    for name in names:
        corpus, merged, inputs = HERE / "corpus" / name, WORK / name / "merged", WORK / name / "all"
        for folder in (merged, inputs):
            shutil.rmtree(folder, ignore_errors=True)
        found = [path for pattern in ("afl/out/*/queue/id*", "libfuzzer/corpus/*") for path in (WORK / name).glob(pattern)]
        if also is not None:
            found += (also / name).glob("*")
        copy_inputs(files([corpus] if corpus.is_dir() else []) + found, inputs)
        copy_inputs(files(seed_folders(name)), merged)
        seeds = {path.name for path in merged.iterdir()}
        done = subprocess.run([program("libfuzzer",
    name),
    "-merge=1",
    "-use_counters=0",
    f"-timeout={HANG_MS // 1000}",
    f"-max_len={LENGTH_MAX}",
    merged,
    inputs],
    capture_output=True,
    text=True,
    errors="replace",
    check=False,
     cwd=WORK)
        if done.returncode != 0:
            fail(f"{name}: merging failed:\n{done.stderr[-3000:]}")
        shutil.rmtree(corpus, ignore_errors=True)
        corpus.mkdir(parents=True)
        kept = [path for path in sorted(merged.iterdir()) if path.name not in seeds]
        for path in kept:
            shutil.copy(path, corpus / path.name[:16])
        say(f"{name}: {len(files([inputs]))} inputs, {len(kept)} kept ({sum(path.stat().st_size for path in kept):,} bytes)")


def covers(name):
    """The files that a harness is for, which its opening comment names: "Covers: src/a.c src/b*.c"."""
    comment = (HERE / f"fuzz_{name}.c").read_text(encoding="utf-8").partition("*/")[0]
    return re.findall(r"src/[\w/*]+\.c", comment.partition("Covers:")[2]) or ["src/*.c"]


def coverage(names):
    """Lines of src/ that seeds and corpora reach, counted by gcc in the preset coverage."""
    build = BUILD / "coverage"
    for name in names:
        for path in build.rglob("*.gcda"):
            path.unlink()
        inputs = files([*seed_folders(name), *[f for f in [HERE / "corpus" / name] if f.is_dir()]])
        for start in range(0, len(inputs), 1000):
            subprocess.run([build / "fuzz" / f"fuzz_{name}", *inputs[start:start + 1000]], check=True)
        patterns = [argument for word in covers(name) for argument in (
            "--filter", re.escape(word).replace(r"\*", "[a-z_0-9]*") + "$")]
        done = subprocess.run(["gcovr", "--root", ROOT, "--object-directory", build, *
    patterns, "--json-summary"], cwd=ROOT, text=True, capture_output=True, check=True)
        summary = json.loads(done.stdout)
        say(f"| {name} | {' '.join(covers(name))} | {summary['line_covered']:,} of {summary['line_total']:,} lines "
            f"({summary['line_percent']} %) | {summary['branch_covered']:,} of {summary['branch_total']:,} branches "
            f"({summary['branch_percent']} %) |")


# ---- the command ------------------------------------------------------------------------------------------------------


def presets(options):
    """What must be built for these arguments."""
    if options.coverage or options.oracle:
        return ["coverage"] if options.coverage else ["test"]
    if options.pack:
        return ["fuzz-afl", "fuzz-cmplog", "fuzz-libfuzzer"]
    if options.minimize:
        return ["fuzz-libfuzzer"]
    return {"afl": ["fuzz-afl", "fuzz-cmplog"], "libfuzzer": ["fuzz-libfuzzer"]}[options.engine]


def main():
    global BUILD, WORK  # pylint: disable=global-statement
    parser = argparse.ArgumentParser(prog="./dev fuzz", description="Fuzzes the harnesses of fuzz/, all or those that are named.")
    parser.add_argument("names", nargs="*", metavar="HARNESS", help=", ".join(harnesses()))
    parser.add_argument("--seconds", type=int, default=60, help="for each harness (60); with --release on all cores")
    parser.add_argument("--engine", choices=ENGINES, default="afl")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time (one for each core)")
    parser.add_argument("--seed", type=int, help="of the fuzzer's random numbers (drawn by it)")
    parser.add_argument(
    "--planted",
    action="store_true",
     help=f"each harness with its planted bug, to be found within {PLANTED_S} s")
    parser.add_argument("--release", action="store_true", help="one harness after the other, on all cores")
    parser.add_argument("--minimize", action="store_true", help="make corpora of what corpora and last runs have")
    parser.add_argument("--found", type=pathlib.Path, metavar="FOLDER",
                        help="with --minimize: also these, an unpacked found.tar.gz")
    parser.add_argument("--pack", action="store_true", help="make build/fuzz-pack, for a machine without compilers")
    parser.add_argument("--build", type=pathlib.Path, default=BUILD, help="where the programs are (build)")
    parser.add_argument("--coverage", action="store_true", help="what seeds and corpora reach of src/")
    parser.add_argument("--oracle", action="store_true", help="100,000 documents, read by the C code and by oracle.py")
    parser.add_argument("--presets", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that fuzzers do not outlive this
    names = options.names or harnesses()
    for name in names:
        if name not in harnesses():
            fail(f"there is no harness '{name}', only {', '.join(harnesses())}")
    if options.presets:
        print(" ".join(presets(options)))
        return
    BUILD = options.build.resolve()
    WORK = BUILD / "fuzz-run"
    WORK.mkdir(parents=True, exist_ok=True)
    if (BUILD / "tools").is_dir():  # of a pack, with the libraries
        os.environ["LD_LIBRARY_PATH"] = str(BUILD / "tools")
    if options.pack:
        pack()
    elif options.minimize:
        minimize(names, options.found)
    elif options.coverage:
        coverage(names)
    elif options.oracle:
        sys.exit(subprocess.run([sys.executable, "-B", HERE / "oracle.py"], check=False).returncode)
    elif options.planted:
        planted(names, options)
    else:
        fuzz(names, options)


if __name__ == "__main__":
    main()
