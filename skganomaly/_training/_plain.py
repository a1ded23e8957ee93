"""Values that can be stored without pickling, and compared across processes."""

import hashlib

import numpy as np
import torch

from .._models._scaling import row_blocks

__all__ = ["fingerprint", "flat", "given_to", "in_words", "plain"]


def plain(value):
    """A copy of a value, of numbers, text, tensors, and lists and dicts of these.

    Raises
    ------
    TypeError
        If it has anything else.
    """
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | bool | int | float | bytes):
        return value
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        return {plain(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [*map(plain, value)]
        return items if isinstance(value, list) else tuple(items)
    raise TypeError(f"a {type(value).__name__}")


def in_words(value):
    """A value as far as it can be compared with one of another process."""
    if isinstance(value, dict):
        return {str(k): in_words(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [*map(in_words, value)]
    if isinstance(value, type) or hasattr(value, "__qualname__"):
        return value.__qualname__
    try:
        return plain(value)
    except TypeError:
        return {"": type(value).__name__, **dict(flat(_options(value)))}


def flat(values, prefix=""):
    """Names and values, those of estimators' options as ``name__option``."""
    for name, value in values.items():
        if hasattr(value, "get_params") and not isinstance(value, type):
            yield prefix + name, type(value).__name__
            yield from flat(_options(value), f"{prefix}{name}__")
        else:
            yield prefix + name, in_words(value)


def given_to(estimator, **arrays):
    """What decides a fit, as far as it can be compared with that of another process.

    Parameters
    ----------
    estimator : estimator
        Its parameters are taken, but for where it computes and what it shows.
    **arrays : ndarray or None
    """
    params = flat(estimator.get_params(deep=False))
    return {
        "the estimator": type(estimator).__name__,
        **{name: v for name, v in params if name not in ("device", "verbose")},
        **{name: _in_brief(array) for name, array in arrays.items()},
    }


def _in_brief(array):
    if array is None:
        return None
    return f"{array.shape} {fingerprint(array.reshape(len(array), -1))}"


def _options(value):
    if hasattr(value, "get_params"):
        return value.get_params(deep=False)
    # Objects in these may lead back to this one.
    simple, found = (str, bool, int, float, list, tuple), getattr(value, "__dict__", {})
    return {k: v for k, v in found.items() if type(v) in simple}


def fingerprint(array):
    """A hash of a two-dimensional array, its dtype and its shape."""
    digest = hashlib.blake2b(repr((array.shape, array.dtype.str)).encode())
    for block in row_blocks(len(array), max(1, array.shape[1])):
        digest.update(np.ascontiguousarray(array[block]))
    return digest.hexdigest()[:32]
