"""What our training costs: above the floor, and beside the ways of others."""

import time
import warnings

import numpy as np
import torch
from skorch.callbacks import Callback

from .. import GANomalyDetector
from ._floor import Floor
from ._loops import BareStep, bare_loop, original_loop, stock_loop

__all__ = ["compared", "make_rows", "measure_training", "take_turns"]

# Each weight, its gradient and its two moments, in single precision, read and written.
_BYTES_OF_A_WEIGHT = 4 * 2 * 4


class TrainingTime(Callback):
    """CPU seconds of a training alone, without scores and threshold."""

    def initialize(self):
        """Start the clock before the optimisers are made."""
        self.seconds_ = -time.process_time()
        return self

    def on_train_end(self, net, **kwargs):
        """Stop the clock."""
        self.seconds_ += time.process_time()


def make_rows(n_rows, n_columns, seed=0, *, independent=False):
    """Gaussian rows of five hidden causes and noise, as tables are; or of noise."""
    mixing = np.random.default_rng(0).normal(size=(5, n_columns))
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, n_columns))
    if not independent:
        rows += 3 * rng.normal(size=(n_rows, 5)) @ mixing
    return rows


def take_turns(functions, n_repeats):
    """CPU seconds of functions that return these, one after the other and in turn.

    So a change of the machine's speed meets all of them. The first turn warms up
    allocators and caches, and is not counted.

    Parameters
    ----------
    functions : dict of str to callable
    n_repeats : int

    Returns
    -------
    dict of str to ndarray of shape (n_repeats,)
    """
    turns = [
        {name: function() for name, function in functions.items()}
        for _ in range(n_repeats + 1)
    ]
    return {name: np.array([turn[name] for turn in turns[1:]]) for name in functions}


def compared(seconds, reference, n_units, unit):
    """One row of figures for each function, with its ratios turn by turn.

    Parameters
    ----------
    seconds : dict of str to ndarray
        Of :func:`take_turns`.
    reference : str
        The function whose seconds the others are divided by.
    n_units : int
        Steps or rows of a turn.
    unit : {"ms", "us"}

    Returns
    -------
    list of dict
        "what", ``unit``, and "ratio", "least" and "most", the median and the range.
    """
    scale = {"ms": 1e3, "us": 1e6}[unit] / n_units
    rows = []
    for name, times in seconds.items():
        ratios = times / seconds[reference]
        rows.append(
            {
                "what": name,
                unit: scale * np.median(times),
                "ratio": np.median(ratios),
                "least": ratios.min(),
                "most": ratios.max(),
            }
        )
    return rows


def measure_training(X, *, n_steps, n_repeats, machine, input_shape=None):
    """Compare the estimator's training with the floor and with the ways of others.

    All train networks of the same sizes on the same rows with the same losses.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
    n_steps : int
        Optimiser steps of one training.
    n_repeats : int
        Trainings of each.
    machine : Machine
    input_shape : tuple of int or None, default=None

    Returns
    -------
    floor : Floor
        Of one step.
    rows : list of dict
        See :func:`compared`; ratios to the estimator's training.
    """

    def fit(**params):
        detector = GANomalyDetector(
            max_steps=n_steps,
            input_shape=input_shape,
            callbacks=[("clock", TrainingTime())],
            device="cpu",
            random_state=0,
            **params,
        )
        with warnings.catch_warnings():
            # Of so few steps.
            warnings.simplefilter("ignore")
            return detector.fit(X)

    def estimator():
        return dict(fit().net_.callbacks_)["clock"].seconds_

    detector, single = fit(), fit(n_members=1)
    n_members = detector.settings_.n_members
    rows = torch.from_numpy(detector.model_.scaling.transform(X))
    seconds = take_turns(
        {
            "estimator": estimator,
            "bare loop": lambda: bare_loop(detector, rows, n_steps),
            "stock skorch loop": lambda: stock_loop(detector, rows, n_steps),
            "stock skorch loop, a net a member": lambda: stock_loop(
                single, rows, n_steps * n_members
            ),
            "original-style step": lambda: original_loop(detector, rows, n_steps),
        },
        n_repeats,
    )
    return _floor_of_step(detector, rows, machine), compared(
        seconds, "estimator", n_steps, "ms"
    )


def _floor_of_step(detector, rows, machine):
    step = BareStep(detector.model_.method)
    x = rows[: detector.settings_.batch_size]
    x = x.expand(detector.settings_.n_members, *x.shape)
    n_weights = sum(
        parameter.numel()
        for network in step.players.values()
        for parameter in network.parameters()
    )
    n_bytes = x.nbytes + _BYTES_OF_A_WEIGHT * n_weights
    return Floor(machine, lambda: step(x, x), n_bytes)
