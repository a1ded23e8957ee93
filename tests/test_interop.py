"""Our detectors in PyOD, and PyOD's in scikit-learn: signs, labels, scores, tools."""

import io
import pickle
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError, UnsetMetadataPassedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import skganomaly
from skganomaly import (
    AnoGANDetector,
    AutoencoderDetector,
    GANomalyDetector,
    as_pyod,
    from_pyod,
)
from skganomaly._cut import cut_from_labels, fit_threshold
from skganomaly.benchmark import Detector, compare
from skganomaly.datasets import AnomalyDataset, make_anomalies

base = pytest.importorskip("pyod.models.base", reason="pyod is not installed")

from pyod.models.ecod import ECOD  # noqa: E402
from pyod.models.iforest import IForest  # noqa: E402
from pyod.models.knn import KNN  # noqa: E402
from pyod.models.lof import LOF  # noqa: E402

ROOT = Path(skganomaly.__file__).parents[1]


def _data():
    X, y = make_anomalies(400, 4, kind="global", random_state=0)
    return X[:250], X[250:], (y[:250] == -1).astype(int), (y[250:] == -1).astype(int)


X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = _data()


def _run(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )


@pytest.fixture
def numpy_state_kept():
    """Put NumPy's global generator back; PyThresh seeds it in every constructor."""
    state = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


@pytest.fixture(params=["trained by PyOD's fit", "trained before"])
def wrapped(request, small):
    """A fitted PyOD detector, by either way of getting one."""
    if request.param == "trained before":
        return as_pyod(small().fit(X_TRAIN), X_train=X_TRAIN, contamination=0.1)
    return as_pyod(small()).fit(X_TRAIN)


# What the test suite of PyOD asks of each of its detectors.


def test_attributes_of_a_fitted_detector(wrapped):
    """The names, shapes, types and relations that PyOD's users rely on."""
    assert isinstance(wrapped, base.BaseDetector)
    assert wrapped.contamination == 0.1
    assert wrapped.decision_scores_.shape == (250,)
    assert wrapped.decision_scores_.dtype == np.float64
    assert wrapped.threshold_ == np.percentile(wrapped.decision_scores_, 90)
    assert wrapped.labels_.dtype.kind == "i" and wrapped.labels_.sum() == 25
    assert_array_equal(wrapped.labels_, wrapped.decision_scores_ > wrapped.threshold_)
    assert roc_auc_score(Y_TRAIN, wrapped.decision_scores_) > 0.9
    for name in ("_mu", "_sigma", "_classes"):
        assert np.isfinite(getattr(wrapped, name))


def test_scores_and_labels_of_new_rows(wrapped):
    """Anomalies score higher and are labelled 1."""
    scores, labels = wrapped.decision_function(X_TEST), wrapped.predict(X_TEST)
    assert scores.shape == labels.shape == (150,)
    assert roc_auc_score(Y_TEST, scores) > 0.9
    assert_array_equal(labels, scores > wrapped.threshold_)
    assert labels[Y_TEST == 1].mean() > 0.5 > 0.2 > labels[Y_TEST == 0].mean()
    assert_array_equal(wrapped.predict(X_TRAIN), wrapped.labels_)


@pytest.mark.parametrize("method", ["linear", "unify"])
def test_probabilities(wrapped, method):
    """Two columns that add up to 1, the second in the order of the scores."""
    proba, confidence = wrapped.predict_proba(
        X_TEST, method=method, return_confidence=True
    )
    assert proba.shape == (150, 2) and confidence.shape == (150,)
    assert_allclose(proba.sum(axis=1), 1)
    assert proba.min() >= 0 and proba.max() <= 1
    order = np.argsort(wrapped.decision_function(X_TEST))
    assert (np.diff(proba[order, 1]) >= 0).all() and np.ptp(proba[:, 1]) > 0.5


def test_unknown_probability_is_refused(wrapped):
    """PyOD's own error comes through."""
    with pytest.raises(ValueError, match="not a valid probability"):
        wrapped.predict_proba(X_TEST, method="other")


