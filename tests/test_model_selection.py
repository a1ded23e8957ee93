"""Labels, folds and scorers of skganomaly.model_selection."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly.model_selection import (
    InlierKFold,
    anomaly_average_precision,
    anomaly_f1,
    anomaly_roc_auc,
    check_anomaly_labels,
    pseudo_anomaly_roc_auc,
    recall_at_false_alarm_rate,
)

CODINGS = {
    "1 and -1": lambda a: np.where(a, -1, 1),
    "0 and 1": lambda a: a.astype(int),
    "0.0 and 1.0": lambda a: a.astype(float),
    "unsigned": lambda a: a.astype(np.uint8),
    "booleans": lambda a: a,
    "list of booleans": lambda a: a.tolist(),
    "NumPy's booleans as objects": lambda a: np.array(list(a), dtype=object),
    "words": lambda a: np.where(a, "anomaly", "normal"),
    "other words": lambda a: ["OUTLIER" if x else "Inlier" for x in a],
    "objects": lambda a: np.where(a, "abnormal", "normal").astype(object),
    "series": lambda a: pd.Series(np.where(a, -1, 1), index=range(5, 5 + len(a))),
    "categories": lambda a: pd.Series(
        np.where(a, "anomalous", "normal"), dtype="category"
    ),
    "nullable": lambda a: pd.Series(a, dtype="boolean"),
    "one column": lambda a: np.where(a, -1, 1)[:, None],
}
SCORERS = [
    anomaly_roc_auc,
    anomaly_average_precision,
    anomaly_f1,
    recall_at_false_alarm_rate(0.05),
]


def _correlated(n, width=3, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    return x + noise * rng.normal(size=(n, width))


@pytest.fixture(scope="module")
def whole(labelled):
    """Rows without missing values, and which of them are anomalies."""
    return SimpleImputer().fit_transform(labelled[0]), labelled[1]


@pytest.mark.parametrize("coding", CODINGS)
def test_labels_of_any_coding(coding):
    """All codings say the same, also where there are only a few labels."""
    anomalous = np.array([False, True, False, False, True])
    read = check_anomaly_labels(CODINGS[coding](anomalous))
    assert read.dtype == bool
    assert_array_equal(read, anomalous)


@pytest.mark.parametrize(
    ("y", "expected"),
    [([-1, -1], True), ([0, 0], False), ([True], True), (["normal"], False)],
)
def test_labels_of_one_kind(y, expected):
    """One kind of label is enough where it can mean one thing only."""
    assert_array_equal(check_anomaly_labels(y), expected)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([1, 1, 1], "All labels are 1.*y == -1"),
        ([1.0], "All labels are 1"),
        ([-1, 0, 1], r"labels -1, 0, 1\b"),
        ([0, -1], "labels -1, 0"),
        ([0, 1, np.nan], "labels 0.0, 1.0, nan.*without a label"),
        ([1, -1, 2], "labels -1, 1, 2.*several classes"),
        (np.arange(9), r"0, 1, 2, 3, 4, \.\.\."),
        (["normal", "sick"], "'normal', 'sick'"),
        (["0", "1"], "labels '0', '1'"),
        (np.array([True, "normal"], dtype=object), "Cannot read"),
        (np.array([True, 0], dtype=object), "Cannot read"),
        (pd.Series([True, None], dtype="boolean"), "nan.*without a label"),
        (np.array(["normal", None], dtype=object), "None"),
        ([], "no labels"),
        (np.ones((3, 2)), "1d array"),
    ],
)
def test_labels_that_are_ambiguous(y, words):
    """What could mean two things, or nothing, is refused in words that help."""
    with pytest.raises(ValueError, match=words):
        check_anomaly_labels(y)


@pytest.mark.parametrize("shuffle", [True, False])
def test_folds_train_on_normal_rows_and_test_on_all(shuffle):
    """Test sets divide the rows, each with its share of anomalies."""
    rng = np.random.default_rng(0)
    anomalous = rng.uniform(size=203) < 0.1
    folds = InlierKFold(4, shuffle=shuffle, random_state=0 if shuffle else None)
    seen = []
    for train, test in folds.split(np.zeros((203, 1)), anomalous):
        assert not anomalous[train].any()
        rest = np.setdiff1d(np.arange(203), test)
        assert_array_equal(train, rest[~anomalous[rest]])
        assert abs(anomalous[test].sum() - anomalous.sum() / 4) < 1
        seen.append(test)
    assert folds.get_n_splits() == len(seen) == 4
    assert_array_equal(np.sort(np.concatenate(seen)), np.arange(203))
    if shuffle:
        assert any(np.diff(test).max() > 30 or test[0] > 5 for test in seen)


@pytest.mark.parametrize("coding", CODINGS)
def test_folds_are_the_same_for_all_codings(coding):
    """The rows decide, not how they are labelled."""
    anomalous = np.random.default_rng(1).uniform(size=60) < 0.2
    folds = InlierKFold(3, random_state=0)
    expected = list(folds.split(anomalous, anomalous))
    found = list(folds.split(anomalous, CODINGS[coding](anomalous)))
    for (train, test), (train_2, test_2) in zip(expected, found, strict=True):
        assert_array_equal(train, train_2)
        assert_array_equal(test, test_2)


def test_folds_without_labels():
    """Without labels all rows are normal, and it is scikit-learn's KFold."""
    X = np.arange(23)[:, None]
    expected = KFold(4, shuffle=True, random_state=3).split(X)
    found = InlierKFold(4, random_state=3).split(X)
    for (train, test), (train_2, test_2) in zip(expected, found, strict=True):
        assert_array_equal(train, train_2)
        assert_array_equal(test, test_2)


