"""Rows that lie in an engine: what is drawn, what is known of the rest, and scores."""

import os
import pickle
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from skganomaly import AnoGANDetector, GANomalyDetector
from skganomaly._models._scaling import column_statistics
from skganomaly.distributed import _draw, _face, fit, sample, score
from skganomaly.distributed._draw import Draw
from skganomaly.searches import EncoderSearch

RNG = np.random.default_rng(0)
X = RNG.normal([0, 1e6, 0, 5], [1, 1, 1e-3, 0], size=(1500, 4))
NAMES = ["a", "b c", "d.e", "constant"]
TABLE = pd.DataFrame(X, columns=NAMES).assign(
    place=np.arange(len(X)), word=np.where(np.arange(len(X)) % 2, "odd", "even")
)


@contextmanager
def dask_cluster():
    distributed = pytest.importorskip("dask.distributed", reason="dask is missing")
    frames = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is missing")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        yield (
            lambda frame: frames.from_pandas(frame, npartitions=4),
            lambda scored: scored.compute(),
        )


@contextmanager
def arrow_files(folder):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is missing")
    datasets = pytest.importorskip("pyarrow.dataset")

    def written(frame):
        path = folder / str(len(list(folder.iterdir())))
        options = {"max_rows_per_file": 400, "max_rows_per_group": 200}
        table = pa.Table.from_pandas(frame, preserve_index=False)
        datasets.write_dataset(table, path, format="parquet", **options)
        return datasets.dataset(path)

    yield written, lambda scored: scored.read_pandas()


@contextmanager
def ray_cluster():
    ray = pytest.importorskip("ray", reason="ray is missing")
    pytest.importorskip("pyarrow", reason="pyarrow is missing")
    ray.init(num_cpus=1, include_dashboard=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield (
            lambda frame: ray.data.from_pandas(np.array_split(frame, 4)),
            lambda scored: scored.to_pandas(),
        )
    finally:
        ray.shutdown()


@contextmanager
def spark_session():
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is missing")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        sql.SparkSession.builder.master("local[1]")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield (
            lambda frame: session.createDataFrame(frame).repartition(3),
            lambda scored: scored.toPandas(),
        )
    finally:
        session.stop()


slow = pytest.mark.slow
ENGINES = [
    "arrow",
    pytest.param("dask", marks=slow),
    pytest.param("ray", marks=slow),
    pytest.param("spark", marks=slow),
]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, tmp_path_factory):
    """How a table gets into an engine, and a scored one back."""
    opened = {
        "arrow": lambda: arrow_files(tmp_path_factory.mktemp("arrow")),
        "dask": dask_cluster,
        "ray": ray_cluster,
        "spark": spark_session,
    }
    with opened[request.param]() as both:
        yield both


# Engines warn of each other's versions, and leave sockets to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{category}")
    for category in ("FutureWarning", "DeprecationWarning", "ResourceWarning")
]


@pytest.fixture
def detector(small):
    return small(max_references=100)


def test_scores_are_the_local_ones(engine, detector):
    """To the last bit, by names of columns, beside what came."""
    into, back = engine
    detector.fit(TABLE[NAMES])
    scored = back(score(detector, into(TABLE))).sort_values("place")
    assert_array_equal(scored["anomaly_score"], detector.anomaly_score(TABLE[NAMES]))
    assert list(scored.columns) == [*TABLE.columns, "anomaly_score"]
    assert_array_equal(scored["word"], TABLE["word"])
    nameless = detector.fit(X)
    scored = score(nameless, into(TABLE), columns=NAMES, method="predict")
    scored = back(scored).sort_values("place")
    assert_array_equal(scored["predict"], nameless.predict(X))


def test_scaling_is_of_all_rows_and_training_of_some(engine, detector, recwarn):
    """The far-out row decides the range, wherever the sample is from."""
    into, _ = engine
    table = TABLE.copy()
    table.loc[777, "a"] = 1e3
    source = into(table)
    fit(detector, source, columns=NAMES, n_rows=300)
    values = table[NAMES].to_numpy()
    assert_array_equal(detector.value_range_, [values.min(axis=0), values.max(axis=0)])
    whole = GANomalyDetector(max_steps=1, random_state=0).fit(table[NAMES])
    for name in ("center", "scale"):
        found, expected = (getattr(d.model_.scaling, name) for d in (detector, whole))
        assert_allclose(found, expected, rtol=1e-12)
    (note,) = (n for n in detector.training_report_.notes if n.name == "sampled")
    assert "300 of 1,500 rows" in str(note)
    assert_array_equal(detector.feature_names_in_, NAMES)
    again = fit(detector, source, columns=NAMES, n_rows=300)
    assert again is detector
    rows = sample(source, 300, random_state=0)
    assert list(rows.columns) == list(TABLE.columns)
    assert rows["place"].nunique() == 300
    same = sample(source, 300, random_state=0)
    assert_array_equal(np.sort(same["place"]), np.sort(rows["place"]))
    # Each of five parts of the rows has 60 of them, give or take.
    counts = np.bincount(rows["place"] // 300, minlength=5)
    assert counts.min() > 25


def test_bad_values_outside_of_the_sample_are_refused(engine, detector):
    into, _ = engine
    table = TABLE.copy()
    table.loc[5, "d.e"] = np.nan
    with pytest.raises(ValueError, match=r"'d\.e'"):
        fit(detector, into(table), columns=NAMES, n_rows=2)
    with pytest.raises(ValueError, match="not numbers in column 'word'"):
        fit(detector, into(TABLE), n_rows=50)
    assert not hasattr(detector, "model_")


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


def test_few_rows_give_an_ordinary_fit(detector, small, tmp_path):
    with arrow_files(tmp_path) as (into, _):
        fit(detector, into(TABLE), columns=NAMES)
    local = small(max_references=100).fit(TABLE[NAMES])
    assert_array_equal(detector.reference_scores_, local.reference_scores_)
    assert all(note.name != "sampled" for note in detector.training_report_.notes)


def test_empty_partitions_are_passed_over(detector):
    frames = pytest.importorskip("dask.dataframe", reason="dask[dataframe] is missing")
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


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda d, s: fit(d, X), TypeError, "source is a ndarray of numpy"),
        (lambda d, s: sample([[1.0]], 3), TypeError, "source is a list of builtins"),
        (lambda d, s: fit(IsolationForest(), s), TypeError, "Fit that on a sample"),
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


def test_columns_that_are_not_there_are_named(detector, tmp_path):
    detector.fit(TABLE[NAMES])
    with arrow_files(tmp_path) as (into, _):
        source = into(TABLE.rename(columns={"a": "A"}))
        with pytest.raises(ValueError, match="no column 'a'. It has 'A', 'b c'"):
            score(detector, source)
        with pytest.raises(ValueError, match="must be a list of names"):
            fit(detector, source, columns="A")
        with pytest.raises(ValueError, match="has no column asked"):
            fit(detector, source, columns=[])
        twice = into(TABLE.assign(anomaly_score=0.0))
        with pytest.raises(ValueError, match="has a column 'anomaly_score' already"):
            score(detector, twice)
