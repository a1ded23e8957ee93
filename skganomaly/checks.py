"""Checks of what users write: a detector, an architecture.

They raise AssertionError, or what the thing itself raises, in words that say what to
mend; see :ref:`own-detector`.
"""

from __future__ import annotations

import copy
import os
import pickle
import random
import tempfile
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import clone

from ._models._networks import build_members
from ._process import own_settings
from ._saving import load, save
from .architectures import check_network

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Literal

    from .base import BaseDetector

__all__ = ["check_architecture", "check_detector"]

_N_STEPS = 3


def check_detector(
    detector: BaseDetector,
    *,
    kinds: Sequence[Literal["rows", "maps"]] = ("rows", "maps"),
    trusted: Sequence[Any] = (),
) -> None:
    """Check that a detector keeps the promises of this package.

    It is fitted to a small table and to small images for a few steps, with and without
    ``sample_weight``, by ``fit`` and by ``partial_fit``, and saved. For scikit-learn's
    conventions, use :func:`~sklearn.utils.estimator_checks.check_estimator` beside it.

    Parameters
    ----------
    detector : BaseDetector
        Unfitted; copies of it are used.
    kinds : sequence of {"rows", "maps"}, default=("rows", "maps")
        What it is for: tables, images and windows, or both.
    trusted : sequence of classes, functions or their names, default=()
        What of yours its file names beside the class of the detector, as for
        :func:`skganomaly.save`.

    Raises
    ------
    AssertionError
        If scores depend on anything but the row and the seed, a global generator was
        moved, the method returns what it should not, a failed fit left something
        behind, ``partial_fit`` begins anew, or rows of weight 0 matter.
    TypeError
        If it cannot be saved.

    Examples
    --------
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.checks import check_detector
    >>> check_detector(AutoencoderDetector())
    """
    for kind in kinds:
        shape = (4,) if kind == "rows" else (1, 8, 8)
        X = np.random.RandomState(0).normal(size=(70, *shape))
        short = clone(detector).set_params(max_steps=_N_STEPS, random_state=0)
        with own_settings():
            _check_fit(short, X, trusted)


def _check_fit(detector, X, trusted):
    before = _global_states()
    fitted = _fit(detector, X)
    moved = [name for name, state in before.items() if state != _global_states()[name]]
    assert not moved, (
        f"fit moved the global generator of {' and '.join(moved)}. Draw from the "
        "generator that losses are handed as `random`, as in torch.randn(..., "
        "generator=random, device=x.device), and build all networks with `build`."
    )
    _check_method(fitted, X)
    _check_scores(fitted, detector, X)
    _check_file(fitted, X, trusted)
    _check_refit(fitted, X)
    _check_weights(detector, X)
    _check_pieces(detector, X)


def _fit(detector, X, **options):
    # So few steps are too few, and a fit rightly says so.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return clone(detector).fit(X, **options)


