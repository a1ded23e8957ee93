"""Tests of what says whether a training went well, and of what is done about it."""

import json
import pickle
import warnings
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import pdist
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch import nn

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly import _anogan as anogan_module
from skganomaly import _ganomaly as ganomaly_module
from skganomaly._health import (
    HealthRecord,
    generator_failure,
    never_wrong,
)
from skganomaly._training._net import DiscriminatorRestart
from skganomaly._training._step import Run
from skganomaly.adversaries import Logistic, Wasserstein
from skganomaly.architectures import MLP
from skganomaly.searches import NearestSearch

# Steps after which a generator that makes one row only is called collapsed.
ENOUGH = 200


# The figures.


@pytest.fixture
def rows_residuals_codes():
    """Rows, residuals of two members, of which one is far off, and codes."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 4)) * [1, 2, 0.5, 0] + 100
    residuals = rng.normal(size=(2, 50, 4)) * np.array([0.3, 1.5])[:, None, None]
    codes = rng.normal(size=(2, 50, 3)) @ np.array([[2, 0, 0], [1, 0.5, 0], [0, 0, 1]])
    return rows, residuals, codes


def record_of(rows, residuals, codes, splits=()):
    """A record that saw the rows in chunks."""
    record = HealthRecord()
    bounds = [0, *splits, len(rows)]
    for start, stop in pairwise(bounds):
        record.update(
            *(
                torch.from_numpy(np.ascontiguousarray(part))
                for part in (
                    rows[start:stop],
                    residuals[:, start:stop],
                    codes[:, start:stop],
                )
            )
        )
    return record


@pytest.mark.parametrize("splits", [(), (1, 30)])
def test_report(rows_residuals_codes, splits):
    """Every figure is that of NumPy, whatever the chunks."""
    rows, residuals, codes = rows_residuals_codes
    record = record_of(rows, residuals, codes, splits)
    variance = rows.var(axis=0).sum()
    assert_allclose(record.data_variance, variance)
    report = record.report()
    made = rows - residuals
    assert_allclose(
        report["diversity"], made.var(axis=1).sum(axis=1) / variance, atol=1e-4
    )
    usage = []
    for member in codes:
        eigenvalues = np.linalg.eigvalsh(np.cov(member.T))
        usage.append(eigenvalues.sum() ** 2 / (eigenvalues**2).sum() / 3)
    assert_allclose(report["latent_usage"], usage, atol=1e-4)
    unreachable = ((residuals**2).sum(axis=2) > variance / 2).mean()
    assert 0.2 < unreachable < 0.8
    assert_allclose(report["unreachable"], unreachable, atol=1e-4)
    error = (residuals**2).mean(axis=(1, 2)) / (rows**2).mean()
    assert_allclose(report["error"], error, atol=1e-4)
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize("splits", [(), (20,)])
def test_code_moments(rows_residuals_codes, splits):
    """Mean and covariance of the codes of each member."""
    codes = rows_residuals_codes[2]
    mean, covariance = record_of(*rows_residuals_codes, splits).code_moments()
    assert_allclose(mean, codes.mean(axis=1))
    for k in range(2):
        assert_allclose(covariance[k], np.cov(codes[k].T, bias=True), atol=1e-12)


def test_far_from_the_origin(rows_residuals_codes):
    """Figures are those of the same data around zero, and covariances have no holes."""
    rows, residuals, codes = rows_residuals_codes
    far = record_of(rows + 1e8, residuals, codes + 1e8, (20,))
    near = record_of(rows, residuals, codes, (20,))
    # The error is relative to the rows' own size.
    assert far.report() | {"error": None} == near.report() | {"error": None}
    assert_allclose(far.report()["error"], 0, atol=1e-4)
    assert_allclose(far.code_moments()[0] - 1e8, near.code_moments()[0], atol=1e-6)
    assert_allclose(far.code_moments()[1], near.code_moments()[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_used", [1, 2, 3])
def test_latent_usage_counts_directions(n_used):
    """Directions that vary alike are counted, whatever their orientation."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    codes = np.linalg.qr(rng.normal(size=(200, 3)))[0]
    codes = (codes - codes.mean(axis=0)) * (np.arange(3) < n_used)
    codes = (codes / np.maximum(codes.std(axis=0), 1e-12)) @ turn
    record = record_of(rng.normal(size=(200, 2)), np.zeros((1, 200, 2)), codes[None])
    assert_allclose(record.report()["latent_usage"], [n_used / 3], atol=0.01)


