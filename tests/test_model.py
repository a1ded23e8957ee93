"""Tests of the fitted model: one module from rows to scores, exported and restored."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._models._references import row_keys
from skganomaly._models._scaling import Scaling
from skganomaly._training._trainer import Builder
from skganomaly.searches import GradientSearch, NearestSearch

DETECTORS = [GANomalyDetector, AnoGANDetector, AutoencoderDetector]
WORDS = [
    (cls, conv, word)
    for cls in DETECTORS
    for conv in (False, True)
    for word in cls()._score_words()
]
every_detector = pytest.mark.parametrize("cls", DETECTORS)
every_kind = pytest.mark.parametrize("conv", [False, True], ids=["table", "images"])
every_word = pytest.mark.parametrize("cls, conv, word", WORDS)


@pytest.fixture(scope="module")
def known():
    """Detectors by what they were fitted with, as several tests look at them."""
    return {}


@pytest.fixture
def fitted(small, table, images, known):
    """Return a maker of fitted detectors, to be left as they are."""

    def make(cls, conv=False, dtype=np.float64, **params):
        key = cls, conv, dtype, repr(params)
        if key not in known:
            X = (images if conv else table[:100]).astype(dtype)
            params = {"n_members": 2, "max_steps": 2, "score_type": "local", **params}
            known[key] = small(cls, conv=conv, **params).fit(X)
        return known[key]

    return make


def assert_rounded(actual, expected):
    """A program multiplies for all rows at once, and measures what is far less well."""
    assert_allclose(actual, expected, rtol=1e-3)
    far = np.arange(len(expected)) < 4
    assert_allclose(actual[~far], expected[~far], rtol=1e-5, atol=1e-6)


def rows_for(detector, seed=0):
    """As many rows as are scored at once, some far out and some beyond clipping."""
    low, high = detector.value_range_.min(), detector.value_range_.max()
    shape = detector.model_.chunk_size, detector.n_features_in_
    rows = np.random.default_rng(seed).uniform(low, high, size=shape)
    rows[1:4] *= np.array([[10.0], [-1e9], [1e300]])
    return rows


def scores_of(module, rows):
    return module(torch.tensor(rows)).numpy().astype(np.float64)


def exported(detector, rows):
    example = (torch.from_numpy(rows),)
    return torch.export.export(detector.model_, example, strict=False).module()


def test_it_can_be_printed(fitted):
    """And so can what it is made of, in notebooks and debuggers."""
    model = fitted(AutoencoderDetector).model_
    assert f"rows of shape {model.input_shape}" in repr(model)
    assert repr(model.scaling) == f"Scaling('minmax', {model.input_shape})"


# Rows in, scores out.


@every_word
def test_scores_of_the_model_are_those_of_the_detector(fitted, cls, conv, word):
    """To the last bit called with rows, and nearly as a program without Python."""
    detector = fitted(cls, conv, score_type=word)
    rows = rows_for(detector)
    expected = detector.anomaly_score(rows)
    assert_array_equal(scores_of(detector.model_, rows), expected)
    program = exported(detector, rows)
    assert_rounded(scores_of(program, rows), expected)
    # The program is for any rows, not for those that it was made with.
    others = rows_for(detector, seed=1)
    expected = detector.anomaly_score(others)
    assert_rounded(scores_of(program, others), expected)
    assert len(np.unique(expected)) > len(rows) / 2


def test_rows_of_single_precision_are_recognised_alike(fitted):
    """Where training rows were in single precision, others are rounded to it."""
    detector = fitted(AutoencoderDetector, dtype=np.float32)
    rows = rows_for(detector)
    expected = detector.anomaly_score(rows)
    assert_array_equal(scores_of(detector.model_, rows), expected)
    assert_rounded(scores_of(exported(detector, rows), rows), expected)


@every_detector
def test_rows_that_are_references(fitted, table, cls):
    """Called with the groups of rows, the model leaves them out of the search."""
    detector = fitted(cls)
    model, rows = detector.model_, np.resize(table[:100], (256, 4))
    own = model.references.find(row_keys(model.scaling.transform(rows)))
    assert_array_equal(own[:100], np.arange(100))
    scores = model(torch.from_numpy(rows), torch.from_numpy(own)).numpy()
    expected = detector.anomaly_score(rows)
    assert_array_equal(scores.astype(np.float64), expected)
    # Without, they are their own nearest neighbours.
    assert (scores_of(model, rows) < expected).all()


@every_detector
def test_other_numbers_of_rows(fitted, new_rows, cls):
    """They round differently, and that is all."""
    detector = fitted(cls)
    for n_rows in (1, 7, 200):
        rows = new_rows[-n_rows:]
        scores = scores_of(detector.model_, rows)
        assert_allclose(scores, detector.anomaly_score(rows), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 1), (5, 1, 2, 2), (4,), (5, 8)])
def test_rows_of_another_shape_are_refused(fitted, shape):
    """Also where torch would stretch them to the right one."""
    model = fitted(AutoencoderDetector).model_
    with pytest.raises(ValueError, match=r"Pass them flat, \(n_rows, 4\)"):
        model(torch.zeros(shape))


def test_a_choice_of_nearest_codes_can_be_exported(fitted):
    """It has no steps to take."""
    search = NearestSearch(n_candidates=20, n_starts=2, n_steps=0)
    detector = fitted(AnoGANDetector, search=search)
    rows = rows_for(detector)
    expected = detector.anomaly_score(rows)
    assert_array_equal(scores_of(detector.model_, rows), expected)
    assert_rounded(scores_of(exported(detector, rows), rows), expected)


def test_a_few_steps_of_a_search_can_be_exported(fitted):
    """Unrolled, and rounded in another way than by Adam itself."""
    search = GradientSearch(n_steps=2)
    detector = fitted(AnoGANDetector, search=search, score_type="reconstruction")
    rows = rows_for(detector)
    rows = np.where(np.abs(rows) > 1e3, rows[0], rows)
    expected = detector.anomaly_score(rows)
    assert_array_equal(scores_of(detector.model_, rows), expected)
    program = exported(detector, rows)
    assert_allclose(scores_of(program, rows), expected, rtol=1e-4)
    # Nothing of it stays in the model.
    assert_array_equal(detector.anomaly_score(rows), expected)


# The state.


def twin_of(detector):
    """An unfitted model like a detector's."""
    settings = detector.settings_
    build = Builder(settings, torch.Generator().manual_seed(7))
    scaling = Scaling(settings.scaler, settings.input_shape)
    return detector._new_model(settings, scaling, detector._method(build, settings))


