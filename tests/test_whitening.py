"""Tests of whitening against NumPy, and of what rows of many columns cost."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._models import _whitening as whitening_module
from skganomaly._models._scoring import JointScoring
from skganomaly._models._whitening import (
    CodeDistribution,
    Squash,
    Whitening,
    shrinkage_for,
)


def correlated(n_rows, width, seed=0, n_members=2):
    """Rows with a few strong factors, columns of unlike scales, and an offset."""
    mixing = np.random.default_rng(99).normal(size=(n_members, 5, width))
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_members, n_rows, 5)) @ mixing
    rows = (rows + rng.normal(size=rows.shape)) * np.geomspace(0.1, 10, width) + 3
    return torch.from_numpy(rows).float()


@pytest.fixture
def always_in_span(monkeypatch):
    """Let narrow rows be whitened like wide ones."""
    monkeypatch.setattr(whitening_module, "_MANY_COLUMNS", 1)


def ordinary_and_equal_rows():
    """Few rows of more columns: ordinary ones, and such as span less."""
    rows = correlated(20, 100)
    constant = rows.clone()
    constant[:, :, 7] = 2.0
    return {"rows": rows, "twice": rows.repeat(1, 2, 1), "constant": constant}


@pytest.mark.parametrize("name", ordinary_and_equal_rows())
def test_distances_in_the_span_are_mahalanobis(name, always_in_span):
    """Distances between whitened rows, and norms, are those of the covariance."""
    rows, new = ordinary_and_equal_rows()[name], correlated(9, 100, seed=1)
    whitening = Whitening().fit(rows)
    assert not hasattr(whitening, "matrix")
    found = whitening(new).double().numpy()
    share = shrinkage_for(*rows.shape[1:])
    for k, (seen, x) in enumerate(
        zip(rows.double().numpy(), new.double().numpy(), strict=True)
    ):
        centred = seen - seen.mean(axis=0)
        variance = centred.var(axis=0)
        scale = np.sqrt(np.maximum(variance, 1e-3 * variance.mean()))
        standard = centred / scale
        shrunk = (1 - share) * standard.T @ standard / len(seen)
        shrunk += share * np.eye(len(scale))
        inverse = np.linalg.inv(shrunk)
        z = (x - seen.mean(axis=0)) / scale
        assert_allclose(
            cdist(found[k], found[k]),
            cdist(z, z, "mahalanobis", VI=inverse),
            rtol=1e-4,
            atol=1e-4,
        )
        assert_allclose(
            np.square(found[k]).sum(axis=1),
            np.einsum("ij,jk,ik->i", z, inverse, z),
            rtol=1e-4,
        )


def test_joint_score_is_the_same_in_either_form(monkeypatch):
    """So are its leave-one-out scores."""
    parts = {"a": correlated(20, 100)}
    new, own = {"a": correlated(9, 100, seed=1)}, torch.full((9,), -1)
    scores = []
    for many_columns in (1000, 1):
        monkeypatch.setattr(whitening_module, "_MANY_COLUMNS", many_columns)
        score = JointScoring(["a"]).fit(parts)
        rows = torch.arange(parts["a"].shape[1])
        honest, _ = score.reference_scores(parts, rows, rows)
        scores.append((score(new, own), honest))
    for matrix, span in zip(*scores, strict=True):
        assert_allclose(span, matrix, rtol=1e-4)


def test_memory_is_linear_in_the_columns():
    """Few rows of many columns leave no square matrix; other rows do as before."""
    rows = correlated(20, 3000)
    state = Whitening().fit(rows).state_dict()
    assert sum(array.numel() for array in state.values()) < 1.5 * rows.numel()
    for shape in ((60, 100), (20, 100)):
        assert Whitening().fit(correlated(*shape)).state_dict().keys() == {
            "mean",
            "matrix",
        }


def test_fitting_again_forgets_the_other_form():
    """Wide rows after narrow ones, and the other way round."""
    narrow, wide = correlated(20, 100), correlated(20, 1100)
    for first, second in ((narrow, wide), (wide, narrow)):
        again = Whitening().fit(first).fit(second)
        assert_array_equal(again(second), Whitening().fit(second)(second))
        assert again.state_dict().keys() == Whitening().fit(second).state_dict().keys()


@pytest.mark.parametrize("score_type", ["local", "joint"])
@pytest.mark.parametrize("n_features", [1100, 6000])
def test_wide_rows_in_any_company(small, n_features, score_type):
    """Order, subset and a row alone change nothing; gradients are numbers."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, n_features))
    detector = small(score_type=score_type, n_members=2, latent_dim=4, max_steps=3)
    detector.fit(X)
    rows = np.vstack([rng.normal(size=(30, n_features)), X])
    together = detector.anomaly_score(rows)
    assert len(np.unique(together)) > 50
    order = rng.permutation(54)
    assert_array_equal(detector.anomaly_score(rows[order]), together[order])
    assert_array_equal(detector.anomaly_score(rows[7:]), together[7:])
    alone = [detector.anomaly_score(rows[i : i + 1])[0] for i in (0, 17, 53)]
    assert_array_equal(alone, together[[0, 17, 53]])
    many = np.resize(np.arange(54), 270)
    assert_array_equal(detector.anomaly_score(rows[many]), together[many])
    assert np.isfinite(detector.explain(rows[:1], n_steps=1)).all()