def test_report_of_dead_codes(rows_residuals_codes):
    """Codes that never vary use nothing, and no number is lost over it."""
    rows, residuals, codes = rows_residuals_codes
    report = record_of(rows, residuals, np.zeros_like(codes)).report()
    assert report["latent_usage"] == [0.0, 0.0]


def test_failure_in_words():
    """Members that are too close together, or too far away, are named."""
    assert generator_failure([0.5, 1.0, 2.0], [0.3, 0.0, -0.01]) is None
    found = generator_failure([0.9, 0.0123, 1.0, 2.1], [0.0, 0.0, 0.456, 0.0])
    assert found.name == "collapsed"
    words = str(found)
    for figures in ("0.012 and 0 for", "1 and 0.46 for", "2.1 and 0 for"):
        assert figures in words
    assert "member 0" not in words
    for member in (1, 2, 3):
        assert f"member {member}" in words
    for remedy in ("max_steps", "learning_rate", "more rows"):
        assert remedy in words


def test_certainty_in_words():
    """A cross-entropy of next to nothing is told with a remedy; others are not."""
    assert never_wrong({"discriminator": 1e-3, "latent": 0.0}) is None
    assert never_wrong({"reconstruction": 0.0}) is None
    found = never_wrong({"discriminator": 4.2e-5})
    words = str(found)
    assert found.name == "one_sided" and "never wrong" in words and "4.2e-05" in words
    assert "optimizer_d__lr" in words


# Reports of detectors.


@pytest.mark.parametrize("conv", [False, True])
@pytest.mark.parametrize("cls", [AnoGANDetector, AutoencoderDetector, GANomalyDetector])
def test_training_report(small, cls, conv, table, images):
    """Plain data about each member, which a copy has as well."""
    detector = small(cls, conv=conv, n_members=3, latent_dim=4)
    report = detector.fit(images if conv else table).training_report_
    assert json.loads(json.dumps(asdict(report))) == asdict(report)
    assert pickle.loads(pickle.dumps(detector)).training_report_ == report
    assert (report.distance is None) == (cls is not AnoGANDetector)
    assert report.restarts == []
    # Ten steps show in what a GAN makes of random codes, and in nothing else.
    expected = ["too_short"] if cls is AnoGANDetector else []
    assert [problem.name for problem in report.problems] == expected
    assert report.n_steps == detector.n_iter_
    n_rows = len(images if conv else table)
    assert_allclose(report.n_passes, 10 * min(64, n_rows) / n_rows, atol=0.01)
    assert len(report.diversity) == len(report.latent_usage) == 3
    # One of four directions at least, and all four at most.
    assert all(0.25 <= usage <= 1 for usage in report.latent_usage)
    assert 0 <= report.unreachable <= 1
    *_, start, last = detector.history_
    for name, loss in report.losses.items():
        values = [row[name] for row in detector.history_ if name in row]
        assert min(values) <= loss <= max(values)
    assert start["n_steps"] < last["n_steps"]
    names = {
        AnoGANDetector: {"generator", "discriminator", "encoder_prior"},
        AutoencoderDetector: {"reconstruction"},
        GANomalyDetector: {"latent", "discriminator"},
    }[cls]
    assert names <= set(report.losses)


