"""Files without pickle: a line that anyone can check, a header, and what skops writes.

A file begins with ``skganomaly file FORMAT SHA256 BYTES``; the next line is a header in
JSON, with the class and the versions; the rest is an archive of skops, which is data
and names of classes. Tools of skops read it as it is, since an archive may follow
anything.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
import os
import re
import uuid
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted

from ._device import resolve_device
from ._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "SaveMixin",
    "in_file",
    "leave_out",
    "load",
    "loaded_device",
    "save",
    "take_in",
]

_FORMAT = 1
_FIRST_LINE = re.compile(rb"skganomaly file (\d{1,4}) ([0-9a-f]{64}) (\d{1,18})\n")

# What a file may name beside what skops trusts: estimators of scikit-learn, and types
# and functions of NumPy. Each of them only stores what it is handed, or looks at it
# before it reserves memory.
_OURS = {
    f"skganomaly.{name}"
    for name in """
        _anogan.AnoGANDetector _autoencoder.AutoencoderDetector
        _ganomaly.GANomalyDetector _saving.LeftOut _settings.Settings
        adversaries.Logistic adversaries.Wasserstein architectures.ConvNet
        architectures.MLP images._detector.ImageDetector
        images._drawing.DrawnDefects images._features.FeatureMemory
        images._features.FrozenFeatures images._methods.DefectDiscriminator
        images._segmenter.Segmenter losses.absolute_error losses.squared_error pipelines.MissingCount reports.Finding
        reports.TrainingReport scores.JointScore scores.LocalScore scores.PartScore
        scores.WeightedScore searches.EncoderSearch searches.GradientSearch
        searches.NearestSearch thresholds.CallableThreshold
        thresholds.ConformalThreshold thresholds.FixedThreshold
        thresholds.MaxThreshold thresholds.QuantileThreshold thresholds.TailThreshold
        timeseries._adaptive.AdaptiveThreshold timeseries._detector.TimeSeriesDetector
        timeseries._windows.SlidingWindow
    """.split()
} | {"numpy.dtype", "torch.device"}

# What skops may do on our behalf. Its other nodes call methods, or functions with
# arguments of the file.
_LOADERS = {
    *("ConstructorFromReduceNode", "DTypeNode", "DictNode", "FunctionNode"),
    *("JsonNode", "ListNode", "MaskedArrayNode", "NdArrayNode", "ObjectNode"),
    *("RandomStateNode", "SetNode", "SliceNode", "TupleNode", "TypeNode"),
}
_OLDEST_PROTOCOL = 2
# Others come back as something else: JSON has no keys but strings.
_KEYS = {"str", "int", "float"}

# What is larger is stored as it is. So no archive of ours is larger unpacked than both
# this and itself.
_MOST_UNPACKED = 2**20
_MEMBER = re.compile(r"schema\.json|\d+\.npy")

# How other files begin that people may mean.
_FOREIGN = {
    b"\x80": "a pickle, which joblib.load reads, and which can run code",
    b"x^": "perhaps compressed by joblib, whose load reads it, and it can run code",
    b"PK": "an archive, which perhaps skops.io.load or torch.load reads",
}

_EXCHANGE: ContextVar[_Exchange | None] = ContextVar("exchange", default=None)


class _Refused(ValueError):
    """A file or an estimator that is not taken, in words for its user."""


class _Exchange:
    """What is known while an estimator is written or read.

    Attributes
    ----------
    device : str or torch.device
        Where the caller wants it.
    architecture : object
        What the file leaves out: found in the estimator, or handed over by the caller.
    met : bool
        Whether the file leaves something out.
    notes : list of str
        What the caller is to know.
    """

    def __init__(self, device="auto", architecture=None):
        self.device = device
        self.architecture = architecture
        self.met = False
        self.notes = []

    @contextmanager
    def begun(self):
        """Let the estimators in a block know."""
        token = _EXCHANGE.set(self)
        try:
            yield
        finally:
            _EXCHANGE.reset(token)


class LeftOut:
    """Stands in a file for an object of the user's."""

    def __init__(self, described):
        self.described = described