@every_word
def test_state_is_all_that_was_learned(fitted, table, images, cls, conv, word):
    """An unfitted model with the state gives equal scores, codes and parts."""
    detector = fitted(cls, conv, score_type=word)
    model, twin = detector.model_, twin_of(detector)
    twin.load_state_dict(model.state_dict())
    twin.freeze()
    assert twin.state_dict().keys() == model.state_dict().keys()
    rows = rows_for(detector)
    assert_array_equal(scores_of(twin, rows), scores_of(model, rows))
    X = images if conv else table[:100]
    other = detector._twin({"model_": twin})
    for part in (None, *detector._method.part_names):
        scores = detector.anomaly_score(X, part=part)
        assert_array_equal(other.anomaly_score(X, part=part), scores)
    samples = detector.sample(5, random_state=0)
    assert_array_equal(other.sample(5, random_state=0), samples)
    assert_array_equal(other.encode(X), detector.encode(X))
    assert_array_equal(other.anomaly_map(X), detector.anomaly_map(X))


@every_kind
def test_state_of_other_rows_replaces_a_fitted_one(fitted, conv, images, table):
    """Whatever the number of references was."""
    first = fitted(GANomalyDetector, conv)
    X = (images if conv else table)[:40]
    second = clone(first).fit(X)
    rows = rows_for(first)
    expected = first.anomaly_score(rows)
    second.model_.load_state_dict(first.model_.state_dict())
    assert_array_equal(second.anomaly_score(rows), expected)
    assert_array_equal(second.anomaly_score(X), first.anomaly_score(X))


