"""Detectors of this library, and of scikit-learn, as detectors of PyOD."""

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
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skganomaly
from skganomaly import AutoencoderDetector, GANomalyDetector, as_pyod, from_pyod
from skganomaly.datasets import make_anomalies

base = pytest.importorskip("pyod.models.base", reason="pyod is not installed")

from pyod.models.iforest import IForest  # noqa: E402
from pyod.models.knn import KNN  # noqa: E402

ROOT = Path(skganomaly.__file__).parents[1]

X, y = make_anomalies(400, 4, kind="global", random_state=0)
X_TRAIN, X_TEST = X[:250], X[250:]
Y_TRAIN, Y_TEST = (y[:250] == -1).astype(int), (y[250:] == -1).astype(int)


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
        pytest.param(object(), "got object", id="object"),
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
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert 'pip install "skganomaly[pyod]"' in result.stdout
