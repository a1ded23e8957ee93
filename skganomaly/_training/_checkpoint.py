"""The file that a fit keeps its progress in: when it is written, and what it is."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import warnings
from numbers import Integral, Real

import torch
from skorch.callbacks import Callback

from .._files import write_atomically
from .._ranks import current
from .._version import __version__

__all__ = ["FitCheckpoint", "dumps", "loads"]

_MAGIC = b"skganomaly checkpoint "
_FORMAT = 1
_DIGEST_SIZE = 32


class FitCheckpoint(Callback):
    """Keep in a file how far a fit has come, so that it survives being killed.

    The same line again, in another process, goes on from the file, and the result is
    that of a fit that was never interrupted: on a CPU with the same number of threads
    to the last bit, also with ``random_state=None``, as the file has the seed. There is
    no switch for that. What the file is of is checked instead: a fit of other rows or
    other parameters is refused, with what differs, and the file is left alone.

    When the fit has ended the file stays, so that nothing is lost if what comes after
    it fails. The same line then has the same result without training again; any other
    fit, or one without a seed, replaces the file.

    Parameters
    ----------
    path : str or path-like
        The file. Each fit needs one of its own: searches and cross-validation of
        scikit-learn are refused, and so is the detector in a
        :class:`~skganomaly.timeseries.TimeSeriesDetector`. It is about three times as
        large as the weights of the networks.
    every_n_steps : int or None, default=None
        Write after so many optimiser steps, counted in each training.
    every_minutes : float or None, default=10.0
        Write after so many minutes. With both, whichever comes first; steps are taken
        in chunks of up to 25, and files are written between these.

    Notes
    -----
    The file holds tensors and plain values; loading it runs no code. It is written
    under another name and then takes the place of the one before, so a kill leaves
    one or the other. If it cannot be written, as on a full disk, training goes on with
    a warning.

    Other callbacks go on where they were, as far as their attributes are numbers, text,
    tensors, or lists and dicts of these, or have ``state_dict`` and
    ``load_state_dict``, which a callback itself may have, too. Those for scikit-learn's
    ``set_callbacks`` begin anew; of yours, which may end a training, the classes have
    to be the same.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.callbacks import FitCheckpoint
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "run.ckpt")
    ...     checkpoint = FitCheckpoint(path, every_n_steps=50)
    ...     detector = AutoencoderDetector(callbacks=[checkpoint], random_state=0)
    ...     detector = detector.fit(X)
    ...     os.path.exists(path)
    True
    """

    # Read by what makes many fits of one detector.
    _of_one_fit = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every_n_steps: int | None = None,
        every_minutes: float | None = 10.0,
    ) -> None:
        self.path = path
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes

    def __getstate__(self):
        """A path is stored as text, which a file without pickle may have."""
        return vars(self) | {"path": os.fspath(self.path)}

    def _check(self):
        """Refuse options that contradict each other, or a folder that is not there."""
        steps, minutes = self.every_n_steps, self.every_minutes
        whole = isinstance(steps, Integral) and steps >= 1
        if steps is not None and not whole:
            raise ValueError(f"every_n_steps={steps!r} must be a positive int or None.")
        positive = isinstance(minutes, Real) and minutes > 0
        if minutes is not None and not positive:
            raise ValueError(
                f"every_minutes={minutes!r} must be a positive number or None."
            )
        if steps is None and minutes is None:
            raise ValueError(
                "FitCheckpoint has every_n_steps=None and every_minutes=None, so it "
                "would never write. Set one of them."
            )
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.path.isdir(folder):
            raise ValueError(f"There is no folder {folder!r} for path={self.path!r}.")
        if _in_search():
            raise ValueError(
                "callbacks has a FitCheckpoint, whose file is of one fit, and this is "
                "one of many fits of a search or cross-validation of scikit-learn. "
                "Leave it out there, and give it to a fit of best_params_."
            )

    def _read(self):
        """What the file has, or None if there is none."""
        if not os.path.exists(self.path):
            return None
        with open(self.path, "rb") as file:
            return loads(file.read(), self.path)

    def _write(self, content):
        """Put other content, of :func:`dumps`, in the place of the file's."""
        # Processes that train together have the same.
        if current().rank:
            return
        try:
            write_atomically(self.path, lambda file: file.write(content))
        except OSError as error:
            warnings.warn(
                f"The checkpoint {self.path} could not be written: {error}. Training "
                "goes on; the file is as it was before.",
                UserWarning,
                stacklevel=2,
            )


def _in_search():
    """Whether scikit-learn's model selection, in this process, asked for the fit.

    A clone does not know how many others there are, nor does what it was cloned from.
    """
    frame = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("sklearn.model_selection."):
            return True
        frame = frame.f_back
    return False


def dumps(content):
    """Bytes of a dict of tensors and plain values, with a checksum."""
    file = io.BytesIO()
    torch.save(content, file)
    stored = file.getbuffer()
    digest = hashlib.blake2b(stored, digest_size=_DIGEST_SIZE).digest()
    return b"".join((_MAGIC + b"%d\n" % _FORMAT, digest, stored))


def loads(content, name):
    """What :func:`dumps` was given, or a refusal in words."""
    head, _, rest = content.partition(b"\n")
    version = head.removeprefix(_MAGIC)
    if not head.startswith(_MAGIC) or not version.isdigit():
        raise ValueError(
            f"{name} is no checkpoint of skganomaly, and is not overwritten. Choose "
            "another path."
        )
    if int(version) > _FORMAT:
        raise ValueError(
            f"{name} was written by a newer version of skganomaly, in the format "
            f"{int(version)}; this one, {__version__}, knows {_FORMAT}. Go on with "
            "that version, or choose another path."
        )
    digest, rest = rest[:_DIGEST_SIZE], rest[_DIGEST_SIZE:]
    if hashlib.blake2b(rest, digest_size=_DIGEST_SIZE).digest() != digest:
        raise ValueError(
            f"{name} is damaged: it is cut off, or some of it has changed. Remove it "
            "to begin anew."
        )
    return torch.load(io.BytesIO(rest), map_location="cpu", weights_only=True)
