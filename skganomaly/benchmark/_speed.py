"""What the estimator's training costs beside the same steps in a bare loop."""

import copy
import time

import numpy as np
import torch
from skorch.callbacks import Callback

from .. import GANomalyDetector


class TrainingTime(Callback):
    """CPU seconds of a training alone, without scores and threshold."""

    def initialize(self):
        """Start the clock before the optimisers are made."""
        self.seconds_ = -time.process_time()
        return self

    def on_train_end(self, net, **kwargs):
        """Stop the clock."""
        self.seconds_ += time.process_time()


def measure_speed(n_samples, n_features, *, n_steps, n_repeats):
    """Compare the estimator's training with a plain torch loop, step for step.

    Both train the same networks on the same rows with the same losses and optimisers,
    one after the other and in turn, so that a change of the machine's speed meets
    both. The plain loop draws its batches by slicing a permutation, and records
    nothing.

    Parameters
    ----------
    n_samples, n_features : int
        Size of the generated table.
    n_steps : int
        Optimiser steps of one training.
    n_repeats : int
        Pairs of trainings.

    Returns
    -------
    dict
        "estimator_ms" and "loop_ms", median CPU milliseconds per step, and "ratio",
        the median of the ratios pair by pair.
    """
    X = np.random.default_rng(0).normal(size=(n_samples, n_features))
    clock = ("clock", TrainingTime())
    pairs = []
    # The first pair warms up allocators and caches, and is not counted.
    for _ in range(n_repeats + 1):
        detector = GANomalyDetector(
            max_steps=n_steps, callbacks=[clock], device="cpu", random_state=0
        ).fit(X)
        seconds = dict(detector.net_.callbacks_)["clock"].seconds_
        pairs.append((seconds, _plain_loop(detector, X, n_steps)))
    estimator, loop = np.array(pairs[1:]).T
    return {
        "estimator_ms": float(1e3 * np.median(estimator) / n_steps),
        "loop_ms": float(1e3 * np.median(loop) / n_steps),
        "ratio": float(np.median(estimator / loop)),
    }


def _plain_loop(detector, X, n_steps):
    """CPU seconds of the training of a fitted detector, written out by hand."""
    generator = torch.Generator().manual_seed(0)
    model, settings = copy.deepcopy(detector.model_), detector.settings_
    method, noise = model.method, detector.net_.noise
    batch_size, n_members = settings.batch_size, settings.n_members
    start = time.process_time()
    rows = torch.from_numpy(model.scaling.transform(X))
    players, optimizers = method.players(), {}
    for name, network in players.items():
        parameters = list(network.train().requires_grad_(True).parameters())
        optimizers[name] = torch.optim.Adam(
            parameters, settings.learning_rate, (0.9, 0.999), fused=True
        )
    orders, begin = None, len(rows)
    for step in range(n_steps):
        if begin + batch_size > len(rows):
            orders = torch.stack(
                [
                    torch.randperm(len(rows), generator=generator)
                    for _ in range(n_members)
                ]
            )
            begin = 0
        x = rows[orders[:, begin : begin + batch_size]]
        begin += batch_size
        noisy = x + noise * torch.randn(x.shape, generator=generator)
        losses = method.losses(x, noisy, method.phase(step), generator)
        for name in ("discriminator", "generator"):
            optimizers[name].zero_grad()
            torch.stack(list(losses[name].values())).sum().backward(
                inputs=list(players[name].parameters()),
                retain_graph=name == "discriminator",
            )
        for optimizer in optimizers.values():
            optimizer.step()
    return time.process_time() - start
