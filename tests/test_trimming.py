"""Training rows that are left out as the most anomalous of all."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._groups import RowGroups
from skganomaly._trimming import with_left_out, worst_rows
from skganomaly.benchmark import compare, get_detectors
from skganomaly.datasets import make_anomalies

DETECTORS = [GANomalyDetector, AutoencoderDetector, AnoGANDetector]
every_detector = pytest.mark.parametrize("cls", DETECTORS)

RNG = np.random.default_rng(0)
NEW = RNG.normal(size=(1000, 5))
ROWS = RNG.normal(size=(300, 5))
WILD = np.arange(300) % 20 == 3
DIRTY = np.where(WILD[:, None], 4 * RNG.normal(size=(300, 5)), ROWS)


@every_detector
def test_scores_are_those_without_the_rows_left_out(cls, small):
    """To the last bit, and it is shown which these are."""
    detector = small(cls, trim=0.1).fit(DIRTY)
    out = detector.trimmed_
    assert len(out) == len(set(out)) == 30
    assert WILD[out].sum() >= 13
    stay = np.setdiff1d(np.arange(300), out)
    without = small(cls).fit(DIRTY[stay])
    assert_array_equal(detector.anomaly_score(NEW), without.anomaly_score(NEW))
    assert detector.threshold_ > without.threshold_
    assert detector.settings_.trim == 0.1
    assert len(without.trimmed_) == 0


def test_the_worst_are_first(small):
    """By the scores of a detector of all rows."""
    trimmed = small(trim=0.1).fit(DIRTY).trimmed_
    scores = small().fit(DIRTY).anomaly_score(DIRTY)
    assert_array_equal(trimmed, np.argsort(-scores)[:30])


def test_anomalies_among_the_rows_hide_others_less(small):
    """Rows that are alike vouch for each other, unless they are left out."""
    kind = RNG.normal(size=5) * 2
    rows = np.where(WILD[:, None], kind + 0.7 * RNG.normal(size=(300, 5)), ROWS)
    new = kind + 0.7 * RNG.normal(size=(200, 5))
    gaps = []
    for trim in (0, 0.1):
        detector = small(AutoencoderDetector, trim=trim, max_steps=50).fit(rows)
        normal = np.median(detector.anomaly_score(NEW))
        gaps.append(np.median(detector.anomaly_score(new)) - normal)
    assert gaps[1] > 1.2 * gaps[0]


@pytest.mark.parametrize(
    "params", [{}, {"validation_fraction": 0.3}, {"max_references": 200}], ids=str
)
def test_clean_rows_keep_the_promise(params, small):
    """Though their edge is left out: it counts for the threshold."""
    detector = small(AutoencoderDetector, trim=0.2, **params).fit(ROWS)
    assert 0.01 < np.mean(detector.predict(NEW) == -1) < 0.08


def test_contamination_is_a_share_of_all_rows(small):
    """Those left out are training rows, too."""
    detector = small(trim=0.1, contamination=0.1).fit(DIRTY)
    flagged = np.flatnonzero(detector.predict(DIRTY) == -1)
    assert len(flagged) == 30
    assert len(np.intersect1d(flagged, detector.trimmed_)) > 20


def test_positions_are_those_of_the_rows_given(small):
    """Also where a weight of zero leaves out others."""
    weights = np.where(np.arange(300) < 100, 0, 1.0)
    trimmed = small(trim=0.1).fit(DIRTY, sample_weight=weights).trimmed_
    assert_array_equal(trimmed, small(trim=0.1).fit(DIRTY[100:]).trimmed_ + 100)


def test_groups_are_left_out_whole(small):
    """By the median of their rows; copies are groups."""
    groups = np.arange(300) // 3
    trimmed = small(trim=0.1).fit(DIRTY, groups=groups).trimmed_
    assert_array_equal(np.bincount(np.bincount(groups[trimmed]))[1:], [0, 0, 10])
    labels = np.array([0, 0, 0, 1, 1, 2, 3])
    scores = np.array([9.0, 0, 1, 2, 3, 8, 5])
    some = RowGroups(labels, np.arange(7))
    assert_array_equal(worst_rows(scores, some, 0.3), [5, 6])
    assert_array_equal(worst_rows(scores, some, 0.9), [5, 6])
    heavy = RowGroups(labels, np.arange(7), np.array([1, 1, 1, 1, 1, 9, 1.0]))
    assert len(worst_rows(scores, heavy, 0.3)) == 0


def test_reference_scores_of_both_kinds():
    """They are distributed like those of all rows."""
    scores = np.sort(RNG.normal(size=1000))
    kept, out = scores[:900], scores[900:]
    assert_allclose(with_left_out(kept, out, np.ones(100), 0.1), scores)
    fewer = with_left_out(kept[::9], out[::5], np.ones(20), 0.1)
    assert len(fewer) == 111
    levels = [0.1, 0.5, 0.95]
    assert_allclose(np.quantile(fewer, levels), np.quantile(scores, levels), atol=0.05)


def test_images_and_pickles(images, small):
    """Whatever a row is."""
    detector = small(AutoencoderDetector, conv=True, trim=0.1).fit(images)
    loaded = pickle.loads(pickle.dumps(detector))
    assert_array_equal(loaded.trimmed_, detector.trimmed_)
    assert len(detector.trimmed_) == 6


def test_problems_are_told_once(small):
    """The first of the two trainings is not reported."""
    detector = small(trim=0.1, learning_rate=3.0, n_members=1, max_steps=60)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        detector.fit(DIRTY)
    told = [w for w in seen if issubclass(w.category, ConvergenceWarning)]
    assert len(told) == len(detector.training_report_.problems) > 0


class Counts(Callback):
    """Counts trainings, in a list that all copies share."""

    def __init__(self, begun):
        self.begun = begun

    def __deepcopy__(self, memo):
        return self

    def on_train_begin(self, net, **kwargs):
        self.begun.append(net.phase)


def test_callbacks_hear_of_both_trainings(small):
    begun = []
    small(AutoencoderDetector, trim=0.1, callbacks=[Counts(begun)]).fit(DIRTY)
    assert begun == ["training", "training"]


class Pressed(Callback):
    """Press Ctrl-C in the first training."""

    def on_epoch_end(self, net, **kwargs):
        import _thread

        _thread.interrupt_main()


def test_ctrl_c_in_the_first_training(small):
    """Nothing goes on, and nothing is left."""
    detector = small(trim=0.1, callbacks=[Pressed()])
    with pytest.raises(KeyboardInterrupt):
        detector.fit(DIRTY)
    assert not hasattr(detector, "offset_")


def test_the_benchmark_contaminates():
    """Anomalies take the place of training rows, and are not tested on."""
    assert get_detectors(["Autoencoder-trim"])["Autoencoder-trim"].trim == 0.1
    detectors = get_detectors(["knn"])
    data = {"cluster": make_anomalies(200, 4, kind="cluster", random_state=0)}
    clean = compare(detectors, data, (0,))
    dirty = compare(detectors, data, (0,), contamination=0.1)
    assert dirty["contamination"].tolist() == [0.1]
    assert dirty["n_train"].tolist() == clean["n_train"].tolist() == [90]
    # Nine anomalies are in training, and nine normal rows that were there are not.
    assert dirty["n_test"].tolist() == clean["n_test"].tolist() == [110]
    assert dirty["roc_auc"].item() < clean["roc_auc"].item()


def test_a_contamination_that_is_refused(dataset):
    """With what there is, and what to do."""
    detectors = get_detectors(["iforest"])
    with pytest.raises(ValueError, match=r"contamination=0.1 puts anomalies .* Leave"):
        compare(detectors, [dataset], protocol="contaminated", contamination=0.1)
    with pytest.raises(ValueError, match=r"contamination == 0.5, must be < 0.5"):
        compare(detectors, [dataset], contamination=0.5)
    with pytest.warns(RuntimeWarning, match="takes 36 anomalies.*is 10. Lower max_tra"):
        compare(detectors, [dataset], (0,), contamination=0.4)
