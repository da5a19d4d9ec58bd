"""What the tests of the command line tool share: model files written without weft, runs of the tool, workers, and a relay that
cuts links."""
import contextlib
import json
import os
import pathlib
import pty
import random
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import unittest

ROOT = pathlib.Path(os.environ.get("WEFT_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
CLI = os.environ["WEFT_CLI"]
WAIT_S = 60
SEED = int(os.environ.get("WEFT_SEED", "20261124"))
WIDTHS = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "I16": 2, "I32": 4, "I64": 8,
          "BOOL": 1}

# Of processes that use a GPU: a sanitizer's shadow lies where CUDA wants its addresses, and the driver keeps what it allocates.
GPU_SANITIZER = {"ASAN_OPTIONS": "protect_shadow_gap=0:detect_leaks=0"}


def has_gpu():
    return any(pathlib.Path("/dev").glob("nvidia[0-9]*"))


# ---- safetensors, written and read without weft ----

def elements_of(shape):
    count = 1
    for size in shape:
        count *= size
    return count


def write_file(path, tensors, metadata=None):
    """tensors: list of (name, dtype, shape, bytes)."""
    header = {"__metadata__": metadata} if metadata else {}
    offset = 0
    for name, dtype, shape, data in tensors:
        assert len(data) == elements_of(shape) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors))
    return path


def read_file(path):
    raw = pathlib.Path(path).read_bytes()
    length = struct.unpack_from("<Q", raw)[0]
    header = json.loads(raw[8:8 + length])
    data = raw[8 + length:]
    metadata = header.pop("__metadata__", {})
    return metadata, {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def small_model(draw):
    shapes = [[4, 33], [], [7], [0, 3], [2, 3, 5], [1000]]
    tensors = []
    for number, (dtype, width) in enumerate(WIDTHS.items()):
        shape = shapes[number % len(shapes)]
        tensors.append((f"layer.{number}.größe", dtype, shape, draw.randbytes(elements_of(shape) * width)))
    return tensors


def changed_model(draw, tensors, share=0.1):
    """Other bits in about this share of the elements, NaN payloads and signs of zero among them."""
    changed, places = [], {}
    for name, dtype, shape, data in tensors:
        width = WIDTHS[dtype]
        bits = bytearray(data)
        for index in range(len(data) // width):
            if draw.random() < share:
                bits[index * width + draw.randrange(width)] ^= 1 << draw.randrange(8)
                places.setdefault(name, []).append(index)
        changed.append((name, dtype, shape, bytes(bits)))
    return changed, places


# ---- running the tool ----

def environment(more):
    return None if more is None else {**os.environ, **more}


def weft(*arguments, stdin=b"", env=None):
    done = subprocess.run([CLI, *map(str, arguments)], input=stdin, capture_output=True, check=False, timeout=WAIT_S,
                          env=environment(env))
    assert b"\r" not in done.stderr and b"\x1b" not in done.stderr, "progress in a pipe"
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    return done


def on_terminal(terminal, *arguments):
    """What a successful command writes to stderr when that is a terminal, and "end"."""
    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        raise unittest.SkipTest(f"no pseudo-terminal to be had here: {error}") from error
    with os.fdopen(ours, "rb", buffering=0) as screen:
        with os.fdopen(theirs, "wb") as stderr:
            done = subprocess.run([CLI, *map(str, arguments)], stdout=subprocess.PIPE, stderr=stderr, check=False,
                                  env=dict(os.environ, TERM=terminal), timeout=WAIT_S)
            assert done.returncode == 0, done
            stderr.write(b"end")
        text = b""
        while not text.endswith(b"end"):
            text += screen.read(4096)
    return text


def objects(text):
    """One JSON object a line, each with its event; no number is lost to a float."""
    parsed = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(o, dict) and "event" in o for o in parsed), text
    return parsed


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.draw = random.Random(SEED)

    def path(self, name):
        return self.folder / name

    def models(self, share=0.1):
        tensors = small_model(self.draw)
        after, places = changed_model(self.draw, tensors, share)
        return write_file(self.path("a"), tensors), write_file(self.path("b"), after), tensors, after, places

    def ok(self, *arguments, **more):
        done = weft(*arguments, **more)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return done.stdout

    def refused(self, code, name, *arguments, **more):
        """The same refusal for people and for machines. Returns the JSON object."""
        done = weft(*arguments, **more)
        self.assertEqual(done.returncode, code, (arguments, done.stderr))
        self.assertIn(name, done.stderr)
        done = weft(*arguments, "--json", **more)
        self.assertEqual((done.returncode, done.stderr), (code, ""), arguments)
        last = objects(done.stdout)[-1]
        self.assertEqual(last["name"], "WEFT_E_" + name, arguments)
        return last


# ---- sessions ----

class Server:
    """weft serve --json, its lines read as they come."""
    def __init__(self, *arguments, env=None):
        self.process = subprocess.Popen([CLI, "serve", *map(str, arguments), "--listen", "127.0.0.1:0", "--json"],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(env))
        self.events = []
        self.grown = threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        listening = self.wait("listening")
        self.address = listening["address"]
        assert not self.address.endswith(":0")

    def read(self):
        for line in self.process.stdout:
            with self.grown:
                self.events.append(json.loads(line))
                self.grown.notify_all()
        with self.grown:
            self.events.append({"event": "end"})
            self.grown.notify_all()

    def of(self, event):
        return [e for e in self.events if e["event"] == event]

    def wait(self, event, count=1):
        """The count-th event of this kind."""
        with self.grown:
            assert self.grown.wait_for(lambda: len(self.of(event)) >= count or self.of("end"), WAIT_S), f"no {event}"
            assert len(self.of(event)) >= count, (event, self.events, self.process.stderr.read())
            return self.of(event)[count - 1]

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.exit()

    def exit(self):
        code = self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)
        stderr = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        assert stderr == "", stderr
        return code

    def kill(self):
        self.process.kill()
        self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)
        self.process.stdout.close()
        self.process.stderr.close()


