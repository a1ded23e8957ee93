"""The callbacks of skorch that a user passes: copies, phases, and which are refused."""

import copy
import warnings
from functools import partial
from io import IOBase

from skorch.callbacks import (
    BatchScoring,
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    InputShapeSetter,
    LoadInitState,
    LRScheduler,
    PassthroughScoring,
    PrintLog,
    ProgressBar,
    TrainEndCheckpoint,
)

from .._ranks import current
from ._stopping import HeldOutStopping

__all__ = [
    "callbacks_for",
    "check_callbacks",
    "copy_callbacks",
    "copy_to_fit",
    "stopping_of",
    "unnamed",
    "without_locks",
]

_SCORING = (
    "it rates the predictions of one network for labels, and here there are neither. "
    "Use scikit-learn's ScoringMonitor with set_callbacks, which scores the detector "
    "after every epoch."
)
_REFUSED = {
    EpochScoring: _SCORING,
    BatchScoring: _SCORING,
    InputShapeSetter: (
        "networks are built for the rows at hand anyway. Leave it out; input_shape "
        "says how flat rows are to be read."
    ),
    LoadInitState: (
        "a fit starts from new weights and from a scaling learned from its own rows, "
        "so that random_state decides everything. To go on after a kill, use "
        "skganomaly.callbacks.FitCheckpoint; after a fit, warm_start=True."
    ),
    ProgressBar: (
        "it counts batches of skorch, each of which is many steps here. Use verbose=1, "
        "which shows a bar of steps."
    ),
}
# Entries of the history that are not losses of one phase.
_IN_EVERY_PHASE = {"train_loss", "dur", "epoch", "n_steps"}


def unnamed(callback):
    return callback[1] if isinstance(callback, tuple) else callback


def stopping_of(callbacks):
    """The :class:`HeldOutStopping` among the callbacks of a user, or None."""
    found = [c for c in map(unnamed, callbacks or ()) if isinstance(c, HeldOutStopping)]
    if len(found) > 1:
        raise ValueError(f"callbacks has {len(found)} HeldOutStoppings. Leave one.")
    for callback in found:
        callback._check()
    return found[0] if found else None


def check_callbacks(callbacks, *, schedule, averaged):
    """Refuse what cannot work, before anything is trained.

    Parameters
    ----------
    callbacks : iterable of Callback or of (name, Callback)
    schedule : {"constant", "cosine"}
        Of the learning rate.
    averaged : bool
        Whether the generator is a moving average in the end.

    Raises
    ------
    TypeError
        If something is not a callback of skorch.
    ValueError
        If a callback has nothing to work with here. The message says what has.
    """
    for callback in map(unnamed, callbacks):
        if not hasattr(callback, "on_train_begin"):
            raise TypeError(
                f"callbacks has {callback!r}, which is no callback of skorch. Derive "
                "yours from skorch.callbacks.Callback; those of scikit-learn go to "
                "set_callbacks."
            )
        reason = _why_refused(callback, schedule, averaged)
        if reason is not None:
            raise ValueError(f"{type(callback).__name__} cannot be used here: {reason}")


def _why_refused(callback, schedule, averaged):
    for cls, reason in _REFUSED.items():
        if isinstance(callback, cls):
            return reason
    monitor = getattr(callback, "monitor", None)
    if isinstance(monitor, str) and monitor.startswith("valid_"):
        return (
            f"it watches {monitor!r}, and there are no validation rows. Pass a monitor "
            "that history_ has, such as 'train_loss', or 'reconstruction_best' behind "
            "PassthroughScoring('reconstruction', on_train=True)."
        )
    if isinstance(callback, PassthroughScoring) and not callback.on_train:
        return (
            "it would read losses of validation rows, and there are none. Pass "
            "on_train=True."
        )
    saves = isinstance(callback, Checkpoint | TrainEndCheckpoint)
    if saves and current().size > 1:
        return (
            "all processes of data_parallel() would write to its files at once. Use "
            "skganomaly.callbacks.FitCheckpoint, which the first process writes."
        )
    if isinstance(callback, LRScheduler) and schedule != "constant":
        return (
            f"learning_rate_schedule={schedule!r} sets the learning rate in every "
            "step. Pass learning_rate_schedule='constant'."
        )
    if isinstance(callback, EarlyStopping | Checkpoint) and callback.load_best:
        if averaged:
            return (
                "load_best=True would be undone by the moving average of the "
                "generator. Leave load_best out, or take an AutoencoderDetector or a "
                "GANomalyDetector, which keep none."
            )
    if saves and callback.f_pickle:
        return (
            "f_pickle would pickle the networks without the scores and the threshold. "
            "Leave it out, and keep the fitted detector with its method save."
        )
    return None


def callbacks_for(phase, callbacks):
    """Those that have something to do in a phase of the training.

    What watches a loss by its name is called in the phase that has the loss, and what
    saves networks is called in the first one, or the encoder would take the place of
    the generator in its files.

    Parameters
    ----------
    phase : {"training", "encoder"}
    callbacks : list of Callback or of (name, Callback)

    Returns
    -------
    list
    """
    in_encoder = phase == "encoder"

    def has_to_do(callback):
        callback = unnamed(callback)
        if isinstance(callback, Checkpoint | TrainEndCheckpoint):
            return not in_encoder
        if isinstance(callback, PassthroughScoring):
            watched = callback.name
        else:
            watched = getattr(callback, "monitor", None)
        if not isinstance(watched, str):
            return True
        watched = watched.removesuffix("_best")
        if watched in _IN_EVERY_PHASE:
            return True
        return watched.startswith("encoder_") == in_encoder

    return list(filter(has_to_do, callbacks))


def copy_callbacks(callbacks):
    """Copies that share only what cannot be copied, such as an open file or a lock."""
    return [_copy_callback(callback) for callback in callbacks or ()]


def copy_to_fit(callbacks):
    """Copies to be called in one fit, and to hold what they learn of it."""
    return [_listener(callback) for callback in callbacks or ()]


def without_locks(callbacks, owner):
    """The callbacks that can be stored; warns of those that hold, say, a lock.

    Parameters
    ----------
    callbacks : list of Callback or of (name, Callback), or None
    owner : str
        Name of the class that is stored.
    """
    left = [c for c in callbacks or () if _copy_deeply(c) is None]
    if not left:
        return callbacks
    warnings.warn(
        f"The copy of this {owner} has no {left!r} in its callbacks: they hold what "
        "cannot be copied, such as an open file or a lock. Set them again where they "
        "are needed.",
        UserWarning,
        stacklevel=4,
    )
    return [callback for callback in callbacks if callback not in left]


def _copy_deeply(callback):
    # What is written to a copy of a file is lost.
    attributes = getattr(unnamed(callback), "__dict__", {}).values()
    files = {id(value): value for value in attributes if isinstance(value, IOBase)}
    try:
        return copy.deepcopy(callback, files)
    except TypeError:
        return None


def _copy_callback(callback):
    deep = _copy_deeply(callback)
    if deep is not None:
        return deep
    # It writes somewhere, and what it writes with cannot be copied. Two copies of a
    # writer would not be wanted either.
    if isinstance(callback, tuple):
        name, callback = callback
        return name, copy.copy(callback)
    return copy.copy(callback)


def _listener(callback):
    if isinstance(callback, tuple):
        name, callback = callback
        return name, _listener(callback)
    if isinstance(callback, type) and issubclass(callback, Callback):
        return callback()
    callback = _copy_callback(callback)
    if isinstance(callback, PrintLog) and callback.sink is print:
        # skorch keeps `print` itself silent unless the net is verbose.
        callback.sink = partial(print)
    return callback
