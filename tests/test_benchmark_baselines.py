"""The detectors of the command, and the mean distance to the nearest rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.utils.estimator_checks import parametrize_with_checks

from skganomaly.benchmark import Detector, KNNDistance, compare, get_detectors


@parametrize_with_checks([KNNDistance()])
def test_knn_distance_is_an_estimator(estimator, check):
    """The baseline passes scikit-learn's battery."""
    check(estimator)


def test_knn_distance_is_a_mean_distance():
    """By hand on five rows; with few rows it uses those there are."""
    X = np.array([[0.0], [1.0], [3.0], [6.0], [10.0]])
    detector = KNNDistance(n_neighbors=2).fit(X)
    assert_allclose(detector.score_samples([[0.5]]), [-0.5])
    assert_allclose(KNNDistance().fit(X).score_samples([[0.0]]), [-2.5])


def test_baselines_can_be_chosen_by_name():
    """Upper and lower case alike, in the order asked for."""
    chosen = get_detectors(["iforest", "KNN", "lof", "kNN-minmax", "OneClassSVM"])
    assert list(chosen) == ["IForest", "kNN", "LOF", "kNN-minmax", "OneClassSVM"]
    for detector in chosen.values():
        assert Detector(detector).higher_is == "normal"
    with pytest.raises(ValueError, match=r"Unknown.*available here: GANomaly"):
        get_detectors(["nothing"])


def test_pyod_detectors_run_with_their_own_signs(dataset):
    """Labels and direction of PyOD are known; the seed reaches its networks."""
    pytest.importorskip("pyod")
    detectors = get_detectors(["PyOD-KNN"])
    detector = Detector(detectors["PyOD-KNN"])
    assert (detector.higher_is, detector.anomaly_label) == ("anomaly", 1)
    results = compare(detectors | {"kNN": get_detectors(["kNN"])["kNN"]}, dataset, [0])
    assert results["roc_auc"].min() > 0.6 and results["false_alarms"].max() < 0.5
