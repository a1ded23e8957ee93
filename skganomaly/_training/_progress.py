"""How far the trainings of a fit have come: kept in a file or in memory, and resumed.

A fit is decided by its rows, its parameters and one seed, so whatever is not training
is done again, and a training goes on from the state that was kept of it.
"""

import time
import warnings

import numpy as np
from skorch.callbacks import Callback, EpochTimer

from .._ranks import current
from .._seed import draw_seed
from .._version import __version__
from ._callbacks import unnamed
from ._checkpoint import FitCheckpoint, dumps, loads
from ._net import DiscriminatorRestart, ProgressBar
from ._plain import fingerprint, flat, in_words, plain

__all__ = ["Progress", "has_checkpoint", "position"]

# What no training depends on. Whether it has rows held out shows in these.
_FREE = {"contamination", "false_alarm_rate", "max_references", "score_type"}
# What may grow from one fit to the next with warm_start.
_GROWS = {"max_steps", "search__encoder_steps"}
_OTHERS = "callbacks of scikit-learn"
# Described by fingerprints, which say nothing to a reader.
_ROWS = {
    "X": "X has other rows",
    "groups": "rows belong to other groups",
    "weights": "sample_weight is another",
    "trained": "other rows are held out",
    "earlier_fit": "the fit that warm_start goes on from is another one",
}
_NO_STATE = (EpochTimer, ProgressBar)