def test_confidence_and_rejection(wrapped):
    """Confident where scores are clear; what is rejected is labelled -2."""
    labels, confidence = wrapped.predict(X_TEST, return_confidence=True)
    assert_array_equal(confidence, wrapped.predict_confidence(X_TEST))
    assert 0 <= confidence.min() and confidence.max() <= 1
    assert confidence[np.argsort(wrapped.decision_function(X_TEST))[-3:]].min() > 0.9
    rejected, stats = wrapped.predict_with_rejection(
        X_TEST, T=5, c_r=0.1, return_stats=True
    )
    kept = rejected != -2
    assert_array_equal(rejected[kept], labels[kept])
    assert confidence[~kept].max(initial=0) < confidence[kept].mean()
    assert_allclose(stats, wrapped.compute_rejection_stats(T=5, c_r=0.1))
    assert 0 <= stats[0] <= stats[1] <= 1 and np.isfinite(stats[2])


def test_ranks(wrapped):
    """Ranks among the training scores, which PyOD's combinations use."""
    scores = wrapped.decision_function(X_TEST)
    expected = [(wrapped.decision_scores_ < score).sum() for score in scores]
    assert_array_equal(wrapped._predict_rank(X_TEST), expected)
    normalised = wrapped._predict_rank(X_TEST, normalized=True)
    assert normalised.min() >= 0 and normalised.max() == 1


def test_old_methods(wrapped, capsys):
    """What PyOD calls deprecated works as long as it has it."""
    with pytest.warns(FutureWarning):
        assert wrapped.fit_predict(X_TRAIN).sum() == 25
    with pytest.warns(FutureWarning):
        assert wrapped.fit_predict_score(X_TRAIN, Y_TRAIN) > 0.9
    with pytest.warns(FutureWarning):
        assert wrapped.fit_predict_score(X_TRAIN, Y_TRAIN, "prc_n_score") > 0.5
    assert "roc_auc_score" in capsys.readouterr().out


def test_copies_of_a_fitted_detector(wrapped):
    """Pickle and joblib keep everything, clone the parameters only."""
    stored = io.BytesIO()
    joblib.dump(wrapped, stored)
    stored.seek(0)
    for copy in (pickle.loads(pickle.dumps(wrapped)), joblib.load(stored)):
        assert_array_equal(copy.predict_proba(X_TEST), wrapped.predict_proba(X_TEST))
        assert_array_equal(copy.labels_, wrapped.labels_)
    copy = clone(wrapped)
    assert type(copy) is type(wrapped) and not hasattr(copy, "decision_scores_")
    assert copy.detector.get_params(False)["max_steps"] == 10
    with pytest.raises(NotFittedError):
        copy.predict(X_TEST)
    with pytest.raises(NotFittedError):
        copy.decision_function(X_TEST)
    copy.fit(X_TRAIN)
    assert_array_equal(copy.decision_scores_, wrapped.decision_scores_)


# What is ours in it.


@pytest.mark.parametrize(
    "params",
    [
        {"validation_fraction": 0.3, "threshold": "conformal"},
        {"max_references": 50},
        {"score_type": "joint"},
        {"score_type": "latent"},
        {"cls": AutoencoderDetector},
    ],
    ids=str,
)
def test_scores_at_fit_are_scores_at_predict(small, params):
    """A training row has one score; the default one leaves the row itself out."""
    wrapped = as_pyod(small(**params)).fit(X_TRAIN)
    assert_array_equal(wrapped.decision_function(X_TRAIN), wrapped.decision_scores_)
    alone = wrapped.decision_function(X_TRAIN[7:8])
    assert_array_equal(alone, wrapped.decision_scores_[7:8])
    assert_array_equal(wrapped.predict(X_TRAIN), wrapped.labels_)
    native = small(**params).fit(X_TRAIN)
    assert_array_equal(wrapped.decision_scores_, native.anomaly_score(X_TRAIN))


def test_images(small, images):
    """Rows with axes of their own pass through PyOD's methods."""
    wrapped = as_pyod(small(conv=True)).fit(images)
    assert wrapped.labels_.sum() == 6
    assert wrapped.predict_proba(images).shape == (60, 2)
    assert_array_equal(wrapped.decision_function(images), wrapped.decision_scores_)


def test_parameters_nest(small):
    """Both kinds of parameters are set and reach the next fit; nothing is shared."""
    detector = small()
    wrapped = as_pyod(detector)
    assert wrapped.detector is detector
    wrapped.set_params(
        contamination=0.2,
        detector__max_steps=3,
        detector__architecture__hidden_layer_sizes=(5,),
    )
    assert wrapped.get_params()["detector__max_steps"] == 3
    wrapped.fit(X_TRAIN)
    assert wrapped.labels_.sum() == 50
    assert wrapped.detector_.n_iter_ == 3 and detector.max_steps == 3
    assert not hasattr(detector, "offset_")
    assert "GANomalyDetector" in repr(wrapped) and "0.2" in repr(wrapped)


