#!/usr/bin/env python3
"""vLLM's order on the wire against torch: a trainer written in torch updates a weft worker, and a weft trainer updates a
receiver written in torch, sparse and dense, bit for bit. NCCL is called as vLLM calls it (by ctypes, one call a tensor, real
types); weft by ctypes too. Needs torch, a GPU, NCCL and the shared library with CUDA; otherwise it says what is missing and
exits with 77. One GPU is enough."""
import base64
import ctypes as c
import hashlib
import json
import os
import subprocess
import sys
import time

AGAIN, OK = 1, 0
SPARSE, BASELINE = 1, 2
DTYPES = {"bfloat16": (1, 9, 2), "float16": (2, 6, 2), "float32": (3, 7, 4), "float64": (4, 8, 8), "int8": (7, 0, 1),
          "uint8": (8, 1, 1)}  # weft's number, NCCL's, bytes
SHAPES = [("bfloat16", (1000, 300)), ("float32", (7,)), ("bfloat16", (3, 5, 7)), ("float16", (100, 11)), ("uint8", (1001,)),
          ("float64", (33,)), ("int8", (5, 5)), ("bfloat16", (4096, 64))]


def skip(why):
    print("skipped: " + why, file=sys.stderr)
    sys.exit(77)


class Tensor(c.Structure):
    _fields_ = [("name", c.c_char_p), ("dtype", c.c_int), ("rank", c.c_uint32), ("shape", c.c_uint64 * 8), ("data", c.c_void_p)]


class Allocator(c.Structure):
    _fields_ = [("allocate", c.c_void_p), ("release", c.c_void_p), ("context", c.c_void_p)]


class Hooks(c.Structure):
    _fields_ = [(name, c.c_void_p) for name in ("context", "pause", "resume", "committed", "failed", "trace")]


class CudaConfig(c.Structure):
    _fields_ = [("size", c.c_size_t), ("number", c.c_int), ("put_stream", c.c_void_p), ("keep_bytes", c.c_uint64)]


class NcclConfig(c.Structure):
    _fields_ = [("size", c.c_size_t), ("device", c.c_void_p)]


class WorkerConfig(c.Structure):
    _fields_ = [("size", c.c_size_t), ("name", c.c_char_p), ("model", c.c_void_p), ("device", c.c_void_p),
                ("transport", c.c_void_p), ("allocator", Allocator), ("version", c.c_uint64),
                ("budget_bytes", c.c_uint64), ("timeout_ms", c.c_uint32), ("keepalive_ms", c.c_uint32), ("baseline", c.c_int),
                ("hooks", Hooks)]


class TrainerConfig(c.Structure):
    _fields_ = [("size", c.c_size_t), ("name", c.c_char_p), ("model", c.c_void_p), ("base", c.c_void_p),
                ("pinned_base", c.c_bool), ("base_version", c.c_uint64), ("device", c.c_void_p), ("transport", c.c_void_p),
                ("allocator", Allocator), ("budget_bytes", c.c_uint64), ("update_bytes", c.c_uint64), ("timeout_ms", c.c_uint32),
                ("keepalive_ms", c.c_uint32), ("hooks", Hooks)]


class Session(c.Structure):
    _fields_ = [("size", c.c_size_t), ("kind", c.c_int), ("epoch", c.c_uint64), ("target_version", c.c_uint64),
                ("check_base", c.c_bool), ("base_version", c.c_uint64), ("base_digest", c.c_uint64),
                ("check_target", c.c_bool), ("target_digest", c.c_uint64), ("timeout_ms", c.c_uint32), ("receives", c.c_bool)]


class UniqueId(c.Structure):
    _fields_ = [("bytes", c.c_byte * 128)]


def sized(structure, **fields):
    return structure(size=c.sizeof(structure), **fields)


# ---- weights: the same bits in every process ----