def test_folds_are_seeded():
    """The same seed gives the same folds in each call, none gives others."""
    X, y = np.arange(60), np.arange(60) % 5 == 0

    def first(folds):
        return next(folds.split(X, y))[1].tolist()

    assert first(InlierKFold(random_state=0)) == first(InlierKFold(random_state=0))
    assert first(InlierKFold(random_state=0)) != first(InlierKFold(random_state=1))
    folds = InlierKFold(random_state=np.random.RandomState(0))
    assert first(folds) != first(folds)
    assert repr(folds).startswith("InlierKFold(n_splits=5, random_state=")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0] * 9, "no anomalies.*y=None"),
        ([1, -1, -1] + [1] * 6, "3 folds need .* y has 2 and 7.*Lower n_splits"),
        ([-1] * 7 + [1, 1], "y has 7 and 2"),
        ([1] * 9, "All labels are 1"),
        ([0, 1], "inconsistent numbers of samples"),
    ],
)
def test_folds_that_cannot_be(y, words):
    """Too few of one kind is said before anything is trained."""
    with pytest.raises(ValueError, match=words):
        next(InlierKFold(3).split(np.zeros(9), y))


def test_folds_ignore_groups_with_a_warning():
    """As scikit-learn's folds of the same kind."""
    y = np.arange(12) % 3 == 0
    for labels in (y, None):
        with pytest.warns(UserWarning, match="groups parameter is ignored"):
            next(InlierKFold(2, random_state=0).split(y, labels, groups=y))


def test_wrong_folds_are_found_out(whole):
    """Sorted labels in folds without both kinds give an error, and no figure."""
    X, anomalous = whole
    order = np.argsort(anomalous)
    with pytest.raises(ValueError, match="InlierKFold"):
        cross_val_score(
            IsolationForest(n_estimators=2, random_state=0),
            X[order],
            anomalous[order],
            cv=5,
            scoring=anomaly_roc_auc,
            error_score="raise",
        )