@pytest.mark.parametrize(
    "y", [Y_TRAIN, X_TRAIN[:, 0], ["a", None], "no labels"], ids=lambda y: str(y)[:9]
)
def test_y_that_is_ignored_is_not_validated(small, y):
    """Neither its type nor its length, and without a warning."""
    wrapped = as_pyod(small()).fit(X_TRAIN, y)
    assert_array_equal(
        wrapped.decision_scores_, as_pyod(small()).fit(X_TRAIN).decision_scores_
    )


class Recorder(OutlierMixin, BaseEstimator):
    """Keeps what fit was given."""

    def fit(self, X, y=None, *, groups=None):
        """Keep it."""
        self.seen_ = y, groups
        self.offset_ = 0.0
        return self

    def score_samples(self, X):
        """Score by the first column."""
        return -np.asarray(X)[:, 0]

    decision_function = score_samples


class Ungrouped(Recorder):
    """Takes no groups."""

    def fit(self, X, y=None):
        """Keep what there is."""
        return super().fit(X, y)


def test_groups_reach_the_detector():
    """Alone, behind other steps and there and back; y comes through as it is."""
    groups, y = np.arange(len(X_TRAIN)) // 2, object()
    for detector, inside in (
        (Recorder(), lambda fitted: fitted),
        (make_pipeline(StandardScaler(), Recorder()), lambda fitted: fitted[-1]),
        (
            make_pipeline(StandardScaler(), make_pipeline(Recorder())),
            lambda fitted: fitted[-1][-1],
        ),
    ):
        wrapped = as_pyod(detector).fit(X_TRAIN, y, groups=groups)
        seen = inside(wrapped.detector_).seen_
        assert seen[0] is y and seen[1] is groups
        wrapped.fit(X_TRAIN)
        assert inside(wrapped.detector_).seen_ == (None, None)
        back = from_pyod(wrapped).fit(X_TRAIN, groups=groups)
        assert inside(back.detector_.detector_).seen_[1] is groups


def test_groups_by_metadata_routing():
    """Where it is switched on, Pipelines say themselves which step asks for groups."""
    groups = np.arange(len(X_TRAIN)) // 2
    with config_context(enable_metadata_routing=True):
        asks = Recorder().set_fit_request(groups=True)
        wrapped = as_pyod(make_pipeline(StandardScaler(), asks))
        wrapped.fit(X_TRAIN, groups=groups)
        assert wrapped.detector_[-1].seen_[1] is groups
        assert as_pyod(Recorder()).fit(X_TRAIN, groups=groups).detector_.seen_[1] is (
            groups
        )
        silent = as_pyod(make_pipeline(StandardScaler(), Recorder()))
        with pytest.raises(UnsetMetadataPassedError, match="groups"):
            silent.fit(X_TRAIN, groups=groups)
        assert not hasattr(silent, "detector_")


@pytest.mark.parametrize(
    "make",
    [
        lambda: as_pyod(Ungrouped()),
        lambda: as_pyod(make_pipeline(StandardScaler(), Ungrouped())),
        lambda: as_pyod(FrozenEstimator(Recorder().fit(X_TRAIN)), X_train=X_TRAIN),
        lambda: from_pyod(KNN()),
        lambda: from_pyod(as_pyod(Ungrouped())),
    ],
)
def test_groups_that_nothing_takes_are_refused(make):
    """They are not ignored in silence; without them all is well."""
    wrapped = make().fit(X_TRAIN)
    with pytest.raises(TypeError, match=r"(Ungrouped|Frozen|KNN).*takes no groups"):
        wrapped.fit(X_TRAIN, groups=np.arange(len(X_TRAIN)))
    assert not [name for name in vars(wrapped) if name.endswith("_")]