def leave_out(thing: Any) -> Any:
    """What stands for an architecture, or a network, in a file or a pickle.

    A file has a description of those that are not ours, and a pickle the thing itself.
    """
    exchange = _EXCHANGE.get()
    ours = type(thing).__module__.startswith("skganomaly.")
    if exchange is None or isinstance(thing, str) or ours:
        return thing
    described = _described(thing)
    if exchange.met and described != _described(exchange.architecture):
        raise _Refused(
            f"it holds two objects of yours, {_described(exchange.architecture)} and "
            f"{described}, and load can be handed one"
        )
    exchange.met, exchange.architecture = True, thing
    return LeftOut(described)


def take_in(thing: Any) -> Any:
    """Undo :func:`leave_out`, with what `load` was handed."""
    if not isinstance(thing, LeftOut):
        return thing
    exchange = _EXCHANGE.get()
    given = None if exchange is None else exchange.architecture
    if given is None:
        raise _Refused(
            f"it was fitted with {thing.described}, which is yours and not in the "
            "file. Hand the same over, load(path, architecture=...)"
        )
    if _described(given) != thing.described:
        raise _Refused(
            f"it was fitted with {thing.described}, and architecture is "
            f"{_described(given)}"
        )
    exchange.met = True
    return given


def _described(thing):
    """A name that says whether two objects build the same, as far as one can tell."""
    name = getattr(thing, "__name__", type(thing).__name__)
    if hasattr(thing, "state_dict"):
        digest = hashlib.sha256()
        for key, value in thing.state_dict().items():
            digest.update(key.encode())
            digest.update(np.ascontiguousarray(value.detach().cpu().numpy()))
        return f"{name} with weights {digest.hexdigest()[:12]}"
    if hasattr(thing, "get_params"):
        params = thing.get_params()
    else:
        params = getattr(thing, "__dict__", {})
    listed = ", ".join(f"{key}={value!r}" for key, value in sorted(params.items()))
    return re.sub(r" at 0x\w+", "", f"{name}({listed})")


def in_file() -> bool:
    """Whether a state is that of a file, which has no network of the user's."""
    return _EXCHANGE.get() is not None


def loaded_device(estimator: Any) -> torch.device:
    """Device that an estimator is to be rebuilt on, which a file or pickle has not."""
    exchange = _EXCHANGE.get()
    if exchange is None:
        return resolve_device(estimator.device, fallback=True)
    if exchange.device != "auto":
        estimator.device = exchange.device
    try:
        return resolve_device(estimator.device)
    except ValueError:
        exchange.notes.append(
            f"{type(estimator).__name__} has device={str(estimator.device)!r}, and "
            "torch finds no such device; using the CPU."
        )
        return torch.device("cpu")


class SaveMixin:
    """Gives an estimator the method `save`."""

    def save(self, path: str | os.PathLike[str], *, trusted: Sequence[Any] = ()) -> None:
        """Store it in a file that :func:`skganomaly.load` reads, without pickle.

        Parameters
        ----------
        path : str or path-like
            The file, which is replaced if it is there; by custom ``*.skganomaly``.
        trusted : sequence of classes, functions or their names, default=()
            See :func:`skganomaly.save`, of which this is short for.
        """
        save(self, path, trusted=trusted)