def test_stratified_folds_train_on_anomalies():
    """What InlierKFold is for: with anomalies in training, fewer are found."""
    rng = np.random.default_rng(0)
    # A dense cluster of anomalies, which a detector takes for normal if it sees it.
    X = np.vstack([rng.normal(size=(300, 3)), rng.normal(6, 0.1, size=(60, 3))])
    y = np.repeat([1, -1], [300, 60])
    detector = LocalOutlierFactor(novelty=True)
    scores = [
        cross_val_score(
            detector,
            X,
            y,
            cv=cls(3, shuffle=True, random_state=0),
            scoring=anomaly_roc_auc,
        ).mean()
        for cls in (InlierKFold, StratifiedKFold)
    ]
    assert scores[0] > 0.99
    assert scores[1] < 0.9


class Unknown(BaseEstimator):
    """Higher is worse, and nothing says so but the name of the method."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def anomaly_score(self, X):
        return np.abs(X).max(axis=1)

    def predict(self, X):
        return (self.anomaly_score(X) > 3).astype(int)


# What PyOD's detectors look like from outside, named like their base class.
StandIn = type("BaseDetector", (OutlierMixin, Unknown), {"__module__": "pyod.models"})
StandIn.decision_function = StandIn.anomaly_score


def _pyod_knn():
    pytest.importorskip("pyod")
    from pyod.models.knn import KNN

    return KNN()


class _Fit:
    """Fits a detector and freezes it."""

    def __init__(self, detector):
        self.detector = detector

    def fit(self, X):
        """Return what is frozen."""
        return FrozenEstimator(self.detector.fit(X))


# For each detector its anomaly scores, by a way of its own.
def _lower_is_worse(detector, X):
    return -detector.decision_function(X)


def _higher_is_worse(detector, X):
    return detector.decision_function(X)


DETECTORS = {
    "GANomaly": (lambda small: small(), _lower_is_worse),
    "Autoencoder": (lambda small: small(AutoencoderDetector), _lower_is_worse),
    "forest": (lambda _: IsolationForest(random_state=0), _lower_is_worse),
    "LOF": (lambda _: LocalOutlierFactor(novelty=True), _lower_is_worse),
    "ellipse": (lambda _: EllipticEnvelope(random_state=0), _lower_is_worse),
    "PyOD": (lambda _: _pyod_knn(), _higher_is_worse),
    "like PyOD": (lambda _: StandIn(), _higher_is_worse),
    "with anomaly_score": (lambda _: Unknown(), lambda d, X: d.anomaly_score(X)),
    "pipeline": (
        lambda small: make_pipeline(StandardScaler(), small()),
        _lower_is_worse,
    ),
    "frozen pipeline": (
        lambda _: _Fit(
            make_pipeline(StandardScaler(), IsolationForest(random_state=0))
        ),
        _lower_is_worse,
    ),
    "frozen PyOD": (lambda _: _Fit(StandIn()), _higher_is_worse),
    "PyOD's pipeline": (
        lambda _: make_pipeline(StandardScaler(), _pyod_knn()),
        _higher_is_worse,
    ),
    "search": (
        lambda small: GridSearchCV(
            make_pipeline(small()),
            {"ganomalydetector__max_steps": [1]},
            cv=2,
            scoring=pseudo_anomaly_roc_auc,
        ),
        _lower_is_worse,
    ),
    "search that changes sides": (
        lambda _: GridSearchCV(
            make_pipeline(StandardScaler(), IsolationForest(random_state=0)),
            {"isolationforest": [StandIn()]},
            cv=2,
            scoring=pseudo_anomaly_roc_auc,
        ),
        _higher_is_worse,
    ),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_scorers_know_the_direction(name, small, whole):
    """Anomalies are the positive class, whatever the detector's signs and labels."""
    X, anomalous = whole
    make, score = DETECTORS[name]
    detector = make(small).fit(X[~anomalous])
    scores = score(detector, X)
    assert anomaly_roc_auc(detector, X, anomalous) > 0.8
    assert_allclose(
        anomaly_roc_auc(detector, X, anomalous), roc_auc_score(anomalous, scores)
    )
    assert_allclose(
        anomaly_average_precision(detector, X, anomalous),
        average_precision_score(anomalous, scores),
    )
    labels = detector.predict(X)
    flags = labels == -1 if -1 in labels else labels == 1
    assert flags[anomalous].mean() > flags[~anomalous].mean()
    assert_allclose(anomaly_f1(detector, X, anomalous), f1_score(anomalous, flags))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_take_any_coding(scorer, coding, whole):
    """A figure does not depend on how labels are written."""
    X, anomalous = whole
    detector = IsolationForest(n_estimators=10, random_state=0).fit(X[~anomalous])
    expected = scorer(detector, X, anomalous)
    assert 0.3 < expected
    assert scorer(detector, X, CODINGS[coding](anomalous)) == expected


