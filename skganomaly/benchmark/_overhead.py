"""What the estimator's training costs beside the same steps in a bare loop."""

import time

import numpy as np
import torch

from .. import GANomalyDetector


def measure_overhead(n_samples=10_000, n_features=30, *, n_steps=300, n_repeats=7):
    """Compare the estimator's training with a plain torch loop, step for step.

    Both train the same networks on the same rows with the same losses and optimisers,
    one after the other and in turn, so that a change of the machine's speed meets
    both. The plain loop draws its batches by slicing a permutation, and records
    nothing.

    Parameters
    ----------
    n_samples, n_features : int
        Size of the generated table.
    n_steps : int, default=300
        Optimiser steps of one training.
    n_repeats : int, default=7
        Pairs of trainings.

    Returns
    -------
    dict
        "estimator_ms" and "loop_ms", median CPU milliseconds per step, and "ratio",
        the median of the ratios pair by pair.
    """
    X = np.random.default_rng(0).normal(size=(n_samples, n_features))
    pairs = []
    # The first pair warms up allocators and caches, and is not counted.
    for _ in range(n_repeats + 1):
        detector = _TimedDetector(max_steps=n_steps, random_state=0).fit(X)
        pairs.append((detector.train_seconds, _plain_loop(detector, X, n_steps)))
    estimator, loop = np.array(pairs[1:]).T
    return {
        "estimator_ms": float(1e3 * np.median(estimator) / n_steps),
        "loop_ms": float(1e3 * np.median(loop) / n_steps),
        "ratio": float(np.median(estimator / loop)),
    }


class _TimedDetector(GANomalyDetector):
    """Notes the CPU seconds of the training alone, without scores and threshold."""

    def _train(self, X, generator):
        start = time.process_time()
        super()._train(X, generator)
        self.train_seconds = time.process_time() - start


def _plain_loop(detector, X, n_steps):
    """CPU seconds of the training of a fitted detector, written out by hand."""
    generator = torch.Generator().manual_seed(0)
    networks = detector._new_networks(generator)
    objective, noise = detector._objective(), detector._noise_scale()
    batch_size, n_members = detector.batch_size, detector.n_members_
    start = time.process_time()
    rows = torch.from_numpy(detector.scaler_.transform(X))
    players = {
        name: (
            list(network.parameters()),
            torch.optim.Adam(
                network.parameters(), detector.learning_rate, (0.9, 0.999), fused=True
            ),
        )
        for name, network in networks.items()
    }
    orders, begin = None, len(rows)
    for _ in range(n_steps):
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
        generator_terms, discriminator_terms = objective(
            networks["generator"], networks["discriminator"], x, noisy
        )
        for name, terms in (
            ("discriminator", discriminator_terms),
            ("generator", generator_terms),
        ):
            parameters, optimizer = players[name]
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward(
                inputs=parameters, retain_graph=name == "discriminator"
            )
        for _, optimizer in players.values():
            optimizer.step()
    return time.process_time() - start
