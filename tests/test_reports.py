"""Tests of the report on a training: every fault has a name, and health has none."""

import json
import pickle
import warnings
from dataclasses import asdict, fields

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._health import falling_losses, too_short
from skganomaly._memorisation import (
    held_out_by_itself,
    memorisation,
    memorised_probability,
)
from skganomaly._models._scaling import column_statistics
from skganomaly._value_range import group_range, units_differ
from skganomaly.adversaries import Wasserstein
from skganomaly.reports import Finding, TrainingReport
from skganomaly.searches import EncoderSearch


def fit_with_warning(detector, X, name, category=ConvergenceWarning):
    """Fit, and hold that the problem of this name is reported and warned of."""
    with pytest.warns(category) as caught:
        detector.fit(X)
    problems = {problem.name: problem for problem in detector.training_report_.problems}
    assert name in problems
    assert str(problems[name]) in {str(warning.message) for warning in caught}
    assert problems[name].remedy
    return detector


# What goes wrong.


@pytest.mark.parametrize("cls", [AnoGANDetector, AutoencoderDetector, GANomalyDetector])
def test_losses_that_exploded_though_finite(cls, table):
    """A learning rate a thousand times too high is not a healthy training."""
    params = {"learning_rate": 0.5, "max_steps": 40, "n_members": 1, "random_state": 0}
    if cls is AnoGANDetector:
        params["search"] = EncoderSearch(encoder_steps=5)
    detector = fit_with_warning(cls(**params), table, "diverged")
    assert max(detector.training_report_.error) > 3


def test_generator_of_images_that_was_hardly_trained(small, images):
    """A promise on codes that a generator gave before it learned is told of."""
    detector = fit_with_warning(
        small(AnoGANDetector, conv=True, max_steps=20), images, "too_short"
    )
    assert max(detector.training_report_.diversity) < 0.5
    assert not detector.training_report_.judged


@pytest.mark.parametrize(
    ("recipe", "n_steps"),
    [
        (lambda: GANomalyDetector.from_paper(n_samples=20, random_state=0), 4),
        (
            lambda: AnoGANDetector.from_paper(
                n_samples=20, search=EncoderSearch(encoder_steps=2), random_state=0
            ),
            10,
        ),
    ],
)
def test_published_recipe_on_few_rows(recipe, n_steps, images):
    """Fifteen epochs of few rows are too few steps for networks of that size."""
    detector = fit_with_warning(recipe(), images[:20], "too_short")
    problem = detector.training_report_.problems[0]
    assert f"{n_steps} steps" in problem.seen
    assert "max_steps=200" in problem.remedy


def test_long_enough_is_not_too_short():
    """At the bound a training may be judged."""
    assert too_short(200, 200) is None
    assert too_short(199, 200).name == "too_short"
    assert too_short(10, 200, [1.0], [0.1]) is None


def test_constant_table(small):
    """Rows that are all equal teach nothing."""
    detector = fit_with_warning(
        small(AutoencoderDetector), np.full((30, 4), 7.0), "constant", UserWarning
    )
    assert detector.training_report_.dead_columns == 4
    assert np.isfinite(detector.anomaly_score([[7.0] * 4, [8.0] * 4])).all()


def test_generator_that_would_never_move(small, table):
    """More critic steps than steps leave the generator as it was drawn."""
    detector = small(AnoGANDetector, adversary=Wasserstein(n_critic=11), max_steps=10)
    with pytest.raises(ValueError, match=r"n_critic=11 .* max_steps=10"):
        detector.fit(table)
    assert not hasattr(detector, "offset_")
    detector.set_params(adversary__n_critic=10).fit(table)


# What was learned by heart.


def gaussian(n_rows, seed, n_columns=12):
    mixing = np.random.default_rng(5).normal(size=(n_columns, n_columns))
    return np.random.default_rng(seed).normal(size=(n_rows, n_columns)) @ mixing


def memorising(**params):
    """An autoencoder that learns its rows by heart in 400 steps."""
    return AutoencoderDetector(
        n_members=1, input_noise=0, learning_rate=3e-3, random_state=0, **params
    )


