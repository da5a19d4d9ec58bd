#!/usr/bin/env python3
"""paths.py [--release]: replays the model's graph with the real engines, through weft.h only.

TLC dumps the graph of Graph_*.cfg (see graph.py). Paths from its first state that cover every edge are walked by weft-replay, which
makes the engines do each action and compares after each step what can be seen of them with the model's state: states, conditions,
versions and digests, epochs, outcomes, who is known, whether inference stands still, which content weights and base have, and
every frame that is on its way. Edges that no caller of weft.h can force are counted, with the reason.
Needs what check.py needs, and weft-replay of build/release (./dev model builds it)."""
import argparse
import collections
import json
import subprocess
import sys
import threading
import time

import check
import graph

PROGRAM = check.HERE.parent / "build/release/tests/weft-replay"
CONFIGS = ["Graph_ci.cfg", "Graph_one.cfg"]
RELEASE_CONFIGS = ["Graph_links.cfg", "Graph_release.cfg"]
NEAR = 6  # steps to the next edge that is not covered, before a new path begins

AT_ONCE = ("validation, or the check of a last piece, ends in the call that brings the last byte: no later frame of that link can "
           "come first")
NO_MEMORY = "a document that finds no memory fails in the call that brings UPDATE, before anything else can happen"
NO_PIECE = "a piece cannot be bad before any piece is there"
BEHIND = "reached only through edges that cannot be forced"


class State:
    """A state of the model, decoded once."""

    def __init__(self, text):
        values = map(json.loads, text.split("\t"))
        self.worker, self.device, self.link, self.trainer, _, _, _, self.pushes, _ = values

    def seen(self):
        """As tests/replay_world.c prints what it sees."""
        parts = []
        for name in sorted(self.worker):
            w, d, l = self.worker[name], self.device[name], self.link[name]
            queues = "".join(" (" + " ".join(f"{frame['type']}{frame['epoch']}" for frame in l[queue]) + ")"
                             for queue in ("down", "past", "up"))
            ends = "".join(f" {end}" for end in ("here", "there", "half") if l[end])
            parts.append(f"{w['state']} {w['condition']} v{w['version']} e{w['epoch']} l{w['last']} {w['outcome']}"
                         f"{' paused' if w['paused'] else ''} w{d['weights']}{ends}{queues}")
        t = self.trainer
        knows = "".join(f" {name[1:]}" for name in sorted(t["known"]))
        cause = "runs" if t["phase"] != "none" else t["cause"]
        parts.append(f"{t['state']} v{t['base']} e{t['highest']} {t['outcome']} {cause} base w{t['base']} knows{knows}")
        return "; ".join(parts)


def changed_worker(a, b, action):
    """Whose action it was, and whether it was on the past link; both follow from what it changed."""
    def popped(name, queue):
        return a.link[name][queue] and b.link[name][queue] == a.link[name][queue][1:] \
            and action.endswith(a.link[name][queue][0]["type"].capitalize())

    def turned(end, value):
        return lambda name: a.link[name][end] != value and b.link[name][end] == value

    def local(name):
        return (a.worker[name], a.device[name]) != (b.worker[name], b.device[name])

    def crashed(name):
        others = [other for other in a.worker if other != name]
        fresh = b.worker[name]["last"] == 0 and not b.link[name]["here"] and not b.link[name]["half"]
        return fresh and all((a.worker[o], a.device[o], a.link[o]) == (b.worker[o], b.device[o], b.link[o]) for o in others)

    if action.startswith("Deliver"):
        tests = [(lambda name: popped(name, "down") and a.link[name]["past"] == b.link[name]["past"], False),
                 (lambda name: popped(name, "past") and a.link[name]["down"] == b.link[name]["down"], True)]
    elif action.startswith("Hear"):
        tests = [(lambda name: popped(name, "up"), False)]
    else:
        tests = [({"WorkerLosesLink": turned("here", False), "WorkerLosesPast": turned("half", False),
                   "TrainerLosesLink": turned("there", False), "Connect": turned("there", True),
                   "WorkerCrashes": crashed}.get(action, local), False)]
    found = [(name, past) for test, past in tests for name in sorted(a.worker) if test(name)]
    return found[0] if found else (sorted(a.worker)[0], False)  # the trainer's own