def test_callers_can_seed_what_they_are_given(small):
    """By the name `random_state`, into whatever is inside, at the next fit."""
    expected = small(random_state=7).fit(X_TRAIN).anomaly_score(X_TEST)
    pipeline = make_pipeline(StandardScaler(), small(random_state=None))
    for detector in (small(random_state=None), small(random_state=3)):
        wrapped = as_pyod(detector)
        assert wrapped.random_state is None and "random_state" in wrapped.get_params()
        wrapped = clone(wrapped.set_params(random_state=7)).fit(X_TRAIN)
        assert_array_equal(wrapped.decision_function(X_TEST), expected)
        assert wrapped.detector.random_state == detector.random_state
    seeded = [as_pyod(pipeline, random_state=7).fit(X_TRAIN) for _ in range(2)]
    assert seeded[0].detector_[-1].random_state == 7
    assert pipeline[-1].random_state is None
    assert_array_equal(seeded[0].decision_scores_, seeded[1].decision_scores_)
    back = from_pyod(as_pyod(small(random_state=None)), random_state=7).fit(X_TRAIN)
    assert_array_equal(back.anomaly_score(X_TEST), expected)
    forest = from_pyod(IForest(n_estimators=3), random_state=5).fit(X_TRAIN)
    assert forest.detector_.random_state == 5


def test_no_seed_leaves_the_seeds_inside(small):
    """The default changes nothing; what has no seed takes none."""
    wrapped = as_pyod(small(random_state=3)).fit(X_TRAIN)
    assert wrapped.detector_.random_state == 3
    neighbors = as_pyod(LocalOutlierFactor(novelty=True), random_state=0)
    plain = as_pyod(LocalOutlierFactor(novelty=True))
    assert_array_equal(
        neighbors.fit(X_TRAIN).decision_scores_, plain.fit(X_TRAIN).decision_scores_
    )
    fitted = as_pyod(small(random_state=3).fit(X_TRAIN), random_state=7)
    assert fitted.detector_.random_state == 3
    assert clone(fitted).fit(X_TRAIN).detector_.random_state == 7


def test_a_fitted_detector_is_not_trained_again(small, monkeypatch):
    """It is used as it is, with its own threshold."""
    detector = small().fit(X_TRAIN)
    monkeypatch.setattr(GANomalyDetector, "fit", None)
    wrapped = as_pyod(detector, X_train=X_TRAIN)
    assert wrapped.detector_ is detector
    assert wrapped.threshold_ == detector.threshold_
    assert_array_equal(wrapped.predict(X_TEST) == 1, detector.predict(X_TEST) == -1)
    assert_array_equal(wrapped.labels_ == 1, detector.predict(X_TRAIN) == -1)
    assert_array_equal(wrapped.decision_scores_, detector.anomaly_score(X_TRAIN))
    assert_allclose(wrapped.contamination, wrapped.labels_.mean(), rtol=1e-12)


def test_reference_scores_stand_in_for_training_scores(small):
    """Without the training rows, thresholds and probabilities come from these."""
    detector = small(max_references=100).fit(X_TRAIN)
    wrapped = as_pyod(detector)
    assert_array_equal(wrapped.decision_scores_, detector.reference_scores_)
    assert wrapped.threshold_ == detector.threshold_
    assert len(wrapped.labels_) == 100
    assert_array_equal(wrapped.predict(X_TEST) == 1, detector.predict(X_TEST) == -1)
    assert wrapped.predict_proba(X_TEST).shape == (150, 2)
    tenth = as_pyod(detector, contamination=np.float32(0.1))
    assert tenth.labels_.sum() == 10
    expected = np.percentile(detector.reference_scores_, 90)
    assert_allclose(tenth.threshold_, expected, rtol=1e-6)
    assert detector.threshold_ == wrapped.threshold_


def test_rejection_with_a_threshold_above_all_training_scores(small):
    """PyOD's formulas need a share of flagged rows above zero."""
    detector = small(threshold="max").fit(X_TRAIN)
    wrapped = as_pyod(detector, X_train=X_TRAIN)
    assert wrapped.labels_.sum() == 0
    assert_allclose(wrapped.contamination, 1 / 250)
    assert np.isfinite(wrapped.compute_rejection_stats()).all()
    wrapped.predict_confidence(X_TEST)


def test_default_contamination(small):
    """PyOD's, unless the detector has a number of its own."""
    assert as_pyod(small()).contamination == 0.1
    assert as_pyod(small(contamination=0.2)).contamination == 0.2
    assert as_pyod(small(contamination=0.2), contamination=0.3).contamination == 0.3
    pipeline = make_pipeline(StandardScaler(), small(contamination=0.25))
    assert as_pyod(pipeline).contamination == 0.25


