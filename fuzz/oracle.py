#!/usr/bin/env python3
"""oracle.py [--documents N] [--seed S]: a second reading of spec/metadata.md in plain Python, compared with the C code.

Half of the documents are made here, half by the grammar of the C mutator; all of spec/examples come first. Both readings must
agree whether a document is accepted, with the example model and without one, and what it means: session, tensors, counts,
offsets. Where Python's YAML parser (of YAML 1.1) does not judge as YAML 1.2 does, the document is not compared, and counted.
Needs PyYAML."""
import argparse
import collections
import copy
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys
import time

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
TWO_64 = 1 << 64


class Refused(Exception):
    """The document is not accepted; the text is for people."""


class NotJudged(Exception):
    """Python's parser is not an oracle for this one."""


# ---- text to a tree -----------------------------------------------------------------------------------------------------

# kind: plain, quoted (in quotes or block notation), list, mapping. value: text, items, pairs of texts and nodes
Node = collections.namedtuple("Node", "kind value")
SCALAR_MAX, SPACE_MAX, AHEAD_MAX, DOCUMENT_MAX = 3072, 256, 8192, 67108864


def check_bytes(document):
    if len(document) > DOCUMENT_MAX:
        raise Refused("too large")
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("not UTF-8") from error
    text = text.removeprefix("\ufeff")
    if "\0" in text or "\ufeff" in text:
        raise Refused("NUL, or a second byte order mark")
    if re.search(r"[ \t\r\n]{%d}" % (SPACE_MAX + 1), text):
        raise Refused("white space")
    if re.search(r"(^|[\r\n])%", text):
        raise Refused("directive")
    return text


def from_json(text):
    """A tree if this is JSON."""
    def pairs(found):
        return Node("mapping", [(Node("quoted", key), value) for key, value in found])

    def number(digits):
        return Node("plain", digits)

    def constant(word):
        raise ValueError(word)

    def wrap(value):
        if isinstance(value, Node) and value.kind == "mapping":
            return Node("mapping", [(key, wrap(item)) for key, item in value.value])
        if isinstance(value, list):
            return Node("list", [wrap(item) for item in value])
        if isinstance(value, str):
            return Node("quoted", value)
        if value is None or isinstance(value, bool):
            return Node("plain", {None: "null", True: "true", False: "false"}[value])
        return value

    tree = wrap(json.loads(text, object_pairs_hook=pairs, parse_int=number, parse_float=number, parse_constant=constant))
    for string in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
        if len(string.encode()) > SCALAR_MAX:
            raise Refused("a string is too long as written")
    return tree


def scalar_from_event(event, text):
    written = text[event.start_mark.index:event.end_mark.index]
    if event.style == "'" and "'" in written[1:-1]:
        raise Refused("a quote within single quotes")
    if event.style == '"' and "\\" in written and re.search(r"[\r\n]", written):
        raise Refused("an escape in a string of several lines")
    if "\0" in event.value:
        raise Refused("NUL")
    if not event.style and written in ("-", "?", ":"):
        raise Refused("an indicator that nothing follows")
    if len(written.encode()) > SCALAR_MAX:
        raise Refused("a scalar is too long as written")
    return Node("quoted" if event.style else "plain", event.value)


def check_comments(text):
    """YAML 1.2 wants white space before a comment; PyYAML does not look where a token just ended."""
    if re.search(r"[\]}\"',:\[{]#", text):
        for token in yaml.scan(text, Loader=yaml.Loader):
            if not isinstance(token, yaml.ScalarToken) or token.style in ("'", '"'):
                if token.end_mark.index > token.start_mark.index and text[token.end_mark.index:token.end_mark.index + 1] == "#":
                    raise Refused("a comment without white space before it")


def check_indent(begin, end, indent, text):
    """YAML 1.2 wants every line of a flow node deeper than the block around it; PyYAML does not look."""
    for line in re.split(r"\r\n|\r|\n", text[begin.index:end.index])[1:]:
        content = line.lstrip(" ")
        if content and not content.startswith("#") and len(line) - len(content) <= indent:
            raise Refused("a line of a flow node is not indented enough")


