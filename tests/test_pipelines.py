"""Detectors inside pipelines and searches."""

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score, make_scorer, roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import MLP, ConvNet
from skganomaly.thresholds import QuantileThreshold


@pytest.fixture(scope="module")
def labelled():
    """Rows with labels 1 and -1, a few values missing."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(180, 4)), rng.uniform(-9, 9, size=(20, 4))])
    y = np.r_[np.ones(180, int), -np.ones(20, int)]
    X[rng.uniform(size=X.shape) < 0.02] = np.nan
    order = rng.permutation(200)
    return X[order], y[order]


def anomaly_average_precision(estimator, X, y):
    """Average precision with the anomalies as the positive class."""
    return average_precision_score(y == -1, -estimator.decision_function(X))


FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
def test_grid_search_over_a_pipeline(small, cls, labelled):
    """Imputer, scaler and detector are searched together, by a scorer of one's own."""
    X, y = labelled
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), small(cls, n_members=1))
    name = cls.__name__.lower()
    grid = {
        f"{name}__max_steps": [1, 25],
        f"{name}__architecture__hidden_layer_sizes": [(4,), (16, 8)],
    }
    search = GridSearchCV(pipeline, grid, cv=FOLDS, scoring=anomaly_average_precision)
    with joblib.parallel_config("threading", n_jobs=2):
        search.fit(X, y)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    # Anomalies this far out are found; 1 of 10 rows is one.
    assert search.best_score_ > 0.8
    best = search.best_estimator_[-1]
    sizes = search.best_params_[f"{name}__architecture__hidden_layer_sizes"]
    assert best.settings_.architecture.hidden_layer_sizes == sizes
    assert best.n_iter_ == search.best_params_[f"{name}__max_steps"]
    assert set(search.predict(X)) == {1, -1}


def test_grid_search_in_processes(small, labelled):
    """Two processes find what one does."""
    X, y = labelled
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), small(n_members=1))
    grid = {
        "ganomalydetector__max_steps": [1, 10],
        "ganomalydetector__architecture__hidden_layer_sizes": [(4,), (6, 5)],
    }
    scorer = make_scorer(roc_auc_score, response_method="decision_function")
    results = []
    for n_jobs in (None, 2):
        search = GridSearchCV(pipeline, grid, cv=FOLDS, scoring=scorer, n_jobs=n_jobs)
        with joblib.parallel_config("loky", inner_max_num_threads=1):
            search.fit(X, y)
        results.append(search.cv_results_["mean_test_score"])
    assert_array_equal(results[0], results[1])
    assert results[0].min() > 0.8


def test_search_over_rules_and_whole_architectures(small, labelled):
    """Objects as parameters are searched over, and their own parameters too."""
    X, y = SimpleImputer().fit_transform(labelled[0]), labelled[1]
    search = GridSearchCV(
        small(threshold=QuantileThreshold(), architecture=MLP()),
        [
            {"threshold__rate": [0.01, 0.3]},
            {"architecture": [MLP(hidden_layer_sizes=(3,)), "mlp"]},
        ],
        cv=FOLDS,
        scoring=make_scorer(roc_auc_score),
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    rates = search.cv_results_["mean_test_score"][:2]
    assert rates[0] != rates[1]


def test_scoring_by_name(small, labelled):
    """scikit-learn's own scorer by name reads labels 1 and -1 the right way round."""
    X, y = SimpleImputer().fit_transform(labelled[0]), labelled[1]
    scores = cross_val_score(small(), X, y, cv=FOLDS, scoring="roc_auc")
    assert scores.min() > 0.8


def test_score_is_that_of_density_estimators(small, table):
    """``score`` is the mean of ``score_samples``, and searches use it by default."""
    detector = small(GANomalyDetector).fit(table)
    assert detector.score(table[:50]) == detector.score_samples(table[:50]).mean()
    assert detector.score(table) > detector.score(10 * table)
    search = GridSearchCV(detector, {"max_steps": [1, 2]}, cv=2).fit(table)
    assert search.score(table) == search.best_estimator_.score(table)


def test_cross_val_predict(small, table):
    """Out-of-fold scores come from scikit-learn's helper."""
    scores = cross_val_predict(small(), table, cv=3, method="decision_function")
    assert scores.shape == (300,)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
def test_params_round_trip(cls):
    """get_params and set_params are inverse, nested ones included."""
    detector = cls(architecture=ConvNet(base_channels=3), threshold=QuantileThreshold())
    params = detector.get_params()
    assert params["architecture__base_channels"] == 3
    assert params["threshold__rate"] == 0.05
    other = cls().set_params(
        architecture=ConvNet(), threshold=QuantileThreshold(), max_steps=7
    )
    other.set_params(**{k: v for k, v in params.items() if "__" not in k})
    assert repr(other) == repr(detector)
    assert cls(**detector.get_params(deep=False)).get_params() == params
    detector.set_params(architecture__base_channels=5, threshold__rate=0.2)
    assert detector.architecture.base_channels == 5
    assert detector.threshold.rate == 0.2
    with pytest.raises(ValueError, match="Invalid parameter"):
        detector.set_params(architecture__hidden_layer_sizes=(3,))


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector])
def test_fit_changes_no_parameter(cls, small, table):
    """Parameters are as they were set after fit: "auto" stays "auto"."""
    detector = small(cls, threshold=QuantileThreshold(), latent_dim="auto")
    before = {name: id(value) for name, value in detector.get_params().items()}
    detector.fit(table)
    after = {name: id(value) for name, value in detector.get_params().items()}
    assert before == after
    assert not hasattr(detector.threshold, "threshold_")