def test_pipelines_searches_and_frozen_detectors(small):
    """The detector may be the last step, the best of a search, or frozen."""
    pipeline = make_pipeline(StandardScaler(), small())
    wrapped = as_pyod(pipeline).fit(X_TRAIN)
    assert_array_equal(wrapped.decision_scores_, wrapped.decision_function(X_TRAIN))
    fitted = clone(pipeline).fit(X_TRAIN)
    assert as_pyod(fitted).threshold_ == fitted[-1].threshold_
    search = GridSearchCV(
        pipeline,
        {"ganomalydetector__max_steps": [2, 4]},
        cv=2,
        scoring=lambda model, X, y=None: model.score_samples(X).mean(),
    ).fit(X_TRAIN)
    best = as_pyod(search)
    assert best.threshold_ == search.best_estimator_[-1].threshold_
    # Frozen, it survives the clones that PyOD's ensembles make.
    frozen = clone(as_pyod(FrozenEstimator(fitted[-1]))).fit(X_TRAIN)
    assert frozen.detector_.estimator is fitted[-1]
    forest = as_pyod(IsolationForest(random_state=0)).fit(X_TRAIN)
    assert roc_auc_score(Y_TEST, forest.decision_function(X_TEST)) > 0.9


@pytest.mark.parametrize(
    "detector, message",
    [
        (GANomalyDetector, r"Pass an instance, GANomalyDetector\(\)"),
        (KNN(), "KNN is a PyOD detector already"),
        (make_pipeline(StandardScaler(), KNN()), "got Pipeline"),
        (KernelDensity(), "got KernelDensity"),
        (StandardScaler(), "got StandardScaler"),
        (object(), "got object"),
        (None, "got NoneType"),
    ],
    ids=str,
)
def test_as_pyod_refuses_what_is_no_detector(detector, message):
    """And says what it takes."""
    with pytest.raises(TypeError, match=message):
        as_pyod(detector)


def test_as_pyod_refuses_bad_arguments(small):
    """Each with what to do instead."""
    for contamination in (0, 0.6, -1, 1, True, np.nan):
        with pytest.raises(ValueError, match="contamination must be in"):
            as_pyod(small(), contamination=contamination)
    for contamination in ("auto", [0.1]):
        with pytest.raises(ValueError, match="contamination must be a number"):
            as_pyod(small(), contamination=contamination)
    with pytest.raises(ValueError, match="Leave it out, and call fit"):
        as_pyod(small(), X_train=X_TRAIN)
    forest = IsolationForest(random_state=0).fit(X_TRAIN)
    with pytest.raises(ValueError, match="Pass the training rows as X_train"):
        as_pyod(forest)
    assert as_pyod(forest, X_train=X_TRAIN).threshold_ == -forest.offset_


def test_without_pyod_the_extra_is_named():
    """Only as_pyod needs PyOD; neither comes with the import of the package."""
    code = (
        "import sys; sys.modules['pyod'] = None\n"
        "import skganomaly\n"
        "assert 'skganomaly.interop' not in sys.modules\n"
        "assert callable(skganomaly.from_pyod)\n"
        "try: skganomaly.as_pyod(None)\n"
        "except ImportError as error: print(error)\n"
        "assert 'torch' not in sys.modules"
    )
    result = _run(code)
    assert (result.returncode, result.stderr) == (0, "")
    assert 'pip install "skganomaly[pyod]"' in result.stdout


# Tools of PyOD and of its surroundings.


class Top:
    """A thresholder: flags the `count` highest scores, at a scale of its own."""

    def __init__(self, count=20):
        self.count = count

    def fit(self, scores):
        """Find the cut on the scale of the scores' range."""
        self.low_, self.range_ = scores.min(), np.ptp(scores)
        self.thresh_ = self._scaled(np.sort(scores)[-self.count])
        self.labels_ = self.predict(scores)

    def _scaled(self, scores):
        return (scores - self.low_) / self.range_

    def predict(self, scores):
        """Flag what reaches the cut."""
        return (self._scaled(scores) >= self.thresh_).astype(int)


def _needs_fitted_thresholders():
    reason = "older versions of pyod fit a thresholder anew to the rows they predict"
    pytest.importorskip("pyod", minversion="3.6.3", reason=reason)


