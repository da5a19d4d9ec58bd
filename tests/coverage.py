#!/usr/bin/env python3
"""Which lines, branches and conditions (MC/DC) of src/ the tests reach; fails below the gates. `./dev coverage` runs it.

usage: coverage.py BUILD core   src/session.c, frame*.c, protocol_*.c: every branch and every condition, by their unit tests alone
       coverage.py BUILD all    that, and 95 % of the branches of the rest, by all tests

The tests have left their counts in BUILD/profiles/TEST-*.profraw (tests/CMakeLists.txt). What no test can reach is listed in
tests/coverage.yaml with the reason; an entry that is not needed any more is an error, so that the list cannot rot. Every
branch and condition that is missing is in BUILD/missing.txt; those that a gate lacks are printed."""
import bisect
import collections
import json
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
CORE = re.compile(r"src/(?:session|frame|frame_messages|protocol_worker|protocol_trainer)\.c")
CORE_TESTS = re.compile(r"test_(?:session|frame|protocol_\w+)-")
# Run as a whole by tests/test_cli.py; run where a GPU is (tests/test_device_cuda.c and others, not under this tool).
NOT_COUNTED = re.compile(r"src/(?:cli|cuda)/|kernels/|build/")
REST_BRANCHES_MIN = 95.0
# At least so many percent of the lines, of each file by itself.
LINES_MIN = ((re.compile(r"src/(?:session|update|trainer|worker)\w*\.c"), 95.0), (re.compile(r"src/.*"), 80.0))
LINES_MIN_ALL = 95.0
INVARIANT = re.compile(r"\bweft_invariant\(")
TOOL = "19"

# A branch or a condition of a decision. For a branch `lacks` is "true" or "false", for a condition "pair": no two runs differ in
# this condition's value, and in the decision's because of it.
Missing = collections.namedtuple("Missing", "file line column end_line end_column function lacks")


def run(tool, *arguments):
    return subprocess.run([f"{tool}-{TOOL}", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout


class Source:
    """The text of a file, to quote from it."""

    def __init__(self, path):
        self.lines = (ROOT / path).read_text(encoding="utf-8").split("\n")
        text = "\n".join(self.lines)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)
        self.invariants = [(match.start(), self.closing(text, match.end())) for match in INVARIANT.finditer(text)]
        self.text = text

    @staticmethod
    def closing(text, at):
        depth = 1
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        return at

    def offset(self, line, column):
        return self.starts[line - 1] + column - 1

    def quote(self, place):
        text = self.text[self.offset(place.line, place.column):self.offset(place.end_line, place.end_column)]
        return " ".join(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).split())

    def in_invariant(self, line, column):
        """Does the place stand in the condition of a weft_invariant? It does not fail, or the process ends."""
        at = self.offset(line, column)
        index = bisect.bisect_right([begin for begin, _ in self.invariants], at) - 1
        return index >= 0 and at < self.invariants[index][1]