def test_report_of_reconstructions_is_that_of_the_training_rows(small, table):
    """Its figures are those of what the public methods show."""
    detector = small(AutoencoderDetector, n_members=1, max_steps=100).fit(table)
    report = detector.training_report_
    scale = detector.model_.scaling.scale.numpy()
    rows, made = table / scale, detector.reconstruct(table) / scale
    variance = rows.var(axis=0).sum()
    assert_allclose(report.diversity, [made.var(axis=0).sum() / variance], atol=1e-3)
    beyond = ((rows - made) ** 2).sum(axis=1) > variance / 2
    assert_allclose(report.unreachable, beyond.mean(), atol=1e-3)
    eigenvalues = np.linalg.eigvalsh(np.cov(detector.encode(table).T))
    usage = eigenvalues.sum() ** 2 / (eigenvalues**2).sum() / len(eigenvalues)
    assert_allclose(report.latent_usage, [usage], atol=1e-3)


def test_diversity_of_anogan_is_that_of_its_samples(small, table):
    """What is generated from random codes counts, not what is found for rows."""
    search = NearestSearch(n_candidates=50, n_steps=0)
    detector = small(AnoGANDetector, max_steps=100, search=search, n_members=1)
    detector.fit(table)
    scale = detector.model_.scaling.scale.numpy()
    samples = detector.sample(2000, random_state=0) / scale
    rows = table / scale
    expected = pdist(samples).mean() / pdist(rows).mean()
    assert_allclose(detector.training_report_.diversity, [expected], rtol=0.15)


# AnoGAN's generator.


class _Deaf(nn.Module):
    """Takes no notice of its input."""

    def forward(self, z):
        return 0 * z


class CollapsedMLP(MLP):
    """Networks whose generator makes one row, whatever the code."""

    def decoder(self, latent_dim, input_shape):
        """Ignore the code."""
        return nn.Sequential(_Deaf(), *super().decoder(latent_dim, input_shape))


def collapsed(**params):
    architecture = CollapsedMLP(hidden_layer_sizes=(4,), discriminator_layer_sizes=(4,))
    defaults = {
        "architecture": architecture,
        "max_steps": ENOUGH,
        "search": NearestSearch(n_candidates=10, n_steps=0),
        "n_members": 2,
        "adversary": Wasserstein(penalty=0.1, penalty_interval=10),
        "random_state": 0,
    }
    return AnoGANDetector(**defaults | params)


@pytest.mark.parametrize("max_restarts", [0, 2])
def test_collapsed_generator(max_restarts, table):
    """It is trained again so many times and no more; all is told in the end."""
    detector = collapsed(max_restarts=max_restarts)
    with pytest.warns(ConvergenceWarning, match="unlike the training rows") as caught:
        detector.fit(table)
    assert len(caught) == 1
    report = detector.training_report_
    assert report.diversity == [0.0, 0.0]
    assert [str(p) for p in report.problems] == [str(caught[0].message)]
    assert [p.name for p in report.problems] == ["collapsed"]
    words = report.problems[0].seen
    assert "member 0" in words and "member 1" in words
    assert len(report.restarts) == max_restarts
    for restart in report.restarts:
        assert restart["after_steps"] == ENOUGH
        assert "unlike the training rows" in restart["reason"]
    assert json.loads(json.dumps(asdict(report))) == asdict(report)
    # The record is of the last training alone.
    assert detector.n_iter_ == ENOUGH == detector.history_[-1]["n_steps"]
    assert np.isfinite(detector.score_samples(table)).all()


def test_warning_of_a_collapse_can_be_an_error(table):
    """A detector whose fit was refused is unfitted."""
    detector = collapsed(max_restarts=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match="unlike the training rows"):
            detector.fit(table)
    assert set(vars(detector)) == set(detector.get_params(deep=False))


def test_hardly_trained_generator_has_not_collapsed(table):
    """What has had no time to learn is not started again; its samples are told of."""
    detector = collapsed(max_steps=ENOUGH - 1)
    with pytest.warns(ConvergenceWarning, match=f"trained for {ENOUGH - 1} steps"):
        detector.fit(table)
    report = detector.training_report_
    assert report.restarts == []
    assert not report.judged
    assert [p.name for p in report.problems] == ["too_short"]
    assert f"max_steps={ENOUGH}" in report.problems[0].remedy


