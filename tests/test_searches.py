"""Searches and cross-validation of skganomaly's detectors by its folds and scorers."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
)
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline

import skganomaly
from skganomaly.model_selection import (
    InlierKFold,
    anomaly_average_precision,
    anomaly_f1,
    anomaly_roc_auc,
    pseudo_anomaly_roc_auc,
    recall_at_false_alarm_rate,
)

GRID = {
    "ganomalydetector__architecture__hidden_layer_sizes": [(4,), (16, 8)],
    "ganomalydetector__max_steps": [1, 20],
}


def _pipeline(small):
    return make_pipeline(SimpleImputer(), small(n_members=1))


def test_searches_by_several_labels_and_none(small, labelled):
    """Scorers with labels and without work side by side, on folds of normal rows."""
    X, anomalous = labelled
    y = np.where(anomalous, -1, 1)
    search = GridSearchCV(
        _pipeline(small),
        GRID,
        cv=InlierKFold(3, random_state=0),
        scoring={
            "auc": anomaly_roc_auc,
            "ap": anomaly_average_precision,
            "f1": anomaly_f1,
            "recall": recall_at_false_alarm_rate(0.05),
            "pseudo": pseudo_anomaly_roc_auc,
        },
        refit="auc",
        error_score="raise",
    ).fit(X, y)
    results = search.cv_results_
    assert results["mean_test_auc"].min() > 0.8
    for name in ("ap", "f1", "recall", "pseudo"):
        assert (
            (results[f"mean_test_{name}"] > 0) & (results[f"mean_test_{name}"] <= 1)
        ).all()
    # The first fold by hand: the normal rows of the others train.
    train, test = next(InlierKFold(3, random_state=0).split(X, y))
    best = clone(search.estimator).set_params(**search.best_params_)
    best.fit(X[train])
    assert results["split0_test_auc"][search.best_index_] == anomaly_roc_auc(
        best, X[test], y[test]
    )


@pytest.mark.parametrize(
    "search",
    [
        lambda pipeline, **options: GridSearchCV(pipeline, GRID, **options),
        lambda pipeline, **options: RandomizedSearchCV(
            pipeline, GRID, n_iter=3, random_state=0, **options
        ),
        lambda pipeline, **options: HalvingGridSearchCV(
            pipeline,
            {name: GRID[name] for name in list(GRID)[:1]},
            resource="ganomalydetector__max_steps",
            min_resources=5,
            max_resources=10,
            factor=2,
            return_train_score=False,
            random_state=0,
            **options,
        ),
    ],
    ids=["grid", "random", "halving"],
)
@pytest.mark.parametrize("with_labels", [True, False])
def test_searches_of_every_kind(search, with_labels, small, labelled):
    """With labels by average precision, without by pseudo-anomalies."""
    X, anomalous = labelled
    options = {"cv": InlierKFold(3, random_state=0), "error_score": "raise"}
    if with_labels:
        found = search(
            _pipeline(small), scoring=anomaly_average_precision, **options
        ).fit(X, anomalous)
    else:
        found = search(
            make_pipeline(SimpleImputer(), small(n_members=1)),
            scoring=pseudo_anomaly_roc_auc,
            **options,
        ).fit(X[~anomalous])
    assert np.isfinite(found.cv_results_["mean_test_score"]).all()
    assert 0.5 < found.best_score_ <= 1
    assert anomaly_roc_auc(found, X, anomalous) > 0.8


def test_halving_needs_folds_that_stay(small, labelled):
    """Without a seed every round would see other folds, which scikit-learn refuses."""
    search = HalvingGridSearchCV(
        _pipeline(small), GRID, cv=InlierKFold(3), scoring=anomaly_roc_auc
    )
    with pytest.raises(ValueError, match="consistent folds"):
        search.fit(*labelled)


def test_cross_validation(small, labelled):
    """cross_val_score, cross_validate and cross_val_predict, with frames."""
    X, anomalous = labelled
    frame = pd.DataFrame(X, columns=list("abcd"), index=range(200, 0, -1))
    y = pd.Series(np.where(anomalous, "anomaly", "normal"), index=frame.index)
    folds = InlierKFold(3, random_state=0)
    scores = cross_val_score(
        _pipeline(small), frame, y, cv=folds, scoring=anomaly_roc_auc
    )
    both = cross_validate(
        _pipeline(small),
        frame,
        y,
        cv=folds,
        scoring={"auc": anomaly_roc_auc, "f1": anomaly_f1},
        error_score="raise",
    )
    assert_array_equal(scores, both["test_auc"])
    assert scores.min() > 0.8
    # With labels, cross_val_predict takes decisions for those of a classifier.
    out_of_fold = cross_val_predict(
        _pipeline(small),
        X,
        cv=list(folds.split(X, anomalous)),
        method="decision_function",
    )
    assert roc_auc_score(anomalous, -out_of_fold) > 0.8


def test_scoring_in_processes(small, labelled):
    """Two processes find what one does."""
    X, anomalous = labelled
    results = []
    for n_jobs in (None, 2):
        search = GridSearchCV(
            _pipeline(small),
            GRID,
            cv=InlierKFold(3, random_state=0),
            scoring={
                "recall": recall_at_false_alarm_rate(0.1),
                "pseudo": pseudo_anomaly_roc_auc,
            },
            refit=False,
            error_score="raise",
            n_jobs=n_jobs,
        )
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            search.fit(X, anomalous)
        results.append(search.cv_results_)
    for name in ("mean_test_recall", "mean_test_pseudo"):
        assert_array_equal(results[0][name], results[1][name])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_search_on_a_gpu(small, labelled):
    """One process on one GPU ranks as the CPU does."""
    X, anomalous = labelled
    results = []
    for device in ("cpu", "cuda"):
        pipeline = _pipeline(small).set_params(ganomalydetector__device=device)
        folds = InlierKFold(3, random_state=0)
        search = GridSearchCV(
            pipeline, GRID, cv=folds, scoring=anomaly_roc_auc, error_score="raise"
        ).fit(X, anomalous)
        assert search.best_estimator_[-1].device_.type == device
        results.append(search.cv_results_["mean_test_score"])
    assert_allclose(*results, atol=0.02)


def test_optuna_finds_the_better_of_two(labelled):
    """A study maximises the criterion through cross_val_score."""
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    X, anomalous = labelled
    X = SimpleImputer().fit_transform(X[~anomalous])

    def objective(trial):
        n_neighbors = trial.suggest_categorical("n_neighbors", [10, 99])
        return cross_val_score(
            LocalOutlierFactor(n_neighbors, novelty=True),
            X,
            cv=InlierKFold(3, random_state=0),
            scoring=pseudo_anomaly_roc_auc,
        ).mean()

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.GridSampler({"n_neighbors": [10, 99]}, seed=0),
    )
    study.optimize(objective, n_trials=2)
    values = {t.params["n_neighbors"]: t.value for t in study.trials}
    assert study.best_params["n_neighbors"] == max(values, key=values.get)
    assert len(values) == 2


# Clusters print, draw and warn; in a process of its own that is nobody's concern.
CLUSTER = """
import joblib, numpy as np
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from skganomaly import GANomalyDetector
from skganomaly.architectures import MLP
from skganomaly.model_selection import InlierKFold, recall_at_false_alarm_rate
from skganomaly.datasets import make_anomalies
X, y = make_anomalies(200, 4, random_state=0)
X[::17, 1] = np.nan
detector = GANomalyDetector(
    architecture=MLP(hidden_layer_sizes=(8,)), n_members=1, random_state=0
)
search = GridSearchCV(
    make_pipeline(SimpleImputer(), detector),
    {{"ganomalydetector__max_steps": [1, 20],
      "ganomalydetector__architecture__hidden_layer_sizes": [(4,), (8, 8)]}},
    cv=InlierKFold(2, random_state=0), refit=False, error_score="raise",
    scoring=recall_at_false_alarm_rate(0.2),
)
with joblib.parallel_config("loky", n_jobs=1):
    one = search.fit(X, y).cv_results_["mean_test_score"]
{start}
    assert type(joblib.parallel.get_active_backend()[0]).__name__ == {backend!r}
    many = search.fit(X, y).cv_results_["mean_test_score"]
np.testing.assert_allclose(one, many, atol=1e-6)
assert 0 < one.min()
print("searched")
"""
CLUSTERS = {
    "distributed": (
        "DaskDistributedBackend",
        "from dask.distributed import Client, LocalCluster\n"
        "cluster = LocalCluster(n_workers=2, threads_per_worker=1,\n"
        "                       dashboard_address=None)\n"
        "with cluster, Client(cluster), joblib.parallel_config('dask'):",
    ),
    "ray": (
        "RayBackend",
        "import ray\n"
        "from ray.util.joblib import register_ray\n"
        "ray.init(num_cpus=2, include_dashboard=False)\n"
        "register_ray()\n"
        "with joblib.parallel_config('ray', n_jobs=2):",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("package", CLUSTERS)
def test_search_on_a_local_cluster(package):
    """Dask's and Ray's workers find what one process does."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    backend, start = CLUSTERS[package]
    result = subprocess.run(
        [sys.executable, "-c", CLUSTER.format(start=start, backend=backend)],
        capture_output=True,
        text=True,
        cwd=Path(skganomaly.__file__).parents[1],
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "searched" in result.stdout