def test_thresholder_as_contamination(small):
    """It decides labels and predictions; all else stays."""
    _needs_fitted_thresholders()
    wrapped = as_pyod(small(), contamination=Top(20)).fit(X_TRAIN)
    assert wrapped.labels_.sum() == 20 and 0 < wrapped.threshold_ < 1
    assert_array_equal(wrapped.predict(X_TRAIN), wrapped.labels_)
    assert np.ptp(wrapped.predict_confidence(X_TEST)) > 0
    fitted = as_pyod(small().fit(X_TRAIN), contamination=Top(30), X_train=X_TRAIN)
    assert fitted.labels_.sum() == 30
    back = from_pyod(wrapped)
    assert_array_equal(back.predict(X_TRAIN) == -1, wrapped.labels_ == 1)
    assert_array_equal(back.predict(X_TEST) == -1, wrapped.predict(X_TEST) == 1)


class PyThreshTop(Top):
    """Known for what it is by its module, as PyThresh need not be installed."""

    __module__ = "pythresh.thresholds.top"


def test_thresholder_as_threshold(small):
    """Its cut is brought to the scale of the scores, each time anew."""
    scores = np.linspace(-3, 7, 101)
    own = PyThreshTop(20)
    rule = fit_threshold(own, scores, rate=0.05)
    assert 5 <= rule.threshold_ < 5.1 and (scores > rule.threshold_).sum() == 20
    assert fit_threshold(rule, scores * 2, rate=0.05).threshold_ >= 10
    assert vars(own) == {"count": 20}
    detector = small(threshold=own).fit(X_TRAIN)
    assert (detector.reference_scores_ > detector.threshold_).sum() == 20


THRESHOLDERS = ["IQR", "FILTER", "MAD", "ZSCORE", "CHAU"]


@pytest.mark.parametrize("name", THRESHOLDERS)
def test_pythresh_as_contamination(small, name, numpy_state_kept):
    """PyOD's own gateway to PyThresh."""
    _needs_fitted_thresholders()
    pytest.importorskip("pythresh", reason="pythresh is not installed")
    import pyod.models.thresholds

    thresholder = getattr(pyod.models.thresholds, name)()
    wrapped = as_pyod(small(), contamination=thresholder).fit(X_TRAIN)
    assert_array_equal(wrapped.labels_, thresholder.labels_)
    assert_array_equal(wrapped.predict(X_TRAIN), wrapped.labels_)
    assert set(np.unique(wrapped.predict(X_TEST))) <= {0, 1}
    assert wrapped.predict_proba(X_TEST).shape == (150, 2)


@pytest.mark.parametrize("name", THRESHOLDERS)
def test_pythresh_as_threshold(small, name, numpy_state_kept):
    """The cut flags what the thresholder flags; the user's object is left alone."""
    pytest.importorskip("pythresh", reason="pythresh is not installed")
    import pyod.models.thresholds

    thresholder = getattr(pyod.models.thresholds, name)()
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    detector = small(threshold=thresholder).fit(X_TRAIN)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    rule = detector.threshold_rule_
    assert rule is not thresholder and thresholder.labels_ is None
    scores = detector.reference_scores_
    assert_array_equal(scores > detector.threshold_, rule.labels_ == 1)
    # In between training scores too, where the labels alone would not tell.
    grid = np.linspace(scores.min() - 1, scores.max() + 2, 999)
    assert_array_equal(grid > detector.threshold_, rule.predict(grid) == 1)
    assert detector.set_threshold().threshold_ != rule.threshold_
    detector.set_threshold(rule)
    assert detector.threshold_ == rule.threshold_
    moved = fit_threshold(rule, scores + 5, rate=0.05).threshold_
    assert_allclose(moved, rule.threshold_ + 5)


@pytest.mark.filterwarnings("ignore:All training rows are equal:UserWarning")
def test_pythresh_on_constant_scores(small, numpy_state_kept):
    """A thresholder that fails on equal scores says so, here and in PyOD."""
    karch = pytest.importorskip("pythresh.thresholds.karch")
    X = np.full((20, 2), 1.5)
    words = "KARCH finds no threshold, as all 20 scores are"
    for detector in (
        small(AutoencoderDetector, threshold=karch.KARCH()),
        as_pyod(small(AutoencoderDetector), contamination=karch.KARCH()),
    ):
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=words):
            detector.fit(X)