def save(
    estimator: Any, path: str | os.PathLike[str], *, trusted: Sequence[Any] = ()
) -> None:
    """Store a fitted detector, or a pipeline around one, without pickle.

    The file holds parameters, arrays, and names of classes; see :ref:`saving`. It is
    written beside its place and put there whole: whoever reads ``path`` at any moment
    finds the old file or the new one, also if the process is killed or the disk is
    full. Before that it is read back once.

    Parameters
    ----------
    estimator : object
        A fitted detector of this package, or an estimator of scikit-learn around one.
    path : str or path-like
        The file, which is replaced if it is there; by custom ``*.skganomaly``.
    trusted : sequence of classes, functions or their names, default=()
        What of yours, or of other packages, the file may name, such as a step of a
        pipeline, a loss or a callback. Each has to be importable where it is loaded,
        and :func:`load` has to be told, too. An architecture of yours, or the network
        of :class:`~skganomaly.images.FrozenFeatures`, is not stored and needs no
        naming: it is handed to :func:`load`.

    Raises
    ------
    NotFittedError
        If it is not fitted.
    TypeError
        If it holds something that is not stored, or may not be named in a file. Nothing
        is written then.
    ValueError
        If ``path`` is there and not a file.
    OSError
        If the file cannot be written. What was there before is still there.

    See Also
    --------
    load : Reads it.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skganomaly
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> detector = skganomaly.AutoencoderDetector(max_steps=20, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.skganomaly")
    ...     detector.save(path)
    ...     loaded = skganomaly.load(path)
    >>> bool((loaded.anomaly_score(X) == detector.anomaly_score(X)).all())
    True
    """
    check_is_fitted(estimator)
    # The file that a link leads to is replaced, and not the link.
    place = _regular(Path(os.path.realpath(path)))
    exchange, trusted, name = _Exchange(), _names(trusted), type(estimator).__name__
    try:
        with exchange.begun():
            content = _dumped(estimator)
        handed = copy.deepcopy(exchange.architecture)
        _rebuilt(content, _Exchange("cpu", handed), trusted)
    except (MemoryError, Warning):
        raise
    except Exception as error:
        raise TypeError(
            f"This {name} cannot be stored without pickle: {error}. Nothing was "
            "written. joblib.dump stores it, in a file that can run code when it is "
            "loaded."
        ) from (None if isinstance(error, _Refused) else error)
    left_out = _described(exchange.architecture) if exchange.met else None
    header = {
        "class": _names([type(estimator)])[0],
        "versions": _versions(),
        "architecture": left_out,
        "trusted": trusted,
    }
    rest = json.dumps(header).encode() + b"\n" + content
    _write_whole(place, _first_line(b"%d" % _FORMAT, rest) + rest)


def load(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "auto",
    architecture: Any = None,
    trusted: Sequence[Any] = (),
) -> Any:
    """Load what :func:`save` stored.

    No code is run that the file brings: it holds data and names, and names are taken
    from a list of classes of this package, estimators of scikit-learn, and types and
    functions of NumPy. Nothing else is imported.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : str or torch.device, default="auto"
        Where detectors are to be; it becomes their parameter ``device``. "auto" leaves
        each its own parameter, and takes the CPU where there is no such device.
    architecture : object or None, default=None
        The architecture of yours that it was fitted with, or the network of
        :class:`~skganomaly.images.FrozenFeatures`, with its weights. The file says what
        it was, and another one is refused.
    trusted : sequence of classes, functions or their names, default=()
        What else the file may name. What is named by a string is imported.

    Returns
    -------
    object
        What was stored, fitted, with the same scores: on the CPU, to the last bit.

    Raises
    ------
    ValueError
        If the file is cut off, changed, of something else, or newer than this version;
        if it names what is not in the list or trusted; if it needs an architecture, or
        another one, or none.
    OSError
        If it cannot be read.

    Warns
    -----
    UserWarning
        If it was saved by another version of this package or of scikit-learn, or asks
        for a device that is not there.

    See Also
    --------
    save : Writes it, with an example.
    """
    path = _regular(Path(path))
    # A name that is none is refused before anything is built.
    resolve_device(device)
    exchange, trusted = _Exchange(device, copy.deepcopy(architecture)), _names(trusted)
    head, _, content = _checked(path).partition(b"\n")
    try:
        header = json.loads(head)
        estimator = _rebuilt(content, exchange, trusted)
        made, said = _names([type(estimator)])[0], header["class"]
        if made != said:
            raise _Refused(f"it is said to hold a {said}, and holds a {made}")
        if architecture is not None and not exchange.met:
            raise _Refused("it holds all that it needs. Leave architecture out")
        differing = [
            f"{package} {header['versions'][package]} (here {version})"
            for package, version in _versions().items()
            if package in ("skganomaly", "scikit-learn")
            and version != header["versions"][package]
        ]
    except (MemoryError, Warning):
        raise
    except _Refused as error:
        raise ValueError(f"{path} is not loaded: {error}.") from None
    except Exception as error:
        raise ValueError(
            f"{path} is not loaded: it is as it was written, and what it holds cannot "
            f"be rebuilt here ({type(error).__name__}: {error})."
        ) from error
    if differing:
        exchange.notes.append(
            f"{path} was saved with {' and '.join(differing)}. Check that its scores "
            "are the same, or fit it again."
        )
    for note in dict.fromkeys(exchange.notes):
        warnings.warn(note, UserWarning, stacklevel=2)
    return estimator