# Codes.


def test_codes_of_an_ordinary_covariance():
    """Draws have the mean and the covariance that were given."""
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(2, 3, 3))
    covariance = torch.from_numpy(factor @ factor.transpose(0, 2, 1))
    mean = torch.from_numpy(rng.normal(size=(2, 3)))
    codes = CodeDistribution().fit(mean, covariance)
    draws = codes(torch.from_numpy(rng.normal(size=(2, 20_000, 3))).float())
    assert_allclose(draws.mean(1), mean, atol=0.1)
    for k in range(2):
        assert_allclose(torch.cov(draws[k].T), covariance[k], atol=0.3)


@pytest.mark.parametrize("damage", ["rounding", "nothing", "negative"])
def test_codes_of_a_covariance_that_is_none(damage):
    """What rounding has made of a covariance gives codes all the same."""
    covariance = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    if damage == "rounding":
        covariance[0, 1, 1] = -1e-3
    elif damage == "nothing":
        covariance[:] = 0
    else:
        covariance[0] = -1e-3 * torch.eye(3)
    codes = CodeDistribution().fit(torch.zeros(2, 3), covariance)
    assert torch.isfinite(codes(torch.ones(2, 5, 3))).all()


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_diagnostic_ends_a_fit(small, cls):
    """Unscaled rows far from zero are fitted, and what is made of them is finite."""
    X = 1e8 + np.random.default_rng(0).normal(size=(60, 5))
    detector = small(cls, scaler=None).fit(X)
    assert np.isfinite(detector.anomaly_score(X)).all()
    assert np.isfinite(detector.sample(3, random_state=0)).all()
    for figures in vars(detector.training_report_).values():
        values = figures.values() if isinstance(figures, dict) else np.ravel(figures)
        assert all(np.isfinite(v) for v in values if isinstance(v, float))


@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 10, 4), (1, 8, 1), (3, 1, 2)])
def test_squash_goes_by_torchs_medians(shape):
    """The lower one of an even number; the rows stay as they are."""
    rows = torch.from_numpy(np.random.default_rng(0).normal(size=shape))
    given = rows.clone()
    squash = Squash().fit(rows)
    median = rows.median(dim=1, keepdim=True).values
    deviation = (rows - median).abs().median(dim=1, keepdim=True).values
    assert_array_equal(rows, given)
    assert_array_equal(squash.median, median.float())
    assert (squash.spread >= (1.4826 * deviation).float()).all()
    if shape[1] > 8:
        assert_array_equal(squash.spread, (1.4826 * deviation).float())