def _go_on(detector, X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return detector.partial_fit(X)


def _global_states():
    return {
        "Python": random.getstate(),
        # The legacy state, as that is the global one.
        "NumPy": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


def _check_method(detector, X):
    """What the method returns, on the networks that were trained."""
    model, settings = detector.model_, detector.settings_
    method, name = model.method, type(model.method).__name__
    rows, x = next(model.chunks(X.reshape(len(X), -1)))
    n_members, n_rows = x.shape[:2]
    parts = model.parts(x, method.part_names)
    for part, value in parts.items():
        assert torch.isfinite(value).all(), f"{name}.parts: {part!r} is not finite."
    expected = {
        "encode": (n_members, n_rows, settings.latent_dim),
        "reconstruct": tuple(x.shape),
    }
    for what, shape in expected.items():
        if method.can(what):
            found = tuple(getattr(model, what)(x).shape)
            assert found == shape, f"{name}.{what} returned {found}, not {shape}."
    if method.can("decode"):
        codes = torch.zeros(n_members, n_rows, settings.latent_dim)
        found = tuple(model.decode(codes.to(x.device)).shape)
        assert found == tuple(x.shape), (
            f"{name}.decode returned {found}, not {x.shape}."
        )
        assert np.shape(detector.sample(3, random_state=0))[0] == 3
    _check_losses(copy.deepcopy(method), x[:, : len(rows)], name)


def _check_losses(method, x, name):
    """Terms move the player that they are for; the fit has seen to their shape."""
    players = method.players()
    for player in players.values():
        player.train().requires_grad_(True)
    source = torch.Generator(x.device).manual_seed(0)
    for step in range(_N_STEPS):
        phase = method.phase(step)
        losses = method.losses(x, x, phase, source)
        for player in phase.players:
            total = sum(value.sum() for value in losses[player].values())
            gradients = torch.autograd.grad(
                total,
                list(players[player].parameters()),
                retain_graph=True,
                allow_unused=True,
            )
            assert any(g is not None and g.any() for g in gradients), (
                f"{name}.losses for the {player} do not depend on its networks."
            )


def _check_scores(fitted, detector, X):
    """Equal to the last bit for equal seeds, in any company, and after a pickle."""
    scores = fitted.anomaly_score(X)
    assert np.isfinite(scores).all(), "Scores are not finite."
    order = np.random.RandomState(1).permutation(len(X))
    alone = np.concatenate([fitted.anomaly_score(X[i : i + 1]) for i in range(3)])
    others = {
        "of another fit with the same seed": _fit(detector, X).anomaly_score(X),
        "after a pickle": pickle.loads(pickle.dumps(fitted)).anomaly_score(X),
        "in another order": fitted.anomaly_score(X[order])[np.argsort(order)],
        "alone": np.concatenate([alone, scores[3:]]),
    }
    _compare(scores, others)
    assert np.array_equal(fitted.predict(X) == -1, scores > fitted.threshold_)


def _compare(scores, others):
    for when, found in others.items():
        assert np.array_equal(scores, found), (
            f"Scores {when} differ, by up to {np.abs(scores - found).max():g}."
        )


def _check_file(fitted, X, trusted):
    """What is loaded scores the same."""
    trusted = [type(fitted), *trusted]
    ours = type(fitted.architecture).__module__.startswith("skganomaly.")
    given = ours or isinstance(fitted.architecture, str)
    architecture = None if given else fitted.architecture
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "detector.skganomaly")
        save(fitted, path, trusted=trusted)
        loaded = load(path, trusted=trusted, architecture=architecture)
    _compare(fitted.anomaly_score(X), {"after save": loaded.anomaly_score(X)})


def _check_weights(detector, X):
    """A row of weight 0 is as good as absent, and only ratios of weights matter."""
    weights = np.arange(len(X)) % 3.0
    some = weights > 0
    fits = {
        "with weights four times as large": (X, 4 * weights),
        "without the rows of weight 0": (X[some], weights[some]),
    }
    _compare(
        _fit(detector, X, sample_weight=weights).anomaly_score(X),
        {
            when: _fit(detector, rows, sample_weight=given).anomaly_score(X)
            for when, (rows, given) in fits.items()
        },
    )


def _check_pieces(detector, X):
    """Networks go on from piece to piece, and a piece that fails changes nothing."""
    half = len(X) // 2
    fitted = _go_on(clone(detector), X[:half])
    scores = fitted.anomaly_score(X)
    again = _go_on(clone(detector), X[:half])
    try:
        again.partial_fit(np.full_like(X, np.nan))
    except ValueError:
        found = {"after a partial_fit that failed": again.anomaly_score(X)}
        _compare(scores, found)
    else:
        raise AssertionError("partial_fit took rows of NaN without a word.")
    before = copy.deepcopy(fitted.model_.method)
    # So small that networks which go on stay where they are.
    _go_on(fitted.set_params(learning_rate=1e-12), X[half:])
    moved = min(
        float((value - before.generator.get_parameter(name)).abs().max())
        for name, value in fitted.model_.method.generator.named_parameters()
    )
    assert moved < 1e-6, (
        f"partial_fit begins anew: all of the generator moved, by {moved:g} at least, "
        "at a learning_rate of 1e-12. Have _train take the method from trainer.build, "
        "which has the networks of the piece before."
    )
    assert np.isfinite(fitted.anomaly_score(X)).all(), (
        "Scores after partial_fit are not finite."
    )


def _check_refit(fitted, X):
    """A fit that fails leaves nothing behind."""
    kept = set(clone(fitted).__dict__)
    try:
        fitted.fit(np.full_like(X, np.nan))
    except ValueError:
        left = {name for name in vars(fitted) if name not in kept}
        left = {name for name in left if name.endswith("_") or name.startswith("_")}
        assert not left, f"A failed fit left {sorted(left)} behind."
    else:
        raise AssertionError("fit took rows of NaN without a word.")


def check_architecture(
    architecture: Any,
    *,
    input_shape: tuple[int, ...],
    latent_dim: int = 8,
    discriminator: bool | None = None,
) -> None:
    """Check that an architecture builds networks that a detector can use.

    Parameters
    ----------
    architecture : object
        See :mod:`skganomaly.architectures`.
    input_shape : tuple of int
        Shape of one row, channels first.
    latent_dim : int, default=8
        Width of the codes.
    discriminator : bool or None, default=None
        Whether it has to have one; None takes it if it is there.

    Raises
    ------
    ValueError, TypeError
        If a network is missing, fails on two rows, or returns another shape.
    AssertionError
        If weights do not follow from the seed alone, or a global generator was moved.

    Examples
    --------
    >>> from skganomaly.architectures import ConvNet
    >>> from skganomaly.checks import check_architecture
    >>> check_architecture(ConvNet(), input_shape=(3, 17, 20))
    """
    before = _global_states()
    for name, sizes in _networks(architecture, input_shape, latent_dim, discriminator):
        factory = getattr(architecture, name, None)
        if factory is None:
            raise TypeError(f"{architecture!r} has no method {name}.")

        def build(seed, factory=factory, name=name, sizes=sizes):
            return build_members(
                lambda: factory(*sizes),
                2,
                torch.Generator().manual_seed(seed),
                getattr(architecture, "initialize", None),
                lambda net: check_network(name, input_shape, latent_dim, net),
            )

        with own_settings():
            first, second = build(0).state_dict(), build(0).state_dict()
        for key, value in first.items():
            assert torch.equal(value, second[key]), (
                f"Two networks {name} of one seed differ in {key}. Draw weights in "
                "initialize(network, generator), or with torch's default generator."
            )
    moved = [name for name, state in before.items() if state != _global_states()[name]]
    assert not moved, f"Building networks moved the global generator of {moved}."
    copy.deepcopy(architecture)


def _networks(
    architecture: Any,
    input_shape: tuple[int, ...],
    latent_dim: int,
    discriminator: bool | None,
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    yield "encoder", (input_shape, latent_dim)
    yield "decoder", (latent_dim, input_shape)
    if discriminator is None:
        discriminator = hasattr(architecture, "discriminator")
    if discriminator:
        yield "discriminator", (input_shape,)
