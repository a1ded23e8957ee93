"""Rows in local clusters of Dask, Ray and Spark, and in files that Arrow reads."""

import os
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly import GANomalyDetector
from skganomaly.distributed import fit, sample, score

X = np.random.default_rng(0).normal([0, 1e6, 0, 5], [1, 1, 1e-3, 0], size=(1500, 4))
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
            lambda frame: ray.data.from_pandas(
                [frame[start : start + 400] for start in range(0, len(frame), 400)]
            ),
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


@pytest.fixture(autouse=True)
def global_state_untouched():
    """Engines draw from global generators, in threads of their own."""


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


def test_scaling_is_of_all_rows_and_training_of_some(engine, detector):
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
        assert_allclose(found, expected, rtol=1e-10)
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