def cannot(a, action, name, past):
    """Why no caller can force this step; None: it can be."""
    w, d, l = a.worker[name], a.device[name], a.link[name]
    owner = w["owner"]
    if action.startswith("Deliver") and d["owes"] in ("validated", "received") and owner == ("past" if past else "now"):
        return AT_ONCE
    if action == "NotValidated" and w["awaits"] == "document":
        return NO_MEMORY
    if action == "NotReceived" and d["owes"] != "received":
        queue = l["past"] if owner == "past" else l["down"]
        return None if queue and queue[0]["type"] == "PAYLOAD" else NO_PIECE
    return None


class Walk:
    """The graph with numbers: steps that can be forced, and paths over all of them."""

    def __init__(self, model):
        texts = sorted({a for a, _, _ in model.edges} | {b for _, _, b in model.edges})
        texts.remove(model.first)
        texts.insert(0, model.first)
        numbers = {text: number for number, text in enumerate(texts)}
        self.states = [State(text) for text in texts]
        self.follow = [[] for _ in texts]  # (action, worker, past, to)
        self.why = collections.Counter()
        self.edges = len(model.edges)
        for a, action, b in sorted(model.edges):
            source, target = numbers[a], numbers[b]
            name, past = changed_worker(self.states[source], self.states[target], action)
            reason = cannot(self.states[source], action, name, past)
            if reason:
                self.why[reason] += 1
            else:
                self.follow[source].append((action, int(name[1:]) - 1, int(past), target))

    def tree(self):
        """The shortest way to each state that can be reached: {state: (before, step)}."""
        came, queue = {0: None}, collections.deque([0])
        while queue:
            state = queue.popleft()
            for step in self.follow[state]:
                if step[3] not in came:
                    came[step[3]] = (state, step)
                    queue.append(step[3])
        return came

    def near(self, state, left):
        """The steps to the nearest state that still has an edge to cover; None if it is far."""
        came, queue = {state: []}, collections.deque([state])
        while queue:
            at = queue.popleft()
            if left[at]:
                return came[at]
            if len(came[at]) < NEAR:
                for step in self.follow[at]:
                    if step[3] not in came:
                        came[step[3]] = came[at] + [step]
                        queue.append(step[3])
        return None

    def paths(self):
        """Paths from the first state, as lists of steps, that together cover every step that can be forced."""
        came = self.tree()
        left = {state: list(self.follow[state]) for state in came}
        self.covered = sum(map(len, left.values()))
        self.why[BEHIND] = sum(map(len, self.follow)) - self.covered
        for begin in came:  # in the order of their distance
            while left[begin]:
                path, state = [], begin
                while came[state] is not None:
                    state, step = came[state]
                    path.append(step)
                path.reverse()
                state = begin
                further = []
                while further is not None:
                    path += further
                    state = path[-1][3] if path else 0
                    while left[state]:
                        path.append(left[state].pop())
                        state = path[-1][3]
                    further = self.near(state, left)
                yield path


def script(walk):
    lines = [f"S {state.seen()}" for state in walk.states]
    for path in walk.paths():
        lines.append("P")
        lines += [f"{action} {worker} {past} {to}" for action, worker, past, to in path]
    return "\n".join(lines) + "\n"


def replay(config):
    began = time.monotonic()
    walk = Walk(graph.model_graph(config))
    text = script(walk)
    workers, versions = len(walk.states[0].worker), 1 + max(state.pushes for state in walk.states)
    done = subprocess.run([PROGRAM, str(workers), str(versions)], input=text, capture_output=True, text=True, check=False)
    good = done.returncode == 0
    last = (done.stdout.strip() or done.stderr.strip()[-500:]).splitlines()
    name = config.removesuffix(".cfg")
    print(f"replay  {name:34} {len(walk.states):10,} states, {walk.edges:,} edges, {walk.covered:,} replayed, {last[-1]}, "
          f"{time.monotonic() - began:.0f} s: {'all as the model' if good else 'FAILED'}", flush=True)
    for reason, number in walk.why.items():
        if number:
            print(f"        not replayed {number:8,}: {reason}")
    if not good:
        print("\n".join(last[:-1]))
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true")
    arguments = parser.parse_args()
    check.need_tools()
    if not PROGRAM.exists():
        check.fail("build/release/tests/weft-replay is not there; ./dev model builds it")
    threading.Thread(target=graph.keep_alive, daemon=True).start()
    good = [replay(config) for config in CONFIGS + (RELEASE_CONFIGS if arguments.release else [])]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
