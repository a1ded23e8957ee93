"""Whole fitted searches in files: nothing of ours or of scikit-learn needs trust."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, RepeatedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skganomaly
from skganomaly import AutoencoderDetector
from skganomaly.model_selection import (
    InlierGroupKFold,
    InlierKFold,
    anomaly_average_precision,
    anomaly_f1,
    anomaly_roc_auc,
    pseudo_anomaly_roc_auc,
    recall_at_false_alarm_rate,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skganomaly"


SEARCHES = {
    "ours": {"cv": InlierKFold(2, random_state=0), "scoring": anomaly_roc_auc},
    "names": {"cv": InlierGroupKFold(2, random_state=0), "scoring": "roc_auc"},
    "numbers": {"cv": 2, "scoring": pseudo_anomaly_roc_auc},
    "folds": {"cv": [(np.arange(40), np.arange(40, 80))], "scoring": "f1"},
    "several": {
        "cv": RepeatedKFold(n_splits=2, n_repeats=1, random_state=0),
        "scoring": {
            "average_precision": anomaly_average_precision,
            "f1": anomaly_f1,
            "recall": recall_at_false_alarm_rate(0.1),
            "precision": "precision",
        },
        "refit": "f1",
    },
}


@pytest.mark.parametrize("name", SEARCHES)
def test_searches(name, small, path):
    """As they are, with results and folds, and without a name that needs trust."""
    X = np.random.default_rng(0).normal(size=(80, 2))
    y = np.where(np.arange(80) % 10, 1, -1)
    groups = {"groups": np.arange(80) // 2} if name == "names" else {}
    pipeline = make_pipeline(StandardScaler(), small(AutoencoderDetector, max_steps=2))
    grid = {"autoencoderdetector__latent_dim": [1, 2]}
    search = GridSearchCV(pipeline, grid, **SEARCHES[name]).fit(X, y, **groups)
    skganomaly.save(search, path)
    loaded = skganomaly.load(path)
    assert loaded.best_params_ == search.best_params_
    assert_array_equal(loaded.score_samples(X), search.score_samples(X))
    # pseudo_anomaly_roc_auc draws anomalies anew.
    if name != "numbers":
        assert loaded.score(X, y) == search.score(X, y)
    refitted = loaded.fit(X, y, **groups)
    assert_array_equal(refitted.score_samples(X), search.score_samples(X))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (stats.loguniform(1, 3), r"dist, latent_dim needs scipy.stats._cont"),
        (stats.randint(1, 3), "leads back to itself, as distributions of SciPy do"),
    ],
)
def test_distributions_are_refused(values, words, small, table, path):
    """What they hold is run as code when they are rebuilt."""
    search = RandomizedSearchCV(
        small(AutoencoderDetector, max_steps=2),
        [{"latent_dim": [2]}, {"latent_dim": values}],
        n_iter=1,
        cv=2,
        scoring=pseudo_anomaly_roc_auc,
        random_state=0,
    )
    with pytest.raises(TypeError, match=words):
        search.fit(table).best_estimator_.save(path)
        skganomaly.save(search, path)
    assert isinstance(skganomaly.load(path), AutoencoderDetector)