class Progress:
    """How far the trainings of one fit have come.

    Parameters
    ----------
    detector : BaseDetector
        Whose fit begins. What is gone on from is in the file of its
        :class:`FitCheckpoint` or, with ``warm_start``, in its ``_trainings``.
    keeps : bool, default=True
        Whether anything is gone on from, or kept to go on from.
    """

    def __init__(self, detector, *, keeps=True):
        self.callbacks = [unnamed(callback) for callback in detector.callbacks or ()]
        self.keeps = keeps
        found = [c for c in self.callbacks if keeps and isinstance(c, FitCheckpoint)]
        if len(found) > 1:
            raise ValueError(
                f"callbacks has {len(found)} FitCheckpoints, and a fit is kept in one "
                "file. Leave one."
            )
        self.checkpoint = found[0] if found else None
        self.detector = detector
        self.stored, self.seed = None, None
        self.inputs, self.trainings = {}, []
        self._last = 0, 0.0
        if found:
            self.checkpoint._check()
            self.stored = self.checkpoint._read()
        earlier = getattr(detector, "_trainings", None) if keeps else None
        self.warm = earlier is not None and (
            self.stored is None or self.stored["ended"]
        )
        if self.warm:
            self.stored = loads(earlier.tobytes(), "What the earlier fit kept")
        if earlier is not None:
            self.inputs["earlier_fit"] = fingerprint(earlier[np.newaxis])
        elif keeps and detector.warm_start and hasattr(detector, "_trainings"):
            warnings.warn(
                "There is nothing to go on from, as what was learned before is not "
                "from fit with warm_start=True. Training starts anew.",
                UserWarning,
                stacklevel=6,
            )
        # Processes that train together go on from what the first has.
        found = self.stored, self.warm, self.inputs
        self.stored, self.warm, self.inputs = current().agreed(found)

    @property
    def active(self):
        """Whether anything is kept."""
        return self.checkpoint is not None or (self.keeps and self.detector.warm_start)

    def draw_seed(self):
        """The seed of the fit: that of the one it goes on from, or a new one."""
        if self.stored is not None and not self.stored["ended"]:
            self.seed = self.stored["seed"]
        else:
            self.seed = current().agreed(draw_seed(self.detector.random_state))
        return self.seed

    def check(self, settings, device, X, groups, trained):
        """Refuse to go on with a fit of something else, before anything is trained.

        Parameters
        ----------
        settings : Settings
        device : torch.device
        X : ndarray of shape (n_rows, n_features)
        groups : RowGroups
        trained : ndarray of shape (n_trained, n_features)
            Rows of X that are trained on.
        """
        if not self.active:
            return
        detector = self.detector
        names = {"net_params": detector.net_params, **vars(settings), **settings.own}
        del names["own"]
        self.inputs |= {
            "skganomaly": __version__,
            "detector": type(detector).__name__,
            "device": device.type,
            "random_state": in_words(detector.random_state),
            "callbacks": [
                in_words(c) for c in self.callbacks if c is not self.checkpoint
            ],
            "X": fingerprint(X),
            "groups": fingerprint(groups.labels[np.newaxis]),
            "weights": None
            if groups.weights is None
            else fingerprint(groups.weights[np.newaxis]),
            "trained": fingerprint(trained),
            **{k: v for k, v in flat(names) if k.split("__")[0] not in _FREE},
        }
        others = [
            type(callback).__name__
            for callback in getattr(detector, "_skl_callbacks", ())
            # Its own watch, and end nothing.
            if not type(callback).__module__.startswith("sklearn.")
        ]
        if others:
            # By name alone, as what they hold is also that of fits before.
            self.inputs[_OTHERS] = others
        if self.stored is None:
            return
        differences = self._differences()
        if self.stored["ended"] and not self.warm:
            if differences or self.seed != self.stored["seed"]:
                self.stored = None
        elif differences and self.warm:
            raise ValueError(
                "warm_start=True goes on with the training of the earlier fit, and "
                f"that was another one: {differences}. Set it back, or begin anew with "
                "warm_start=False or sklearn.base.clone."
            )
        elif differences:
            raise ValueError(
                f"{self.checkpoint.path} is the checkpoint of another fit, which has "
                f"not ended: {differences}. Set it back to go on with that fit; remove "
                "the file, or choose another path, to begin anew."
            )

    def _differences(self):
        free = _GROWS | {"callbacks", _OTHERS, "earlier_fit"} if self.warm else set()
        then, now = self.stored["inputs"], self.inputs
        words = []
        for name in sorted({*then, *now} - free):
            if then.get(name) != now.get(name):
                was, is_ = then.get(name), now.get(name)
                words.append(_ROWS.get(name, f"{name} was {was!r} and is {is_!r}"))
        return "; ".join(words)

    # One training after the other.

    def begin(self, phase, max_steps):
        """What is kept of the next training, or None, and whether that is all of it."""
        self._last = 0, time.monotonic()
        if self.stored is None or len(self.trainings) >= len(self.stored["trainings"]):
            return None, False
        place = len(self.trainings)
        state, *later = self.stored["trainings"][place:]
        n_done = state["run"]["n_steps"]
        self._last = n_done, time.monotonic()
        if not self.warm:
            return state, state["complete"]
        # One of the same name comes after a training that was given up.
        given_up = bool(later) and later[0]["phase"] == phase
        if not given_up and n_done > max_steps:
            raise ValueError(
                f"{max_steps} steps of the {phase} are asked for, and {n_done} are "
                "done. With warm_start=True their number may only grow, or stay to "
                "have scores and threshold anew."
            )
        over = given_up or n_done == max_steps
        if not over:
            # What came after it was of other networks.
            self.stored = self.stored | {"trainings": self.stored["trainings"][:place]}
        return state, over

    def look(self, net):
        """Write the file if it is due."""
        checkpoint, (n_steps, since) = self.checkpoint, self._last
        if checkpoint is None:
            return
        steps, minutes = checkpoint.every_n_steps, checkpoint.every_minutes
        late = minutes is not None and time.monotonic() - since >= 60 * minutes
        if late or (steps is not None and net.n_steps_ - n_steps >= steps):
            trainings = [*self.trainings, _state_of(net, complete=False)]
            checkpoint._write(self._dumps(trainings))
            self._last = net.n_steps_, time.monotonic()

    def end(self, net):
        """Take in a training that has ended, before its networks are finished."""
        if self.active:
            self.trainings.append(_state_of(net, complete=not net.interrupted_))
            # One that was interrupted goes on from the file.
            if self.checkpoint is not None and not net.interrupted_:
                self.checkpoint._write(self._dumps(self.trainings))

    def end_fit(self):
        """Keep what a later fit goes on from."""
        complete = all(state["complete"] for state in self.trainings)
        if self.checkpoint is not None and complete:
            self.checkpoint._write(self._dumps(self.trainings, ended=True))
        if self.keeps and self.detector.warm_start:
            kept = self._dumps(self.trainings)
            self.detector._trainings = np.frombuffer(kept, dtype=np.uint8)

    def _dumps(self, trainings, *, ended=False):
        content = {"inputs": self.inputs, "seed": self.seed, "ended": ended}
        return dumps(content | {"trainings": trainings})

    def keeper(self, state, *, over):
        """A callback that brings a net to a state, and has its progress kept."""
        return _Keeper(self, state, over=over)


