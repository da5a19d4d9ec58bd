#!/usr/bin/env python3
"""graph.py [--release] [--no-defects]: compares the model with the C cores, edge by edge.

TLC dumps the graph that it finds for Graph_*.cfg; tests/graph.c explores the C steps in the same bounds, and prints its states
in the model's words. Both must be equal as sets of edges (state, action, state). A difference is printed as the shortest
sequence of events that leads to it, with what either side does then. After that, the comparison is made again for each
defect of defects.yaml, in a copy of the C code, and must fail. Needs what check.py needs, and a C compiler."""
import argparse
import collections
import concurrent.futures
import functools
import json
import multiprocessing
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

ROOT = check.HERE.parent
SOURCES = ["tests/graph.c", "tests/graph_world.c", "tests/graph_print.c", "src/protocol_worker.c", "src/protocol_trainer.c",
           "src/session.c", "src/frame_messages.c", "src/status.c"]
CONFIGS = ["Graph_ci.cfg", "Graph_one.cfg", "Graph_baseline.cfg", "Graph_nccl.cfg", "Graph_peers.cfg"]
RELEASE_CONFIGS = ["Graph_links.cfg", "Graph_release.cfg", "Graph_peers3.cfg"]
JOBS = 2  # of 2.5 GB and less each
PROCESSES = functools.partial(concurrent.futures.ProcessPoolExecutor, mp_context=multiprocessing.get_context("fork"))
MODELS = {}  # the model's graph of each configuration
VARIABLES = ["worker", "device", "link", "trainer", "told", "kept", "decided", "pushes", "faults"]  # as graph_print.c prints them


class Graph:
    """States are interned texts in canonical form: equal text, equal state."""

    def __init__(self):
        self.edges = set()
        self.first = None


# ---- values -----------------------------------------------------------------------------------------------------------


TOKEN = re.compile(r'\s*(<<|>>|:>|@@|\|->|[\[\](){},]|"[^"]*"|\w+|-\d+)')


def tla_value(text):
    """A value that TLC prints, as Python has it: records and functions become dicts, sequences lists, sets sorted lists."""
    tokens = TOKEN.findall(text)
    at = 0

    def take(expected=None):
        nonlocal at
        token = tokens[at]
        at += 1
        if expected is not None and token != expected:
            raise ValueError(f"'{expected}' is expected and '{token}' found in {text}")
        return token

    def items(end):
        found = []
        while tokens[at] != end:
            found.append(value())
            if tokens[at] == ",":
                take(",")
        take(end)
        return found

    def pairs(start, arrow, comma, end):
        found = {}
        take(start)
        while tokens[at] != end:
            key = take()
            take(arrow)
            found[key] = value()
            if tokens[at] == comma:
                take(comma)
        take(end)
        return found

    def value():
        token = tokens[at]
        if token == "[":
            return pairs("[", "|->", ",", "]")
        if token == "(":
            return pairs("(", ":>", "@@", ")")
        if token == "<<":
            take()
            return items(">>")
        if token == "{":
            take()
            return sorted(items("}"))
        take()
        if token.startswith('"'):
            return token[1:-1]
        if token in ("TRUE", "FALSE"):
            return token == "TRUE"
        return int(token) if re.fullmatch(r"-?\d+", token) else token

    return value()


class Interned:
    """Canonical texts of values, each worked out once."""

    def __init__(self, parse):
        self.parse, self.known = parse, {}

    def __call__(self, text):
        if text not in self.known:
            self.known[text] = json.dumps(self.parse(text), sort_keys=True)
        return self.known[text]


# ---- the model's graph ------------------------------------------------------------------------------------------------


NODE = re.compile(r'^(-?\d+) \[label="((?:[^"\\]|\\.)*)"(,style = filled)?\]')
EDGE = re.compile(r'^(-?\d+) -> (-?\d+) \[label="(\w+)"')


def model_state(label, value):
    """A node's label is the state as TLC prints it, variable by variable."""
    text = label.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    parts = re.split(r"(?m)^/\\ (\w+) = ", text)
    found = dict(zip(parts[1::2], parts[2::2]))
    return "\t".join(value(found[name].strip()) for name in VARIABLES)


