"""--device and --transport of the command line tool: what says that there is no such GPU or no NCCL, and, where they are, the
same files as on the host."""
import itertools
import os
import pathlib
import tempfile
import unittest

from cli_support import GPU_SANITIZER, SEED, Folder, Relay, Servers, has_gpu, objects, weft, write_file


class NoDevice(Folder):
    """What says that there is no such GPU, on machines with and without one."""
    def test_refusals(self):
        a, b, *_ = self.models()
        devices = ["cuda:4096"] if has_gpu() else ["cuda", "cuda:0", "cuda:4096"]
        for device in devices:
            for arguments in (["verify", a], ["serve", a, "--listen", "127.0.0.1:0", "--save", self.path("s")],
                              ["push", "--base", a, "--new", b, "--to", "127.0.0.1:1"],
                              ["push", "--baseline", "--new", b, "--to", "127.0.0.1:1"]):
                transports = ([],) if arguments[0] == "verify" else ([], ["--transport", "tcp"], ["--transport", "nccl"])
                for transport in transports:
                    error = self.refused(6, "NO_DEVICE", *arguments, "--device", device, *transport)
                    self.assertEqual((error["name"], error["group"], error["subject"]), ("WEFT_E_NO_DEVICE", "device", device))
                    self.assertIn(f"--device {device}: ", error["detail"])
                    self.assertIn("--device host", error["detail"])
        self.assertFalse(self.path("s").exists(), "nothing was begun")
        text = weft("verify", a, "--device", "cuda:4096").stderr
        self.assertRegex(text, r"\n  to mend: build weft where CUDA is found and run it where .* a GPU are\n$")

    def test_the_host_is_a_device_too(self):
        a, *_ = self.models()
        self.assertEqual(self.ok("verify", a, "--device", "host"), self.ok("verify", a))


class GpuServers(Servers):
    """Skipped where there is no GPU."""
    @classmethod
    def setUpClass(cls):
        if os.environ.get("WEFT_HAS_CUDA") == "0":
            raise unittest.SkipTest("this build has no CUDA")
        if not has_gpu():
            raise unittest.SkipTest("there is no GPU here (no /dev/nvidia0)")
        cls.saved = dict(os.environ)
        os.environ.update(GPU_SANITIZER)

    @classmethod
    def tearDownClass(cls):
        os.environ.clear()
        os.environ.update(cls.saved)


class OnGpu(GpuServers):
    """The same files as on the host, whoever of the two ends is on a GPU."""
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

    def test_no_nccl(self):
        """The library that the user names is not there; whether there is another one does not matter."""
        nowhere = {"WEFT_NCCL_LIBRARY": str(self.path("libnccl.so.2"))}
        for arguments in (["serve", self.a, "--listen", "127.0.0.1:0", "--save", self.path("s")],
                          ["push", "--base", self.a, "--new", self.b, "--to", "127.0.0.1:1"]):
            error = self.refused(4, "NO_TRANSPORT", *arguments, "--device", "cuda", "--transport", "nccl", env=nowhere)
            self.assertEqual((error["group"], error["subject"]), ("transport", "nccl"))
            for part in (nowhere["WEFT_NCCL_LIBRARY"], "--transport tcp"):
                self.assertIn(part, error["detail"])
            self.assertIn("libnccl.so.2", error["mend"])
        self.assertFalse(self.path("s").exists(), "nothing was begun")


class OverNccl(GpuServers):
    """Trainer and workers share a GPU, which NCCL lets them when each says that it is on another host."""
    NCCL = ("--device", "cuda", "--transport", "nccl")
    numbers = itertools.count()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with tempfile.TemporaryDirectory() as folder:
            model = write_file(pathlib.Path(folder) / "m", [("w", "BF16", [1], bytes(2))])
            told = weft("push", "--baseline", "--new", model, "--to", "127.0.0.1:1", "--timeout", 1, *cls.NCCL, "--json")
        error = objects(told.stdout)[-1]
        if error["name"] == "WEFT_E_NO_TRANSPORT":
            cls.tearDownClass()
            raise unittest.SkipTest(f"the tool finds no NCCL here: {error['detail']}")
        assert error["name"] == "WEFT_E_CONNECT", error

    def rank(self):
        return {"NCCL_HOSTID": f"test-{os.getpid()}-{next(self.numbers)}", "NCCL_SOCKET_IFNAME": "lo"}

    def worker(self, name):
        return self.serve(self.a, "--name", name, "--save", self.path(f"s{name}"), *self.NCCL, env=self.rank())

    def test_files_are_the_hosts(self):
        """There and back, a baseline, several updates; and the same workers over tcp."""
        one, two = self.worker("one"), self.worker("two")
        seen = []
        for version, (old, new, more) in enumerate((
                (self.a, self.b, self.NCCL), (self.b, self.a, [*self.NCCL, "--update-bytes", 64]),
                (None, self.b, [*self.NCCL, "--baseline"]), (self.b, self.a, ["--device", "host"]),
                (self.a, self.b, self.NCCL)), 1):
            base = [] if old is None else ["--base", old]
            relay = self.relay(one, Relay.NEVER)
            code, workers, told = self.push([relay, two], *base, "--new", new, "--base-version", version - 1, *more,
                                            env=self.rank())
            relay.close()
            self.assertEqual((code, {w["outcome"] for w in workers.values()}), (0, {"committed"}), told)
            for server, name in ((one, "one"), (two, "two")):
                committed = server.wait("committed", version)
                self.assertEqual(pathlib.Path(committed["path"]), self.path(f"s{name}") / f"v{version}.safetensors")
                self.assertEqual(pathlib.Path(committed["path"]).read_bytes(), new.read_bytes(), (name, version))
            seen.append({"nccl" if tail == 0 else "tcp" for message, tail in relay.tails if message == Relay.PAYLOAD})
        self.assertEqual(seen, [{"nccl"}, {"nccl"}, {"nccl"}, {"tcp"}, {"nccl"}])
        for server in (one, two):
            self.assertEqual(server.end(), 0)

    def test_a_worker_without_nccl(self):
        tcp = self.serve(self.a, "--name", "tcp", "--device", "cuda")
        well = self.worker("well")
        code, workers, told = self.push([tcp, well], "--base", self.a, "--new", self.b, *self.NCCL, env=self.rank())
        self.assertEqual((code, workers["tcp"]["error"]["name"]), (4, "WEFT_E_TRANSPORT"), told)
        self.assertIn("tcp only", workers["tcp"]["error"]["detail"])
        self.assertEqual({w["version"] for w in workers.values()}, {0})
        self.assertEqual(self.push([tcp, well], "--base", self.a, "--new", self.b)[0], 0)

    def test_a_lost_worker_rolls_the_others_back(self):
        lost = self.relay(self.worker("lost"), Relay.APPLY)
        well = self.worker("well")
        code, workers, told = self.push([lost, well], "--base", self.a, "--new", self.b, *self.NCCL, env=self.rank())
        self.assertEqual((code, workers["well"]["version"], workers["well"]["outcome"]), (4, 0, "aborted"), told)
        self.assertEqual(list(self.path("swell").iterdir()), [])
        code, workers, told = self.push([lost, well], "--base", self.a, "--new", self.b, *self.NCCL, env=self.rank())
        self.assertEqual((code, {w["outcome"] for w in workers.values()}), (0, {"committed"}), told)
        for name in ("lost", "well"):
            self.assertEqual((self.path(f"s{name}") / "v1.safetensors").read_bytes(), self.b.read_bytes())


if __name__ == "__main__":
    print(f"WEFT_SEED={SEED}")
    unittest.main()
