"""The committed patches of tests/data/minilm and the tool agree: applied in turn they give exactly the recorded steps of the
training run, and made anew from these steps they are the same files."""
import hashlib
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("WEFT_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
DATA = ROOT / "tests" / "data" / "minilm"
CLI = os.environ["WEFT_CLI"]
STEPS = 3


def weft(*arguments):
    done = subprocess.run([CLI, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"weft {arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class MiniLm(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        lines = (DATA / "SHA256SUMS").read_text(encoding="ascii").splitlines()
        self.sums = {name: digest for digest, name in (line.split() for line in lines)}

    def assert_recorded(self, path, name):
        self.assertEqual(hashlib.sha256(path.read_bytes()).hexdigest(), self.sums[name], name)

    def test_patches_lead_from_step_to_step(self):
        self.assertEqual(sorted(self.sums), ["base.safetensors", *(f"step{i + 1}.safetensors" for i in range(STEPS))])
        before = DATA / "base.safetensors"
        self.assert_recorded(before, "base.safetensors")
        for step in range(1, STEPS + 1):
            committed = DATA / f"step{step}.patch.safetensors"
            after = self.folder / f"step{step}.safetensors"
            weft("apply", committed, before, "-o", after)
            self.assert_recorded(after, after.name)
            made = self.folder / "made.safetensors"
            weft("diff", before, after, "-o", made, "--base-version", step - 1, "--version", step)
            self.assertEqual(made.read_bytes(), committed.read_bytes(), f"patch of step {step}")
            before = after

    def test_a_patch_fits_its_own_step_only(self):
        done = subprocess.run([CLI, "apply", DATA / "step2.patch.safetensors", DATA / "base.safetensors", "-o",
                               self.folder / "out"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("BASE_MISMATCH", done.stderr)
        self.assertFalse((self.folder / "out").exists())


if __name__ == "__main__":
    unittest.main()
