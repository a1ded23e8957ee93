"""One reading of scores, cuts and labels, for detectors of any package."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import from_pyod
from skganomaly._directions import (
    anomaly_flags,
    anomaly_label,
    anomaly_scores,
    anomaly_threshold,
    detector_inside,
    flags_of,
    higher_means,
    score_method,
    steps_inside,
    transform_by,
)
from skganomaly.datasets import make_anomalies
from skganomaly.model_selection import anomaly_roc_auc
from skganomaly.pipelines import through
from skganomaly.plotting import ScoreDistributionDisplay

X, Y = make_anomalies(300, 4, kind="global", random_state=0)
FOREST = IsolationForest(n_estimators=10, random_state=0)


class Distance(BaseEstimator):
    """The distance to the middle; what derives from this says what it means."""

    def fit(self, X, y=None):
        """Remember the middle, and how far away nine in ten rows are."""
        self.middle_ = np.mean(X, axis=0)
        self.cut_ = float(np.quantile(self._distances(X), 0.9))
        return self

    def _distances(self, X):
        return np.linalg.norm(X - self.middle_, axis=1)


class LikePyOD(Distance):
    """PyOD's conventions without its class; scores are a column."""

    def fit(self, X, y=None):
        """Leave what PyOD's detectors leave."""
        super().fit(X)
        self.decision_scores_, self.threshold_ = self.decision_function(X), self.cut_
        return self

    def decision_function(self, X):
        """Higher is worse."""
        return self._distances(X)[:, None]

    def predict(self, X):
        """1 is an anomaly."""
        return (self._distances(X) > self.threshold_).astype(int)


class LikeSklearn(Distance):
    """Scikit-learn's conventions without its class."""

    @property
    def offset_(self):
        """The cut; some detectors have an array of one number."""
        return np.array([-self.cut_])

    def score_samples(self, X):
        """Lower is worse."""
        return -self._distances(X)

    def predict(self, X):
        """-1 is an anomaly."""
        return np.where(self._distances(X) > self.cut_, -1, 1)


class DecisionsAlone(OutlierMixin, Distance):
    """An outlier detector with no more than the sign of its decisions."""

    def decision_function(self, X):
        """Negative is an anomaly."""
        return self.cut_ - self._distances(X)

    def predict(self, X):
        """-1 is an anomaly."""
        return np.where(self.decision_function(X) < 0, -1, 1)


class NamesItsDirection(Distance):
    """A method that says which way it goes, and a cut in the same units."""

    def fit(self, X, y=None):
        """Leave a threshold."""
        self.threshold_ = super().fit(X).cut_
        return self

    def anomaly_score(self, X):
        """Higher is worse."""
        return self._distances(X)

    def predict(self, X):
        """-1 is an anomaly."""
        return np.where(self._distances(X) > self.threshold_, -1, 1)


def _pyod(name="knn", cls="KNN"):
    module = pytest.importorskip(f"pyod.models.{name}", reason="pyod is not installed")
    return getattr(module, cls)()


DETECTORS = {
    "forest": lambda small: FOREST,
    "envelope": lambda small: EllipticEnvelope(random_state=0),
    "LOF": lambda small: LocalOutlierFactor(novelty=True),
    "pipeline": lambda small: make_pipeline(StandardScaler(), FOREST),
    "search": lambda small: GridSearchCV(
        make_pipeline(StandardScaler(), FOREST),
        {"isolationforest__n_estimators": [3]},
        scoring=lambda estimator, X, y=None: 0.0,
        cv=2,
    ),
    "frozen": lambda small: FrozenEstimator(clone(FOREST).fit(X)),
    "ours": lambda small: small(contamination=0.1),
    "ours in a pipeline": lambda small: make_pipeline(
        StandardScaler(), small(contamination=0.1)
    ),
    "PyOD": lambda small: _pyod(),
    "PyOD, wrapped": lambda small: from_pyod(_pyod()),
    "like PyOD": lambda small: LikePyOD(),
    "like scikit-learn": lambda small: LikeSklearn(),
    "decisions alone": lambda small: DecisionsAlone(),
    "names its direction": lambda small: NamesItsDirection(),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_scores_cut_and_labels_agree(name, small, plt):
    """Rows above the cut are those flagged; scorers and pictures say the same."""
    detector = DETECTORS[name](small).fit(X, None)
    scores, threshold = anomaly_scores(detector, X), anomaly_threshold(detector)
    flags = anomaly_flags(detector, X)
    assert scores.dtype == np.float64
    assert scores[Y == -1].mean() > scores[Y == 1].mean()
    assert 0 < flags.mean() < 0.5
    assert_array_equal(scores > threshold, flags)
    shown = ScoreDistributionDisplay.from_estimator(detector, X)
    assert_array_equal(shown.scores, scores)
    assert shown.threshold == threshold
    assert anomaly_roc_auc(detector, X, Y) > 0.7


def test_what_says_nothing_is_not_guessed():
    """Neither of a classifier nor of a detector that scores no new rows."""
    classifier = LogisticRegression().fit(X, Y)
    assert higher_means(classifier) is anomaly_label(classifier) is None
    for ask in (score_method, lambda d: anomaly_scores(d, X)):
        with pytest.raises(ValueError, match=r"Cannot know .*LogisticRegression"):
            ask(classifier)
    with pytest.raises(ValueError, match="none of the methods"):
        score_method(LocalOutlierFactor().fit(X))
    with pytest.raises(ValueError, match="has no offset_"):
        anomaly_threshold(NamesItsDirection())


def test_a_class_counts_more_than_what_a_fit_left():
    """An outlier detector of scikit-learn keeps its sign, whatever else it stores."""

    class Both(OutlierMixin, LikeSklearn):
        decision_scores_ = np.zeros(3)

    detector = Both().fit(X)
    assert (higher_means(detector), anomaly_label(detector)) == ("normal", -1)


def test_steps_on_the_way_to_the_detector():
    """Through nested pipelines and a search, with what is to be passed left out."""
    inner = make_pipeline("passthrough", StandardScaler(), clone(FOREST)).fit(X)
    pipeline = make_pipeline(StandardScaler(), None, FrozenEstimator(inner)).fit(X)
    steps, detector = steps_inside(pipeline)
    assert [type(step).__name__ for step in steps] == ["StandardScaler"] * 2
    assert detector is detector_inside(pipeline) is inner[-1]
    assert_array_equal(
        detector.score_samples(transform_by(steps, X)), pipeline.score_samples(X)
    )
    search = GridSearchCV(inner, {"isolationforest__n_estimators": [3]})
    assert detector_inside(search) is inner[-1]


@pytest.mark.parametrize(
    ("labels", "label", "flags"),
    [
        ([1, -1, 1], -1, [False, True, False]),
        ([0, 1, 1], 1, [False, True, True]),
        ([1, 1], -1, [False, False]),
        ([1, 1], 1, [True, True]),
        ([0, 1], -1, None),
        ([1, -1], 1, None),
        (["normal"], -1, None),
    ],
)
def test_labels_of_one_convention(labels, label, flags):
    """Those of the other are not read as something else."""
    found = flags_of(np.array(labels), label)
    assert found is flags is None or found.tolist() == flags


def test_pictures_of_a_pipeline_seen_through(small, plt):
    """The view that `through` gives has scores and a threshold of its own."""
    pipeline = make_pipeline(StandardScaler(), small()).fit(X)
    shown = ScoreDistributionDisplay.from_estimator(through(pipeline), X)
    assert_array_equal(shown.scores, -pipeline.score_samples(X))
    assert shown.threshold == pipeline[-1].threshold_