def _versions():
    """Version of each package that has a say in what a file means."""
    from skops import __version__ as skops

    return {
        "skganomaly": __version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "skops": skops,
    }


def _names(things):
    """Dotted names of classes and functions."""
    things = [things] if isinstance(things, str) or callable(things) else things
    for thing in things:
        if not (isinstance(thing, str) or hasattr(thing, "__qualname__")):
            raise TypeError(
                f"trusted has {thing!r}. Name classes and functions, not objects: "
                f"{type(thing).__name__}."
            )
    return [
        thing if isinstance(thing, str) else f"{thing.__module__}.{thing.__qualname__}"
        for thing in things
    ]


def _dumped(estimator):
    import skops.io

    content = skops.io.dumps(estimator)
    if len(content) > _MOST_UNPACKED:
        return content
    return skops.io.dumps(estimator, compression=ZIP_DEFLATED)


def _rebuilt(content, exchange, trusted):
    """What an archive holds, once it is known to be harmless."""
    import skops.io

    with ZipFile(io.BytesIO(content)) as archive:
        schema = _schema(archive, len(content))
    named = set(skops.io.get_untrusted_types(data=content))
    if not named & _OURS:
        raise _Refused("there is nothing of skganomaly in it; see skops.io.dump")
    unknown = named - _OURS - set(trusted)
    if unknown:
        places = {
            place
            for node, place in _nodes(schema)
            if f"{node['__module__']}.{node['__class__']}" in unknown
        }
        raise _Refused(
            f"{', '.join(sorted(places))} needs {', '.join(sorted(unknown))}, which is "
            "neither of skganomaly nor an estimator of scikit-learn. If you trust it, "
            "name it to save and to load: trusted=[...]"
        )
    with exchange.begun():
        return skops.io.loads(content, trusted=sorted(named))


def _schema(archive, n_bytes):
    """The tree of an archive, if it is one that skops can be handed.

    skops sees to names. What it takes on trust are sizes, how often something is
    referred to, and that there are not too many ways through the tree.
    """
    members = archive.infolist()
    for member in members:
        if not _MEMBER.fullmatch(member.filename):
            raise _Refused(f"its archive has {member.filename!r}, which is never there")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(n_bytes, _MOST_UNPACKED):
        raise _Refused(f"its {n_bytes} bytes claim to be {unpacked} once unpacked")
    for member in members:
        if member.filename.endswith(".npy"):
            _check_array(archive, member)
    schema = json.loads(archive.read("schema.json"))
    if schema["protocol"] < _OLDEST_PROTOCOL:
        raise _Refused(f"it has protocol {schema['protocol']}, which is never there")
    _count(schema, {})
    arrays = {}
    for node, place in _nodes(schema):
        loader, number = node["__loader__"], node["__id__"]
        if loader not in _LOADERS:
            raise _Refused(f"{place} cannot be stored as data (it needs a {loader})")
        if arrays.setdefault(node.get("file", number), number) != number:
            raise _Refused(f"two objects have the array {node['file']!r}")
        if loader == "DictNode":
            keys = {key["__class__"] for key in node["key_types"]["content"]}
            if not keys <= _KEYS:
                raise _Refused(f"{place} has keys of type {sorted(keys - _KEYS)}")
    return schema