def test_state_replaces_what_a_search_has_generated(fitted):
    """The rows of candidate codes are made anew by the generator that was loaded."""
    search = NearestSearch(n_candidates=20, n_steps=0)
    first = fitted(AnoGANDetector, search=search)
    rows = rows_for(first)
    second = clone(first).set_params(random_state=1).fit(rows[10:])
    assert (second.anomaly_score(rows) != first.anomaly_score(rows)).any()
    second.model_.load_state_dict(first.model_.state_dict())
    assert_array_equal(second.anomaly_score(rows), first.anomaly_score(rows))


@pytest.mark.parametrize(
    ("cls", "score_type", "words"),
    [
        (AutoencoderDetector, "local", "Missing key"),
        (GANomalyDetector, "joint", "Unexpected key"),
    ],
)
def test_state_of_another_model_is_refused(fitted, cls, score_type, words):
    """A state of other networks, or of another score, is no state of this model."""
    state = fitted(cls, score_type=score_type).model_.state_dict()
    with pytest.raises(RuntimeError, match=words):
        twin_of(fitted(GANomalyDetector)).load_state_dict(state)


@pytest.mark.parametrize("lost", ["", "score.", "references."])
def test_a_state_with_gaps_is_refused(fitted, lost):
    """And what it has nothing for stays."""
    detector = fitted(GANomalyDetector)
    rows = rows_for(detector)
    expected = detector.anomaly_score(rows)
    state = detector.model_.state_dict().items()
    state = {name: value for name, value in state if not name.startswith(lost)}
    with pytest.raises(RuntimeError, match="Missing key"):
        detector.model_.load_state_dict(state)
    assert_array_equal(detector.anomaly_score(rows), expected)


@every_detector
def test_a_stored_model_rounds_alike(fitted, cls):
    """Files keep numbers and no strides, by which products round."""
    detector = fitted(cls)
    assert all(part.is_contiguous() for part in detector.model_.state_dict().values())
    loaded = pickle.loads(pickle.dumps(detector))
    samples = detector.sample(50, random_state=0)
    assert_array_equal(loaded.sample(50, random_state=0), samples)


@every_detector
def test_a_fitted_model_is_frozen(fitted, cls):
    """It neither trains nor takes gradients for its weights."""
    model = fitted(cls).model_
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    rows = torch.zeros(3, 4, dtype=torch.float64, requires_grad=True)
    model(rows + 5).sum().backward()
    assert torch.isfinite(rows.grad).all()


# Wide rows.


def test_reference_scores_of_wide_rows_in_several_chunks(small):
    """Every reference row is counted once, though chunks have fewer rows."""
    n_rows = 36
    X = np.random.default_rng(0).normal(size=(n_rows, 30_000))
    detector = small(
        AutoencoderDetector,
        score_type="reconstruction",
        n_members=1,
        latent_dim=2,
        max_steps=2,
    ).fit(X.astype(np.float32))
    assert detector.model_.chunk_size < n_rows
    scores = detector.anomaly_score(X)
    assert_array_equal(detector.reference_scores_, np.sort(scores))
    last = detector.anomaly_score(X[-3:])
    assert_array_equal(last, scores[-3:])
    error = ((X - detector.reconstruct(X)) / detector.model_.scaling.scale.numpy()) ** 2
    unit = np.sort(error.mean(axis=1))[(n_rows - 1) // 2]
    assert_allclose(scores, error.mean(axis=1) / unit, rtol=1e-4)