class Coverage:
    """What the counts of some tests say."""

    def __init__(self, build, name, profiles):
        self.build = build
        self.sources = {}
        self.data = build / f"{name}.profdata"
        if not profiles:
            sys.exit(f"coverage: {build}/profiles has no counts of the {name} tests; run them with the preset coverage first")
        run("llvm-profdata", "merge", "-sparse", *map(str, profiles), "-o", str(self.data))
        export = json.loads(run("llvm-cov", "export", *self.what()))["data"][0]
        self.lines = {self.relative(f["filename"]): (f["summary"]["lines"]["covered"], f["summary"]["lines"]["count"])
                      for f in export["files"]}
        self.branches, self.decisions, self.functions = {}, {}, {}
        for function in export["functions"]:
            self.add(function)

    def what(self):
        return [str(self.build / "libweft.so"), f"-object={self.build / 'libweft-net.so'}", f"-instr-profile={self.data}",
                f"-compilation-dir={ROOT}"]

    @staticmethod
    def relative(path):
        return pathlib.Path(path).relative_to(ROOT).as_posix()

    def source(self, path):
        if path not in self.sources:
            self.sources[path] = Source(path)
        return self.sources[path]

    def counted(self, path, line, column):
        return path.endswith((".c", ".h")) and path != "src/invariant.h" and not NOT_COUNTED.match(path) and \
            not self.source(path).in_invariant(line, column)

    def add(self, function):
        """One function as one file compiled it; an inline function of a header comes once for each that includes it."""
        names = [self.relative(name) for name in function["filenames"]]
        for line, column, end_line, end_column, true, false, file, *_ in function["branches"]:
            place = (names[file], line, column, end_line, end_column)
            if self.counted(*place[:3]):
                seen = self.branches.setdefault(place, [0, 0])
                seen[0] += true
                seen[1] += false
                self.functions[place] = function["name"].split(":")[-1]
        body = function["regions"][0]
        for line, column, end_line, end_column, *_, conditions in function["mcdc_records"]:
            place = (names[0], line, column, end_line, end_column)
            # A decision that is a macro's argument is placed in the macro, without a word of which file that is in.
            in_macro = not tuple(body[:2]) <= (line, column) <= tuple(body[2:4])
            if in_macro and "src/invariant.h" not in names:
                sys.exit(f"coverage: {function['name']} has a decision in a macro's argument; only weft_invariant may")
            if not in_macro and self.counted(*place[:3]):
                seen = self.decisions.setdefault(place, [False] * len(conditions))
                self.decisions[place] = [a or b for a, b in zip(seen, conditions)]
                self.functions[place] = function["name"].split(":")[-1]

    def missing_branches(self):
        return [Missing(*place, self.functions[place], name) for place, counts in sorted(self.branches.items())
                for name, count in zip(("true", "false"), counts) if count == 0]

    def missing_conditions(self, chosen):
        """The conditions without a pair, and for each what was run of its decision."""
        found = {}
        for path in sorted({place[0] for place, pairs in self.decisions.items() if chosen(place[0]) and not all(pairs)}):
            texts = self.decision_texts(path)
            for place, pairs in sorted(self.decisions.items()):
                if place[0] == path and not all(pairs):
                    for number, covered in enumerate(pairs):
                        if not covered:
                            found[self.condition(place, texts[place[1:]], number)] = texts[place[1:]]
        return found

    def decision_texts(self, path):
        shown = run("llvm-cov", "show", *self.what(), "--show-mcdc", "--show-line-counts=false", f"-sources={path}")
        region = r"MC/DC Decision Region \((\d+):(\d+)\) to \((\d+):(\d+)\)\n(.*?)MC/DC Coverage for"
        blocks = re.findall(region, shown, re.DOTALL)
        return {tuple(map(int, block[:4])): block[4] for block in blocks}

    def condition(self, place, text, number):
        """The place of the condition; in a function that never ran llvm-cov may not know it, then that of the decision."""
        at = re.search(rf"Condition C{number + 1} --> \((\d+):(\d+)\)", text)
        at = (place[0], *map(int, at.groups())) if at else None
        return Missing(*next((b for b in self.branches if b[:3] == at), place), self.functions[place], "pair")


def describe(coverage, missing, text=None):
    wanted = {"true": "never true", "false": "never false", "pair": "no pair shows that it alone decides"}[missing.lacks]
    lines = [f"{missing.file}:{missing.line}:{missing.column}: in {missing.function}: "
             f"{coverage.source(missing.file).quote(missing)}: {wanted}"]
    if text:
        vectors = text[text.index("Executed"):text.index("C1-Pair")]
        lines += ["    run: " + " ".join(v.split()[1:]) for v in re.findall(r"\n  \|\s+(\d+ \{.*)", vectors)]
    return lines


class Exclusions:
    """tests/coverage.yaml: what no test can reach, and why."""

    def __init__(self):
        self.entries = {}
        for entry in yaml.safe_load((ROOT / "tests/coverage.yaml").read_text(encoding="utf-8")):
            if set(entry) - {"without"} != {"file", "in", "code", "never", "why"}:
                sys.exit(f"tests/coverage.yaml: an entry has file, in, code, never and why, not {', '.join(entry)}: {entry}")
            for code in entry["code"] if isinstance(entry["code"], list) else [entry["code"]]:
                key = (entry["file"], entry["in"], code, str(entry["never"]).lower())
                self.entries[key] = 1 if "without" in entry else 0  # where it is, the entry is not needed

    def covers(self, coverage, missing):
        place = (missing.file, missing.function, coverage.source(missing.file).quote(missing))
        # Where a condition has one value only, there is no pair either.
        for never in (missing.lacks, "true", "false") if missing.lacks == "pair" else (missing.lacks,):
            if (*place, never) in self.entries:
                self.entries[(*place, never)] += 1
                return True
        return False

    def unneeded(self, chosen):
        return [entry for entry, used in self.entries.items() if not used and chosen(entry[0])]


def percent(covered, total):
    return 100.0 * covered / total if total else 100.0