def test_feature_names(small, table):
    """Column names are remembered and compared."""
    frame = pd.DataFrame(table, columns=["a", "b", "c", "d"])
    detector = small().fit(frame)
    assert detector.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert detector.n_features_in_ == 4
    assert_array_equal(
        detector.score_samples(frame), small().fit(table).score_samples(table)
    )
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        detector.predict(table)
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame.rename(columns={"a": "z"}))
    assert not hasattr(small().fit(table), "feature_names_in_")


def test_pipeline_of_frames(small, table):
    """Names pass through a pipeline that keeps frames, for every method."""
    frame = pd.DataFrame(table, columns=list("abcd"), index=range(100, 400))
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), small())
    pipeline.set_output(transform="pandas")
    pipeline.fit(frame)
    assert pipeline[-1].feature_names_in_.tolist() == list("abcd")
    assert pipeline.predict(frame).shape == (300,)
    assert pipeline.score_samples(frame).shape == (300,)
    transformed = pipeline[:-1].transform(frame)
    assert pipeline[-1].explain(transformed).shape == (300, 4)
    assert pipeline[-1].reconstruct(transformed).shape == (300, 4)


def test_images_as_rows_in_a_pipeline(small, images):
    """``input_shape`` carries images through steps that know only tables."""
    flat = images.reshape(60, -1).copy()
    flat[0, :5] = np.nan
    detector = small(conv=True, input_shape=(2, 6, 9))
    pipeline = make_pipeline(SimpleImputer(), detector).fit(flat)
    assert pipeline[-1].input_shape_ == (2, 6, 9)
    assert pipeline.predict(flat).shape == (60,)


def test_repr_shows_what_was_changed():
    """As scikit-learn's estimators, a detector prints only what is not default."""
    assert repr(GANomalyDetector()) == "GANomalyDetector()"
    assert repr(AutoencoderDetector(max_steps=3)) == "AutoencoderDetector(max_steps=3)"
    nested = GANomalyDetector(architecture=MLP(hidden_layer_sizes=(4,)))
    assert "MLP(hidden_layer_sizes=(4,))" in repr(nested)
    assert repr(clone(nested)) == repr(nested)
    assert "GANomalyDetector" in nested._repr_html_()


def test_fitted_attributes_have_short_reprs(small, table):
    """Notebooks show fitted attributes, so each is a line and names no address."""
    detector = small(GANomalyDetector).fit(table)
    net, model = repr(detector.net_), repr(detector.model_)
    n_weights = sum(w.numel() for w in detector.net_.module_.parameters())
    assert f"generator: {n_weights:,} parameters" in net
    assert "GANomaly" in model
    for text in (net, model, repr(detector.threshold_rule_)):
        assert len(text) < 120
        assert " at 0x" not in text
        assert "\n" not in text
