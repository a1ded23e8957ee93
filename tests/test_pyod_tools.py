"""What is made for PyOD's detectors works with ours: thresholders, ensembles."""

import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skganomaly
from skganomaly import (
    AnoGANDetector,
    AutoencoderDetector,
    GANomalyDetector,
    as_pyod,
    from_pyod,
)
from skganomaly._cut import cut_from_labels, fit_threshold
from skganomaly.datasets import make_anomalies

pytest.importorskip("pyod.models.base", reason="pyod is not installed")

from pyod.models.iforest import IForest
from pyod.models.lof import LOF

ROOT = Path(skganomaly.__file__).parents[1]

X, y = make_anomalies(400, 4, kind="global", random_state=0)
X_TRAIN, X_TEST = X[:250], X[250:]
Y_TRAIN, Y_TEST = (y[:250] == -1).astype(int), (y[250:] == -1).astype(int)


@pytest.fixture
def numpy_state_kept():
    """Put NumPy's global generator back; PyThresh seeds it in every constructor."""
    state = np.random.get_state()  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


# Thresholders.


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
    thresholder = PyThreshTop(20)
    rule = fit_threshold(thresholder, scores, rate=0.05)
    assert 5 <= rule.threshold_ < 5.1 and (scores > rule.threshold_).sum() == 20
    assert fit_threshold(rule, scores * 2, rate=0.05).threshold_ >= 10
    assert vars(thresholder) == {"count": 20}
    detector = small(threshold=thresholder).fit(X_TRAIN)
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


# Ensembles, and packages around PyOD.


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


@pytest.mark.slow
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
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        check=False,
    )
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
