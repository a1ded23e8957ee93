"""Detectors of PyOD with scikit-learn's directions, and the way there and back."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skganomaly import GANomalyDetector, as_pyod, from_pyod
from skganomaly.benchmark import Detector, compare
from skganomaly.datasets import AnomalyDataset, make_anomalies

pytest.importorskip("pyod.models.base", reason="pyod is not installed")

from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.lof import LOF

X, y = make_anomalies(400, 4, kind="global", random_state=0)
X_TRAIN, X_TEST = X[:250], X[250:]
Y_TRAIN, Y_TEST = (y[:250] == -1).astype(int), (y[250:] == -1).astype(int)


@parametrize_with_checks(
    [
        from_pyod(KNN(n_neighbors=3)),
        from_pyod(LOF(n_neighbors=3)),
        from_pyod(IForest(n_estimators=5, random_state=0)),
        from_pyod(ECOD()),
    ],
    expected_failed_checks=lambda estimator: (
        {
            "check_methods_subset_invariance": "ECOD ranks each row among the rows "
            "that are scored with it."
        }
        if isinstance(estimator.detector, ECOD)
        else {}
    ),
)
def test_battery(estimator, check):
    """Scikit-learn's common tests pass where PyOD's detector lets them."""
    check(estimator)


@pytest.mark.parametrize("fitted", [False, True])
def test_directions_turn(fitted):
    """Scores, threshold and labels of PyOD, with scikit-learn's signs."""
    theirs = KNN().fit(X_TRAIN)
    ours = from_pyod(theirs) if fitted else from_pyod(KNN()).fit(X_TRAIN)
    assert (ours.detector_ is theirs) == fitted
    assert hasattr(ours.detector, "threshold_") == fitted
    scores = theirs.decision_function(X_TEST)
    assert_array_equal(ours.anomaly_score(X_TEST), scores)
    assert_array_equal(ours.score_samples(X_TEST), -scores)
    assert ours.threshold_ == -ours.offset_ == theirs.threshold_
    assert_allclose(ours.decision_function(X_TEST), theirs.threshold_ - scores)
    assert_array_equal(ours.predict(X_TEST), 1 - 2 * theirs.predict(X_TEST))
    assert isinstance(ours, OutlierMixin)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        ours.predict(np.full((1, 4), np.nan))


def test_from_pyod_in_tools_of_scikit_learn():
    """Nested parameters, copies, pipelines, searches, cross-validation."""
    model = from_pyod(KNN())
    assert model.get_params()["detector__n_neighbors"] == 5
    assert clone(model).set_params(detector__n_neighbors=2).detector.n_neighbors == 2
    assert model.detector.n_neighbors == 5
    pipeline = make_pipeline(StandardScaler(), model)
    y = 1 - 2 * Y_TRAIN
    scores = cross_val_score(pipeline, X_TRAIN, y, scoring="roc_auc", cv=3)
    assert scores.min() > 0.9
    grid = {"sklearndetector__detector__n_neighbors": [1, 5]}
    search = GridSearchCV(pipeline, grid, scoring="roc_auc", cv=3).fit(X_TRAIN, y)
    assert not hasattr(model, "offset_")
    copy = pickle.loads(pickle.dumps(search.best_estimator_))
    assert_array_equal(copy.predict(X_TEST), search.predict(X_TEST))


class Conventional:
    """PyOD's conventions without its base class, and fit returns nothing."""

    def fit(self, X):
        """Score by the distance to the centre."""
        self.centre_ = X.mean(axis=0)
        self.decision_scores_ = self.decision_function(X)
        self.threshold_ = np.quantile(self.decision_scores_, 0.9)

    def decision_function(self, X):
        """Return distances, in single precision and as a column."""
        return np.linalg.norm(X - self.centre_, axis=1).astype(np.float32)[:, None]


def test_conventions_are_enough():
    """The base class of PyOD is not asked for."""
    model = from_pyod(Conventional()).fit(X_TRAIN)
    assert model.score_samples(X_TEST).dtype == np.float64
    assert model.predict(X_TRAIN).tolist().count(-1) == 25


class Labelled(BaseEstimator):
    """Flags the lowest scores, which no threshold can."""

    def fit(self, scores):
        """Flag the lowest."""
        self.labels_ = (scores == scores.min()).astype(int)
        self.thresh_ = None

    def predict(self, scores):
        """Flag nothing."""
        return np.zeros(len(scores), dtype=int)


class NoThreshold(Labelled):
    """Fails when the detector is trained already."""

    def fit(self, scores):
        """Fail."""
        raise ValueError("no threshold")


@pytest.mark.parametrize(
    ("make", "changes", "rows"),
    [
        (lambda _: from_pyod(KNN(n_neighbors=5)), {}, X_TRAIN[:3, :2]),
        (lambda small: as_pyod(small()), {}, np.full((9, 4), np.nan)),
        (lambda small: as_pyod(small()), {"contamination": NoThreshold()}, X_TEST),
    ],
)
def test_a_refit_that_fails_leaves_nothing(make, changes, rows, small):
    """Neither the first fit nor half of the second can be mistaken for a fit."""
    model = make(small).fit(X_TRAIN).set_params(**changes)
    with pytest.raises(ValueError, match=r"n_neighbors|NaN|no threshold"):
        model.fit(rows)
    assert set(vars(model)) == set(model.get_params(deep=False))
    with pytest.raises(NotFittedError):
        model.decision_function(X_TEST)