def test_memorised_rows_do_not_set_the_threshold():
    """Without being asked to, a fit holds rows out if it may learn them by heart."""
    X, new = gaussian(150, 0), gaussian(1000, 1)
    detector = fit_with_warning(memorising(max_steps=400), X, "memorised")
    report = detector.training_report_
    assert report.n_passes > 100
    assert report.memorised > 0.8
    assert detector.n_held_out_ == 30 == len(detector.reference_scores_)
    # The share is Beta(2, 29), and below .16 in 99 of 100 cases.
    assert 0 < (detector.predict(new) == -1).mean() < 0.16


def test_steps_that_nobody_chose_hold_nothing_out(table):
    """The defaults stay as they are: few passes, and all rows in training."""
    report = AutoencoderDetector(n_members=1, random_state=0).fit(table)
    assert report.n_held_out_ == 0
    assert report.training_report_.memorised is None
    assert report.training_report_.problems == []


def test_promise_is_withdrawn_where_no_rows_can_be_held_out():
    """A fifth of few rows says nothing about one in twenty."""
    X = gaussian(40, 0)
    detector = fit_with_warning(memorising(max_steps=100), X, "not_held_out")
    assert detector.n_held_out_ == 0
    # Rows of their own choice are fine.
    detector = memorising(max_steps=81, validation_fraction=0.25)
    report = detector.set_params(learning_rate=1e-4).fit(X).training_report_
    assert "not_held_out" not in [problem.name for problem in report.problems]


@pytest.mark.parametrize("fraction", [0, 0.2])
def test_a_share_of_memorised_rows_promises_nothing_about_new_ones(fraction):
    """With contamination the training rows set the threshold, and the words say so."""
    X, new = gaussian(150, 0), gaussian(1000, 1)
    detector = memorising(
        max_steps=400, contamination=0.05, validation_fraction=fraction
    )
    name = "memorised" if fraction else "not_held_out"
    fit_with_warning(detector, X, name)
    assert detector.n_held_out_ == 150 * fraction
    assert (detector.predict(new) == -1).mean() > 0.15
    (words,) = [p.seen for p in detector.training_report_.problems if p.name == name]
    assert "keeps its promise" not in words
    assert "contamination" in words


def test_images_judged_by_codes_are_not_held_out(small, images):
    """Codes of images say little about whether an image was seen in training."""
    detector = small(AutoencoderDetector, conv=True, max_steps=30, n_members=1)
    assert detector.fit(images).n_held_out_ == 0
    detector.set_params(score_type="reconstruction", false_alarm_rate=0.2)
    assert detector.fit(images).n_held_out_ == 12


def test_rule_of_holding_out():
    """By the passes over the rows, and by whether the rate can be resolved."""

    def fraction(n_passes, n_rows=1000, kind="rows", score_type="local", rate=0.05):
        return held_out_by_itself(
            n_passes, n_rows, kind=kind, score_type=score_type, rate=rate
        )

    assert fraction(20) == fraction(20, score_type="joint") == 0
    assert fraction(300) == fraction(40, score_type="joint") == 0.2
    assert fraction(300, kind="maps") == 0
    assert fraction(300, 95) == 0.2
    assert fraction(300, 90) is None
    assert fraction(300, 90, rate=0.1) == 0.2


def test_memorised_probability():
    """It is that of Mann and Whitney, and chance is no finding."""
    rng = np.random.default_rng(0)
    trained, held_out = rng.integers(0, 9, 200), rng.integers(0, 9, 50)
    differences = held_out[:, None] - trained
    more = (differences > 0).mean() + (differences == 0).mean() / 2
    assert memorised_probability(trained, held_out) == pytest.approx(more)
    assert memorisation(more, 200, 50) is None
    assert memorisation(0.75, 200, 50).name == "memorised"
    # Five rows may well all be high.
    assert memorisation(0.75, 200, 5) is None


# Notes.


def test_losses_that_still_fall():
    """By a tenth over the last quarter; too few epochs say nothing."""

    def history(values):
        return [
            {"reconstruction": value, "latent": 1 / (1 + k)}
            for k, value in enumerate(values)
        ]

    assert falling_losses(history([8, 7, 6, 5, 4, 3, 2, 1.0])) == ["reconstruction"]
    assert falling_losses(history([8, 4, 2, 1, 1, 1, 1, 0.99])) == []
    assert falling_losses(history([8, 4, 2.0])) == []


def test_columns_that_never_vary_are_a_note(small, table):
    """They are common, and no reason to warn."""
    X = np.column_stack([table, np.ones(len(table))])
    report = small(AutoencoderDetector).fit(X).training_report_
    assert report.dead_columns == 1
    assert report.problems == []
    notes = {note.name: note.seen for note in report.notes}
    assert "1 of 5 columns" in notes["dead_columns"]


