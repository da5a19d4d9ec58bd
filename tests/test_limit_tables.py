"""The tables of limits in SECURITY.md and spec/metadata.md: every number is its constant's, every code is one, every test exists
and is run, and no constant that is a limit is missing. That the tests reach the limits is theirs to show."""
import os
import pathlib
import re
import unittest

import yaml

ROOT = pathlib.Path(os.environ.get("WEFT_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
DOCUMENTS = ("SECURITY.md", "spec/metadata.md")
HEADER = ["limit", "value", "constant", "beyond it", "reached by"]

# Constants whose names look like a limit's, and why a peer, a document or a file does not meet them.
NO_LIMITS = {
    "WEFT_ACTIONS_MAX": "most actions of one step of a core; that seven are enough is proved (spec/proofs.md)",
    "WEFT_FRAME_FIELDS_MAX": "the longest fields of all messages, generated",
    "WEFT_FRAME_HEAD_MAX": "header and fields of the longest message",
    "WEFT_SPANS_MAX": "pieces of memory that one call of weft_worker_send gives",
    "WEFT_KEYS_MAX": "keys that a mapping may have: more are unknown ones (META_UNKNOWN_KEY) or doubles (META_DUPLICATE_KEY)",
    "WEFT_CUDA_PENDING_MAX": "buffers that the device keeps until its stream has passed them",
    "WEFT_CUDA_SPARES_MAX": "events that the device keeps for the next use",
    "WEFT_NET_PUMP_BYTES_MAX": "sent on one connection before the others have their turn",
}


def rows(text):
    """The rows of each table that has these columns; headings between groups of rows are left out."""
    found, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if cells == HEADER:
            inside = True
        elif not cells:
            inside = False
        elif inside and set(line) != set("|-") and any(cells[1:]):
            found.append(dict(zip(HEADER, cells)))
    return found


def constants():
    """Every #define of src/ that is a number, by name."""
    defines = {}
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for name, value in re.findall(r"^#define (\w+) +(.+)$", text, re.MULTILINE):
            defines[name] = re.sub(r"/\*.*?\*/", "", value).strip()
    return defines


def value_of(expression, defines):
    """A constant's value: numbers with suffixes, shifts, sums, products, and other constants."""
    text = re.sub(r"UINT(?:32|64)_C\((\w+)\)", r"\1", expression).replace("UINT64_MAX", str(2**64 - 1))
    text = re.sub(r"\b(\d\w*?)[uUlL]+\b", r"\1", text)
    text = re.sub(r"\b[A-Z_][A-Z0-9_]*\b", lambda m: str(value_of(defines[m.group()], defines)), text)
    if not re.fullmatch(r"[\dxa-fA-F\s()+*<>-]+", text):
        raise ValueError(f"{expression} is no number that this test can read")
    return eval(text)  # pylint: disable=eval-used # digits and operators only


def number_in(text):
    """The number that a cell begins with: 65,536 or 2^63 - 1."""
    power = re.match(r"2\^(\d+)(?: - (\d+))?", text)
    if power:
        return 2 ** int(power.group(1)) - int(power.group(2) or 0)
    return int(re.match(r"[\d,]*\d", text).group().replace(",", ""))


def tests_that_run():
    """Names that a program of cmocka runs, and the examples that tests/test_update.c reads."""
    names = set()
    for path in (ROOT / "tests").glob("test_*.c"):
        text = path.read_text(encoding="utf-8")
        run = re.findall(r"\b(?:cmocka_unit_test\w*|IN_FOLDER|WITH_PATH)\(\s*(\w+)", text)
        names |= {name for name in run if f"static void {name}(void **state)" in text}
    return names | {path.name for path in (ROOT / "spec" / "examples").glob("*valid/*")}


class Limits(unittest.TestCase):
    def setUp(self):
        self.tables = {name: rows((ROOT / name).read_text(encoding="utf-8")) for name in DOCUMENTS}
        self.rows = [row for table in self.tables.values() for row in table]
        self.defines = constants()

    def test_this_test_reads_what_it_should(self):
        self.assertGreaterEqual(len(self.tables["SECURITY.md"]), 25)
        self.assertGreaterEqual(len(self.tables["spec/metadata.md"]), 13)
        self.assertEqual(value_of("(WEFT_NAME_MAX + 8u)", {"WEFT_NAME_MAX": "512u"}), 520)
        self.assertEqual(value_of("(UINT64_C(64) << 20)", {}), 67108864)
        self.assertEqual(value_of("(UINT64_MAX >> 1)", {}), 2**63 - 1)
        self.assertEqual(number_in("2^63 - 1"), 2**63 - 1)
        self.assertEqual(number_in("67,108,864, or less"), 67108864)
        self.assertNotIn("test_no_such_test", tests_that_run())
        table = "|limit|value|constant|beyond it|reached by|\n|---|---|---|---|---|\n|**group**|||||\n|a|1|B|C|d|\n\n|x|y|"
        self.assertEqual(rows(table), [dict(zip(HEADER, ["a", "1", "B", "C", "d"]))])

    def test_numbers_are_those_of_the_code(self):
        for row in self.rows:
            if row["constant"] != "-":
                self.assertEqual(number_in(row["value"]), value_of(row["constant"], self.defines), row)

    def test_defaults_are_those_of_the_code(self):
        header = (ROOT / "src" / "weft.h").read_text(encoding="utf-8")
        for row in self.rows:
            default = re.match(r"(?:3 times )?`(\w+)`, ([\d,]+) (GiB|ms) by default", row["value"])
            if default:
                field, number, unit = default.groups()
                written = rf"UINT64_C\({number}\) << 30" if unit == "GiB" else number.replace(",", "")
                self.assertEqual(len(re.findall(rf"\.{field} = {written}\b", header)), 2, row)

    def test_codes_exist(self):
        errors = yaml.safe_load((ROOT / "spec" / "errors.yaml").read_text(encoding="utf-8"))
        names = set(re.findall(r"[A-Z][A-Z0-9_]+", str(errors)))
        for row in self.rows:
            for code in re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", row["beyond it"]):
                self.assertTrue(any(name in (code, f"WEFT_E_{code}") for name in names), f"{code}: {row}")

    def test_tests_exist(self):
        names = tests_that_run()
        for row in self.rows:
            named = re.findall(r"[\w.-]+", re.sub(r"\(.*?\)", "", row["reached by"]))
            self.assertTrue(named, row)
            for name in named:
                self.assertTrue(name in names, f"there is no test {name}: {row}")

    def test_no_limit_is_missing(self):
        told = {name for row in self.rows for name in re.findall(r"\w+", row["constant"])}
        limits = {name for name in self.defines if re.fullmatch(r"WEFT_\w+_MAX", name)}
        self.assertEqual(sorted(limits - told - set(NO_LIMITS)), [], "a limit that neither document names")
        self.assertEqual(sorted(set(NO_LIMITS) - limits), [], "no constant any more")
        self.assertEqual(sorted(set(NO_LIMITS) & told), [], "a limit after all")


if __name__ == "__main__":
    unittest.main()
