"""Harm done to files, and to processes that write them; test_adversity.py runs it.

Usage: python tests/adverse_files.py COMMAND NUMBER SEED ..., commands being
"mutate" files, "kill" processes, "fill" the disk beyond so many bytes.

What cannot be undone is done here, in a process of its own: an audit hook that sees
what is run, limits on memory and time, signals that kill.
"""

import copy
import faulthandler
import hashlib
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._files import write_atomically
from skganomaly.architectures import MLP, ConvNet
from skganomaly.images import FrozenFeatures, ImageDetector
from skganomaly.searches import NearestSearch
from skganomaly.timeseries import TimeSeriesDetector

# No load of these small files comes near to it.
SECONDS = 20
MEMORY = 3 * 2**30

# Whatever runs or reaches something is seen under one of these names.
FORBIDDEN = (
    *("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove", "os.rename"),
    *("subprocess.Popen", "socket.connect", "pickle.find_class", "ctypes.dlopen"),
    *("shutil.", "os.mkdir", "os.chmod", "marshal.loads", "code.__new__", "exec"),
)
PACKAGES = {"skganomaly", "sklearn", "numpy", "scipy", "skops", "torch", "skorch"}

watching = False
seen = []


def watch(event, args):
    """Note whatever a loader has no business to do."""
    if not watching:
        return
    if event.startswith(FORBIDDEN):
        seen.append((event, str(args)[:200]))
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        seen.append((event, str(args)[:200]))
    if event == "import" and args[0].split(".")[0] not in PACKAGES:
        seen.append((event, str(args)[:200]))


