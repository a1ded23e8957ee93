"""The seed decides everything, and nothing else does."""

import random
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, clone
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._models._networks import Discriminator
from skganomaly.adversaries import Logistic
from skganomaly.searches import GradientSearch, NearestSearch

DETECTORS = [
    pytest.param(cls, params, id=f"{cls.__name__}-{name}")
    for cls in (GANomalyDetector, AutoencoderDetector)
    for name, params in {
        "rows": {},
        "joint": {"score_type": "joint", "max_references": 100},
        "held out": {"validation_fraction": 0.3},
        "conv": {"conv": True, "input_shape": (1, 4), "n_members": 2},
        "noisy conv": {"conv": True, "input_shape": (1, 4), "input_noise": 0.5},
        "one member": {"n_members": 1, "input_noise": 0},
    }.items()
] + [
    pytest.param(AnoGANDetector, params, id=f"AnoGANDetector-{name}")
    for name, params in {
        "encoder": {},
        "gradient": {"search": GradientSearch(n_steps=3)},
        "nearest": {"search": NearestSearch(n_candidates=50, n_steps=3)},
        "logistic": {"adversary": Logistic(penalty=1.0)},
        "conv": {"conv": True, "input_shape": (1, 4), "n_members": 2},
    }.items()
]


class Plain(BaseEstimator):
    """An architecture that leaves the weights to torch: it has no ``initialize``."""

    def encoder(self, input_shape, latent_dim):
        """One layer."""
        return nn.Linear(input_shape[0], latent_dim)

    def decoder(self, latent_dim, input_shape):
        """One layer and its mirror."""
        return nn.Sequential(nn.Linear(latent_dim, 4), nn.Linear(4, input_shape[0]))

    def discriminator(self, input_shape):
        """One hidden layer."""
        features = nn.Sequential(nn.Linear(input_shape[0], 6), nn.Tanh())
        return Discriminator(features, nn.Linear(6, 1))


class FromOutside:
    """The same with no base class at all, and a discriminator of its own."""

    def encoder(self, input_shape, latent_dim):
        """One layer."""
        return nn.Linear(input_shape[0], latent_dim)

    decoder = Plain.decoder

    def discriminator(self, input_shape):
        """A module that returns logits and features, without our class."""
        return _Judge(input_shape[0])


class _Judge(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = nn.Linear(width, 6)
        self.second = nn.Linear(6, 1)

    def forward(self, x):
        features = self.first(x).relu()
        return self.second(features).squeeze(-1), features


@pytest.mark.parametrize(("cls", "params"), DETECTORS)
def test_same_seed_same_scores(small, cls, params, table, new_rows):
    """Two fits with one seed agree in every bit, two seeds do not."""
    fits = [small(cls, random_state=s, **params).fit(table) for s in (7, 7, 8)]
    scores = [detector.score_samples(new_rows) for detector in fits]
    assert_array_equal(scores[0], scores[1])
    assert fits[0].offset_ == fits[1].offset_
    assert (scores[0] != scores[2]).mean() > 0.9
    losses = [
        [{k: v for k, v in row.items() if k != "dur"} for row in detector.history_]
        for detector in fits
    ]
    assert losses[0] == losses[1] != losses[2]


def test_none_varies(small, table):
    """Without a seed each fit differs, and no global generator is drawn from."""
    detector = small(random_state=None)
    first = detector.fit(table).score_samples(table)
    second = detector.fit(table).score_samples(table)
    other = small(random_state=None).fit(table).score_samples(table)
    for scores in (second, other):
        assert (scores != first).mean() > 0.9


def test_random_state_instance(small, table):
    """An instance advances with each fit; equal instances give equal fits."""
    shared = np.random.RandomState(3)
    first, second = (
        small(random_state=shared).fit(table).score_samples(table) for _ in range(2)
    )
    assert not np.array_equal(first, second)
    again = small(random_state=np.random.RandomState(3)).fit(table)
    assert_array_equal(again.score_samples(table), first)


def test_refit_and_clone(small, table, new_rows):
    """Fitting again is as if it were the first time; so is a clone's fit."""
    detector = small(random_state=5)
    first = detector.fit(table).score_samples(new_rows)
    detector.fit(new_rows)
    assert_array_equal(detector.fit(table).score_samples(new_rows), first)
    assert_array_equal(clone(detector).fit(table).score_samples(new_rows), first)


def test_global_seeds_do_not_matter(small, table):
    """What the process-wide generators are at has no influence."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    scores = []
    try:
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            for architecture in (None, Plain()):
                params = {"architecture": architecture} if architecture else {}
                scores.append(small(**params).fit(table).score_samples(table))
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
    assert_array_equal(scores[0], scores[2])
    assert_array_equal(scores[1], scores[3])


@pytest.mark.parametrize("architecture", [Plain(), FromOutside()])
@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_architecture_without_initialize(small, cls, architecture, table, new_rows):
    """Networks that draw their own weights are seeded as well, each differently."""
    fits = [
        small(cls, architecture=architecture, random_state=s, max_steps=3).fit(table)
        for s in (0, 0, 1)
    ]
    scores = [detector.score_samples(new_rows) for detector in fits]
    assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).mean() > 0.9
    codes = fits[0].encode(new_rows).reshape(200, 4, -1)
    for k in range(1, 4):
        assert not np.allclose(codes[:, 0], codes[:, k])


@pytest.mark.parametrize("architecture", [None, Plain()])
def test_members_differ(small, architecture, table):
    """Members have weights and orders of rows of their own."""
    params = {"architecture": architecture} if architecture else {}
    detector = small(n_members=3, input_noise=0, **params).fit(table)
    codes = detector.encode(table).reshape(300, 3, -1)
    assert not np.allclose(codes[:, 0], codes[:, 1])
    assert not np.allclose(codes[:, 1], codes[:, 2])


@pytest.mark.parametrize("architecture", [None, Plain()])
def test_fits_in_threads(small, architecture, table):
    """Fits that run at the same time in threads do not disturb each other."""
    params = {"architecture": architecture} if architecture else {}
    expected = [
        small(random_state=s, **params).fit(table).score_samples(table)
        for s in range(4)
    ]
    scores = [None] * 4

    def fit(seed):
        detector = small(random_state=seed, **params)
        scores[seed] = detector.fit(table).score_samples(table)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        assert_array_equal(scores[seed], expected[seed])