def test_healthy_generator(table):
    """A generator that follows the data is neither warned of nor restarted."""
    detector = AnoGANDetector(
        n_members=2, search=NearestSearch(n_steps=0), random_state=0
    ).fit(table)
    report = detector.training_report_
    assert report.problems == report.restarts == []
    assert min(report.diversity) > 0.5
    assert max(report.distance) < 0.3


def count_trainings(monkeypatch, verdicts):
    """Have the collapses judged so, and keep the weights that were judged."""
    judged = []
    train = AnoGANDetector._compare_samples

    def watched(detector, method, trainer):
        weights = method.generator.state_dict()
        judged.append({k: v.clone() for k, v in weights.items()})
        return train(detector, method, trainer)

    # What is said of the last one is asked for again, by the report.
    *_, last = verdicts
    verdicts = iter(verdicts)
    monkeypatch.setattr(AnoGANDetector, "_compare_samples", watched)
    monkeypatch.setattr(
        anogan_module, "generator_failure", lambda **figures: next(verdicts, last)
    )
    return judged


def test_restart_that_helps(small, table, monkeypatch):
    """It starts from other weights, says why, and warns of nothing any more."""
    judged = count_trainings(monkeypatch, ["no good", "no better", None])
    detector = small(
        AnoGANDetector,
        max_steps=ENOUGH,
        max_restarts=5,
        adversary=Wasserstein(penalty=0),
    ).fit(table)
    report = detector.training_report_
    assert report.restarts == [
        {"after_steps": ENOUGH, "reason": "no good"},
        {"after_steps": ENOUGH, "reason": "no better"},
    ]
    assert report.problems == []
    assert len(judged) == 3
    for first, second in pairwise(judged):
        for name, value in first.items():
            assert (value != second[name]).any()
    final = detector.model_.method.generator.state_dict()
    for name, value in judged[-1].items():
        assert_array_equal(final[name], value)
    # Steps and losses are those of the last training, and of its encoder's.
    assert detector.n_iter_ == ENOUGH + 10
    epochs = [row["epoch"] for row in detector.history_]
    assert epochs == list(range(1, len(epochs) + 1))


def test_restarts_are_seeded(small, table, monkeypatch):
    """A training with restarts is as reproducible as one without."""
    scores = []
    for _ in range(2):
        count_trainings(monkeypatch, ["no good", None])
        adversary = Wasserstein(penalty=0)
        detector = small(
            AnoGANDetector, max_steps=ENOUGH, adversary=adversary, n_members=1
        ).fit(table)
        scores.append(detector.score_samples(table))
        monkeypatch.undo()
    assert_array_equal(*scores)