def models():
    """Fitted detectors of all kinds, and what load has to be handed."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 4))
    tiny = MLP(hidden_layer_sizes=(3,), discriminator_layer_sizes=(3,))
    common = {"max_steps": 2, "random_state": 0, "device": "cpu", "n_members": 2}
    conv = ConvNet(base_channels=2, discriminator_normalization=None)
    search = NearestSearch(n_candidates=20, n_steps=2)
    network = nn.Conv2d(3, 2, 3)
    features = FrozenFeatures(network, max_references=20, value_range=(-5, 5))
    images = rng.normal(size=(12, 24, 24)).astype(np.float32)
    rows = {"architecture": tiny, **common}
    return [
        (GANomalyDetector(**rows).fit(X), None),
        (
            AutoencoderDetector(**rows, score_type="joint", threshold="max").fit(X),
            None,
        ),
        (
            AnoGANDetector(
                architecture=conv, search=search, input_shape=(1, 2, 2), **common
            ).fit(X),
            None,
        ),
        (make_pipeline(StandardScaler(), AutoencoderDetector(**rows)).fit(X), None),
        (TimeSeriesDetector(AutoencoderDetector(**rows), window_length=3).fit(X), None),
        (ImageDetector(method=features, random_state=0).fit(images), network),
    ]


# Bytes of whole files, whose checksum gives every change away.


def flip(data, rng):
    for _ in range(rng.choice([1, 1, 2, 8, 100])):
        # The first lines are few bytes of many, and as often wrong.
        end = rng.choice([90, 400, len(data)])
        data[rng.randrange(min(end, len(data)))] ^= 1 << rng.randrange(8)
    return data


def cut(data, rng):
    return data[: rng.randrange(len(data))]


def splice(data, rng):
    start, stop = sorted(rng.randrange(len(data)) for _ in range(2))
    junk = rng.choice([b"", bytes(stop - start), rng.randbytes(50), data[:stop]])
    return data[:start] + junk + data[rng.choice([start, stop]) :]


def claim(data, rng):
    """A first line with other numbers."""
    line, _, rest = bytes(data).partition(b"\n")
    words = line.split(b" ")
    place = rng.randrange(len(words))
    huge = b"9" * rng.choice([1, 5, 18, 4000])
    words[place] = rng.choice([huge, b"-1", b"0", b"", b"1e9", b"\xff", b"nan"])
    return bytearray(b" ".join(words) + b"\n" + rest)


# Content under a checksum that is right, as of someone who means harm.


def sealed(rest):
    digest = hashlib.sha256(b"1\n" + rest).hexdigest().encode()
    return b"skganomaly file 1 %b %d\n" % (digest, len(rest)) + rest


VALUES = [
    *(None, True, -1, 0, 1.5, 2**31, 2**63, 10**30, 1e308, "", "x", "9" * 5000),
    *(
        [],
        {},
        [[]] * 50,
        "os",
        "system",
        "builtins",
        "eval",
        "exec",
        "posix",
        "../../x",
    ),
    *("subprocess", "Popen", "/etc/passwd", "schema.json", "__import__", "getattr"),
    *("torch", "load", "numpy", "ndarray", "skganomaly._saving", "os", "antigravity"),
    *("<lambda>", "skganomaly.architectures", "MLP", "Settings", "999999999999"),
    *('"auto"', "NaN", "1e999", "-5", "1000000000", "null", "[1, 2]", "true"),
    *("MethodNode", "PartialNode", "OperatorFuncNode", "ReduceNode", "TreeNode"),
    *("FunctionNode", "TypeNode", "ObjectNode", "ConstructorFromReduceNode"),
    *("CachedNode", "BytesNode", "SparseMatrixNode", "RandomGeneratorNode", "JsonNode"),
]


def places(item):
    """Every place in a tree: what holds it, and its key."""
    found, stack = [], [item]
    while stack:
        inside = stack.pop()
        keys = range(len(inside)) if isinstance(inside, list) else list(inside)
        for key in keys:
            found.append((inside, key))
            if isinstance(inside[key], list | dict):
                stack.append(inside[key])
    return found


def mutate_tree(tree, rng):
    tree = copy.deepcopy(tree)
    found = places(tree)
    for _ in range(rng.choice([1, 1, 2, 5])):
        inside, key = rng.choice(found)
        other, source = rng.choice(found)
        try:
            how = rng.randrange(5)
            if how == 0:
                del inside[key]
            elif how == 1:
                inside[key] = copy.deepcopy(other[source])
            elif how == 2 and isinstance(inside[key], str):
                # What is JSON, or a number, in a string.
                inside[key] = rng.choice([inside[key] + "0", "-" + inside[key], "0"])
            else:
                inside[key] = copy.deepcopy(rng.choice(VALUES))
        except (KeyError, IndexError):
            continue
    if rng.random() < 0.02:
        for _ in range(rng.choice([10, 5000])):
            tree = {"__loader__": "ListNode", "content": [tree, tree]}
            if rng.random() < 0.9:
                tree["content"].pop()
    return tree


def encoded(tree):
    """JSON of a tree, or of what is deeper than any."""
    try:
        return json.dumps(tree).encode()
    except RecursionError:
        return b"[" * 100_000


def mutate_array(data, rng):
    """A .npy whose header lies, or whose bytes are others."""
    if rng.random() < 0.3:
        return bytes(flip(bytearray(data), rng))
    shape = rng.choice([(2**40,), (10**18, 10**18), (0,), (), (3, 3), (-1,), (10**9,)])
    descr = rng.choice(["<f8", "<f4", "|O", "|S0", "|V0", "<U1", "|V1000000000"])
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)
    return file.getvalue() + data[-rng.randrange(1, 64) :]


def mutate_archive(content, rng):
    """An archive with other members, sizes, names or trees."""
    how = rng.random()
    if how < 0.15:
        return bytes(flip(bytearray(content), rng))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    names = list(members)
    if how < 0.75:
        tree = mutate_tree(json.loads(members["schema.json"]), rng)
        members["schema.json"] = encoded(tree)
    elif how < 0.9:
        name = rng.choice(names)
        members[name] = mutate_array(members[name], rng)
    elif how < 0.94:
        odd = rng.choice(["../../x.npy", "/tmp/x", "a/b.npy", "C:\\x", "\x01", "é.npy"])
        members[odd] = members.pop(rng.choice(names))
    elif how < 0.97:
        members[rng.choice([*names, "0.npy"])] = bytes(10**7)
    else:
        members[rng.choice(names)] = members[rng.choice(names)]
    file = io.BytesIO()
    packing = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def harm(data, rng):
    """A changed file, and whether its checksum is right all the same."""
    if rng.random() < 0.4:
        return bytes(
            rng.choice([flip, cut, splice, claim])(bytearray(data), rng)
        ), False
    head, _, content = data.partition(b"\n")[2].partition(b"\n")
    if rng.random() < 0.1:
        header = encoded(mutate_tree(json.loads(head), rng))
        return sealed(header + b"\n" + content), True
    return sealed(head + b"\n" + mutate_archive(content, rng)), True


def mutate(n_files, seed):
    """Load changed files; print what became of them."""
    global watching
    rng = random.Random(seed)
    sys.addaudithook(watch)
    outcomes = {"refused": 0, "taken": 0}
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skganomaly"
        originals = []
        for model, handed in models():
            skganomaly.save(model, path)
            originals.append((path.read_bytes(), type(model), handed))
            skganomaly.load(path, architecture=handed)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
        # That something would be seen, were it there.
        watching = True
        exec("pass")
        watching = False
        assert seen.pop()[0] == "exec" and not seen
        for i in range(n_files):
            original, cls, handed = rng.choice(originals)
            data, has_checksum = harm(original, rng)
            if data == original:
                continue
            path.write_bytes(data)
            # A hang ends the process, with a traceback.
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            start, watching = time.process_time(), True
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    loaded = skganomaly.load(path, architecture=handed)
            except ValueError as error:
                outcome, loaded = "refused", None
                assert str(path) in str(error), (i, error)
            else:
                outcome = "taken"
            finally:
                watching = False
                faulthandler.cancel_dump_traceback_later()
            slowest = max(slowest, time.process_time() - start)
            outcomes[outcome] += 1
            assert not seen, (i, seen)
            if outcome == "taken":
                # Somebody may write another model, of the class that is said, with its
                # own checksum. Nobody can change a file and keep the checksum.
                assert has_checksum and type(loaded) is cls, (i, outcome)
    print(json.dumps({**outcomes, "slowest": round(slowest, 2)}))


def kill(n_kills, seed):
    """Kill processes while they save; print which file was found afterwards."""
    rng = random.Random(seed)
    X = np.random.default_rng(0).normal(size=(200, 20))
    first, second = (
        AutoencoderDetector(max_steps=2, random_state=s, device="cpu").fit(X)
        for s in (0, 1)
    )
    expected = [detector.anomaly_score(X[:5]).tolist() for detector in (first, second)]
    outcomes = {"old": 0, "new": 0, "begun": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skganomaly"
        first.save(path)
        start = time.monotonic()
        first.save(path)
        whole = time.monotonic() - start
        start = time.monotonic()
        content = path.read_bytes()
        write_atomically(path, lambda file: file.write(content))
        writing = time.monotonic() - start
        for i in range(n_kills):
            ready, told = os.pipe()
            child = os.fork()
            if not child:
                # Half of them are killed at any moment, the others while they write.
                if i % 2:
                    sys.addaudithook(partial(tell, told))
                else:
                    os.write(told, b".")
                second.save(path)
                os._exit(0)
            os.read(ready, 1)
            os.close(ready), os.close(told)
            time.sleep(rng.uniform(0, 2 * writing if i % 2 else 2 * whole))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            loaded = skganomaly.load(path)
            which = expected.index(loaded.anomaly_score(X[:5]).tolist())
            outcomes["new" if which else "old"] += 1
            left = [p for p in Path(folder).iterdir() if p != path]
            assert all(p.name.startswith(".") for p in left), (i, left)
            outcomes["begun"] += len(left)
            for each in left:
                each.unlink()
            if which:
                first.save(path)
    print(json.dumps(outcomes))


def tell(told, event, args):
    """Say that the file is about to be written."""
    if event == "open" and ".skganomaly" in str(args[0]):
        os.write(told, b".")


def fill(n_bytes, seed):
    """Save where there is room for so many bytes; print what is there afterwards."""
    X = np.random.default_rng(seed).normal(size=(50, 5))
    first, second = (
        AutoencoderDetector(max_steps=2, random_state=s, device="cpu").fit(X)
        for s in (0, 1)
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.skganomaly"
        first.save(path)
        before = path.read_bytes()
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
        try:
            second.save(path)
        except OSError as error:
            outcome = {"error": error.errno, "files": os.listdir(folder)}
        assert path.read_bytes() == before
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) * 2,) * 2)
        second.save(path)
        assert path.read_bytes() != before
    print(json.dumps(outcome))


if __name__ == "__main__":
    commands = {"mutate": mutate, "kill": kill, "fill": fill}
    for command, number, seed in zip(*[iter(sys.argv[1:])] * 3, strict=True):
        commands[command](int(number), int(seed))
