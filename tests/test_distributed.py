"""Rows that lie in an engine: what is drawn, and what is known of the rest."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from skganomaly import AnoGANDetector, GANomalyDetector
from skganomaly._models._scaling import column_statistics
from skganomaly.callbacks import FitCheckpoint
from skganomaly.distributed import _draw, _face, fit, sample, score
from skganomaly.distributed._draw import Draw
from skganomaly.pipelines import through
from skganomaly.searches import EncoderSearch
from skganomaly.timeseries import TimeSeriesDetector

RNG = np.random.default_rng(0)
X = RNG.normal([0, 1e6, 0, 5], [1, 1, 1e-3, 0], size=(1500, 4))
NAMES = ["a", "b c", "d.e", "constant"]
SERIES = TimeSeriesDetector(IsolationForest(), window_length=3)
TABLE = pd.DataFrame(X, columns=NAMES).assign(place=np.arange(len(X)))


@pytest.fixture
def detector(small):
    return small(max_references=100)


# What is drawn.


def test_each_row_is_as_likely_as_any_other():
    """Whatever the sizes of blocks, and however they are merged."""
    rows = np.arange(60)
    blocks = np.split(rows, [1, 1, 30, 37])
    counts = np.zeros(60)
    for seed in range(1500):
        draw = Draw(6, seed, describe=False)
        parts = [draw.of_block(block, place) for place, block in enumerate(blocks)]
        drawn = draw.merge([draw.merge(parts[:2]), draw.merge(parts[2:])])
        assert len(np.unique(drawn.rows)) == 6 and drawn.n_rows == 60
        counts[drawn.rows] += 1
    # Chi-squared of 59 degrees of freedom, one in ten thousand; without replacement.
    assert np.sum((counts - 150) ** 2 / 150) / (1 - 6 / 60) < 106


def test_a_stream_keeps_what_merging_all_would_keep(monkeypatch):
    monkeypatch.setattr(_draw, "TOGETHER", 3)
    blocks = np.split(RNG.normal(size=(900, 2)), 18)
    draw = Draw(40, 1, describe=True)
    streamed = draw.of_stream(blocks)
    parts = [draw.of_block(block, place) for place, block in enumerate(blocks)]
    merged = draw.merge(parts)
    assert_array_equal(streamed.rows, merged.rows)
    assert streamed.n_rows == merged.n_rows == 900
    assert_allclose(streamed.statistics.std, merged.statistics.std, rtol=1e-14)


@pytest.mark.parametrize(
    "rows", [X, X * 1e302, np.full((200, 2), 0.1), X.astype(np.float32)]
)
def test_statistics_of_parts_are_those_of_the_whole(rows):
    whole = column_statistics(rows)
    cuts = [1, 3, 100, 101, 160]
    first, *others = map(column_statistics, np.split(rows, cuts))
    joined = sum(others, first)
    assert joined.n_rows == len(rows)
    assert_array_equal(joined.range, whole.range)
    assert_allclose(joined.mean, whole.mean, rtol=1e-12)
    assert_allclose(joined.std, whole.std, rtol=1e-9)
    assert_array_equal(joined.std == 0, whole.std == 0)


def test_as_many_rows_as_a_training_reads(small):
    assert _face._rows_read(GANomalyDetector()) == 600 * 64
    assert _face._rows_read(GANomalyDetector(max_references=10**5)) == 10**5
    half = GANomalyDetector(max_steps=10**4, batch_size=10, validation_fraction=0.5)
    assert _face._rows_read(half) == 2 * 10**5
    search = EncoderSearch(encoder_steps=2000)
    assert _face._rows_read(AnoGANDetector(search=search)) == 2000 * 64


# Arrays, and sources that are small.


@pytest.fixture
def arrays():
    return pytest.importorskip("dask.array", reason="dask is missing")


@pytest.fixture
def frames():
    return pytest.importorskip("dask.dataframe", reason="dask[dataframe] is missing")


@pytest.mark.parametrize("shape", [(3,), (1, 4, 5)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_dask_arrays(arrays, small, shape, dtype):
    """Rows of a table and images, chunked along any axis."""
    rows = RNG.integers(0, 200, size=(90, *shape)).astype(dtype)
    source = arrays.from_array(rows, chunks=(40, *[2] * len(shape)))
    detector = fit(small(input_shape=shape), source)
    local = small(input_shape=shape).fit(rows)
    assert_array_equal(detector.reference_scores_, local.reference_scores_)
    scores = score(detector, source)
    assert scores.shape == (90,) and scores.chunks == ((40, 40, 10),)
    assert_array_equal(scores.compute(), local.anomaly_score(rows))
    part = fit(detector, source, n_rows=50)
    assert_array_equal(part.value_range_.max(), rows.max())
    assert len(part.reference_scores_) <= 50


def test_few_rows_give_an_ordinary_fit(frames, detector, small):
    fit(detector, frames.from_pandas(TABLE, npartitions=5), columns=NAMES)
    local = small(max_references=100).fit(TABLE[NAMES])
    assert_array_equal(detector.reference_scores_, local.reference_scores_)
    assert all(note.name != "sampled" for note in detector.training_report_.notes)


def test_empty_partitions_are_passed_over(frames, detector):
    source = frames.from_pandas(TABLE, npartitions=3)
    late = source[source["place"] >= 600]
    fit(detector, late, columns=NAMES, n_rows=100)
    scored = score(detector, late).compute()
    expected = detector.anomaly_score(TABLE[NAMES][600:])
    assert_array_equal(scored["anomaly_score"], expected)
    with pytest.raises(ValueError, match="has no rows to fit on"):
        fit(detector, source[source["place"] < 0], columns=NAMES)


def test_pipelines_are_scored_and_sampled_for(arrays, detector):
    rows = X.copy()
    rows[::7, 0] = np.nan
    source = arrays.from_array(rows, chunks=(400, 4))
    pipeline = make_pipeline(SimpleImputer(), detector)
    pipeline.fit(sample(source, 200, random_state=0))
    labels = score(pipeline, source, method="predict").compute()
    assert_array_equal(labels, pipeline.predict(rows))
    pickle.dumps(score(pipeline, source, method="decision_function"))
    with pytest.raises(ValueError, match=r"Pipeline has no method anomaly.*throu"):
        score(pipeline, source)
    scores = score(through(pipeline), source).compute()
    assert_array_equal(scores, through(pipeline).anomaly_score(rows))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d, s: fit(d, X), TypeError, "source is a ndarray of numpy"),
        (lambda d, s: sample([[1.0]], 3), TypeError, "source is a list of builtins"),
        (lambda d, s: fit(IsolationForest(), s), TypeError, "Fit that on a sample"),
        (lambda d, s: fit(SERIES, s), TypeError, "by those around it.*one series"),
        (lambda d, s: score(SERIES, s), TypeError, "TimeSeriesDetector scores a step"),
        (
            lambda d, s: score(make_pipeline(SimpleImputer(), SERIES), s),
            TypeError,
            "TimeSeriesDetector scores a step",
        ),
        (lambda d, s: fit(d, s, columns=["a"]), ValueError, "an array has no names"),
        (lambda d, s: fit(d, s, n_rows=1), ValueError, "n_rows == 1, must be >= 2"),
        (lambda d, s: score(d, s), NotFittedError, "not fitted"),
        (lambda d, s: score(d, s, method="fit"), ValueError, "method='fit' must be"),
        (
            lambda d, s: score(IsolationForest(), s),
            ValueError,
            "IsolationForest has no method anomaly_score",
        ),
    ],
)
def test_refusals(arrays, detector, call, error, words):
    with pytest.raises(error, match=words):
        call(detector, arrays.from_array(X, chunks=(400, 4)))


def test_a_fit_that_goes_on_needs_a_seed(arrays, detector, tmp_path):
    """Without one its second sample would be another, and the first in its way."""
    source = arrays.from_array(X, chunks=(400, 4))
    checkpoint = FitCheckpoint(tmp_path / "run.ckpt")
    for words, params in {
        "FitCheckpoint": {"callbacks": [checkpoint]},
        "warm_start=True": {"warm_start": True},
    }.items():
        one = clone(detector).set_params(random_state=None, **params)
        with pytest.raises(ValueError, match=rf"{words} .* Set random_state"):
            fit(one, source, n_rows=200)
        fit(one.set_params(random_state=0), source, n_rows=200)
        scores = one.anomaly_score(X)
        assert_array_equal(fit(one, source, n_rows=200).anomaly_score(X), scores)


def test_columns_that_are_not_there_are_named(frames, detector):
    detector.fit(TABLE[NAMES])
    source = frames.from_pandas(TABLE.rename(columns={"a": "A"}), npartitions=2)
    with pytest.raises(ValueError, match=r"no column 'a'\. It has 'A', 'b c'"):
        score(detector, source)
    with pytest.raises(ValueError, match="must be a list of names"):
        fit(detector, source, columns="A")
    with pytest.raises(ValueError, match="has no column asked"):
        fit(detector, source, columns=[])
    twice = frames.from_pandas(TABLE.assign(anomaly_score=0.0), npartitions=2)
    with pytest.raises(ValueError, match="has a column 'anomaly_score' already"):
        score(detector, twice)
