"""Files without pickle: a line that anyone can check, a header, and what skops writes.

A file begins with ``skganomaly file FORMAT SHA256 BYTES``; the next line is a header in
JSON, with the class and the versions; the rest is an archive of skops, which is data
and names of classes. Tools of skops read it as it is, since an archive may follow
anything.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
import torch
from sklearn.utils.validation import check_is_fitted

from ._archive import dumped, names_of, rebuilt
from ._device import resolve_device
from ._files import write_atomically
from ._left_out import Exchange, Refused, described
from ._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SaveMixin", "load", "save"]

_FORMAT = 1
_FIRST_LINE = re.compile(rb"skganomaly file (\d{1,4}) ([0-9a-f]{64}) (\d{1,18})\n")

# How other files begin that people may mean.
_FOREIGN = {
    b"\x80": "a pickle, which joblib.load reads, and which can run code",
    b"x^": "perhaps compressed by joblib, whose load reads it, and it can run code",
    b"skganomaly checkpoint": "the file of a FitCheckpoint, which a fit goes on with",
    b"PK": "an archive, which perhaps skops.io.load or torch.load reads",
}


class SaveMixin:
    """Gives an estimator the method `save`."""

    def save(
        self, path: str | os.PathLike[str], *, trusted: Sequence[Any] = ()
    ) -> None:
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
        A fitted detector or :class:`~skganomaly.timeseries.AdaptiveThreshold` of this
        package, or an estimator of scikit-learn around a detector.
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
    if not hasattr(estimator, "fit"):
        inside = " Save its estimator." if hasattr(estimator, "estimator") else ""
        raise TypeError(f"A {type(estimator).__name__} is no estimator.{inside}")
    check_is_fitted(estimator)
    # The file that a link leads to is replaced, and not the link.
    place = _regular(Path(os.path.realpath(path)))
    exchange, trusted, name = Exchange(), names_of(trusted), type(estimator).__name__
    try:
        with exchange.begun():
            content = dumped(estimator)
        handed = copy.deepcopy(exchange.architecture)
        rebuilt(content, Exchange("cpu", handed), trusted)
    except (MemoryError, Warning):
        raise
    except Exception as error:
        raise TypeError(
            f"This {name} cannot be stored without pickle: {error}. Nothing was "
            "written. joblib.dump stores it, in a file that can run code when it is "
            "loaded."
        ) from (None if isinstance(error, Refused) else error)
    left_out = described(exchange.architecture) if exchange.met else None
    header = {
        "class": names_of([type(estimator)])[0],
        "versions": _versions(),
        "architecture": left_out,
        "trusted": trusted,
    }
    rest = json.dumps(header).encode() + b"\n" + content
    content = _first_line(b"%d" % _FORMAT, rest) + rest
    write_atomically(place, lambda file: file.write(content))


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
    exchange, trusted = Exchange(device, copy.deepcopy(architecture)), names_of(trusted)
    head, _, content = _checked(path).partition(b"\n")
    try:
        header = json.loads(head.decode())
        estimator = rebuilt(content, exchange, trusted)
        made, said = names_of([type(estimator)])[0], header["class"]
        if made != said:
            raise Refused(f"it is said to hold a {said}, and holds a {made}")
        if architecture is not None and not exchange.met:
            raise Refused("it holds all that it needs. Leave architecture out")
        differing = [
            f"{package} {header['versions'][package]} (here {version})"
            for package, version in _versions().items()
            if package in ("skganomaly", "scikit-learn")
            and version != header["versions"][package]
        ]
    except (MemoryError, Warning):
        raise
    except Refused as error:
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


def _checked(path):
    """What follows the first line of a file, if that tells the truth about it."""
    with open(path, "rb") as file:
        first = file.readline(128)
        n_bytes = os.fstat(file.fileno()).st_size
        found = _FIRST_LINE.fullmatch(first)
        if found is None:
            kinds = (_FOREIGN[begin] for begin in _FOREIGN if first.startswith(begin))
            kind = next(kinds, "something else") if n_bytes else "an empty file"
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
