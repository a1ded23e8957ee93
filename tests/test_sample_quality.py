"""Tests of what compares generated rows with the data."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skganomaly import AnoGANDetector
from skganomaly import _anogan as anogan_module
from skganomaly._sample_quality import N_SAMPLES, compare_samples, n_compared


def test_compare_samples():
    """Mean distances between rows, as NumPy has them, in units of the data's."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 2, 3))
    samples = np.stack([rng.normal(size=(20, 2, 3)), 5 + rng.normal(size=(20, 2, 3))])

    def mean_distance(a, b):
        a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)
        distances = np.linalg.norm(a[:, None] - b, axis=2)
        return distances[distances > 0].mean()

    unit = mean_distance(rows, rows)
    expected = [
        (
            mean_distance(made, made) / unit,
            (2 * mean_distance(made, rows) - mean_distance(made, made)) / unit - 1,
        )
        for made in samples
    ]
    found = compare_samples(torch.from_numpy(samples), torch.from_numpy(rows))
    spread, apart = np.transpose(expected)
    assert_allclose(found["diversity"], spread, atol=1e-4)
    assert_allclose(found["distance"], apart, atol=1e-4)
    assert found["distance"][0] < 0.1 < 1 < found["distance"][1]
    one_row = torch.full((2, 20, 6), 1e3)
    constant = compare_samples(one_row, torch.ones(30, 6))
    assert constant == {"diversity": [1.0, 1.0], "distance": [0.0, 0.0]}
    assert compare_samples(one_row, torch.eye(6))["diversity"] == [0.0, 0.0]


def test_far_samples_lose_no_precision():
    """Samples that have all but collapsed, far from the origin, keep their figures."""
    rng = np.random.default_rng(0)
    rows, noise = rng.normal(size=(2, 40, 500))
    found = compare_samples(
        torch.from_numpy((1e4 + 1e-2 * noise)[None]), torch.from_numpy(rows + 1e4)
    )
    assert_allclose(found["diversity"], [0.01], atol=2e-4)


def test_comparing_costs_the_same_whatever_the_width():
    """Pairs times values are bounded, and ordinary rows are all compared."""
    assert n_compared(1) == n_compared(2048) == N_SAMPLES
    most = N_SAMPLES**2 * 2048
    for width in (2049, 3 * 96 * 128, 100_000):
        assert n_compared(width) ** 2 * width <= most
        assert n_compared(width) >= 64
    assert n_compared(10**9) == 64


def test_fewer_rows_have_nearly_the_same_figures():
    """Distances between wide rows are alike, so a share of them says as much."""
    generator = torch.Generator().manual_seed(0)

    def draw(n_rows, scale):
        factors = torch.randn(n_rows, 8, generator=generator) * scale
        noise = 0.1 * torch.randn(n_rows, 4000, generator=generator)
        return factors @ mixing + noise

    mixing = torch.randn(8, 4000, generator=generator) / 8**0.5
    rows = draw(N_SAMPLES, 1.0)
    samples = torch.stack([draw(N_SAMPLES, 1.0), draw(N_SAMPLES, 0.6)])
    whole, n_rows = compare_samples(samples, rows), n_compared(40_000)
    some = compare_samples(samples[:, :n_rows], rows[:n_rows])
    for name in ("diversity", "distance"):
        assert_allclose(some[name], whole[name], atol=0.08)


@pytest.mark.parametrize("n_used", [64, 300])
def test_what_is_compared_does_not_seed_the_encoder(small, images, monkeypatch, n_used):
    """The rest of the training is the same however many samples are looked at."""
    first = small(AnoGANDetector, conv=True).fit(images)
    monkeypatch.setattr(anogan_module, "n_compared", lambda width: n_used)
    second = small(AnoGANDetector, conv=True).fit(images)
    np.testing.assert_array_equal(
        first.anomaly_score(images), second.anomaly_score(images)
    )