@pytest.mark.parametrize("rate", [0, 0.004, 0.05, 0.29, 0.5])
def test_recall_at_a_false_alarm_rate(rate):
    """It is the highest point of the ROC curve with no more false alarms, ties too."""
    rng = np.random.default_rng(0)
    anomalous = np.arange(150) < 50
    # Few values, so that many are tied.
    X = np.round(rng.normal(size=(150, 1)) + anomalous[:, None], 1)
    far, tpr, _ = roc_curve(anomalous, np.abs(X[:, 0]), drop_intermediate=False)
    expected = tpr[far <= rate + 1e-12].max()
    found = recall_at_false_alarm_rate(rate)(Unknown(), X, anomalous)
    assert_allclose(found, expected)


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "5%", np.nan])
def test_rates_that_cannot_be(rate):
    """A rate is a share."""
    with pytest.raises((ValueError, TypeError), match="rate"):
        recall_at_false_alarm_rate(rate)


def test_f1_of_nothing_flagged_is_zero(whole):
    """And no warning."""
    X, anomalous = whole
    detector = GANomalyDetector(threshold=1e9, max_steps=1, random_state=0).fit(X)
    assert anomaly_f1(detector, X, anomalous) == 0


@pytest.mark.parametrize("scorer", SCORERS)
def test_scorers_refuse_in_words(scorer, whole):
    """Labels that say nothing, and detectors whose direction is not known."""
    X, anomalous = whole
    forest = IsolationForest(n_estimators=2, random_state=0).fit(X)
    with pytest.raises(
        ValueError, match=r"normal rows.*InlierKFold.*train_score=False"
    ):
        scorer(forest, X, np.zeros(200))
    with pytest.raises(ValueError, match="all of anomalies"):
        scorer(forest, X, -np.ones(200))
    with pytest.raises(ValueError, match="All labels are 1"):
        scorer(forest, X, np.ones(200))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        scorer(forest, X, anomalous[1:])
    if scorer is anomaly_f1:
        return
    with pytest.raises(ValueError, match=r"of KernelDensity mean.*OutlierMixin"):
        scorer(make_pipeline(KernelDensity()).fit(X), X, anomalous)
    with pytest.raises(ValueError, match="has none of the methods"):
        scorer(LocalOutlierFactor().fit(X), X, anomalous)
    unable = Unknown()
    unable.anomaly_score = lambda X: np.where(X[:, 0] > 0, np.nan, 1.0)
    with pytest.raises(ValueError, match=r"of 200 scores are NaN\. Leave out"):
        scorer(unable, X, anomalous)


@pytest.mark.parametrize("scorer", [*SCORERS, pseudo_anomaly_roc_auc])
def test_scorers_can_be_pickled(scorer, whole):
    """As processes need."""
    X, anomalous = whole
    detector = IsolationForest(n_estimators=5, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(scorer))
    assert again(detector, X, anomalous) == scorer(detector, X, anomalous)


class Recorder(OutlierMixin, BaseEstimator):
    """Remembers the rows it is asked to score."""

    def __init__(self):
        self.seen = []

    def score_samples(self, X):
        self.seen.append(X)
        return np.zeros(len(X))