class Gate:
    """Files, the counts that speak for them, and how much of them must be covered."""

    def __init__(self, name, coverage, chosen, exclusions):
        self.name, self.coverage, self.chosen = name, coverage, chosen
        self.missing = {m: None for m in coverage.missing_branches() if chosen(m.file)}
        self.missing.update(coverage.missing_conditions(chosen))
        self.excluded = [m for m in self.missing if exclusions.covers(coverage, m)]
        self.lacking = [m for m in self.missing if m not in self.excluded]
        self.unneeded = exclusions.unneeded(chosen)

    def files(self):
        return sorted({path for path in self.coverage.lines if self.chosen(path) and path.endswith(".c")} |
                      {place[0] for place in self.coverage.branches if self.chosen(place[0])})

    def count(self, path, pair):
        """(covered, all) branches or conditions of a file, or of all files when path is None; without what is excluded."""
        here = (lambda place: self.chosen(place[0])) if path is None else (lambda place: place[0] == path)
        if pair:
            total = sum(len(pairs) for place, pairs in self.coverage.decisions.items() if here(place))
        else:
            total = 2 * sum(1 for place in self.coverage.branches if here(place))
        of_kind = [m for m in self.missing if here(m) and (m.lacks == "pair") == pair]
        excluded = sum(1 for m in of_kind if m in self.excluded)
        return total - len(of_kind), total - excluded

    def table(self):
        print(f"\n{self.name:30} {'lines':>14} {'branches':>16} {'conditions':>16} {'excluded':>9}")
        for path in self.files() + [None]:
            lines = self.coverage.lines.get(path, (0, 0)) if path else self.lines()
            columns = [lines, self.count(path, False), self.count(path, True)]
            cells = [f"{c:5}/{t:<5}{percent(c, t):4.0f}%" if t else "" for c, t in columns]
            excluded = sum(1 for m in self.excluded if path in (None, m.file))
            print(f"{path or 'all of these':30} {cells[0]:>14} {cells[1]:>16} {cells[2]:>16} {excluded or '':>9}")

    def lines(self):
        counts = [self.coverage.lines[path] for path in self.files() if path in self.coverage.lines]
        return sum(c for c, _ in counts), sum(t for _, t in counts)

    def report_missing(self, *pairs):
        """Missing conditions (True), branches (False), or both."""
        return [line for m in sorted(self.lacking) if (m.lacks == "pair") in (pairs or (True, False))
                for line in describe(self.coverage, m, self.missing[m])]


def check(gate, branches_min, conditions_min):
    """What is wrong, as sentences; the missing branches and conditions are printed where they matter."""
    faults = [f"tests/coverage.yaml: {file}, {function}, {code}, never {never}: there is no such branch, or it is covered now; "
              "remove the entry" for file, function, code, never in gate.unneeded]
    for what, pair, least in (("branches", False, branches_min), ("conditions", True, conditions_min)):
        reached = percent(*gate.count(None, pair))
        if reached < least:
            faults.append(f"{gate.name}: {reached:.2f} % of the {what} are covered, {least:g} % are wanted")
            print("\n" + "\n".join(gate.report_missing(pair)))
    return faults


def check_lines(gate):
    faults = []
    for path in gate.files():
        least = next(minimum for pattern, minimum in LINES_MIN if pattern.fullmatch(path))
        reached = percent(*gate.coverage.lines.get(path, (0, 0)))
        if reached < least:
            faults.append(f"{path}: {reached:.1f} % of the lines are covered, {least:g} % are wanted")
    reached = percent(*gate.lines())
    if reached < LINES_MIN_ALL:
        faults.append(f"{gate.name}: {reached:.1f} % of the lines are covered, {LINES_MIN_ALL:g} % are wanted")
    return faults


def main():
    if len(sys.argv) != 3 or sys.argv[2] not in ("core", "all"):
        sys.exit(__doc__)
    build = pathlib.Path(sys.argv[1]).resolve()
    profiles = sorted((build / "profiles").glob("*.profraw"))
    exclusions = Exclusions()
    core = Gate("the core, by its own tests", Coverage(build, "core", [p for p in profiles if CORE_TESTS.match(p.name)]),
                lambda path: CORE.fullmatch(path) is not None, exclusions)
    core.table()
    faults = check(core, 100.0, 100.0)
    report = core.report_missing()
    if sys.argv[2] == "all":
        rest = Gate("the rest, by all tests", Coverage(build, "all", profiles),
                    lambda path: not CORE.fullmatch(path) and not NOT_COUNTED.match(path), exclusions)
        rest.table()
        faults += check(rest, REST_BRANCHES_MIN, 0.0) + check_lines(rest)
        report += rest.report_missing()
    (build / "missing.txt").write_text("".join(line + "\n" for line in report), encoding="utf-8")
    sys.stdout.flush()
    for fault in faults:
        print(f"coverage: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