def test_cut_from_labels():
    """Between the scores that are flagged and those that are not, if there is a gap."""
    scores = np.array([3.0, 0.0, 10.0, 4.0])
    assert cut_from_labels(scores, [0, 0, 1, 0]) == 7
    assert cut_from_labels(scores, [0, 0, 1, 0], position=0.5) == 5
    assert cut_from_labels(scores, [0, 0, 1, 0], position=0.1) == 4
    assert cut_from_labels(scores, [0, 0, 1, 0], position=1) == np.nextafter(10, 0)
    assert cut_from_labels(scores, [0, 0, 0, 0]) == 10
    assert cut_from_labels(scores, [0, 0, 0, 0], position=1.2) == 12
    assert cut_from_labels(scores, [0, 0, 0, 0], position=np.nan) == 10
    assert cut_from_labels(scores, [1, 1, 1, 1]) == np.nextafter(0, -1)
    assert cut_from_labels(scores, [1, 1, 1, 1], position=-1) == -10
    for labels in ([0, 1, 1, 0], [0, 1, 0, 0]):
        with pytest.raises(ValueError, match="labels that flag 0 and not"):
            cut_from_labels(scores, labels)
    with pytest.raises(ValueError, match="labels that flag 4 and not 4"):
        cut_from_labels(np.array([4.0, 4.0]), [0, 1])


def _check_ensemble(model):
    model.fit(X_TRAIN)
    assert model.labels_.sum() == 25
    assert roc_auc_score(Y_TEST, model.decision_function(X_TEST)) > 0.9
    assert set(np.unique(model.predict(X_TEST))) == {0, 1}
    assert model.predict_proba(X_TEST).shape == (150, 2)
    return model


def test_lscp(small):
    """Locally selective combination, which fits the detectors that it is given."""
    from pyod.models.lscp import LSCP

    ours = as_pyod(small())
    model = LSCP([ours, LOF(n_neighbors=10)], n_bins=2, random_state=0)
    assert _check_ensemble(model).train_scores_[0, 0] == ours.decision_scores_[0]


def test_feature_bagging(small):
    """Clones on subsets of the columns, with a nested seed each."""
    pytest.importorskip("combo", reason="combo, which it needs, is not installed")
    from pyod.models.feature_bagging import FeatureBagging

    model = FeatureBagging(as_pyod(small()), n_estimators=3, random_state=0)
    _check_ensemble(model)
    seeds = {member.detector.random_state for member in model.estimators_}
    assert len(seeds) == 3


def test_suod():
    """Clones in workers; it knows no code for ours and takes them as they are."""
    pytest.importorskip("suod", reason="suod is not installed")
    # Its import changes warning filters and how processes start, for good.
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from pyod.models.lof import LOF\n"
        "from pyod.models.suod import SUOD\n"
        "from skganomaly import AutoencoderDetector, as_pyod\n"
        "from skganomaly.datasets import make_anomalies\n"
        "X, y = make_anomalies(200, 4, kind='global', random_state=0)\n"
        "ours = as_pyod(AutoencoderDetector(max_steps=10, random_state=0))\n"
        "model = SUOD([ours, LOF()], bps_flag=False, n_jobs=1).fit(X)\n"
        "member = model.model_.base_estimators[0]\n"
        "assert (member.decision_function(X) == member.decision_scores_).all()\n"
        "assert model.labels_.sum() == 20\n"
        "assert (y[model.predict(X) == 1] == -1).mean() > 0.6\n"
        "assert model.predict_proba(X).shape == (200, 2)\n"
    )
    result = _run(code)
    assert result.returncode == 0, result.stderr


def test_embeddings(small):
    """The detector behind an encoder; PyOD clones it."""
    reason = "this version of pyod has no embeddings"
    embedding = pytest.importorskip("pyod.models.embedding", reason=reason)

    texts = np.array(["plain"] * 60 + ["normal"] * 60 + ["?!?"] * 3)
    rng = np.random.default_rng(0)

    def encode(texts):
        counts = [[len(t), t.count("!"), t.count("?"), ord(t[0])] for t in texts]
        return np.array(counts, dtype=float) + rng.normal(0, 0.1, (len(texts), 4))

    model = embedding.EmbeddingOD(
        encoder=encode, detector=as_pyod(small()), contamination=0.025
    )
    model.fit(texts[:120].tolist())
    assert model.labels_.sum() == 3
    found = model.predict(texts[100:].tolist())
    assert found[-3:].tolist() == [1, 1, 1] and found[:-3].mean() < 0.2
    assert model.predict_proba(texts.tolist()).shape == (123, 2)


def _conformal_p_values(detector, **options):
    nonconform = pytest.importorskip("nonconform", reason="nonconform is not installed")
    model = nonconform.ConformalDetector(
        detector, nonconform.Split(n_calib=0.3), seed=3, **options
    )
    return model.fit(X_TRAIN[Y_TRAIN == 0]).compute_p_values(X_TEST)


