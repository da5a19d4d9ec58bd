#!/usr/bin/env python3
"""trace.py [--release] [--logs FOLDER]: checks that real runs are behaviours of the model.

Runs weft-traces (drawn schedules of the real engines), the tests that use tests/world.c, and the demonstration with its real
processes; what their trace hooks said (tests/trace_log.h) becomes a module, and TLC checks each against Trace.tla. Every trace must
be accepted, and every transition of spec/session.yaml must be among them, at either end. Then records are changed, dropped and
swapped, and each such trace must be refused at the index that follows from what was done. With --release there are ten times as
many schedules, and all traces of the tests. --logs checks the traces of a folder only, and says of a refused one where and why.
Needs what check.py needs, and the programs of build/release (./dev model builds them)."""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import yaml

import check
import graph
import trace_doctor
import trace_log

ROOT = check.HERE.parent
PROGRAMS = ROOT / "build/release"
SCHEDULES = 1000
TESTS = ["test_trainer", "test_trainer_faults", "test_collective", "test_trace", "test_worker_doubt"]
ONE_OF = {"test_trainer_faults": 8, "test_collective": 8}  # traces of these are many; --release takes all
BATCH_RECORDS = 60000  # of one run of TLC, which takes seconds to begin
TLC_SECONDS = 1800
SHOWN = 3  # refused traces that are told of


# ---- runs that leave traces -------------------------------------------------------------------------------------------


def run_programs(folder, schedules):
    """Leaves the traces of everybody in the folder; what fails by itself is an error here too."""
    environment = {**os.environ, "WEFT_TRACE_DIR": str(folder), "WEFT_SOURCE_DIR": str(ROOT)}
    commands = [[PROGRAMS / "tests/weft-traces", str(folder), str(schedules)], *([PROGRAMS / "tests" / name] for name in TESTS),
                [PROGRAMS / "weft-demo", "--device", "host"]]
    for command in commands:
        if not command[0].exists():
            check.fail(f"{command[0].relative_to(ROOT)} is not there; ./dev model builds it")
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            check.fail(f"{command[0].name} ends with {done.returncode}:\n{done.stderr[-2000:]}")


# ---- TLC --------------------------------------------------------------------------------------------------------------


def configuration(logs, contents, verbose, extra=""):
    text = (ROOT / "spec/errors.yaml").read_text(encoding="utf-8")
    metadata = ", ".join(sorted(f'"WEFT_E_{name}"' for name in set(re.findall(r"\bMETA_\w+", text))))
    workers = ", ".join(f'"w{i}"' for i in range(1, max(log.workers for log in logs) + 1))
    return f"""INIT TraceInit
NEXT TraceNext
CONSTANTS
  Workers = {{{workers}}}
  Sessions = {max(contents - 1, 1)}
  Updates = {{1}}
  Kinds = {{"sparse", "baseline"}}
  Policies = {{{logs[0].policies}}}
  Transport = "{logs[0].transport}"
  PeerResolution = FALSE
  MaxFaults = 0
  Counted = {{}}
  Free = {{"cut", "half", "worker", "trainer", "deadline", "device", "undo", "stop", "hang", "transfer"}}
  MetadataFaults = {{{metadata}}}
  Verbose = {"TRUE" if verbose else "FALSE"}
  Emits <- TraceEmits
INVARIANTS Accepted Reached {extra}
"""