@pytest.mark.parametrize("shape", [(400, 2), (400, 7), (400, 1, 3, 2)])
def test_pseudo_anomalies_swap_columns(shape):
    """Values come from other rows of the same column; one to all are swapped."""
    recorder = Recorder()
    # Every value is its own name: row + 1000 * column.
    rows, width = shape[0], int(np.prod(shape[1:]))
    X = np.arange(rows)[:, None] + 1000 * np.arange(width)
    assert pseudo_anomaly_roc_auc(recorder, X.reshape(shape)) == 0.5
    original, pseudo = recorder.seen
    assert original.shape == pseudo.shape == shape
    assert_array_equal(original, X.reshape(shape))
    pseudo = pseudo.reshape(rows, width)
    assert_array_equal(pseudo // 1000, np.broadcast_to(np.arange(width), X.shape))
    swapped = (pseudo != X).sum(axis=1)
    share = np.bincount(swapped, minlength=width + 1)[1:] / rows
    assert swapped.min() == 1
    # Each number of columns is as likely; 400 draws are within 5 standard errors.
    assert_allclose(share, 1 / width, atol=5 * np.sqrt((1 / width) / rows))
    # Every column takes part alike.
    assert_allclose((pseudo != X).mean(axis=0), (width + 1) / 2 / width, atol=0.13)


def test_pseudo_anomalies_tell_good_from_bad():
    """A detector that knows how columns go together is rated above one that doesn't."""
    X, X_new = _correlated(300), _correlated(200, seed=1)
    knowing = EllipticEnvelope(random_state=0).fit(X)
    ignorant = EllipticEnvelope(random_state=0).fit(
        np.random.default_rng(0).permuted(X, axis=0)
    )
    inverted = StandIn()
    inverted.anomaly_score = knowing.decision_function
    assert pseudo_anomaly_roc_auc(knowing, X_new) > 0.9
    assert 0.4 < pseudo_anomaly_roc_auc(ignorant, X_new) < 0.85
    assert_allclose(
        pseudo_anomaly_roc_auc(inverted, X_new),
        1 - pseudo_anomaly_roc_auc(knowing, X_new),
        atol=1e-12,
    )


def test_pseudo_anomalies_are_seeded_and_label_free():
    """The same rows give the same figure; labels change nothing."""
    X = _correlated(80)
    detector = LocalOutlierFactor(novelty=True).fit(X)
    before = X.copy()
    score = pseudo_anomaly_roc_auc(detector, X)
    assert score == pseudo_anomaly_roc_auc(detector, X)
    assert score == pseudo_anomaly_roc_auc(detector, X, np.arange(80) % 2)
    assert score == pseudo_anomaly_roc_auc(detector, X.tolist())
    assert_array_equal(X, before)


def test_pseudo_anomalies_of_frames_keep_names_and_types():
    """Columns of any type are swapped and stay what they are, missing values too."""
    recorder = Recorder()
    frame = pd.DataFrame(
        {
            "a": [1.5, np.nan, 2.5, 3.5],
            "kind": pd.Categorical(["x", "y", "x", "z"]),
            "n": pd.array([1, None, 2, 3], dtype="Int64"),
        },
        index=[7, 7, 9, 1],
    )
    before = frame.copy()
    pseudo_anomaly_roc_auc(recorder, frame)
    pseudo = recorder.seen[1]
    pd.testing.assert_frame_equal(frame, before)
    assert_array_equal(pseudo.dtypes, frame.dtypes)
    assert pseudo.columns.tolist() == ["a", "kind", "n"]
    assert not pseudo.equals(frame)
    for name in frame:
        assert set(pseudo[name].dropna()) <= set(frame[name].dropna())


@pytest.mark.parametrize("shape", [(1, 3), (20, 1), (20,)])
def test_pseudo_anomalies_need_two_of_each(shape):
    """One row or one column has nothing to swap."""
    with pytest.raises(ValueError, match="at least two"):
        pseudo_anomaly_roc_auc(Unknown(), np.zeros(shape))