def test_nonconform(small):
    """Anomalies have low p-values, the same by every way, and its seed decides."""
    ours = as_pyod(small(random_state=None))
    p_values = _conformal_p_values(ours)
    assert p_values[Y_TEST == 1].mean() < 0.1
    assert 0.35 < p_values[Y_TEST == 0].mean() < 0.65
    assert_allclose(_conformal_p_values(ours), p_values)
    said = _conformal_p_values(ours, score_polarity="higher_is_anomalous")
    assert_allclose(said, p_values)
    pipeline = make_pipeline(StandardScaler(), small(random_state=None))
    scaled = [_conformal_p_values(as_pyod(pipeline)) for _ in range(2)]
    assert scaled[0][Y_TEST == 1].mean() < 0.1
    assert_allclose(*scaled)
    with pytest.raises(ValueError, match=r"as_pyod\(GANomalyDetector"):
        _conformal_p_values(small())


@pytest.mark.parametrize("cls", [AnoGANDetector, AutoencoderDetector, GANomalyDetector])
def test_a_tool_that_reads_scores_the_other_way_is_stopped(small, cls):
    """The mark of nonconform on a bare detector; as_pyod, whose way it reads, fits."""
    marked = {"contamination": sys.float_info.min}
    with pytest.raises(ValueError, match=rf"Give it as_pyod\({cls.__name__}\(\.\.\.\)"):
        small(cls).set_params(**marked).fit(X_TRAIN)
    fitted = as_pyod(small(cls, max_steps=2)).set_params(**marked).fit(X_TRAIN)
    assert fitted.labels_.sum() == 0


def test_nonconform_calibrates_a_fitted_detector(small):
    """Without training it again."""
    nonconform = pytest.importorskip("nonconform", reason="nonconform is not installed")
    normal = X_TRAIN[Y_TRAIN == 0]
    fitted = as_pyod(small().fit(normal[:150]))
    model = nonconform.ConformalDetector(fitted, nonconform.Split(n_calib=0.3))
    p_values = model.calibrate(normal[150:]).compute_p_values(X_TEST)
    calibration = np.sort(fitted.decision_function(normal[150:]))
    scores = fitted.decision_function(X_TEST)
    expected = skganomaly.thresholds.p_values(calibration, scores)
    assert_allclose(p_values, expected)


def test_script_of_a_pyod_user(small, tmp_path, capsys):
    """Whatever detector is put in, the same lines run."""
    from pyod.utils.data import evaluate_print, generate_data

    def script(clf, name):
        X_train, X_test, y_train, y_test = generate_data(
            n_train=200, n_test=100, n_features=4, contamination=0.1, random_state=1
        )
        clf.fit(X_train)
        train = clf.labels_, clf.decision_scores_
        test = clf.predict(X_test), clf.decision_function(X_test)
        probabilities = clf.predict_proba(X_test)[:, 1]
        labels, confidence = clf.predict(X_test, return_confidence=True)
        evaluate_print(name, y_train, train[1])
        evaluate_print(name, y_test, test[1])
        path = tmp_path / "clf.joblib"
        joblib.dump(clf, path)
        assert_array_equal(joblib.load(path).decision_function(X_test), test[1])
        assert_array_equal(labels, test[0])
        arrays = [*train, *test, probabilities, confidence]
        return [(array.shape, array.dtype) for array in arrays], clf.contamination

    ours = script(as_pyod(small()), "GANomaly")
    assert ours == script(IForest(n_estimators=5, random_state=0), "IForest")
    printed = capsys.readouterr().out.splitlines()
    rocs = [float(line.split("ROC:")[1].split(",")[0]) for line in printed]
    assert len(rocs) == 4 and min(rocs) > 0.9


# The other way.


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


class NoThreshold(Top):
    """Fails when the detector is trained already."""

    def fit(self, X, y=None):
        """Fail."""
        raise ValueError("no threshold")


@pytest.mark.parametrize(
    ("make", "changes", "rows"),
    [
        (lambda _: from_pyod(KNN(n_neighbors=5)), {}, X_TRAIN[:3, :2]),
        (lambda small: as_pyod(small()), {}, np.full((9, 4), np.nan)),
        (lambda small: as_pyod(small()), {"contamination": NoThreshold(9)}, X_TEST),
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
    _needs_fitted_thresholders()
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