def _nodes(schema):
    """Each node of a tree, and the name of the attribute that it is in."""
    stack = [(schema, "it")]
    while stack:
        item, place = stack.pop()
        if isinstance(item, list):
            stack += [(each, place) for each in item]
        elif isinstance(item, dict):
            node = "__loader__" in item
            if node:
                yield item, place
            stack += [
                (each, place if node else key)
                for key, each in item.items()
                if isinstance(each, list | dict)
            ]


def _count(item, counts):
    """Nodes of a tree.

    skops takes nodes of one number for one object and looks at it whenever it meets it.
    If they are equally many inside, it has no more to look at than is written.
    """
    if not isinstance(item, list | dict):
        return 0
    inside = item if isinstance(item, list) else item.values()
    n_nodes = sum(_count(each, counts) for each in inside)
    if "__loader__" not in item:
        return n_nodes
    n_nodes += 1
    if counts.setdefault(item["__id__"], n_nodes) != n_nodes:
        raise _Refused(f"two objects have the number {item['__id__']}")
    return n_nodes


def _check_array(archive, member):
    """Refuse an array that claims another size than it has, or holds objects."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(file)
        n_entries, n_bytes = math.prod(shape), member.file_size - file.tell()
    claimed = n_entries * dtype.itemsize
    if dtype.hasobject or claimed != n_bytes or (n_entries and not claimed):
        raise _Refused(
            f"an array of shape {shape} and type {dtype} has {n_bytes} bytes"
        )


def _checked(path):
    """What follows the first line of a file, if that tells the truth about it."""
    with open(path, "rb") as file:
        first = file.readline(128)
        n_bytes = os.fstat(file.fileno()).st_size
        found = _FIRST_LINE.fullmatch(first)
        if found is None:
            kinds = [kind for begin, kind in _FOREIGN.items() if first.startswith(begin)]
            kind = "an empty file" if not n_bytes else [*kinds, "something else"][0]
            raise ValueError(f"{path} is no file of skganomaly.save; it is {kind}.")
        version, n_said = found[1], len(first) + int(found[3])
        if int(version) > _FORMAT:
            raise ValueError(
                f"{path} has format {int(version)}, and this version of skganomaly "
                f"({__version__}) knows formats up to {_FORMAT}. Load it with a newer "
                "one."
            )
        if n_bytes != n_said:
            kind = "cut off" if n_bytes < n_said else "longer than it was written"
            raise ValueError(
                f"{path} is {kind}: it has {n_bytes} bytes and not {n_said}. Copy it "
                "again, or save again."
            )
        rest = file.read()
    if first != _first_line(version, rest):
        raise ValueError(
            f"{path} is damaged: its content does not fit its checksum. Copy it again, "
            "or save again."
        )
    return rest


def _first_line(version, rest):
    digest = hashlib.sha256(version + b"\n" + rest).hexdigest().encode()
    return b"skganomaly file %b %b %d\n" % (version, digest, len(rest))


def _regular(path):
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise ValueError(f"{path} is {kind}. Name a file, such as model.skganomaly.")
    return path


def _write_whole(path, content):
    """Write a file whose name stands for the old content or the new, always whole."""
    # In the same folder, as only within one file system a file is replaced at once.
    temporary = path.with_name(f".{uuid.uuid4().hex}.skganomaly")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    # The new name is on the disk when its folder is. Not all systems can be asked.
    with suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
