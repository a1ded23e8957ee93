"""What of a user's is not in a file, and what a file has no say in: the device."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import torch

from ._device import resolve_device

__all__ = [
    "Exchange",
    "LeftOut",
    "Refused",
    "described",
    "in_file",
    "leave_out",
    "loaded_device",
    "take_in",
]

_EXCHANGE: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


class Refused(ValueError):
    """A file or an estimator that is not taken, in words for its user."""


class Exchange:
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
    words = described(thing)
    if exchange.met and words != described(exchange.architecture):
        raise Refused(
            f"it holds two objects of yours, {described(exchange.architecture)} and "
            f"{words}, and load can be handed one"
        )
    exchange.met, exchange.architecture = True, thing
    return LeftOut(words)


def take_in(thing: Any) -> Any:
    """Undo :func:`leave_out`, with what `load` was handed."""
    if not isinstance(thing, LeftOut):
        return thing
    exchange = _EXCHANGE.get()
    given = None if exchange is None else exchange.architecture
    if given is None:
        raise Refused(
            f"it was fitted with {thing.described}, which is yours and not in the "
            "file. Hand the same over, load(path, architecture=...)"
        )
    if described(given) != thing.described:
        raise Refused(
            f"it was fitted with {thing.described}, and architecture is "
            f"{described(given)}"
        )
    exchange.met = True
    return given


def described(thing):
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