class Relay:
    """Stands between trainer and worker. On the first connection it passes everything on until the trainer sends the message
    `cut`: that one only if `passes`, then nothing more. It closes both ends, at once or, if `patient`, when it is closed.
    Later connections are passed on whole. `tails`: of each message to the worker its number and the bytes of its tail."""
    NEVER, START, PAYLOAD, APPLY, COMMIT = 0, 2, 7, 9, 11

    def __init__(self, server, cut, passes=False, patient=False):
        self.tails = []
        self.server, self.cut, self.passes, self.patient = server, cut, passes, patient
        self.reached, self.closed = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(0.05)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.closed.is_set():
            with contextlib.suppress(TimeoutError, OSError):
                trainer, _ = self.listener.accept()
                host, port = self.server.address.split(":")
                with trainer, socket.create_connection((host, int(port))) as worker:
                    self.pass_on(trainer, worker)
        self.listener.close()

    def pass_on(self, trainer, worker):
        waiting = b""
        while not self.closed.is_set():
            for source in select.select([trainer, worker], [], [], 0.05)[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is worker:
                    trainer.sendall(data)
                    continue
                waiting += data
                while len(waiting) >= 24 and len(waiting) >= 24 + struct.unpack_from("<I", waiting, 8)[0]:
                    frame, waiting = self.split(waiting)
                    self.tails.append((frame[4], struct.unpack_from("<I", frame, 12)[0]))
                    is_cut = frame[4] == self.cut and not self.reached.is_set()
                    if not is_cut or self.passes:
                        worker.sendall(frame)
                    if is_cut:
                        if self.passes:
                            worker.recv(65536)  # its answer, which the trainer does not get
                        self.reached.set()
                        if self.patient:
                            self.closed.wait(WAIT_S)
                        return

    @staticmethod
    def split(waiting):
        length = 24 + struct.unpack_from("<I", waiting, 8)[0]
        return waiting[:length], waiting[length:]

    def close(self):
        self.closed.set()
        self.thread.join(WAIT_S)


class Servers(Folder):
    """Two models a and b, and workers that end with the test."""
    def setUp(self):
        super().setUp()
        self.a, self.b, self.before, self.after, self.places = self.models()
        self.servers = []

    def tearDown(self):
        for server in self.servers:
            if server.process.returncode is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()

    def serve(self, *arguments, env=None):
        self.servers.append(Server(*arguments, env=env))
        return self.servers[-1]

    def push(self, servers, *arguments, env=None):
        addresses = ",".join(s if isinstance(s, str) else s.address for s in servers)
        done = weft("push", "--to", addresses, "--json", *arguments, env=env)
        self.assertEqual(done.stderr, "")
        told = objects(done.stdout)
        return done.returncode, {w["name"]: w for w in told if w["event"] == "worker"}, told

    def relay(self, server, cut, **more):
        relay = Relay(server, cut, **more)
        self.addCleanup(relay.close)
        return relay