@pytest.mark.parametrize(
    ("shape", "noted"),
    [((1, 65, 70), True), ((65, 66), True), ((1, 64, 200), False), ((1, 200), False)],
)
def test_large_images_are_a_note(small, shape, noted):
    """A size says nothing of what is looked for, so it is no reason to warn."""
    X = np.random.default_rng(0).uniform(size=(4, *shape))
    options = {"input_shape": shape} if shape == (1, 200) else {}
    detector = small(AutoencoderDetector, conv=True, max_steps=1, **options)
    with warnings.catch_warnings():
        # Four rows are few.
        warnings.filterwarnings("ignore", "(?!.*ImageDetector)")
        report = detector.fit(X).training_report_
    notes = {note.name: str(note) for note in report.notes}
    assert ("whole_images" in notes) == noted
    if noted:
        size = f"{shape[-2]} x {shape[-1]} pixels"
        assert size in notes["whole_images"]
        assert "skganomaly.images.ImageDetector" in notes["whole_images"]


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
def test_a_training_of_a_few_steps_is_not_judged(small, table, cls):
    """Whether the networks learn is not known yet, and a note says so."""
    report = small(cls, max_steps=5).fit(table).training_report_
    assert not report.judged and "5 steps" in report.notes[0].seen
    enough = small(cls, max_steps=50).fit(table).training_report_
    assert enough.judged
    assert "not_judged" not in [note.name for note in enough.notes]


# The report itself.


def test_report_reads_line_by_line(small, table):
    """A short line for each field, then the findings; and it travels."""
    detector = small(AnoGANDetector).fit(table)
    report = detector.training_report_
    lines = repr(report).splitlines()
    names = [f.name for f in fields(TrainingReport)]
    for name, line in zip(names, lines[1 : 1 + len(names)], strict=True):
        assert line.split()[0] == name
        assert len(line) < 160
    assert "too_short" in lines[names.index("problems") + 1]
    assert report.problems[0].seen in repr(report)
    assert json.loads(json.dumps(asdict(report))) == asdict(report)
    assert pickle.loads(pickle.dumps(report)) == report
    assert str(Finding("name", "Seen.", "Do.")) == "Seen. Do."


# Rows in other units.


def test_images_scored_in_bytes(small, images):
    """Images trained in [0, 1] and scored in [0, 255], and the other way around."""
    shares = images / 255
    detector = small(AutoencoderDetector, conv=True).fit(shares)
    expected = detector.anomaly_score(images[:1] / 255)
    with pytest.warns(UserWarning, match=r"Channel 0 \(and 1 more\) runs from"):
        detector.predict(images)
    with pytest.warns(UserWarning, match="same units"):
        detector.predict(images[:1])
    assert_array_equal(detector.anomaly_score(shares[:1]), expected)
    detector.fit(images)
    with pytest.warns(UserWarning, match="same units"):
        detector.anomaly_score(shares)
    # An image that is black is no image in other units.
    detector.anomaly_score(np.zeros_like(images))


def test_column_in_other_units_is_named():
    """Kilograms and grams, in nearly all rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3)) + 70
    trained = group_range(column_statistics(X).range, (3,))
    new = rng.normal(size=(50, 3)) + 70
    assert units_differ(new, trained) is None
    new[:, 1] *= 1000
    words = units_differ(new, trained, ["height", "weight", "age"])
    assert words.startswith("Column 'weight' runs from")
    assert "Column 1 " in units_differ(new, trained)
    # Not from a handful of rows, nor from some of many.
    assert units_differ(new[:9], trained) is None
    new[:10, 1] /= 1000
    assert units_differ(new, trained) is None


def test_ordinary_anomalies_are_not_in_other_units():
    """However far out one row or one pixel is; and constants have no unit."""
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(20, 48))
    trained = group_range(column_statistics(images).range, (1, 6, 8))
    hot = images.copy()
    hot[:, 7] = 50.0
    assert units_differ(hot, trained) is None
    table = np.column_stack([rng.normal(size=100), np.zeros(100)])
    trained = group_range(column_statistics(table).range, (2,))
    strange = table.copy()
    strange[:, 1] = 5.0
    strange[:50, 0] = 1e9
    assert units_differ(strange, trained) is None
