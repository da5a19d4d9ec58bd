"""The command line tool: every command in good and bad use, exit codes, JSON, the caret, patches, and sessions over loopback."""
import pathlib
import re
import signal
import struct
import subprocess
import time
import unicodedata
import unittest

from cli_support import (CLI, ROOT, SEED, WAIT_S, WIDTHS, Folder, Relay, Servers, changed_model, elements_of, objects,
                         on_terminal, read_file, small_model, weft, write_file)

COMMANDS = ("serve", "push", "diff", "apply", "verify", "check", "inspect")


class Usage(Folder):
    def test_version(self):
        header = (ROOT / "src" / "weft.h").read_text(encoding="utf-8")
        numbers = re.findall(r"#define WEFT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
        for word in ("--version", "-V"):
            self.assertEqual(self.ok(word), f"weft {'.'.join(numbers)}\n")

    def test_help(self):
        for word in ("--help", "-h", "help"):
            text = self.ok(word)
            for command in COMMANDS:
                self.assertRegex(text, rf"(?m)^  {command} ")
            for code in range(7):
                self.assertRegex(text, rf"(?m)^  {code}  ")

    def test_help_of_a_command_has_all_of_its_options(self):
        for command in COMMANDS:
            text = self.ok(command, "--help")
            self.assertEqual(self.ok("help", command), text)
            source = (ROOT / "src" / "cli" / f"cmd_{command}.c").read_text(encoding="utf-8")
            options = re.findall(r'\{"([a-z-]+)", (?:0|\'(\w)\'),\s+CLI_', source)
            self.assertTrue(options, command)
            for name, letter in [*options, ("json", "j"), ("help", "h")]:
                self.assertRegex(text, rf"(?m)^  {f'-{letter}, ' if letter else '    '}--{name}\b", command)
            for part in ("usage: weft " + command, "Examples:\n  weft ", "Exit status:\n  0  ", 'With --json:\n', '"event":'):
                self.assertIn(part, text + text.replace("  {", '  "event":'), command)
            self.assertLessEqual(max(map(len, text.splitlines())), 100, command)

    def test_wrong_use(self):
        for arguments, fragment in (
                (["diff", "a", "b"], "--output is required"),
                (["diff", "a", "-o", "c"], "expected 2 operands, found 1"),
                (["diff", "a", "b", "-o", "c", "--version", "-1"], "expected a decimal number below 2^64"),
                (["diff", "a", "b", "-o", "c", "--version", "18446744073709551616"], "expected a decimal number"),
                (["diff", "a", "b", "-o", "c", "--version", ""], "expected a decimal number"),
                (["diff", "a", "b", "-o", "c", "--base-version", "1x"], 'found "1x"'),
                (["diff", "a", "b", "-o", ""], "a text that is not empty"),
                (["diff", "a", "b", "-o"], "option -o needs an argument"),
                (["apply", "a", "b"], "--output is required"),
                (["verify"], "expected 1 operand, found 0"),
                (["verify", "a", "--digest", "12"], "0x and hexadecimal digits"),
                (["verify", "a", "--digest", "0x"], "0x and hexadecimal digits"),
                (["verify", "a", "--digest", "0x12345678123456789"], "0x and hexadecimal digits"),
                (["verify", "a", "--digest", "0x1", "--patch", "p"], "exclude each other"),
                (["check", "a", "--foo"], "unknown option --foo"),
                (["check", "a", "-x"], "unknown option -x"),
                (["inspect", "a", "b"], "expected 1 operand, found 2"),
                (["serve", "a"], "--listen is required"),
                (["serve", "a", "--listen", "x:1", "--budget", "1T"], "which may end in K, M or G"),
                (["serve", "a", "--listen", "x:1", "--budget", "0"], "a decimal number above 0"),
                (["serve", "a", "--listen", "x:1", "--budget", "99999999999G"], "a decimal number above 0"),
                (["serve", "a", "--listen", "x:1", "--timeout", "0"], "from 1 to 2147483647"),
                (["serve", "a", "--listen", "x:1", "--timeout", "2147483648"], "from 1 to 2147483647"),
                (["serve", "a", "--listen", "x:1", "--baseline", "often"], "auto, staged or streamed"),
                (["serve", "a", "--listen", "x:1", "--device", "gpu"], "expected host, cuda or cuda:N"),
                (["serve", "a", "--listen", "x:1", "--device", "cuda:"], 'found "cuda:"'),
                (["serve", "a", "--listen", "x:1", "--device", "cuda:-1"], 'found "cuda:-1"'),
                (["serve", "a", "--listen", "x:1", "--device", "cuda:1x"], 'found "cuda:1x"'),
                (["push", "--new", "b", "--base", "a", "--to", "x:1", "--device", "cuda:2147483648"], "cuda:N"),
                (["push", "--new", "b", "--base", "a", "--to", "x:1", "--device", "cuda:99999999999999999999"], "cuda:N"),
                (["push", "--new", "b", "--base", "a", "--to", "x:1", "--device", "Host"], "expected host"),
                (["verify", "a", "--device", ""], "expected host"),
                (["verify", "a", "--device"], "option --device needs an argument"),
                (["serve", "a", "--listen", "x:1", "--transport", "udp"], 'expected tcp or nccl, found "udp"'),
                (["push", "--new", "b", "--base", "a", "--to", "x:1", "--transport", ""], "expected tcp"),
                (["serve", "a", "--listen", "x:1", "--transport", "nccl"], "expected --device cuda or cuda:N beside it"),
                (["push", "--new", "b", "--base", "a", "--to", "x:1", "--transport", "nccl", "--device", "host"], "found host"),
                (["push", "--new", "b", "--base", "a"], "--new and --to are required"),
                (["push", "--new", "b", "--to", "x:1"], "--base and --baseline"),
        ):
            done = weft(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(fragment, done.stderr)
            self.assertTrue(done.stderr.endswith(f"\n  see: weft {arguments[0]} --help\n"), done.stderr)
            error, = objects(weft(arguments[0], "--json", *arguments[1:]).stdout)
            self.assertEqual((error["event"], error["group"], error["code"]), ("error", "usage", -101))
            self.assertIn(fragment, error["detail"])

    def test_wrong_command(self):
        for arguments in ([], ["unheard-of"], ["help", "unheard-of"], ["--json"]):
            done = weft(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("see: weft --help", done.stderr)

    def test_a_full_disk_under_stdout_is_seen(self):
        model = self.models()[0]
        with open("/dev/full", "wb") as full:
            done = subprocess.run([CLI, "inspect", model], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn(b"FILE_WRITE", done.stderr)

    def test_progress_on_a_terminal_only(self):
        model = self.models()[0]
        for terminal, shown in (("xterm", True), ("dumb", False)):
            text = on_terminal(terminal, "verify", model)
            self.assertEqual(b"reading ..." in text, shown, text)
            self.assertTrue(not shown or text.endswith(b"\r\x1b[Kend"), "the line is wiped at the end")
        self.assertEqual(on_terminal("xterm", "verify", model, "--json"), b"end")


class Patches(Folder):
    def test_round_trip_of_every_dtype(self):
        a, b, before, after, places = self.models()
        changed = sum(map(len, places.values()))
        self.assertGreater(changed, 50)
        told, = objects(self.ok("diff", a, b, "-o", self.path("p"), "--base-version", 6, "--version", 9, "--json"))
        self.assertEqual((told["base_version"], told["target_version"], told["changed"]), (6, 9, changed))
        self.assertEqual(told["elements"], sum(elements_of(t[2]) for t in before))
        self.assertEqual(told["bytes"], self.path("p").stat().st_size)

        metadata, entries = read_file(self.path("p"))
        self.assertEqual((metadata["weft_patch"], metadata["base_version"], metadata["target_version"]), ("1", "6", "9"))
        self.assertEqual(set(entries), {f"{name}:{part}" for name in places for part in ("indices", "values")})
        for name, dtype, _, data in after:
            if name in places:
                width = WIDTHS[dtype]
                values = b"".join(data[i * width:(i + 1) * width] for i in places[name])
                indices = struct.pack(f"<{len(places[name])}i", *places[name])
                self.assertEqual(entries[name + ":indices"], ("I32", [len(places[name])], indices))
                self.assertEqual(entries[name + ":values"], (dtype, [len(places[name])], values))

        applied, = objects(self.ok("apply", self.path("p"), a, "-o", self.path("out"), "--json"))
        self.assertEqual((applied["version"], applied["digest"]), (9, told["target_digest"]))
        self.assertEqual(self.path("out").read_bytes(), b.read_bytes())

    def test_diff_is_deterministic_and_defaults_to_version_0_and_1(self):
        a, b, *_ = self.models()
        text = self.ok("diff", a, b, "-o", self.path("p"))
        self.assertRegex(text, r"^version 0 to 1: \d+ of [\d,]+ elements changed \(\d+\.\d\d %\), patch of [\d,]+ bytes\n$")
        self.ok("diff", a, b, "-o", self.path("q"))
        self.assertEqual(self.path("p").read_bytes(), self.path("q").read_bytes())

    def test_nothing_changed(self):
        a, *_ = self.models()
        self.assertIn(": 0 of ", self.ok("diff", a, a, "-o", self.path("p")))
        self.ok("apply", self.path("p"), a, "-o", self.path("out"))
        self.assertEqual(self.path("out").read_bytes(), a.read_bytes())
        self.assertIn("0 tensors change, 0 elements", self.ok("inspect", self.path("p")))

    def test_apply_in_place(self):
        a, b, *_ = self.models()
        self.ok("diff", a, b, "-o", self.path("p"))
        self.ok("apply", self.path("p"), a, "-o", a)
        self.assertEqual(a.read_bytes(), b.read_bytes())

    def test_files_that_cannot_be_used(self):
        a, b, before, *_ = self.models()
        self.ok("diff", a, b, "-o", self.path("p"))
        cut = self.path("cut")
        cut.write_bytes(a.read_bytes()[:-1])
        other = write_file(self.path("other"), before[1:])
        for code, name, *arguments in (
                (3, "FILE_OPEN", "diff", self.path("none"), b, "-o", self.path("out")),
                (3, "FILE_OPEN", "diff", a, self.path("none"), "-o", self.path("out")),
                (3, "FILE_OPEN", "apply", self.path("none"), a, "-o", self.path("out")),
                (3, "FILE_OPEN", "apply", self.path("p"), self.folder, "-o", self.path("out")),
                (3, "FILE_OPEN", "verify", self.path("none")),
                (3, "FILE_OPEN", "verify", a, "--patch", self.path("none")),
                (3, "FILE_OPEN", "inspect", self.path("none")),
                (3, "FILE_OPEN", "inspect", self.path("p"), "--model", self.path("none")),
                (3, "FILE_OPEN", "check", self.path("none")),
                (3, "FILE_OPEN", "check", "-", "--model", self.path("none")),
                (3, "FILE_OPEN", "serve", self.path("none"), "--listen", "127.0.0.1:0"),
                (3, "FILE_OPEN", "push", "--base", self.path("none"), "--new", b, "--to", "127.0.0.1:1"),
                (3, "FILE_TRUNCATED", "inspect", cut),
                (1, "MODEL_MISMATCH", "diff", a, other, "-o", self.path("out")),
                (1, "MODEL_MISMATCH", "apply", self.path("p"), other, "-o", self.path("out")),
                (1, "MODEL_MISMATCH", "inspect", self.path("p"), "--model", other),
                (1, "MODEL_MISMATCH", "push", "--base", a, "--new", other, "--to", "127.0.0.1:1"),
                (1, "BASE_MISMATCH", "apply", self.path("p"), b, "-o", self.path("out")),
                (3, "FILE_NOT_A_PATCH", "apply", a, b, "-o", self.path("out")),
                (3, "FILE_NOT_A_PATCH", "verify", a, "--patch", b),
                (3, "FILE_NOT_A_PATCH", "inspect", b, "--model", a),
                (3, "FILE_WRITE", "diff", a, b, "-o", self.path("none") / "p"),
                (3, "FILE_WRITE", "apply", self.path("p"), a, "-o", self.path("none") / "out"),
                (2, "INVALID_ARGUMENT", "diff", a, b, "-o", a),
        ):
            with self.subTest(name=name, command=arguments[0]):
                if name == "INVALID_ARGUMENT":
                    done = weft(*arguments)
                    self.assertEqual(done.returncode, code)
                    self.assertIn("is one of the two models", done.stderr)
                else:
                    self.refused(code, name, *arguments)
        self.assertFalse(self.path("out").exists())
        self.assertEqual([p.name for p in self.folder.iterdir() if "tmp" in p.name], [])

    def test_damaged_patches_write_nothing(self):
        a, b, _, _, places = self.models()
        self.ok("diff", a, b, "-o", self.path("p"))
        metadata, entries = read_file(self.path("p"))
        name = next(n for n in places if len(places[n]) >= 2)
        dtype, shape, indices = entries[name + ":indices"]
        value_dtype, _, values = entries[name + ":values"]
        for expected, part, damaged in (
                ("INDEX_OUT_OF_BOUNDS", "indices", (dtype, shape, indices[:-4] + struct.pack("<i", 10**9))),
                ("INDEX_ORDER", "indices", (dtype, shape, indices[4:8] + indices[:4] + indices[8:])),
                ("DIGEST_MISMATCH", "values", (value_dtype, shape, bytes([values[0] ^ 1]) + values[1:])),
        ):
            content = dict(entries)
            content[f"{name}:{part}"] = damaged
            write_file(self.path("damaged"), [(n, *t) for n, t in content.items()], metadata)
            error = self.refused(1, expected, "apply", self.path("damaged"), a, "-o", self.path("out"))
            self.assertEqual(error["event"], "error")
            self.assertFalse(self.path("out").exists())

    def test_verify(self):
        a, b, *_ = self.models()
        told, = objects(self.ok("verify", a, "--json"))
        self.assertRegex(told["digest"], r"^0x[0-9a-f]{16}$")
        self.assertNotIn("ok", told)
        text = self.ok("verify", a)
        self.assertIn(f"digest       {told['digest']}\n", text)
        self.assertIn(f"fingerprint  {told['fingerprint']}\n", text)
        self.assertIn(": equal\n", self.ok("verify", a, "--digest", told["digest"]))
        done = weft("verify", b, "--digest", told["digest"])
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertIn(": DIFFERENT\n", done.stdout)
        verdict, = objects(weft("verify", b, "--json", "-d", told["digest"]).stdout)
        self.assertEqual((verdict["ok"], verdict["expected"]), (False, told["digest"]))

        self.ok("diff", a, b, "-o", self.path("p"))
        for model, holds, code in ((a, "base", 0), (b, "target", 0)):
            done = weft("verify", model, "--patch", self.path("p"))
            self.assertEqual(done.returncode, code)
            self.assertIn(f"model is     {holds}\n", done.stdout)
        c = write_file(self.path("c"), changed_model(self.draw, small_model(self.draw))[0])
        done = weft("verify", c, "--patch", self.path("p"), "--json")
        self.assertEqual((done.returncode, objects(done.stdout)[0]["holds"]), (1, "neither"))
        self.ok("diff", a, a, "-o", self.path("p"))
        self.assertIn("model is     both\n", self.ok("verify", a, "--patch", self.path("p")))


class Inspect(Folder):
    def test_model(self):
        a, _, before, *_ = self.models()
        *tensors, total = objects(self.ok("inspect", a, "--json"))
        self.assertEqual([(t["name"], t["dtype"], t["shape"], t["bytes"]) for t in tensors],
                         [(name, dtype, shape, len(data)) for name, dtype, shape, data in before])
        self.assertEqual(sum(int(t["digest"], 16) for t in tensors) % 2**64, int(total["digest"], 16))
        told, = objects(self.ok("verify", a, "--json"))
        self.assertEqual((total["kind"], total["digest"], total["fingerprint"]), ("model", told["digest"], told["fingerprint"]))
        text = self.ok("inspect", a)
        self.assertIn(told["digest"], text)
        self.assertEqual(len(set(line.index("0x") for line in text.splitlines() if line.startswith("layer."))), 1)
        self.assertIn("[2, 3, 5]", text)

    def test_patch(self):
        a, b, before, _, places = self.models()
        self.ok("diff", a, b, "-o", self.path("p"))
        sizes = {name: elements_of(shape) for name, _, shape, _ in before}
        *tensors, total = objects(self.ok("inspect", self.path("p"), "--model", a, "--json"))
        self.assertEqual({t["name"]: t["changed"] for t in tensors}, {name: len(p) for name, p in places.items()})
        for tensor in tensors:
            self.assertAlmostEqual(tensor["density"], tensor["changed"] / sizes[tensor["name"]], places=8)
        self.assertEqual((total["kind"], total["changed"]), ("patch", sum(map(len, places.values()))))
        *alone, _ = objects(self.ok("inspect", self.path("p"), "--json"))
        self.assertEqual(sorted((t["name"], t["changed"]) for t in alone), sorted((t["name"], t["changed"]) for t in tensors))
        self.assertTrue(all("shape" not in t and "density" not in t for t in alone))

        lines = [line for line in self.ok("inspect", self.path("p"), "-m", a).splitlines() if line.startswith("layer.")]
        self.assertEqual(len(lines), len(places))
        longest = max(lines, key=lambda line: line.count("█"))
        self.assertEqual(longest.count("█"), 12)
        densest = max(tensors, key=lambda t: t["density"])["name"]
        self.assertTrue(any(line.count("█") == 12 and line.startswith(densest) for line in lines))
        self.assertTrue(all(re.search("[▏▎▍▌▋▊▉█]$", line) for line in lines), "whatever changed is visible")

    def test_a_name_cannot_command_the_terminal(self):
        hostile = "a\x1b[31m\x9b\n漢"
        path = write_file(self.path("m"), [(hostile, "U8", [1], b"x"), ("plain", "U8", [1], b"y")])
        text = self.ok("inspect", path)
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\x9b", text)
        first, second = text.splitlines()[1:3]
        self.assertTrue(first.startswith("a�[31m��漢"), first)
        wide = sum(1 for c in first[:first.index("U8")] if unicodedata.east_asian_width(c) == "W")
        self.assertEqual(first.index("U8") + wide, second.index("U8"))
        self.assertEqual(objects(self.ok("inspect", path, "--json"))[0]["name"], hostile)


class Check(Folder):
    def check(self, document, *arguments):
        path = self.path("document")
        path.write_bytes(document.encode() if isinstance(document, str) else document)
        return weft("check", path, *arguments)

    def columns(self, text):
        return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

    def assert_caret(self, document, code, line, column, pointed):
        """The error stands at line and column, and the caret under the text that is pointed at."""
        done = self.check(document)
        first, quoted, caret, note = done.stderr.splitlines()
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertTrue(first.startswith(f"{self.path('document')}:{line}:{column}: {code}: "), first)
        self.assertTrue(note.startswith("note: "), note)
        self.assertRegex(quoted, rf"^ *{line} \| ")
        self.assertRegex(caret, r"^ +\| *\^$")
        places = [quoted.index(pointed)] if pointed else [len(quoted)]
        self.assertEqual([self.columns(quoted[:place]) for place in places], [caret.index("^")], done.stderr)
        self.assertEqual(quoted.index("|"), caret.index("|"))
        self.assertLessEqual(self.columns(quoted), 108)
        refused, = objects(self.check(document, "--json").stdout)
        self.assertEqual((refused["event"], refused["ok"], refused["name"], refused["line"], refused["column"]),
                         ("check", False, "WEFT_E_" + code, line, column))
        self.assertNotRegex(refused["detail"], "^line ")

    def test_caret(self):
        rest = ', "dtype_names": ["bool"], "shapes": [[100]], "num_updates_list": [1]}'
        self.assert_caret('{"names": ["model.größe", 17]' + rest, "META_WRONG_TYPE", 1, 29, "17")
        self.assert_caret('{"names": ["漢字漢字", 17]}', "META_WRONG_TYPE", 1, 28, "17")
        self.assert_caret('{"names": ["e\u0301", 17]}', "META_WRONG_TYPE", 1, 19, "17")
        self.assert_caret('names: [a,\t17]\n', "META_WRONG_TYPE", 1, 12, "17")
        self.assert_caret('names: [a]\r\nnames: [b]\r\n', "META_DUPLICATE_KEY", 2, 1, "names")
        self.assert_caret('names: [a]\rshapes: [[1]]\rnames: [b]', "META_DUPLICATE_KEY", 3, 1, "names")
        self.assert_caret(b'{"names": ["model.gr\xf6\xdfe"]}', "META_ENCODING", 1, 21, "\ufffd")
        self.assert_caret(b'{"names": ["a\0b"]}', "META_ENCODING", 1, 14, "\ufffd")

    def test_long_lines_are_cut_around_the_caret(self):
        names = ", ".join(f'"layer.{i}"' for i in range(1000))
        self.assert_caret(f'{{"names": [{names}, 17, {names}]}}', "META_WRONG_TYPE", 1, 12 + len(names) + 2, "17,")
        self.assert_caret(f'{{"names": [17, {names}]}}', "META_WRONG_TYPE", 1, 12, "17,")
        quoted = self.check(f'{{"names": [{names}, 17, {names}]}}').stderr.splitlines()[1]
        self.assertRegex(quoted, r"^    1 \| ….*…$")

    def test_too_large(self):
        refused, = objects(weft("check", "-", "--json", stdin=b" " * (2**26 + 1)).stdout)
        self.assertEqual((refused["ok"], refused["name"]), (False, "WEFT_E_META_TOO_LARGE"))

    def test_stdin_and_acceptance(self):
        document = b'{"names": ["w"], "dtype_names": ["bfloat16"], "shapes": [[4, 2]], "num_updates_list": [3]}'
        self.assertEqual(self.ok("check", "-", stdin=document),
                         "-: accepted: form vllm_sparse, sparse, 1 tensors, 3 elements, payload of 24 bytes\n")
        accepted, = objects(self.ok("check", "-", "--json", stdin=document))
        self.assertEqual((accepted["ok"], accepted["form"], accepted["changed"], accepted["payload_bytes"]),
                         (True, "vllm_sparse", 3, 24))
        self.assertIn("<stdin>:1:1: META_UNKNOWN_FORM: ", weft("check", "-").stderr)

    def test_model(self):
        document = b'{"names": ["w"], "dtype_names": ["bfloat16"], "shapes": [[4, 2]], "num_updates_list": [9]}'
        right = write_file(self.path("m"), [("w", "BF16", [4, 2], bytes(16))])
        self.refused(1, "META_COUNT_TOO_LARGE", "check", "-", "--model", right, stdin=document)
        counts = ('{"weft": 1, "epoch": 1, "kind": "sparse", "update": 0, "updates": 1, '
                  '"base": {"version": 0, "digest": "%s"}, "target": {"version": 1, "digest": "%s"}, '
                  '"payload": {"bytes": 16}, "model": "%s", "first": 0, "counts": ["3"]}')
        digest = "0x0000000000000001"
        other = (counts % (digest, digest, digest)).encode()
        refused = self.refused(1, "MODEL_MISMATCH", "check", "-", "--model", right, stdin=other)
        own = (counts % (digest, digest, re.search("0x[0-9a-f]{16}", refused["detail"])[0])).encode()
        self.refused(1, "META_WRONG_LAYOUT", "check", "-", "--model", right, stdin=own)
        self.assertIn("form weft_counts, sparse, 1 tensors, 3 elements, payload of 24 bytes",
                      self.ok("check", "-", "--model", right, stdin=own.replace(b'"bytes": 16', b'"bytes": 24')))
        wrong = write_file(self.path("n"), [("w", "BF16", [8], bytes(16))])
        self.refused(1, "META_WRONG_SHAPE", "check", "-", "--model", wrong, stdin=document.replace(b"9", b"8"))
        self.ok("check", "-", "--model", right, stdin=document.replace(b"9", b"8"))

    def test_examples_of_the_specification(self):
        for path in sorted((ROOT / "spec" / "examples" / "valid").iterdir()):
            self.ok("check", path)
        documents = [p for p in sorted((ROOT / "spec" / "examples" / "invalid").iterdir())
                     if p.suffix == ".yaml" and not p.name.startswith(("vllm", "weft"))]
        self.assertGreater(len(documents), 20)
        for path in documents[::3]:
            line = path.read_bytes().split(b"\n")[0].decode(errors="replace")
            expected = re.fullmatch(r"# expect: (\w+) line (\d+) column (\d+)\s*", line)
            if expected is None:
                expected = re.fullmatch(r"(\w+) line (\d+) column (\d+)\s*", path.with_suffix(".expect").read_text("utf-8"))
            done = weft("check", path)
            self.assertEqual(done.returncode, 1, path)
            self.assertTrue(done.stderr.startswith(f"{path}:{expected[2]}:{expected[3]}: {expected[1]}: "), done.stderr)


# ---- sessions ----

class Sessions(Servers):
    def test_three_workers_follow_and_save(self):
        servers = [self.serve(self.a, "--name", f"w{i}", "--save", self.path(f"s{i}")) for i in range(3)]
        code, workers, told = self.push(servers, "--base", self.a, "--new", self.b)
        self.assertEqual(code, 0, told)
        result = told[-1]
        self.assertEqual((result["event"], result["outcome"], result["version"], result["workers"], result["committed"]),
                         ("push", "committed", 1, 3, 3))
        self.assertEqual(result["changed"], sum(map(len, self.places.values())))
        self.assertEqual(sorted(workers), ["w0", "w1", "w2"])
        digest = objects(self.ok("verify", self.b, "--json"))[0]["digest"]
        for worker in workers.values():
            self.assertEqual((worker["version"], worker["digest"], worker["outcome"], worker["error"]),
                             (1, digest, "committed", None))
        for number, server in enumerate(servers):
            committed = server.wait("committed")
            self.assertEqual((committed["version"], committed["digest"]), (1, digest))
            self.assertEqual(committed["path"], str(self.path(f"s{number}") / "v1.safetensors"))
            self.assertEqual(pathlib.Path(committed["path"]).read_bytes(), self.b.read_bytes())
        # Back again in several updates, as version 7.
        code, _, told = self.push(servers, "--base", self.b, "--new", self.a, "--base-version", 1, "--version", 7,
                                  "--update-bytes", 64)
        self.assertEqual((code, told[-1]["version"]), (0, 7))
        self.assertGreater(told[-1]["updates"], 1)
        for number, server in enumerate(servers):
            self.assertEqual((self.path(f"s{number}") / "v7.safetensors").read_bytes(), self.a.read_bytes())
            self.assertEqual(server.end(), 0)
            self.assertEqual((server.wait("stopped")["version"], server.wait("stopped")["committed"]), (7, 2))

    def test_the_table_for_people(self):
        spelled_out = ["--device", "host", "--transport", "tcp"]  # the defaults
        server = self.serve(self.a, "--name", "größe", *spelled_out)
        done = weft("push", "--to", server.address, "--base", self.a, "--new", self.b, *spelled_out)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^größe  +1  0x[0-9a-f]{16}  intact +committed$")
        self.assertRegex(done.stdout, r"(?m)^committed: version 1, digest 0x[0-9a-f]{16}, on 1 of 1 workers$")

    def test_worker_for_people(self):
        process = subprocess.Popen([CLI, "serve", self.a, "--listen", "127.0.0.1:0", "--commits", "1", "--save",
                                    self.path("m-{version}.st")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with process:
            address = re.match(r"listening on (127\.0\.0\.1:\d+): worker \S+, version 0, digest 0x", process.stdout.readline())[1]
            self.assertEqual(self.push([address], "--base", self.a, "--new", self.b)[0], 0)
            rest, errors = process.communicate(timeout=WAIT_S)
        self.assertEqual((process.returncode, errors), (0, ""))
        self.assertRegex(rest, r"^committed version 1, digest 0x[0-9a-f]{16}, \d+ elements written, pause \d+\.\d{3} ms, "
                               rf"saved to {re.escape(str(self.path('m-1.st')))}\nstopped: intact, version 1, digest 0x")
        self.assertEqual(self.path("m-1.st").read_bytes(), self.b.read_bytes())

    def test_progress_bar(self):
        server = self.serve(self.a)
        text = on_terminal("xterm", "push", "--to", server.address, "--base", self.a, "--new", self.b)
        self.assertRegex(text, rb"\x1b\[Kconnecting \.\.\.")
        self.assertRegex(text, rb"sending +\d+ % of 0\.0 MiB ")
        self.assertTrue(text.endswith(b"\r\x1b[Kend"), text)

    def test_another_version(self):
        holds_new = self.serve(self.b, "--version", 1, "--name", "ahead")
        other_number = self.serve(self.a, "--version", 5, "--name", "five")
        for server, fragment in ((holds_new, "holds the new version already"), (other_number, "use --base-version 5")):
            done = weft("push", "--to", server.address, "--base", self.a, "--new", self.b)
            self.assertEqual(done.returncode, 4)
            self.assertIn(fragment, done.stderr)
            self.assertRegex(done.stdout, r"BASE_MISMATCH")
        code, workers, told = self.push([holds_new, other_number], "--base", self.a, "--new", self.b)
        self.assertEqual((code, told[-1]["event"], told[-1]["group"]), (4, "error", "peer"))
        self.assertEqual(workers["five"]["version"], 5)
        self.assertEqual(self.push([other_number], "--base", self.a, "--new", self.b, "--base-version", 5)[0], 0)
        third = write_file(self.path("c"), changed_model(self.draw, self.before)[0])
        done = weft("push", "--to", other_number.address, "--base", third, "--new", self.a, "--base-version", 6)
        self.assertEqual(done.returncode, 4)
        self.assertRegex(done.stdout, r"(?m)^five +6 .* refused: BASE_MISMATCH$")
        self.assertIn("use that version as --base, or send it a baseline", done.stderr)
        code, workers, _ = self.push([holds_new, other_number], "--baseline", "--new", third, "--version", 8)
        self.assertEqual((code, {w["version"] for w in workers.values()}), (0, {8}))

    def test_another_model(self):
        other = write_file(self.path("other"), self.before[1:])
        server = self.serve(other)
        started = time.monotonic()
        code, _, told = self.push([server], "--base", self.a, "--new", self.b)
        self.assertEqual((code, told[-1]["name"]), (4, "WEFT_E_MODEL_MISMATCH"))
        self.assertLess(time.monotonic() - started, 30, "it does not wait for the time-out")

    def test_nobody_listens(self):
        server = self.serve(self.a)
        server.kill()
        for addresses in ([server], [self.serve(self.a), server]):
            code, _, told = self.push(addresses, "--base", self.a, "--new", self.b, "--timeout", 300)
            self.assertEqual((code, told[-1]["name"]), (4, "WEFT_E_CONNECT"))
        self.assertEqual(self.servers[-1].end(), 0)
        self.assertEqual(self.servers[-1].of("committed"), [])

    def test_wrong_addresses(self):
        for address in ("127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536"):
            self.refused(2, "ADDRESS", "serve", self.a, "--listen", address)
            self.refused(2, "ADDRESS", "push", "--base", self.a, "--new", self.b, "--to", address)
        done = weft("push", "--base", self.a, "--new", self.b, "--to", "127.0.0.1:1,127.0.0.1:1")
        self.assertEqual(done.returncode, 2)
        self.assertIn("stands there twice", done.stderr)
        self.refused(4, "LISTEN", "serve", self.a, "--listen", self.serve(self.a).address)

    def test_a_silent_worker_stops_nobody_for_long(self):
        silent, well = self.serve(self.a, "--name", "silent"), self.serve(self.a, "--name", "well", "--save", self.path("s"))
        # Connected, but it will never answer: the listening socket of a stopped process still accepts.
        silent.process.send_signal(signal.SIGSTOP)
        code, _, told = self.push([silent, well], "--base", self.a, "--new", self.b, "--timeout", 500)
        self.assertEqual((code, told[-1]["name"]), (4, "WEFT_E_CONNECT"))
        silent.process.send_signal(signal.SIGCONT)
        code, workers, _ = self.push([silent, well], "--base", self.a, "--new", self.b)
        self.assertEqual((code, {w["outcome"] for w in workers.values()}), (0, {"committed"}))

    def test_a_lost_worker_rolls_the_others_back(self):
        lost = self.relay(self.serve(self.a, "--name", "lost"), Relay.APPLY)
        well = self.serve(self.a, "--name", "well", "--save", self.path("s"))
        code, workers, told = self.push([lost, well], "--base", self.a, "--new", self.b)
        self.assertEqual((code, told[-1]["event"], told[-1]["name"]), (4, "error", "WEFT_E_LINK_CLOSED"))
        self.assertEqual((workers["well"]["version"], workers["well"]["outcome"]), (0, "aborted"))
        self.assertEqual(well.wait("failed")["name"], "WEFT_E_ABORTED")
        self.assertEqual(lost.server.wait("failed")["name"], "WEFT_E_LINK_CLOSED")
        self.assertEqual(list(self.path("s").iterdir()), [])
        self.assertEqual(self.push([lost, well], "--base", self.a, "--new", self.b)[0], 0)

    def test_a_killed_worker(self):
        dies, well = self.serve(self.a, "--name", "dies"), self.serve(self.a, "--name", "well")
        relay = self.relay(dies, Relay.START, patient=True)
        push = subprocess.Popen([CLI, "push", "--base", self.a, "--new", self.b, "--to", f"{relay.address},{well.address}"],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertTrue(relay.reached.wait(WAIT_S))
        dies.kill()
        relay.close()
        out, errors = push.communicate(timeout=WAIT_S)
        self.assertEqual(push.returncode, 4, out + errors)
        self.assertIn("LINK_CLOSED", errors)
        self.assertRegex(out, "(?m)^well +0 .* aborted$")
        self.assertEqual(self.push([well], "--base", self.a, "--new", self.b)[0], 0)

    def test_interrupted_push_aborts(self):
        relay = self.relay(self.serve(self.a), Relay.START, patient=True)
        well = self.serve(self.a, "--name", "well")
        push = subprocess.Popen([CLI, "push", "--base", self.a, "--new", self.b, "--to", f"{relay.address},{well.address}",
                                 "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(relay.reached.wait(WAIT_S))
        push.send_signal(signal.SIGINT)
        self.assertEqual(well.wait("failed")["name"], "WEFT_E_ABORTED")
        relay.close()  # this one never answers ABORT
        out, errors = push.communicate(timeout=WAIT_S)
        self.assertEqual((push.returncode, errors), (4, b""))
        self.assertEqual(objects(out.decode())[-1]["name"], "WEFT_E_ABORTED")
        self.assertEqual(self.push([well], "--base", self.a, "--new", self.b)[0], 0)

    def test_committed_and_not_confirmed(self):
        server = self.serve(self.a, "--name", "w", "--save", self.path("s"))
        code, workers, told = self.push([self.relay(server, Relay.COMMIT, passes=True)], "--base", self.a, "--new", self.b)
        self.assertEqual((code, told[-1]["name"], workers["w"]["version"]), (5, "WEFT_E_UNCONFIRMED", 1), told)
        self.assertEqual(next(t for t in told if t["event"] == "push")["outcome"], "committed")
        self.assertEqual((self.path("s") / "v1.safetensors").read_bytes(), self.b.read_bytes())

    def test_in_doubt(self):
        server = self.serve(self.a, "--name", "w")
        code, workers, told = self.push([self.relay(server, Relay.COMMIT)], "--base", self.a, "--new", self.b)
        self.assertEqual((code, told[-1]["name"]), (5, "WEFT_E_IN_DOUBT"), told)
        self.assertEqual(workers["w"]["version"], 0)
        self.assertEqual(server.wait("failed")["name"], "WEFT_E_IN_DOUBT")
        self.assertEqual(self.push([server], "--base", self.a, "--new", self.b)[0], 0)

    def test_torn(self):
        server = self.serve(self.a, "--name", "w", "--baseline", "streamed")
        code, *_ = self.push([self.relay(server, Relay.APPLY)], "--baseline", "--new", self.b)
        self.assertEqual(code, 4)
        server.wait("failed")
        done = weft("push", "--to", server.address, "--base", self.a, "--new", self.b)
        self.assertEqual(done.returncode, 4)
        self.assertIn("worker w is torn: send it a baseline (--baseline)", done.stderr)
        self.assertEqual(self.push([server], "--baseline", "--new", self.b)[0], 0)

    def test_a_version_that_cannot_be_saved(self):
        server = self.serve(self.a, "--save", self.path("s"))
        self.path("s").rmdir()
        self.assertEqual(self.push([server], "--base", self.a, "--new", self.b)[0], 0)
        self.assertEqual(server.wait("error")["name"], "WEFT_E_FILE_WRITE")
        self.assertNotIn("path", server.wait("committed"))
        self.assertEqual(server.end(signal.SIGINT), 3)
        self.refused(3, "FILE_WRITE", "serve", self.a, "--listen", "127.0.0.1:0", "--save", self.path("no") / "where")

    def test_budget(self):
        server = self.serve(self.a, "--budget", "1K", "--baseline", "staged", "--name", "small")
        code, workers, _ = self.push([server], "--baseline", "--new", self.b)
        self.assertEqual((code, workers["small"]["version"]), (4, 0))
        self.assertIn(workers["small"]["error"]["group"], ("metadata", "resource"))


if __name__ == "__main__":
    print(f"WEFT_SEED={SEED}")
    unittest.main()
