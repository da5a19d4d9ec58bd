"""Logs of tests/trace_log.h as Trace.tla reads them."""
import re

import check

COLUMNS = ["who", "kind", "now_ns", "epoch", "from", "to", "event", "message", "link", "status", "session", "update", "version",
           "digest", "offset", "length", "peer"]
TEXTS = ["who", "kind", "from", "to", "event", "message", "status", "session", "peer"]
NUMBERS = ["epoch", "update", "offset", "length"]
POLICIES = {"staged": "FALSE", "streamed": "TRUE", "either": "FALSE, TRUE"}


class Row(dict):
    """One record: its columns, as they are in the file."""

    def text(self):
        return " ".join(self[name] for name in COLUMNS)


class Log:
    """One trace, as its file says."""

    def __init__(self, name, rows, remarks):
        self.name, self.rows = name, rows
        program, number = re.fullmatch(r"(.*?)(?:-(\d+))?\.trace", name).groups()
        self.program, self.number = program, int(number or 0)
        self.transport = remarks.get("transport", "tcp")
        self.policies = POLICIES[remarks.get("baselines", "either")]
        self.left_out = remarks.get("left out")

    def changed(self, name, rows):
        """The same, with other records."""
        other = Log(name, rows, {})
        other.transport, other.policies = self.transport, self.policies
        return other

    @property
    def workers(self):
        return max([1] + [int(row["who"][1:]) for row in self.rows if row["who"] != "trainer"])


ABOUT_DOUBT = ("ASK", "OUTCOME")


def is_conversation(rows, links, sockets):
    """Did a worker in doubt ask another one on this connection? links: all that one end said of it. Who asks does not begin with
    HELLO. Over sockets it may have been told by another one before this connection was made, and then there is nothing but HELLO,
    of which no trainer has heard."""
    frames = [rows[k]["message"] for k in links if rows[k]["kind"] != "LOST"]
    begin, end = rows[links[0]], links[-1]
    heard = any(row["who"] == "trainer" and row["peer"] == begin["who"] for row in rows[links[0]:end])
    return any(name in ABOUT_DOUBT for name in frames) or begin["kind"] in ("RECEIVED", "LOST") or (
        sockets and frames == ["HELLO"] and rows[end]["kind"] == "LOST" and not heard)


def without_doubt(rows, sockets):
    """The records without those of connections between workers, and without the list of addresses: the model has neither."""
    left_out, present = set(), {}

    def close(who, link):
        links = present.pop((who, link), [])
        if links and is_conversation(rows, links, sockets):
            left_out.update(links)

    for k, row in enumerate(rows):
        if row["message"] == "PEERS":
            left_out.add(k)
        elif row["kind"] == "BEGAN":
            for who, link in list(present):
                if who == row["who"]:
                    close(who, link)
        elif row["who"] != "trainer" and row["link"] != "none":
            present.setdefault((row["who"], row["link"]), []).append(k)
            if row["kind"] == "LOST":
                close(row["who"], row["link"])
    for who, link in list(present):
        close(who, link)
    return [row for k, row in enumerate(rows) if k not in left_out]


def read(path):
    rows, remarks = [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            for name in ("transport ", "baselines ", "left out: ", "sockets"):
                if line.startswith(f"# {name}"):
                    remarks[name.rstrip(": ")] = line.removeprefix(f"# {name}")
            continue
        words = line.split(" ")
        if len(words) != len(COLUMNS):
            check.fail(f"{path}: '{line}' has {len(words)} words, and {len(COLUMNS)} are expected")
        rows.append(Row(zip(COLUMNS, words)))
    return Log(path.name, without_doubt(rows, "sockets" in remarks), remarks)


def read_folder(folder):
    return [read(path) for path in sorted(folder.glob("*.trace"))]


def encode(log):
    """The records in TLA+, the order of their times, and how many contents there are. A content is a version and its digest;
    they are numbered as they appear, and 0 is none."""
    contents = {("0", f"0x{0:016x}"): 0}
    order = {now: rank for rank, now in enumerate(sorted({0} | {int(row["now_ns"]) for row in log.rows}))}
    records = []
    for row in log.rows:
        content = contents.setdefault((row["version"], row["digest"]), len(contents))
        link = -1 if row["link"] == "none" else int(row["link"])
        values = [f'{name} |-> "{row[name]}"' for name in TEXTS] + [f"{name} |-> {int(row[name])}" for name in NUMBERS]
        records.append("[" + ", ".join([*values, f"link |-> {link}", f"version |-> {content}"]) + "]")
    return records, [order[int(row["now_ns"])] for row in log.rows], len(contents) - 1


def module(logs):
    """TraceData.tla, and the largest number of contents."""
    table, traces, most = {}, [], 1
    for log in logs:
        records, times, contents = encode(log)
        most = max(most, contents)
        numbers = [table.setdefault(record, len(table) + 1) for record in records]
        traces.append(f"[records |-> <<{', '.join(map(str, numbers))}>>, times |-> <<{', '.join(map(str, times))}>>]")
    return ("---- MODULE TraceData ----\nEXTENDS Integers\nRecords == <<\n  " + ",\n  ".join(table) + "\n>>\nTraces == <<\n  "
            + ",\n  ".join(traces) + "\n>>\n====\n"), most