def model_graph(config):
    graph, names, edges = Graph(), {}, []
    value = Interned(tla_value)
    with tempfile.TemporaryDirectory(dir=check.BUILD) as folder:
        for path in check.HERE.glob("*.tla"):
            pathlib.Path(folder, path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        pathlib.Path(folder, "Check.cfg").write_text((check.HERE / config).read_text(encoding="utf-8"), encoding="utf-8")
        command = ["java", "-Xmx2500m", "-XX:+UseSerialGC", f"-Djava.io.tmpdir={folder}", "-cp", check.JAR, "tlc2.TLC", "-deadlock",
                   "-workers", "1", "-metadir", folder, "-dump", "dot,actionlabels", "graph", "-config", "Check.cfg",
                   "WeightUpdate.tla"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != check.TLC_HOLDS:
            check.fail(f"TLC ends with {done.returncode} for {config}:\n{done.stdout[-2000:]}")
        with open(pathlib.Path(folder, "graph.dot"), encoding="utf-8") as lines:
            for line in lines:
                node, edge = NODE.match(line), EDGE.match(line)
                if node:
                    names[node[1]] = model_state(node[2], value)
                    graph.first = names[node[1]] if node[3] else graph.first
                elif edge:
                    edges.append((edge[1], edge[3], edge[2]))
    graph.edges = {(names[a], action, names[b]) for a, action, b in edges}
    return graph


# ---- the C code's graph -----------------------------------------------------------------------------------------------


def compile_cores(folder, texts):
    """Builds weft-graph, with the sources of `texts` in the place of those of the tree."""
    sources = []
    for name in SOURCES:
        sources.append(str(ROOT / name))
        if name in texts:
            sources[-1] = str(pathlib.Path(folder, pathlib.Path(name).name))
            pathlib.Path(sources[-1]).write_text(texts[name], encoding="utf-8")
    program = pathlib.Path(folder, "weft-graph")
    command = [os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", f"-I{ROOT}/src", f"-I{ROOT}/tests", "-o", program,
               *sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        check.fail(f"weft-graph does not compile:\n{done.stderr}")
    return program


def bounds(config):
    """The configuration as weft-graph's arguments."""
    text = (check.HERE / config).read_text(encoding="utf-8")
    found = dict(re.findall(r"(?m)^  (\w+) = (.*)$", text))

    def words(name):
        return ",".join(re.findall(r"\w+", found[name])).replace("TRUE", "1").replace("FALSE", "0")

    return [str(len(words("Workers").split(","))), found["Sessions"], words("Updates"), words("Kinds"), words("Policies"),
            found["MaxFaults"], words("Counted"), words("Free"), words("Transport"), found["PeerResolution"]]


def core_graph(program, config):
    """None when the program stops itself: an invariant of the C code is broken."""
    done = subprocess.run([program, *bounds(config)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None, done.stderr.strip()
    graph, names = Graph(), {}
    value = Interned(json.loads)
    for line in done.stdout.splitlines():
        if line.startswith("S "):
            number, *values = line[2:].split("\t")
            names[number] = "\t".join(map(value, values))
        else:
            _, a, action, b = line.split(" ")
            graph.edges.add((names[a], action, names[b]))
    graph.first = names["0"]
    return graph, ""


# ---- comparison -------------------------------------------------------------------------------------------------------


def paths(graph):
    """The shortest way to each state, as (state before, action)."""
    follow = collections.defaultdict(list)
    for a, action, b in graph.edges:
        follow[a].append((action, b))
    came, queue = {graph.first: None}, collections.deque([graph.first])
    while queue:
        state = queue.popleft()
        for action, to in sorted(follow[state]):
            if to not in came:
                came[to] = (state, action)
                queue.append(to)
    return came


def way(came, state):
    actions = []
    while came[state] is not None:
        state, action = came[state]
        actions.append(action)
    return actions[::-1]


def changes(before, after):
    """What a step changes, variable by variable and field by field."""
    found = []

    def compare(name, old, new):
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted(old.keys() | new.keys()):
                compare(f"{name}.{key}", old.get(key), new.get(key))
        elif old != new:
            found.append(f"{name}: {json.dumps(old)} -> {json.dumps(new)}")

    for name, old, new in zip(VARIABLES, before.split("\t"), after.split("\t")):
        compare(name, json.loads(old), json.loads(new))
    return found


def explain(model, core):
    """The difference that is reached first, from both sides."""
    if model.first != core.first:
        return ["the first states differ", *changes(model.first, core.first)]
    came = {"the model": paths(model), "the C code": paths(core)}
    ways = []
    for side, one, other in (("the model", model, core), ("the C code", core, model)):
        for a, action, b in one.edges - other.edges:
            if a in came["the model"] and a in came["the C code"]:
                ways.append((len(way(came[side], a)), action, a, side))
    _, action, a, side = min(ways)
    events = way(came[side], a)
    lines = [f"after {len(events)} events, at {action}", "  " + ", ".join(events + [action])]
    for name, graph in (("the model", model), ("the C code", core)):
        targets = [b for x, label, b in graph.edges if x == a and label == action]
        lines.append(f"  {name} " + ("does nothing of the kind" if not targets else "does:"))
        for b in targets:
            lines += ["    " + change for change in changes(a, b)] + ["    --"]
    return lines


def compare(config, program):
    """The model's graph, what the two have to say, and whether they are equal."""
    began = time.monotonic()
    model = model_graph(config)
    core, error = core_graph(program, config)
    if core is None:
        return model, f"graph   {config}: the C code stops: {error}", False
    same = core.edges == model.edges and core.first == model.first
    states = len({a for a, _, _ in model.edges} | {b for _, _, b in model.edges})
    said = (f"graph   {config.removesuffix('.cfg'):34} {states:10,} states, {len(model.edges):,} edges of the model, "
            f"{len(core.edges):,} of the C code, {time.monotonic() - began:.1f} s: {'equal' if same else 'FAILED'}")
    return model, said if same else "\n".join([said, *explain(model, core)]), same


def try_defect(defect, text):
    """How the C code with this defect is found out; None if it is not."""
    with tempfile.TemporaryDirectory(dir=check.BUILD) as folder:
        program = compile_cores(folder, {defect["file"]: text.replace(defect["from"], defect["to"])})
        for config, model in MODELS.items():
            core, error = core_graph(program, config)
            if core is None:
                return f"stops: {error.splitlines()[-1]}"
            if core.edges != model.edges:
                return f"differs {explain(model, core)[0]}"
    return None


def defects_fail(release):
    """Each planted defect must make a comparison fail. Returns those that did not."""
    passed, began, wanted = [], time.monotonic(), []
    for defect in yaml.safe_load((check.HERE / "defects.yaml").read_text(encoding="utf-8")):
        text = (ROOT / defect["file"]).read_text(encoding="utf-8")
        if text.count(defect["from"]) != 1:
            check.fail(f"defects.yaml: '{defect['name']}' changes a text that is not in {defect['file']} exactly once")
        if release or not defect.get("release"):
            wanted.append((defect, text))
    with PROCESSES(JOBS) as pool:  # which have MODELS as they are now
        tried = [(defect["name"], pool.submit(try_defect, defect, text)) for defect, text in wanted]
        for name, job in tried:
            verdict = job.result()
            if verdict is None:
                passed.append(name)
            print(f"defect  {name:34} {verdict or 'FAILED: the graphs are equal'}", flush=True)
    print(f"{len(wanted) - len(passed)} of {len(wanted)} defects of the C code make the graphs differ, "
          f"{time.monotonic() - began:.0f} s")
    return passed


def keep_alive():
    """Says something now and then, whatever takes so long."""
    began = time.monotonic()
    while True:
        time.sleep(check.SILENCE_S)
        print(f"        ... {time.monotonic() - began:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true")
    parser.add_argument("--no-defects", action="store_true")
    arguments = parser.parse_args()
    check.need_tools()
    threading.Thread(target=keep_alive, daemon=True).start()
    configs = CONFIGS + (RELEASE_CONFIGS if arguments.release else [])
    wrong = 0
    with tempfile.TemporaryDirectory(dir=check.BUILD) as folder, PROCESSES(JOBS) as pool:
        program = compile_cores(folder, {})
        compared = [(config, pool.submit(compare, config, program)) for config in configs]
        for config, job in compared:
            MODELS[config], said, same = job.result()
            wrong += 0 if same else 1
            print(said, flush=True)
    missed = [] if wrong or arguments.no_defects else defects_fail(arguments.release)
    print("the graphs of the model and of the C code " + ("differ" if wrong else "are equal")
          + (f"; nobody noticed {len(missed)} defects" if missed else ""))
    sys.exit(1 if wrong or missed else 0)


if __name__ == "__main__":
    main()