def node_from_events(event, events, text, indent):
    """indent: the column of the block collection that this stands in; -1 at the root, None within a flow collection."""
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None or event.tag is not None:
        raise Refused("alias, anchor or tag")
    if isinstance(event, yaml.ScalarEvent):
        if indent is not None and event.style in ("'", '"'):
            check_indent(event.start_mark, event.end_mark, indent, text)
        return scalar_from_event(event, text)
    within = None if indent is None or event.flow_style else event.start_mark.column
    items = []
    for event_within in events:
        if isinstance(event_within, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            if indent is not None and event.flow_style:
                check_indent(event.start_mark, event_within.end_mark, indent, text)
            break
        items.append(node_from_events(event_within, events, text, within))
    if isinstance(event, yaml.SequenceStartEvent):
        return Node("list", items)
    return Node("mapping", list(zip(items[::2], items[1::2])))


# What YAML 1.1 takes for a line break and 1.2 does not, and what PyYAML
# refuses as not printable although 1.2 allows it within quotes.
ODD_CHARACTERS = re.compile("[\x85\u2028\u2029\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def from_yaml(text):
    if ODD_CHARACTERS.search(text):
        raise NotJudged("line breaks or control characters of YAML 1.1")
    if not text.endswith(("\n", "\r")):
        text += "\n"  # metadata.md: the last line has a line break
    try:
        events = list(yaml.parse(text, Loader=yaml.Loader))
    except yaml.YAMLError as error:
        raise why_not(text, error) from error
    check_comments(text)
    within = iter(events)
    if not isinstance(next(within), yaml.StreamStartEvent):
        raise AssertionError("no start of the stream")
    start = next(within)
    if isinstance(start, yaml.StreamEndEvent):
        raise Refused("empty")
    if start.version or start.tags:
        raise Refused("directive")
    tree = node_from_events(next(within), within, text, -1)
    if not isinstance(next(within), yaml.DocumentEndEvent) or not isinstance(next(within), yaml.StreamEndEvent):
        raise Refused("a second document")
    return tree


def why_not(text, error):
    """PyYAML refused the text: is that what YAML 1.2 says?"""
    problem = str(getattr(error, "problem", "") or "")
    if "\\t" in problem or "\t" in text:
        return NotJudged("a tab as white space, which PyYAML refuses")
    if "found ':'" in problem and re.search(r"[,\[{:]\s*:\S", text):
        return NotJudged("a plain scalar that begins with a colon, which PyYAML refuses")
    if problem.endswith("got ':'") and re.search(r"[\r\n][ \r\n]*:", text):
        return NotJudged("a key of a flow mapping and its colon on two lines, which PyYAML refuses")
    return Refused(problem)


def surrogates(node):
    """JSON's pairs of escapes are one character; half a pair is none."""
    def join(text):
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError as error:
            raise Refused("half a surrogate pair") from error
    if node.kind in ("plain", "quoted"):
        if "\0" in node.value:
            raise Refused("NUL")
        return Node(node.kind, join(node.value))
    if node.kind == "list":
        return Node("list", [surrogates(item) for item in node.value])
    return Node("mapping", [(surrogates(key), surrogates(value)) for key, value in node.value])


def read_tree(document):
    text = check_bytes(document)
    try:
        tree = from_json(text)
    except (ValueError, RecursionError):
        tree = from_yaml(text)
    return surrogates(tree)


# ---- values -------------------------------------------------------------------------------------------------------------

NOT_STRINGS = re.compile(r"(|~|null|Null|NULL|true|True|TRUE|false|False|FALSE|[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"
                         r"|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))", re.ASCII)
INTEGER = re.compile(r"0|[1-9][0-9]*", re.ASCII)


def string(node):
    if node.kind == "quoted" or (node.kind == "plain" and not NOT_STRINGS.fullmatch(node.value)):
        return node.value
    raise Refused("not a string")


def word(node, *words):
    if string(node) not in words:
        raise Refused(f"not one of {words}")
    return node.value


def number(text, least, most):
    if not INTEGER.fullmatch(text):
        raise Refused("not an integer")
    if not least <= int(text) <= most:
        raise Refused("out of range")
    return int(text)


def integer(node, least=0, most=TWO_64 - 1):
    if node.kind != "plain":
        raise Refused("not an integer")
    return number(node.value, least, most)


def digest(node):
    if node.kind != "quoted" or not re.fullmatch(r"0x[0-9a-f]{16}", node.value, re.ASCII):
        raise Refused("not a digest")
    return int(node.value, 16)


def items(node):
    if node.kind != "list":
        raise Refused("not a list")
    return node.value


def mapping(node, required, optional=()):
    """A dictionary with these keys and no others."""
    if node.kind != "mapping":
        raise Refused("not a mapping")
    found = {}
    for key, value in node.value:
        if key.kind not in ("plain", "quoted") or key.value in found or key.value not in (*required, *optional):
            raise Refused("a key that is unknown, twice or no scalar")
        found[key.value] = value
    if not set(required) <= set(found):
        raise Refused("a key is missing")
    return found


# ---- tensors ------------------------------------------------------------------------------------------------------------

DTYPES = {
    "bfloat16": 2,
    "float16": 2,
    "float32": 4,
    "float64": 8,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
     "bool": 1}
NAME_MAX, RANK_MAX, TENSORS_MAX, UPDATES_MAX, WIDE = 512, 8, 1048576, 65536, 1 << 31


class Model:
    """The model of spec/examples/model.yaml."""
    FINGERPRINT = 0xa1ca1aa52026f76f  # the one in metadata.md's example

    def __init__(self):
        rows = yaml.safe_load((ROOT / "spec/examples/model.yaml").read_text(encoding="utf-8"))
        self.tensors = {str(row["name"]): (number_in_model, row["dtype"], row["shape"])
                            for number_in_model, row in enumerate(rows)}
        self.canonical = sorted(self.tensors, key=lambda name: name.encode())


def product(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def dtype_and_shape(dtype, shape):
    if string(dtype) not in DTYPES:
        raise Refused("unknown dtype")
    sizes = [integer(size) for size in items(shape)]
    if len(sizes) > RANK_MAX:
        raise Refused("too many sizes")
    return dtype.value, sizes


def tensor_number(names, name, dtype, sizes, model):
    """Its number in the model, or its place in the document."""
    text = string(name)
    if not 1 <= len(text.encode()) <= NAME_MAX or text in names:
        raise Refused("a name that is empty, too long or twice")
    names.add(text)
    if len(names) > TENSORS_MAX:
        raise Refused("too many tensors")
    if product(sizes) * DTYPES[dtype] >= TWO_64:
        raise Refused("more than 64 bits")
    if model is None:
        return len(names) - 1
    if text not in model.tensors or model.tensors[text][1:] != (dtype, sizes):
        raise Refused("not in the model, or not like this")
    return model.tensors[text][0]


# Of a patch: number of the tensor, count, bytes of an index (0: dense), bytes of an element.
Patch = collections.namedtuple("Patch", "tensor count index_bytes element_bytes")


def layout(patches, limit=TWO_64):
    """Bytes of the payload, and for each patch the offsets of its indices and values."""
    def padded(size):
        return (size + 7) // 8 * 8

    at, offsets = 0, []
    for patch in patches:
        offsets.append([at])
        at += padded(patch.count * patch.index_bytes)
    for patch, offset in zip(patches, offsets):
        offset.append(at)
        at += padded(patch.count * patch.element_bytes)
    if at >= limit or sum(patch.count for patch in patches) >= limit:
        raise Refused("a payload of more than 64 bits")
    return at, offsets


# ---- the forms ----------------------------------------------------------------------------------------------------------

WEFT_KEYS = ("weft", "epoch", "kind", "update", "updates", "base", "target", "payload", "patches", "model", "first", "counts")
VLLM_KEYS = ("names", "dtype_names", "shapes", "num_updates_list", "update_kind", "packed")
FORMS = {"weft": 1, "counts": 2, "sparse": 3, "mvp": 4, "dense": 5}


def read_vllm(root, model):
    keys = mapping(root, ("names", "dtype_names", "shapes"), VLLM_KEYS)
    if "packed" in keys and (keys["packed"].kind, keys["packed"].value) != ("plain", "false"):
        raise Refused("packed")
    kind = word(keys["update_kind"], "sparse_flat", "dense") if "update_kind" in keys else None
    sparse = "num_updates_list" in keys
    if (kind == "sparse_flat" and not sparse) or (kind == "dense" and sparse) or (kind is None and sparse and "packed" in keys):
        raise Refused("keys that do not make a form")
    columns = [items(keys[key]) for key in ("names", "dtype_names", "shapes")] + \
                     ([items(keys["num_updates_list"])] if sparse else [])
    if len({len(column) for column in columns}) != 1 or not columns[0]:
        raise Refused("columns of different lengths, or empty")
    patches, names = [], set()
    for row in zip(*columns):
        dtype, sizes = dtype_and_shape(row[1], row[2])
        tensor = tensor_number(names, row[0], dtype, sizes, model)
        count = integer(row[3], 0, product(sizes)) if sparse else product(sizes)
        if sparse and product(sizes) >= WIDE:
            raise Refused("indices are int32")
        patches.append(Patch(tensor, count, 4 if sparse else 0, DTYPES[dtype]))
    form = FORMS["mvp" if kind == "sparse_flat" else "sparse" if sparse else "dense"]
    return form, "sparse" if sparse else "baseline", [], patches, None


def read_patches(node, sparse, model):
    patches, names = [], set()
    for item in items(node):
        keys = mapping(item, ("name", "dtype", "shape") + (("count", "index") if sparse else ()))
        dtype, sizes = dtype_and_shape(keys["dtype"], keys["shape"])
        tensor = tensor_number(names, keys["name"], dtype, sizes, model)
        count, index_bytes = product(sizes), 0
        if sparse:
            count = integer(keys["count"], 0, product(sizes))
            index_bytes = 8 if product(sizes) >= WIDE else 4
            word(keys["index"], f"int{8 * index_bytes}")
        patches.append(Patch(tensor, count, index_bytes, DTYPES[dtype]))
    if not sparse and not patches:
        raise Refused("a baseline of nothing")
    return patches


def read_counts(keys, model):
    if digest(keys["model"]) != Model.FINGERPRINT and model is not None:
        raise Refused("another model")
    most = TENSORS_MAX if model is None else len(model.canonical)
    first = integer(keys["first"], 0, most)
    counts = [number(count, 0, TWO_64 - 1) for item in items(keys["counts"]) for count in string(item).split(" ")]
    if first + len(counts) > most:
        raise Refused("too many counts")
    patches = []
    for position, count in enumerate(counts, first):
        if model is None:
            element_bytes = index_bytes = 0
            tensor = len(patches)
        else:
            tensor, dtype, sizes = model.tensors[model.canonical[position]]
            element_bytes, index_bytes = DTYPES[dtype], 8 if product(sizes) >= WIDE else 4
            if count > product(sizes):
                raise Refused("a count is too large")
        if count:
            patches.append(Patch(tensor, count, index_bytes, element_bytes))
    return patches


def version(node):
    keys = mapping(node, ("version", "digest"))
    return [integer(keys["version"]), digest(keys["digest"])]


def read_weft(root, model):
    keys = mapping(root, ("weft", "epoch", "kind", "update", "updates", "target", "payload"), WEFT_KEYS)
    integer(keys["weft"], 1, 1)
    kind = word(keys["kind"], "sparse", "baseline")
    updates = integer(keys["updates"], 1, UPDATES_MAX)
    session = [integer(keys["epoch"], 1), integer(keys["update"], 0, updates - 1), updates]
    if ("base" in keys) != (kind == "sparse"):
        raise Refused("base")
    session += (version(keys["base"]) if kind == "sparse" else [0, 0]) + version(keys["target"])
    announced = integer(mapping(keys["payload"], ("bytes",))["bytes"])
    counted = {"model", "first", "counts"} & set(keys)
    if ("patches" in keys) == bool(counted) or len(counted) not in (0, 3) or (counted and kind != "sparse"):
        raise Refused("patches, or model, first and counts")
    if counted:
        return FORMS["counts"], kind, session, read_counts(keys, model), announced
    return FORMS["weft"], kind, session, read_patches(keys["patches"], kind == "sparse", model), announced


def read(document, model):
    """What the document means, as metadata_verdict prints it."""
    root = read_tree(document)
    if root.kind != "mapping" or not root.value:
        raise Refused("not a mapping, or empty")
    is_vllm = root.value[0][0].value in VLLM_KEYS if root.value[0][0].kind in ("plain", "quoted") else False
    form, kind, session, patches, announced = (read_vllm if is_vllm else read_weft)(root, model)
    payload, offsets = layout(patches)
    if form == FORMS["counts"] and model is None:
        payload = announced
    if announced is not None and announced != payload:
        raise Refused("bytes of the payload")
    fields = [form, 1 if kind == "sparse" else 2, *session, payload, sum(patch.count for patch in patches)]
    listed = [":".join(map(str, [*patch, *offset])) for patch, offset in zip(patches, offsets)]
    return " ".join([*map(str, fields), *listed])


# ---- documents ----------------------------------------------------------------------------------------------------------


class Raw(str):
    """Written as it stands."""


ODD = [
    Raw(text) for text in (
        "null",
        "~",
        "-1",
        "-0",
        "+1",
        "01",
        "1.0",
        "1e3",
        "0x10",
        "1_000",
        ".inf",
        "true",
        "18446744073709551615",
        "18446744073709551616",
        "4294967296",
        '"1"',
        "[]",
        "{}",
        "[1]",
        "'x'",
        "''",
        '""',
        '"\\x61\n b"',
        '"a\n b"',
        "*a",
        "&a 1",
        "!!str x",
        '"\\u0000"',
        '"\\ud83d\\ude00"',
        '"\\ud83d"',
        "2147483648",
        "65536",
        "65537",
        "model.mask",
        "0.5",
        "x: y",
         "- 1")]
# Plain scalars that are no strings, and some that nearly are none.
PLAIN = [
    Raw(text) for text in (
        "~ null Null NULL nUll true True TRUE tRue false False FALSE y no 0 7 -7 +7 007 0o7 0o8 0o 0x 0xfF 0xg "
        "1. .1 . 1.5 1e3 1E+3 1e "
        "e3 -1.e-3 + - +. .inf .Inf .INF .iNf -.inf +.INF ++.inf .nan .NaN .NAN -.nan 1_000 0b1 1:30 1,5 12e03 0x1.8").split()]
NAMES = ["<<", "x", "Epoch", *WEFT_KEYS, *VLLM_KEYS, "name", "dtype", "shape", "count", "index", "version", "digest", "bytes"]


class Maker:
    """Documents of all forms, right or with a fault or two. Nothing of it is shared with the C code's grammar."""

    def __init__(self, seed, model):
        self.random, self.model = random.Random(seed), model

    def pick(self, *choices):
        return self.random.choice(choices)

    def count(self, most):
        return self.pick(0, 1, most, self.random.randint(0, most), self.random.randint(0, min(most, 9))) if most else 0

    def choose(self, wide):
        """Names, dtypes and shapes of some tensors of the model; or of none of it, which only a reading without one accepts."""
        if self.random.random() < 0.15:
            sizes = (0, 1, 2, 3, 7, WIDE - 1, WIDE, 1 << 32, 1 << 40, 1 << 63, TWO_64 - 1)
            return [(self.random.choice(PLAIN) if self.random.random() < 0.3 else
                     self.pick("w", "é", "0.x", "long" * self.pick(1, 127, 128, 129)) + str(i), self.random.choice(list(DTYPES)),
                     [self.random.choice(sizes) for _ in range(self.random.choice((0, 1, 1, 2, 2, 3, 8, 9)))])
                    for i in range(self.random.randint(1, 3))]
        names = [name for name, (_, _, shape) in self.model.tensors.items() if wide or product(shape) < WIDE]
        return [(name, *self.model.tensors[name][1:])
                 for name in self.random.sample(names, self.random.randint(0, min(len(names), 6)))]

    def version(self):
        return {"version": self.count(TWO_64 - 1), "digest": f"0x{self.random.getrandbits(64):016x}"}

    def weft(self):
        sparse, counted = self.pick((False, False), (True, False), (True, True))
        chosen = [row for row in self.choose(True) if not counted or row[0] in self.model.tensors]
        if counted:
            chosen.sort(key=lambda row: row[0].encode())
        rows = [(name, dtype, shape, self.count(product(shape)) if sparse else product(shape)) for name, dtype, shape in chosen]
        patches = [Patch(0, count, (8 if product(shape) >= WIDE else 4) if sparse else 0, DTYPES[dtype])
                         for _, dtype, shape, count in rows]
        updates = 1 + self.count(UPDATES_MAX - 1)
        root = {"weft": 1, "epoch": 1 + self.count(TWO_64 - 2), "kind": "sparse" if sparse else "baseline",
                "update": self.random.randrange(updates), "updates": updates, "target": self.version(),
                "payload": {"bytes": layout(patches, 1 << 1024)[0] % TWO_64}}
        if sparse:
            root["base"] = self.version()
        if counted:
            root.update(self.counted({name: count for name, _, _, count in rows}))
        else:
            root["patches"] = [{"name": name, "dtype": dtype, "shape": shape,
                                **({"count": count, "index": "int64" if product(shape) >= WIDE else "int32"} if sparse else {})}
                               for name, dtype, shape, count in rows]
        return root

    def counted(self, counts):
        first = self.random.randrange(len(self.model.canonical))
        first = min([first, *[self.model.canonical.index(name) for name in counts]])
        line = [str(counts.get(name, 0)) for name in self.model.canonical[first:]]
        while line and line[-1] == "0" and self.random.random() < 0.8:
            line.pop()
        strings = []
        while line:
            size = self.random.randint(1, len(line))
            strings.append(" ".join(line[:size]))
            line = line[size:]
        return {"model": f"0x{Model.FINGERPRINT:016x}", "first": first, "counts": strings}

    def vllm(self):
        form = self.pick("sparse", "mvp", "dense")
        rows = self.choose(form == "dense")
        root = {"names": [row[0] for row in rows], "dtype_names": [row[1] for row in rows], "shapes": [row[2] for row in rows]}
        if form != "dense":
            root["num_updates_list"] = [self.count(product(row[2])) for row in rows]
        if form == "mvp" or (form == "dense" and self.random.random() < 0.5):
            root["update_kind"] = "sparse_flat" if form == "mvp" else "dense"
        if form != "sparse" and self.random.random() < 0.5:
            root["packed"] = False
        return root

    def places(self, tree, found):
        """Every (container, key) of the tree."""
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            found.append((tree, key))
            if isinstance(value, (dict, list)):
                self.places(value, found)
        return found

    def damage(self, tree):
        places = self.places(tree, [])
        if not places:
            return
        container, key = self.random.choice(places)
        value = container[key]
        action = self.random.randrange(7)
        if action == 0:
            del container[key]
        elif action == 1:
            container[key] = self.random.choice(ODD)
        elif action == 2 and isinstance(value, int):
            container[key] = max(0, value + self.pick(-1, 1, 8))
        elif action == 3 and isinstance(value, (int, str)):
            container[key] = str(value) if isinstance(value, int) else Raw(value)
        elif action == 4 and isinstance(container, list):
            container.insert(self.random.randint(0, len(container)), value)
        elif action == 5 and isinstance(container, dict):
            container[self.random.choice(NAMES)] = container.pop(key)
        elif action == 6 and isinstance(value, str):
            container[key] = value + self.pick(" ", "x", "0", "é", "", "\u3042")

    # The text of a tree, in two notations.

    def quoted(self, text):
        return json.dumps(text, ensure_ascii=self.random.random() < 0.3)

    def scalar(self, value, is_json):
        if isinstance(value, Raw):
            return str(value)
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        plain = re.fullmatch(r"[a-z0-9][\w. ]*", value) and not NOT_STRINGS.fullmatch(value) and not value.endswith(" ")
        if is_json or not plain or self.random.random() < 0.3:
            return self.quoted(value)
        return self.pick(value, f"'{value}'")

    def flow(self, tree, is_json, space):
        def gap():
            return self.random.choice(space)
        if isinstance(tree, dict):
            pairs = [
    f"{gap()}{self.scalar(key, is_json)}:{gap() if is_json else ' '}{self.flow(value, is_json, space)}{gap()}" for key,
     value in tree.items()]
            return "{" + ",".join(pairs) + "}"
        if isinstance(tree, list):
            return "[" + ",".join(gap() + self.flow(item, is_json, space) + gap() for item in tree) + "]"
        return self.scalar(tree, is_json)

    def block(self, tree, indent):
        """Lines, the first of them without indent."""
        lines = []
        for key, value in tree.items() if isinstance(tree, dict) else ((None, item) for item in tree):
            head = "-" if key is None else self.scalar(key, False) + ":"
            if isinstance(value, (dict, list)) and value and self.random.random() < 0.7:
                within = self.block(value, indent + 2)
                if key is None:
                    lines += [head + " " + within[0], *within[1:]]
                else:
                    lines += [head, *[(" " * (indent + 2) if i == 0 else "") + line for i, line in enumerate(within)]]
            elif (isinstance(value, str) and not isinstance(value, Raw) and self.random.random() < 0.1
                  and re.fullmatch(r"[\w. ]+", value)):
                lines += [head + self.pick(" >-", " |-"), " " * (indent + 2) + value]
            else:
                lines.append(head + " " + self.flow(value, False, ["", " "]))
            if self.random.random() < 0.05:
                lines.append(" " * indent + "# a comment")
        return [lines[0], *[line if line.startswith(" " * indent) and indent else " " * \
                                                    indent + line for line in lines[1:]]] if lines else ["{}"]

    def document(self):
        tree = copy.deepcopy(self.pick(self.weft, self.vllm)())  # shapes are the model's own
        if self.random.random() < 0.5:
            order = list(tree.items())
            self.random.shuffle(order)
            tree = dict(order)
        for _ in range(self.pick(0, 0, 1, 2)):
            self.damage(tree)
        notation = self.pick("json", "json", "flow", "block")
        if notation == "block" and tree:
            text = "\n".join(self.block(tree, 0)) + "\n"
        else:
            text = self.flow(
    tree, notation == "json", self.pick(
        [""], [
            "", " "], [
                "", " ", "\n "], [
                    "\n", "\t", "\r\n", ""] if notation == "json" else [" "]))
        before, after = "", ""
        if self.random.random() < 0.05:
            before = self.pick("\ufeff", " ", "\n", "---\n", "# head\n", "%YAML 1.2\n---\n", " " * 257)
        if self.random.random() < 0.05:
            after = self.pick("\n", "\n...\n", "\n---\n", "\n# foot", "{}", "\n... x", "\n\n", "]", "\0", " " * 300)
        text = before + text + after
        if self.random.random() < 0.05:
            text = text.replace("\n", self.pick("\r\n", "\r"))
        encoded = text.encode("utf-8", "surrogatepass")
        if self.random.random() < 0.02:
            at = self.random.randrange(len(encoded) + 1)
            encoded = encoded[:at] + bytes([self.random.randrange(256)]) + encoded[at:]
        return encoded


# ---- the comparison -----------------------------------------------------------------------------------------------------


def frames(documents):
    return b"".join(struct.pack("<I", len(document)) + document for document in documents)


def split_frames(stream):
    documents, at = [], 0
    while at < len(stream):
        (size,) = struct.unpack_from("<I", stream, at)
        documents.append(stream[at + 4:at + 4 + size])
        at += 4 + size
    return documents


def judge(document, model):
    try:
        return read(document, model)
    except Refused as refusal:
        return f"refused: {refusal}"


def compare(documents, verdicts, model, tally):
    for number_of_document, document in enumerate(documents):
        said = verdicts[2 * number_of_document:2 * number_of_document + 2]
        for with_model, theirs in zip((model, None), said):
            try:
                ours = judge(document, with_model)
            except NotJudged as why:
                tally[f"not compared: {why}"] += 1
                continue
            accepted = [not verdict.startswith("refused") for verdict in (ours, theirs)]
            if accepted[0] != accepted[1] or (accepted[0] and ours != theirs):
                tally["disagree"] += 1
                if tally["disagree"] <= 20:
                    print(
                        f"\nthey disagree {'with the' if with_model else 'without a'} model about {document!r}\n"
                        f"  spec: {ours}\n  weft: {theirs}")
            else:
                tally["accepted" if accepted[0] else "refused"] += 1


def main():
    parser = argparse.ArgumentParser(description="Compares a plain Python reading of spec/metadata.md with the C code.")
    parser.add_argument("--documents", type=int, default=100000, help="so many are compared (100000)")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("WEFT_SEED", "0")) or random.randrange(1 << 31))
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/test/fuzz/metadata_verdict")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    model, tally, done, began, said = Model(), collections.Counter(), 0, time.monotonic(), 0
    maker = Maker(options.seed, model)
    examples = [path.read_bytes() for folder in ("valid", "invalid")
                                for path in sorted((ROOT / "spec/examples" / folder).iterdir()) if path.suffix != ".expect"]
    while tally["accepted"] + tally["refused"] + tally["disagree"] < 2 * options.documents:  # each with the model and without
        size = min(2000, options.documents)
        made = subprocess.run([options.program, "--generate", str(options.seed + done),
                              str(size // 2)], capture_output=True, check=True)
        documents = (examples if done == 0 else []) + split_frames(made.stdout) + \
                     [maker.document() for _ in range(size - size // 2)]
        verdicts = subprocess.run([options.program], input=frames(documents), capture_output=True, check=False)
        if verdicts.returncode != 0:
            print(verdicts.stderr.decode(errors="replace"))
            sys.exit(f"oracle.py: {options.program} failed with {verdicts.returncode}")
        compare(documents, verdicts.stdout.decode(errors="replace").split("\n"), model, tally)
        done += size
        if time.monotonic() - said > 5:
            said = time.monotonic()
            print(f"{said - began:5.0f} s  {done:,} documents, {tally['disagree']} disagreements", flush=True)
    print(f"{done:,} documents and {len(examples)} examples, each with the model and without, "
          f"in {time.monotonic() - began:.0f} s:")
    for what, count in sorted(tally.items()):
        print(f"  {count:>9,} {what}")
    compared = tally["accepted"] + tally["refused"] + tally["disagree"]
    if tally["disagree"]:
        sys.exit("oracle.py: the C code and spec/metadata.md, as read here, disagree")
    if tally["accepted"] * 5 < compared or compared * 10 < 2 * done * 9:
        sys.exit("oracle.py: too few documents were accepted, or compared, for this to say much")


if __name__ == "__main__":
    main()
