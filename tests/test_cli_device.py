"""--device of the command line tool: what says that there is no such GPU, and, where one is, the same files as on the host."""
import os
import pathlib
import unittest

from cli_support import SEED, Folder, Relay, Servers, weft


def has_gpu():
    return any(pathlib.Path("/dev").glob("nvidia[0-9]*"))


class NoDevice(Folder):
    """What says that there is no such GPU, on machines with and without one."""
    def test_refusals(self):
        a, b, *_ = self.models()
        devices = ["cuda:4096"] if has_gpu() else ["cuda", "cuda:0", "cuda:4096"]
        for device in devices:
            for arguments in (["verify", a], ["serve", a, "--listen", "127.0.0.1:0", "--save", self.path("s")],
                              ["push", "--base", a, "--new", b, "--to", "127.0.0.1:1"],
                              ["push", "--baseline", "--new", b, "--to", "127.0.0.1:1"]):
                error = self.refused(6, "NO_DEVICE", *arguments, "--device", device)
                self.assertEqual((error["name"], error["group"], error["subject"]), ("WEFT_E_NO_DEVICE", "device", device))
                self.assertIn(f"--device {device}: ", error["detail"])
                self.assertIn("--device host", error["detail"])
        self.assertFalse(self.path("s").exists(), "nothing was begun")
        text = weft("verify", a, "--device", "cuda:4096").stderr
        self.assertRegex(text, r"\n  to mend: build weft where CUDA is found and run it where .* a GPU are\n$")

    def test_the_host_is_a_device_too(self):
        a, *_ = self.models()
        self.assertEqual(self.ok("verify", a, "--device", "host"), self.ok("verify", a))


class OnGpu(Servers):
    """The same files as on the host, whoever of the two ends is on a GPU."""
    # A sanitizer's shadow lies where CUDA wants its addresses, and the driver keeps what it allocates.
    SANITIZER = {"ASAN_OPTIONS": "protect_shadow_gap=0:detect_leaks=0"}

    @classmethod
    def setUpClass(cls):
        if os.environ.get("WEFT_HAS_CUDA") == "0":
            raise unittest.SkipTest("this build has no CUDA")
        if not has_gpu():
            raise unittest.SkipTest("there is no GPU here (no /dev/nvidia0)")
        cls.saved = dict(os.environ)
        os.environ.update(cls.SANITIZER)

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(cls.saved)

    def test_digest(self):
        for device in ("cuda", "cuda:0"):
            self.assertEqual(self.ok("verify", self.a, "--device", device), self.ok("verify", self.a))

    def test_files_are_the_hosts(self):
        """Workers on host and GPU side by side; a trainer on either, there and back, and a baseline."""
        places = ("host", "cuda", "cuda:0")
        servers = [self.serve(self.a, "--name", place, "--device", place, "--save", self.path(f"s{place}"))
                   for place in places]
        for version, (device, old, new, more) in enumerate((
                ("cuda", self.a, self.b, []), ("host", self.b, self.a, []), ("cuda", self.a, self.b, ["--update-bytes", 64]),
                ("cuda", None, self.a, ["--baseline"])), 1):
            base = [] if old is None else ["--base", old]
            code, workers, told = self.push(servers, *base, "--new", new, "--base-version", version - 1, "--device", device,
                                            *more)
            self.assertEqual((code, {w["outcome"] for w in workers.values()}), (0, {"committed"}), told)
            for server, place in zip(servers, places):
                committed = server.wait("committed", version)
                self.assertEqual(committed["path"], str(self.path(f"s{place}") / f"v{version}.safetensors"))
                self.assertEqual(pathlib.Path(committed["path"]).read_bytes(), new.read_bytes(), (place, version))
        for server in servers:
            self.assertEqual(server.end(), 0)

    def test_a_lost_worker_rolls_the_gpu_back(self):
        lost = self.relay(self.serve(self.a, "--name", "lost", "--device", "cuda"), Relay.APPLY)
        well = self.serve(self.a, "--name", "well", "--device", "cuda", "--save", self.path("s"))
        code, workers, _ = self.push([lost, well], "--base", self.a, "--new", self.b, "--device", "cuda")
        self.assertEqual((code, workers["well"]["outcome"]), (4, "aborted"))
        self.assertEqual(list(self.path("s").iterdir()), [])
        code, workers, _ = self.push([lost, well], "--base", self.a, "--new", self.b, "--device", "cuda")
        self.assertEqual((code, {w["outcome"] for w in workers.values()}), (0, {"committed"}))
        well.wait("committed")
        self.assertEqual((self.path("s") / "v1.safetensors").read_bytes(), self.b.read_bytes())


if __name__ == "__main__":
    print(f"WEFT_SEED={SEED}")
    unittest.main()