def test_interrupted_training_is_not_restarted(table, monkeypatch):
    """Whoever stops a training does not want another one."""
    step = Run.step
    calls = []

    def interrupted(run, rows, phase):
        calls.append(1)
        if len(calls) == ENOUGH + 1:
            raise KeyboardInterrupt
        return step(run, rows, phase)

    monkeypatch.setattr(Run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        collapsed(max_steps=2 * ENOUGH).fit(table)
    assert len(calls) == ENOUGH + 1


def test_certain_critic_of_the_logistic_loss(small, table):
    """A critic that is never wrong is warned of, with a remedy."""
    detector = small(
        AnoGANDetector,
        adversary=Logistic(),
        max_steps=100,
        search=NearestSearch(n_candidates=50),
        scaler=None,
        net_params={"optimizer__lr": 0.0, "optimizer_d__lr": 0.1},
    )
    with pytest.warns(ConvergenceWarning, match="never wrong") as caught:
        detector.fit(table + 100)
    report = detector.training_report_
    assert str(caught[-1].message) == str(report.problems[-1])
    assert report.problems[-1].name == "one_sided"
    assert report.losses["discriminator"] < 1e-3


# GANomaly's discriminator.


def test_certain_discriminator_is_replaced(small, table):
    """On a task that is too easy, as often as allowed; then a warning says so."""
    detector = small(
        scaler=None,
        max_steps=250,
        learning_rate_schedule="constant",
        max_restarts=2,
        net_params={"optimizer__lr": 0.0, "optimizer_d__lr": 0.3},
    )
    with pytest.warns(ConvergenceWarning, match="never wrong"):
        detector.fit(table + 100)
    report = detector.training_report_
    assert len(report.restarts) == 2
    assert len(report.problems) == 1
    for restart in report.restarts:
        assert restart["after_steps"] in range(25, 250, 25)
        assert "never wrong" in restart["reason"]
    assert json.loads(json.dumps(asdict(report))) == asdict(report)


class _Snapshots(Callback):
    """The networks every 25 steps, and how many steps their optimisers know of."""

    def __init__(self):
        self.taken = []

    def on_epoch_end(self, net, **kwargs):
        if net.n_steps_ % 25:
            return
        self.taken.append(
            (
                {
                    name: {k: v.clone() for k, v in network.state_dict().items()}
                    for name, network in net.game.players().items()
                },
                len(net.optimizer_.state),
                len(net.optimizer_d_.state),
            )
        )


def fit_with_verdicts(detector, X, monkeypatch, verdicts):
    """Have the losses of 25 steps each judged so; the snapshots after each."""
    verdicts = iter(verdicts)
    monkeypatch.setattr(
        ganomaly_module,
        "DiscriminatorRestart",
        lambda draw, reason, *bounds: DiscriminatorRestart(
            draw, lambda losses: next(verdicts), *bounds
        ),
    )
    detector.set_params(callbacks=[_Snapshots()]).fit(X)
    monkeypatch.undo()
    return next(c.taken for _, c in detector.net_.callbacks_ if type(c) is _Snapshots)


def test_restart_of_the_discriminator_leaves_the_generator(small, table, monkeypatch):
    """New weights and an empty memory for the discriminator; nothing else changes."""
    detector = small(max_steps=75)
    undisturbed = fit_with_verdicts(detector, table, monkeypatch, [None] * 3)
    restarted = fit_with_verdicts(detector, table, monkeypatch, [None, "why", None])
    assert detector.training_report_.restarts == [{"after_steps": 50, "reason": "why"}]
    for name in ("generator", "discriminator"):
        for key, value in undisturbed[0][0][name].items():
            assert_array_equal(restarted[0][0][name][key], value)
    for key, value in undisturbed[1][0]["generator"].items():
        assert_array_equal(restarted[1][0]["generator"][key], value)
    for key, value in undisturbed[1][0]["discriminator"].items():
        assert (restarted[1][0]["discriminator"][key] != value).any()
    assert undisturbed[1][2] > 0
    assert restarted[1][1:] == (undisturbed[1][1], 0)
    # It is trained on from there.
    for key, value in restarted[2][0]["discriminator"].items():
        assert (restarted[1][0]["discriminator"][key] != value).any()


@pytest.mark.parametrize("max_restarts", [0, 1, 3])
def test_restarts_of_the_discriminator_are_bounded(
    small, max_restarts, table, monkeypatch
):
    """Each from another seed, and no more than allowed."""
    detector = small(max_steps=150, max_restarts=max_restarts)
    verdicts = [f"reason {i}" for i in range(6)]
    taken = fit_with_verdicts(detector, table, monkeypatch, verdicts)
    restarts = detector.training_report_.restarts
    assert [restart["reason"] for restart in restarts] == verdicts[:max_restarts]
    weights = [snapshot[0]["discriminator"]["head.0.weight"] for snapshot in taken[:3]]
    for first, second in pairwise(weights):
        assert (first != second).all()


def test_discriminator_is_not_replaced_after_the_last_step(small, table, monkeypatch):
    """Nothing would be left to train it with, and scores would rest on it."""
    detector = small(max_steps=50)
    kept = fit_with_verdicts(detector, table, monkeypatch, [None, None])
    restarted = fit_with_verdicts(detector, table, monkeypatch, [None, "why"])
    assert detector.training_report_.restarts == []
    for key, value in kept[-1][0]["discriminator"].items():
        assert_array_equal(restarted[-1][0]["discriminator"][key], value)