def make_weights(torch, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = []
    for dtype, shape in SHAPES:
        n = 1
        for size in shape:
            n *= size
        bits = torch.randint(0, 256, (n * DTYPES[dtype][2],), dtype=torch.uint8, generator=generator)  # NaN payloads, -0 and all
        weights.append(bits.cuda().view(getattr(torch, dtype)).reshape(shape))
    return weights


def change(torch, weights, seed):
    """About 1 % of the elements get other bits, but for one tensor. For each: indices (int32, sorted) and values."""
    generator = torch.Generator().manual_seed(seed)
    patches = []
    for number, w in enumerate(weights):
        n = w.numel()
        count = 0 if number == seed % len(weights) else max(1, n // 100)
        indices = torch.randperm(n, generator=generator)[:count].sort().values
        width = w.element_size()
        flat = w.view(-1).view(torch.uint8).view(n, width)
        flat[indices.cuda()] ^= torch.randint(1, 256, (count, width), dtype=torch.uint8, generator=generator).cuda()
        patches.append((indices.to(torch.int32).cuda(), w.view(-1)[indices.cuda()].clone()))
    return patches


def content(torch, weights):
    digest = hashlib.sha256()
    for w in weights:
        digest.update(w.contiguous().view(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


# ---- NCCL as vLLM uses it ----

class Nccl:
    def __init__(self, torch):
        self.lib, self.torch = c.CDLL("libnccl.so.2"), torch
        self.lib.ncclCommInitRank.argtypes = [c.POINTER(c.c_void_p), c.c_int, UniqueId, c.c_int]
        self.lib.ncclBroadcast.argtypes = [c.c_void_p, c.c_void_p, c.c_size_t, c.c_int, c.c_int, c.c_void_p, c.c_void_p]
        self.lib.ncclAllReduce.argtypes = [c.c_void_p, c.c_void_p, c.c_size_t, c.c_int, c.c_int, c.c_void_p, c.c_void_p]
        self.comm = c.c_void_p()

    def must(self, result):
        assert result == 0, "NCCL answered %d" % result

    def join(self, unique, rank, ranks):
        self.must(self.lib.ncclCommInitRank(c.byref(self.comm), ranks, unique, rank))
        one = self.torch.zeros(1, device="cuda")
        self.must(self.lib.ncclAllReduce(one.data_ptr(), one.data_ptr(), 1, 7, 0, self.comm, self.stream()))
        self.torch.cuda.synchronize()

    def stream(self):
        return self.torch.cuda.current_stream().cuda_stream

    def broadcast(self, tensor, nccl_type):
        at = tensor.data_ptr()
        self.must(self.lib.ncclBroadcast(at, at, tensor.numel(), nccl_type, 0, self.comm, self.stream()))


def type_of(weights, number):
    return DTYPES[str(weights[number].dtype).split(".")[1]][1]


# ---- weft ----

class Weft:
    def __init__(self, library, weights):
        self.lib = c.CDLL(library)
        self.lib.weft_status_name.restype = c.c_char_p
        self.lib.weft_transport_text.restype = c.c_char_p
        self.model, self.device, self.transport, self.handle = c.c_void_p(), c.c_void_p(), c.c_void_p(), c.c_void_p()
        self.must(self.lib.weft_model_create(c.byref(self.model), None))
        for number, (w, (dtype, shape)) in enumerate(zip(weights, SHAPES)):
            tensor = Tensor(name=b"model.tensor.%d.weight" % number, dtype=DTYPES[dtype][0], rank=len(shape), data=w.data_ptr())
            tensor.shape[:len(shape)] = shape
            self.must(self.lib.weft_model_add(self.model, c.byref(tensor)))
        self.must(self.lib.weft_device_cuda_create(c.byref(self.device), c.byref(sized(CudaConfig, number=-1))))
        status = self.lib.weft_transport_nccl_create(c.byref(self.transport), c.byref(sized(NcclConfig, device=self.device)))
        self.must(status)

    def name(self, status):
        return self.lib.weft_status_name(status).decode()

    def must(self, status):
        assert status == OK, self.name(status)

    def wait(self, poll):
        end = time.monotonic() + 30
        while (status := poll()) == AGAIN:
            assert time.monotonic() < end, "30 s have passed"
        return status

    def join(self, unique_id, rank, ranks):
        self.must(self.lib.weft_transport_join(self.transport, unique_id.encode(), rank, ranks))
        self.must(self.wait(lambda: self.lib.weft_transport_poll(self.transport)))

    def worker(self):
        config = sized(WorkerConfig, name=b"worker", model=self.model, device=self.device, transport=self.transport, version=1,
                       budget_bytes=1 << 30, timeout_ms=20000, keepalive_ms=5000)
        self.must(self.lib.weft_worker_create(c.byref(self.handle), c.byref(config)))

    def trainer(self):
        config = sized(TrainerConfig, name=b"trainer", model=self.model, base_version=1, device=self.device,
                       transport=self.transport, budget_bytes=1 << 30, timeout_ms=20000, keepalive_ms=5000)
        self.must(self.lib.weft_trainer_create(c.byref(self.handle), c.byref(config)))

    def receive(self, kind, version, update_info):
        """One update in vLLM's order; the name of what went wrong, or WEFT_OK."""
        session = sized(Session, kind=kind, target_version=version, receives=True)
        document = json.dumps(update_info).encode()

        def poll():
            self.lib.weft_worker_tick(self.handle, c.c_uint64(time.monotonic_ns()))
            return self.lib.weft_worker_poll(self.handle)

        status = self.lib.weft_worker_start(self.handle, c.byref(session))
        for call in (lambda: self.lib.weft_worker_update_receive(self.handle, document, c.c_size_t(len(document))),
                     lambda: self.lib.weft_worker_finish(self.handle)):
            if status == OK:
                status = call()
                status = self.wait(poll) if status == AGAIN else status
        return self.name(status)

    def plan(self, kind, version):
        info, length = c.c_char_p(), c.c_size_t()
        self.must(self.lib.weft_trainer_vllm_plan(self.handle, kind, c.c_uint64(version), c.byref(info), c.byref(length)))
        return json.loads(info.value[:length.value])

    def send(self):
        self.must(self.lib.weft_trainer_vllm_send(self.handle))
        self.must(self.wait(lambda: self.lib.weft_trainer_vllm_poll(self.handle)))
        self.must(self.lib.weft_trainer_vllm_end(self.handle, True))


# ---- the two ends, and what they say to each other: a line of JSON each ----

def say(**words):
    print(json.dumps(words), flush=True)


def hear():
    return json.loads(sys.stdin.readline())


def info_of(kind, patches):
    names = ["model.tensor.%d.weight" % i for i in range(len(SHAPES))]
    info = {"names": names, "dtype_names": [d for d, _ in SHAPES], "shapes": [list(s) for _, s in SHAPES]}
    if kind == SPARSE:
        info["num_updates_list"] = [i.numel() for i, _ in patches]
    return info


def torch_trainer(torch):
    weights, nccl, unique = make_weights(torch, 1), Nccl(torch), UniqueId()
    nccl.must(nccl.lib.ncclGetUniqueId(c.byref(unique)))
    say(unique_id=base64.b64encode(bytes(unique)).decode())
    nccl.join(unique, 0, 2)
    say(joined=True)
    for order in iter(hear, {}):
        before = [w.clone() for w in weights]
        patches = change(torch, weights, order["seed"])
        if order.get("bad"):
            victim = next(i for i, (indices, _) in enumerate(patches) if indices.numel() > 0)
            patches[victim][0][-1] = weights[victim].numel() + 5
        say(info=info_of(order["kind"], patches))
        for number, (indices, values) in enumerate(patches):
            if order["kind"] == SPARSE:
                nccl.broadcast(indices, 2)
                nccl.broadcast(values, type_of(weights, number))
            else:
                nccl.broadcast(weights[number], type_of(weights, number))
        torch.cuda.synchronize()
        if order.get("bad"):
            weights = before
        say(content=content(torch, weights))


def weft_worker(torch, library):
    weights = make_weights(torch, 1)
    weft = Weft(library, weights)
    weft.join(hear()["unique_id"], 1, 2)
    weft.worker()
    say(joined=True)
    for order in iter(hear, {}):
        status = weft.receive(order["kind"], order["version"], order["info"])
        torch.cuda.synchronize()
        say(status=status, content=content(torch, weights))


def weft_trainer(torch, library):
    weights = make_weights(torch, 1)
    weft = Weft(library, weights)
    text = c.create_string_buffer(173)
    weft.must(weft.lib.weft_transport_unique_id(weft.transport, text))
    say(unique_id=text.value.decode())
    weft.trainer()
    weft.join(text.value.decode(), 0, 2)
    say(joined=True)
    for order in iter(hear, {}):
        change(torch, weights, order["seed"])
        torch.cuda.synchronize()
        say(info=weft.plan(order["kind"], order["seed"]))
        weft.send()
        say(content=content(torch, weights))


def torch_receiver(torch):
    weights, nccl, unique = make_weights(torch, 1), Nccl(torch), UniqueId()
    c.memmove(c.byref(unique), base64.b64decode(hear()["unique_id"]), 128)
    nccl.join(unique, 1, 2)
    say(joined=True)
    names = {"model.tensor.%d.weight" % i: i for i in range(len(SHAPES))}
    for order in iter(hear, {}):
        info, received = order["info"], []
        for position, name in enumerate(info["names"]):
            number = names[name]
            if "num_updates_list" in info:
                count = info["num_updates_list"][position]
                indices = torch.empty(count, dtype=torch.int32, device="cuda")
                values = torch.empty(count, dtype=weights[number].dtype, device="cuda")
                nccl.broadcast(indices, 2)
                nccl.broadcast(values, type_of(weights, number))
                received.append((number, indices, values))
            else:
                nccl.broadcast(weights[number], type_of(weights, number))
        torch.cuda.synchronize()
        for number, indices, values in received:
            width = values.element_size()
            bits = weights[number].view(-1).view(torch.uint8).view(-1, width)
            bits[indices.long()] = values.view(torch.uint8).view(-1, width)
        torch.cuda.synchronize()
        say(status="WEFT_OK", content=content(torch, weights))


# ---- the test ----

class Process:
    def __init__(self, role, library):
        environment = dict(os.environ, NCCL_HOSTID="host-%s-%d" % (role, os.getpid()), NCCL_SOCKET_IFNAME="lo")
        command = [sys.executable, "-B", os.path.abspath(__file__), role, library]
        self.popen = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)

    def tell(self, **words):
        self.popen.stdin.write(json.dumps(words) + "\n")
        self.popen.stdin.flush()

    def hear(self):
        line = self.popen.stdout.readline()
        assert line, "a process ended: %s" % self.popen.args
        return json.loads(line)

    def end(self):
        self.tell()
        assert self.popen.wait(60) == 0


def play(sender, receiver, library, faults):
    a, b = Process(sender, library), Process(receiver, library)
    b.tell(**a.hear())
    assert a.hear()["joined"] and b.hear()["joined"]
    version, seed = 1, int(os.environ.get("WEFT_SEED", "20261124")) % 100000
    held = None
    for kind, bad in [(SPARSE, False), (SPARSE, False), (BASELINE, False), (SPARSE, faults), (SPARSE, False), (BASELINE, False)]:
        version, seed = version + 1, seed + 1
        a.tell(kind=kind, seed=seed, bad=bad)
        b.tell(kind=kind, version=version, info=a.hear()["info"])
        said, sent = b.hear(), a.hear()
        if bad:
            assert said["status"] == "WEFT_E_INDEX_OUT_OF_BOUNDS", said
            assert said["content"] == held, "a refused update left something"
        else:
            assert said["status"] == "WEFT_OK", said
            assert said["content"] == sent["content"], "the bits differ"
            held = said["content"]
    a.end()
    b.end()
    print("%s to %s: sparse and dense, bit for bit%s" % (sender, receiver, "; a bad index changed nothing" if faults else ""))


def main():
    try:
        import torch
    except ImportError:
        skip("there is no torch here")
    if not torch.cuda.is_available():
        skip("there is no GPU here")
    library = os.path.join(os.environ.get("WEFT_BINARY_DIR", "."), "libweft.so")
    if not os.path.exists(library):
        skip("there is no libweft.so in WEFT_BINARY_DIR")
    if len(sys.argv) > 1:
        roles = {"torch_trainer": lambda: torch_trainer(torch), "weft_worker": lambda: weft_worker(torch, sys.argv[2]),
                 "weft_trainer": lambda: weft_trainer(torch, sys.argv[2]), "torch_receiver": lambda: torch_receiver(torch)}
        roles[sys.argv[1]]()
        return
    print("WEFT_SEED=%s" % os.environ.get("WEFT_SEED", "20261124"))
    play("torch_trainer", "weft_worker", library, True)
    play("weft_trainer", "torch_receiver", library, False)


if __name__ == "__main__":
    main()