class _Keeper(Callback):
    """Has a net go on from a state, and tells :class:`Progress` of it.

    It is the last of the callbacks: those before it have seen what it puts in place
    or keeps.
    """

    def __init__(self, progress, state, *, over):
        self.progress = progress
        self.state = state
        self.over = over

    def prepare(self, net):
        """Put the epochs that were closed into the history, before any callback."""
        if self.state is not None:
            for row in self.state["history"]:
                if self.over or "n_steps" in row:
                    net.history.new_epoch()
                    net.history[-1].update(row)

    def on_epoch_begin(self, net, **kwargs):
        """Go on where the training was, in the middle of an epoch perhaps."""
        if self.state is not None:
            last = self.state["history"][-1]
            if "n_steps" not in last:
                net.history[-1].update(last)
            self.restore(net)

    def restore(self, net):
        """Bring the net, and the callbacks before this one, to the state."""
        state, self.state = self.state, None
        net.run_.load_state_dict(state["run"])
        net.loss_names_ = list(state["loss_names"])
        for name, callback in net.callbacks_:
            kept = state["callbacks"].get(name)
            ours = isinstance(callback, DiscriminatorRestart)
            # With warm_start callbacks are those of a new fit.
            if kept is not None and (ours or not self.progress.warm):
                _load_callback(callback, kept)

    def on_batch_end(self, net, **kwargs):
        """Write, if it is time."""
        self.progress.look(net)


def has_checkpoint(callbacks):
    """Whether one of a user's callbacks keeps the fit in a file."""
    return any(isinstance(unnamed(c), FitCheckpoint) for c in callbacks or ())


def position(state):
    """Steps that are done, and whether an epoch is open."""
    if state is None:
        return 0, False
    return state["run"]["n_steps"], "n_steps" not in state["history"][-1]


def _state_of(net, *, complete):
    """All that a net needs to go on, as tensors and plain values."""
    history = []
    for row in net.history:
        row = dict(row)
        # Those of an epoch that is over have been averaged.
        if "n_steps" in row:
            row["batches"] = []
        try:
            history.append(plain(row))
        except TypeError as error:
            raise TypeError(
                f"A callback recorded in the history what no checkpoint can hold: "
                f"{error}. Record numbers or text."
            ) from None
    return {
        "phase": net.phase,
        "complete": complete,
        "run": net.run_.state_dict(),
        "history": history,
        "loss_names": list(net.loss_names_),
        "callbacks": {
            name: _state_of_callback(callback)
            for name, callback in net.callbacks_
            if not isinstance(callback, (*_NO_STATE, FitCheckpoint, _Keeper))
        },
    }


def _state_of_callback(callback):
    if hasattr(callback, "state_dict"):
        return {"own": plain(callback.state_dict())}
    values, objects = {}, {}
    for name, value in vars(callback).items():
        try:
            if hasattr(value, "load_state_dict"):
                objects[name] = plain(value.state_dict())
            else:
                values[name] = plain(value)
        except TypeError:
            # Such as a writer of logs, which the new process opens itself.
            continue
    return {"values": values, "objects": objects}


def _load_callback(callback, state):
    if "own" in state:
        callback.load_state_dict(state["own"])
        return
    vars(callback).update(state["values"])
    for name, value in state["objects"].items():
        # Made as a training begins, which one that is over does not.
        if hasattr(getattr(callback, name, None), "load_state_dict"):
            getattr(callback, name).load_state_dict(value)
