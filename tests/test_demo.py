"""The demonstration's options: where weights live and what carries the payload, and what it says when that is not to be had. That
it holds on the best place of this machine is the test `demo`."""
import os
import pathlib
import subprocess
import unittest

from cli_support import GPU_SANITIZER, has_gpu

DEMO = pathlib.Path(os.environ["WEFT_BINARY_DIR"]) / "weft-demo"
NO_GPU = "there is no GPU that this build can use"
NO_NCCL = "there is no NCCL that this build can use"
HELD = "\nall held: everybody was idle after each row, and 47 files of workers equal the recorded steps byte for byte\n"


def demo(*arguments, **more):
    return subprocess.run([DEMO, *arguments], capture_output=True, text=True, check=False, timeout=120,
                          env={**os.environ, **(GPU_SANITIZER if has_gpu() else {}), **more})


class Options(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # What the commands themselves answer: the GPU's driver may be missing where its device files are.
        cls.no_gpu = NO_GPU in demo("--device", "cuda", "--data", "/nowhere").stderr
        cls.no_nccl = cls.no_gpu or NO_NCCL in demo("--transport", "nccl", "--data", "/nowhere").stderr

    def holds(self, first_line, *arguments, **more):
        done = demo(*arguments, **more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        self.assertEqual(done.stdout.split("\n")[0], first_line)
        self.assertTrue(done.stdout.endswith(HELD), done.stdout)

    def refuses(self, text, *arguments, **more):
        done = demo(*arguments, **more)
        self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
        self.assertTrue(done.stderr.startswith("weft-demo: ") and text in done.stderr, done.stderr)

    def test_wrong_use(self):
        for arguments in (["--device"], ["--device", "gpu"], ["--transport"], ["--transport", "udp"], ["--fast"]):
            done = demo(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertTrue(done.stdout.startswith("usage: weft-demo "), done.stdout)

    def test_host(self):
        self.holds("transport tcp, device host", "--device", "host")
        self.holds("transport tcp, device host", "--device", "host", "--transport", "tcp")
        self.refuses("--transport nccl moves the memory of GPUs", "--device", "host", "--transport", "nccl")

    def test_without_a_gpu(self):
        if not self.no_gpu:
            self.skipTest("there is a GPU here")
        for arguments in ([], ["--transport", "tcp"]):
            self.holds(f"transport tcp, device host: {NO_GPU}", *arguments)
        for arguments in (["--device", "cuda"], ["--transport", "nccl"], ["--device", "cuda", "--transport", "nccl"]):
            self.refuses(f"{NO_GPU}; leave --device and --transport out", *arguments)

    def test_a_gpu_over_tcp(self):
        if self.no_gpu:
            self.skipTest(NO_GPU)
        gpu = "transport tcp, device cuda: all weights lie on GPU 0"
        self.holds(gpu, "--transport", "tcp")
        nowhere = {"WEFT_NCCL_LIBRARY": "/nowhere/libnccl.so.2"}
        self.holds(f"{gpu}; {NO_NCCL} (libnccl.so.2)", **nowhere)
        self.refuses(f"{NO_NCCL} (libnccl.so.2); leave --transport out", "--transport", "nccl", **nowhere)

    def test_a_gpu_over_nccl(self):
        if self.no_nccl:
            self.skipTest(NO_GPU if self.no_gpu else NO_NCCL)
        for arguments in ([], ["--device", "cuda"], ["--transport", "nccl"]):
            self.holds("transport nccl, device cuda: all weights lie on GPU 0", *arguments)


if __name__ == "__main__":
    unittest.main()