def test_labels_that_no_threshold_gives():
    """PyOD can have them; scikit-learn's convention cannot."""
    reason = "older versions of pyod fit a thresholder anew to the rows they predict"
    pytest.importorskip("pyod", minversion="3.6.3", reason=reason)
    with pytest.raises(ValueError, match="A threshold flags the highest scores"):
        from_pyod(KNN(contamination=Labelled())).fit(X_TRAIN)


@pytest.mark.parametrize(
    "detector, message",
    [
        (KNN, r"Pass an instance, KNN\(\), not the class KNN"),
        (GANomalyDetector(), "GANomalyDetector has scikit-learn's directions already"),
        (IsolationForest(), "IsolationForest has scikit-learn's directions already"),
        (from_pyod(KNN()), "SklearnDetector has scikit-learn's directions already"),
        (StandardScaler(), "got StandardScaler"),
        ("KNN", "got str"),
    ],
    ids=str,
)
def test_from_pyod_refuses_what_is_no_pyod_detector(detector, message):
    """And says what to do instead."""
    with pytest.raises(TypeError, match=message):
        from_pyod(detector)


def test_from_pyod_refuses_a_pipeline_of_pyod():
    """Which has the scores of PyOD and not its threshold."""
    with pytest.raises(TypeError, match="wrap its last step"):
        from_pyod(make_pipeline(StandardScaler(), KNN())).fit(X_TRAIN)


# Both ways together.


@pytest.mark.parametrize(
    "normal, anomaly",
    [(0, 1), (1, -1), (False, True), ("normal", "anomaly"), ("good", "odd")],
)
def test_roc_auc_is_the_same_by_every_way(small, normal, anomaly):
    """Each by the scores that fit the side that scikit-learn takes for positive."""
    y = np.where(Y_TEST == 1, anomaly, normal)
    native = small().fit(X_TRAIN)
    pyod_like = as_pyod(small()).fit(X_TRAIN)
    back = from_pyod(as_pyod(small())).fit(X_TRAIN)
    if max(normal, anomaly) == anomaly:
        scores = [
            native.anomaly_score(X_TEST),
            pyod_like.decision_function(X_TEST),
            back.anomaly_score(X_TEST),
        ]
    else:
        scores = [
            native.decision_function(X_TEST),
            -pyod_like.decision_function(X_TEST),
            back.decision_function(X_TEST),
        ]
    figures = [roc_auc_score(y, s) for s in scores]
    assert figures[0] > 0.9 and figures == [figures[0]] * 3


def test_there_and_back(small):
    """Nothing but the threshold is another: PyOD's is a share of the training rows."""
    native = small().fit(X_TRAIN)
    back = from_pyod(as_pyod(native, X_train=X_TRAIN))
    assert_array_equal(back.score_samples(X_TEST), native.score_samples(X_TEST))
    assert_array_equal(back.decision_function(X_TEST), native.decision_function(X_TEST))
    assert_array_equal(back.predict(X_TEST), native.predict(X_TEST))
    theirs = KNN().fit(X_TRAIN)
    again = as_pyod(from_pyod(theirs), X_train=X_TRAIN)
    assert_array_equal(again.predict(X_TEST), theirs.predict(X_TEST))


def test_benchmark_reads_the_directions(small):
    """Each object by its own convention, to the same figures."""
    pair = Detector(as_pyod(small())), Detector(from_pyod(KNN()))
    assert [(d.higher_is, d.anomaly_label) for d in pair] == [
        ("anomaly", 1),
        ("anomaly", -1),
    ]
    pipeline = Detector(make_pipeline(StandardScaler(), from_pyod(KNN())))
    assert (pipeline.higher_is, pipeline.anomaly_label) == ("normal", -1)
    prepared = pair[0].prepare(7)
    assert prepared.detector.random_state == 7
    assert pair[0].estimator.detector.random_state == 0

    X = np.vstack([X_TRAIN, X_TEST])
    y = 1 - 2 * np.concatenate([Y_TRAIN, Y_TEST])
    results = compare(
        {
            "native": small(contamination=0.1),
            "as_pyod": as_pyod(small(contamination=0.1)),
            "from_pyod": from_pyod(as_pyod(small(contamination=0.1))),
            "KNN": KNN(),
            "wrapped KNN": from_pyod(KNN()),
            "KNN in a pipeline": make_pipeline("passthrough", from_pyod(KNN())),
        },
        AnomalyDataset("table", X, y),
        seeds=[0],
    ).set_index("detector")
    assert (results["error"] == "").all() and results["roc_auc"].min() > 0.9
    for figure in ("roc_auc", "average_precision", "f1", "false_alarms"):
        values = results[figure]
        assert values["native"] == values["as_pyod"] == values["from_pyod"]
        assert values["KNN"] == values["wrapped KNN"] == values["KNN in a pipeline"]
