"""Fit and score in one engine, ``python tests/clusters.py ray``, by assertions.

In a process of its own, as engines draw from global generators, warn of each other's
versions, and leave processes and sockets to the garbage collector.
"""

import os
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly import GANomalyDetector
from skganomaly.architectures import MLP
from skganomaly.distributed import fit, sample, score

NAMES = ["a", "b c", "d.e", "constant"]


def make_table():
    rng = np.random.default_rng(0)
    X = rng.normal([0, 1e6, 0, 5], [1, 1, 1e-3, 0], size=(1500, 4))
    place = np.arange(len(X))
    words = np.where(place % 2, "odd", "even")
    return pd.DataFrame(X, columns=NAMES).assign(place=place, word=words)


def new_detector():
    tiny = MLP(hidden_layer_sizes=(8,), discriminator_layer_sizes=(8,))
    params = {"architecture": tiny, "max_steps": 10, "max_references": 100}
    return GANomalyDetector(random_state=0, **params)


# How a table gets into an engine, and a scored one back.


@contextmanager
def arrow():
    import pyarrow as pa
    import pyarrow.dataset

    with tempfile.TemporaryDirectory() as folder:

        def into(frame):
            path = Path(folder) / str(len(os.listdir(folder)))
            options = {"max_rows_per_file": 400, "max_rows_per_group": 200}
            table = pa.Table.from_pandas(frame, preserve_index=False)
            pa.dataset.write_dataset(table, path, format="parquet", **options)
            return pa.dataset.dataset(path)

        yield into, lambda scored: scored.read_pandas()


@contextmanager
def dask():
    import dask.dataframe
    from dask.distributed import Client, LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster):
        yield (
            lambda frame: dask.dataframe.from_pandas(frame, npartitions=4),
            lambda scored: scored.compute(),
        )


@contextmanager
def ray():
    import ray

    ray.init(num_cpus=2, include_dashboard=False)
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
def spark():
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .getOrCreate()
    )
    try:
        yield (
            lambda frame: session.createDataFrame(frame).repartition(3),
            lambda scored: scored.toPandas(),
        )
    finally:
        session.stop()


# What holds in each.


def check_scores(into, back):
    """They are the local ones, to the last bit, beside what came."""
    table, detector = make_table(), new_detector()
    detector.fit(table[NAMES])
    scored = back(score(detector, into(table))).sort_values("place")
    assert_array_equal(scored["anomaly_score"], detector.anomaly_score(table[NAMES]))
    assert list(scored.columns) == [*table.columns, "anomaly_score"]
    assert_array_equal(scored["word"], table["word"])
    X = table[NAMES].to_numpy()
    detector.fit(X)
    scored = score(detector, into(table), columns=NAMES, method="predict")
    labels = back(scored).sort_values("place")["predict"]
    assert_array_equal(labels, detector.predict(X))


def check_fit(into, back):
    """Scaling is of all rows and training of some of them, drawn uniformly."""
    table, detector = make_table(), new_detector()
    table.loc[777, "a"] = 1e3
    values = table[NAMES].to_numpy()
    source = into(table)
    assert fit(detector, source, columns=NAMES, n_rows=300) is detector
    assert_array_equal(detector.value_range_, [values.min(axis=0), values.max(axis=0)])
    whole = new_detector().fit(table[NAMES])
    for name in ("center", "scale"):
        found, expected = (getattr(d.model_.scaling, name) for d in (detector, whole))
        assert_allclose(found, expected, rtol=1e-10)
    (note,) = (n for n in detector.training_report_.notes if n.name == "sampled")
    assert "300 of 1,500 rows" in str(note)
    assert_array_equal(detector.feature_names_in_, NAMES)
    rows, same = (sample(source, 300, random_state=0) for _ in range(2))
    assert list(rows.columns) == list(table.columns)
    assert rows["place"].nunique() == 300
    assert_array_equal(np.sort(same["place"]), np.sort(rows["place"]))
    # Each of five parts of the rows has 60 of them, give or take.
    assert np.bincount(rows["place"] // 300, minlength=5).min() > 25


def check_refusals(into, back):
    """Of values that no row of the sample has, and of text, by their columns."""
    table, detector = make_table(), new_detector()
    refusals = ((into(table), None, "not numbers in column 'word'"),)
    table.loc[5, "d.e"] = np.nan
    for source, columns, words in (*refusals, (into(table), NAMES, "'d.e'")):
        try:
            fit(detector, source, columns=columns, n_rows=2)
        except ValueError as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)
    assert not hasattr(detector, "model_")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with globals()[sys.argv[1]]() as engine:
        for check in (check_scores, check_fit, check_refusals):
            check(*engine)
            print(check.__name__)