def run_tlc(logs, verbose=False, stop_at=None):
    """TLC's output for these traces. stop_at: index of the only one's record at which the state is printed."""
    text, contents = trace_log.module(logs)
    with tempfile.TemporaryDirectory(dir=check.BUILD) as folder:
        for path in check.HERE.glob("*.tla"):
            pathlib.Path(folder, path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        pathlib.Path(folder, "TraceData.tla").write_text(text, encoding="utf-8")
        root, extra = "Trace", ""
        if stop_at is not None:
            root, extra = "Stop", "Goes_on"
            pathlib.Path(folder, "Stop.tla").write_text(f"---- MODULE Stop ----\nEXTENDS Trace\nGoes_on == at # {stop_at}\n====\n",
                                                        encoding="utf-8")
        pathlib.Path(folder, "Check.cfg").write_text(configuration(logs, contents, verbose, extra), encoding="utf-8")
        command = ["java", "-Xmx2500m", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={folder}", "-cp", check.JAR, "tlc2.TLC", "-deadlock",
                   "-workers", "1", "-metadir", folder, "-config", "Check.cfg", f"{root}.tla"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=TLC_SECONDS)
    if done.returncode != check.TLC_HOLDS and stop_at is None:
        said = [line for line in done.stdout.splitlines() if not line.startswith(("<<", "Pars", "Semantic"))]
        check.fail(f"TLC ends with {done.returncode}:\n" + "\n".join(said)[-3000:])
    return done.stdout


def batches(logs):
    """Traces that can be checked in one run, not too many."""
    groups = collections.defaultdict(list)
    for log in logs:
        groups[log.transport, log.policies].append(log)
    for _, group in sorted(groups.items(), key=lambda item: item[0]):
        batch, size = [], 0
        for log in group:
            if batch and size + len(log.rows) > BATCH_RECORDS:
                yield batch
                batch, size = [], 0
            batch.append(log)
            size += len(log.rows)
        yield batch


class Verdict:
    """accepted: TLC came to the end; reached: how far it came, as the number of the record that it could not pass."""

    def __init__(self, accepted, reached):
        self.accepted, self.reached = accepted, reached


def check_batch(batch, verbose):
    said = run_tlc(batch, verbose)
    accepted = {int(number) for number in re.findall(r'<<"ACCEPTED", (\d+)>>', said)}
    reached = collections.Counter()
    for number, at in re.findall(r'<<"AT", (\d+), (\d+)>>', said):
        reached[int(number)] = max(reached[int(number)], int(at))
    return [Verdict(k in accepted, reached[k]) for k in range(1, len(batch) + 1)]


def check_all(logs, verbose=False):
    """{log: verdict}"""
    verdicts = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {pool.submit(check_batch, batch, verbose): batch for batch in batches(logs)}
        for job in concurrent.futures.as_completed(jobs):
            verdicts.update(zip(jobs[job], job.result()))
    return verdicts


# ---- what is told -----------------------------------------------------------------------------------------------------


def explain(log):
    """Where a trace leaves the model, what came before it, and what the model holds there."""
    at = check_batch([log], True)[0].reached
    print(f"{log.name}: record {at} of {len(log.rows)} is nothing that the model does there:")
    for number in range(max(1, at - 8), at + 1):
        print(f"  {number:5} {log.rows[number - 1].text()}")
    state = re.split(r"\nState \d+:.*\n|by the initial state:\n", run_tlc([log], stop_at=at))[-1].split("\n\n")[0]
    print("  the model there (what a process owes must come next; `down`, `past` and `up` are frames on their way):")
    for variable in re.split(r"(?m)^/\\ ", state):
        if variable.startswith(("owed", "link", "worker", "trainer", "device")):
            print("    " + re.sub(r"\s+", " ", variable))


def missing_transitions(logs):
    """Transitions of the table that no trace has, for either end."""
    table = yaml.safe_load((ROOT / "spec/session.yaml").read_text(encoding="utf-8"))["transitions"]
    wanted = {(end, a, row["event"], row["to"]) for row in table for a in row["from"] for end in ("trainer", "worker")}
    found = {("trainer" if row["who"] == "trainer" else "worker", row["from"], row["event"], row["to"])
             for log in logs for row in log.rows if row["kind"] == "TRANSITION"}
    return sorted(wanted - found), len(wanted), sorted(found - wanted)


def print_line(what, name, number, records, verdict):
    print(f"{what:7} {name:34} {number:8,} {records:10,} records  {verdict}", flush=True)


def report_traces(logs, verdicts):
    by_program = collections.defaultdict(list)
    for log in logs:
        by_program[log.program].append(log)
    for program, group in sorted(by_program.items()):
        good = sum(verdicts[log].accepted for log in group)
        print_line("traces", program, len(group), sum(len(log.rows) for log in group),
                   "all accepted" if good == len(group) else f"FAILED: {len(group) - good} refused")
    refused = [log for log in logs if not verdicts[log].accepted]
    for log in refused[:SHOWN]:
        explain(log)
    return refused


def check_doctored(logs):
    doctored = trace_doctor.doctor([log for log in logs if log.program != "weft-demo"])  # no two runs of which are alike
    verdicts = check_all([case.log for case in doctored], verbose=True)
    wrong, by_kind = [], collections.Counter()
    for case in doctored:
        verdict = verdicts[case.log]
        by_kind[case.kind] += 1
        if verdict.accepted or verdict.reached != case.index:
            wrong.append(f"{case.log.name}: {case.what}: " + ("accepted" if verdict.accepted else f"refused at {verdict.reached}")
                         + f", and a refusal at {case.index} is expected")
    for kind, number in sorted(by_kind.items()):
        bad = sum(line.split(": ")[1].startswith(kind) for line in wrong)
        print_line("doctor", kind, number, sum(len(case.log.rows) for case in doctored if case.kind == kind),
                   "all refused where they must be" if not bad else f"FAILED: {bad}")
    for line in wrong[:20]:
        print(line)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--logs", type=pathlib.Path)
    arguments = parser.parse_args()
    check.need_tools()
    began = time.monotonic()
    threading.Thread(target=graph.keep_alive, daemon=True).start()
    with tempfile.TemporaryDirectory(dir=check.BUILD) as folder:
        if arguments.logs is None:
            run_programs(folder, SCHEDULES * (10 if arguments.release else 1))
        produced = trace_log.read_folder(arguments.logs or pathlib.Path(folder))
    if arguments.logs is None and not arguments.release:
        produced = [log for log in produced if log.number % ONE_OF.get(log.program, 1) == 0]
    logs = [log for log in produced if log.left_out is None]
    left_out = collections.Counter(log.left_out for log in produced if log.left_out is not None)
    verdicts = check_all(logs)
    refused = report_traces(logs, verdicts)
    for reason, number in sorted(left_out.items()):
        print(f"        left out {number:5}: {reason}")
    missing, wanted, strange = missing_transitions([log for log in logs if verdicts[log].accepted])
    wrong = [] if refused or arguments.logs else check_doctored(logs)
    accepted = sum(verdict.accepted for verdict in verdicts.values())
    print(f"{len(logs)} traces produced, {accepted} accepted; {wanted - len(missing)} of {wanted} transitions of the table occur"
          + (f" (missing: {missing})" if missing else "") + f"; {time.monotonic() - began:.0f} s")
    failed = accepted != len(logs) or not logs or strange or wrong
    sys.exit(1 if failed or (missing and arguments.logs is None) else 0)


if __name__ == "__main__":
    main()
