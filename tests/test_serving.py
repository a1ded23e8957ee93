"""What the page on serving promises: many threads at once, files without pickle."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector

DETECTORS = [AnoGANDetector, AutoencoderDetector, GANomalyDetector]
METHODS = ["anomaly_score", "p_values", "predict", "reconstruct", "encode", "explain"]


@pytest.mark.parametrize("cls", DETECTORS)
def test_single_rows_in_many_threads(small, cls, table, new_rows):
    """Rows that are scored at the same time do not see each other."""
    detector = small(cls, max_steps=3).fit(table)
    rows = np.vstack([new_rows[:6], table[:6]])
    calls = [(method, row) for row in rows[:, None] for method in METHODS]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(getattr(detector, name), row) for name, row in calls]
        results = [future.result() for future in futures]
    for i, method in enumerate(METHODS):
        together = getattr(detector, method)(rows)
        assert_array_equal(np.concatenate(results[i :: len(METHODS)]), together)


@pytest.mark.parametrize("fitted", [np.float32, np.float64])
@pytest.mark.parametrize("cls", DETECTORS)
def test_training_rows_in_another_precision(small, cls, fitted, table):
    """Rows of training are known again in single precision, and in double."""
    detector = small(cls).fit(table.astype(fitted))
    expected = detector.anomaly_score(table.astype(fitted))
    for dtype in (np.float32, np.float64):
        scores = detector.anomaly_score(table.astype(dtype))
        # A row that was not known would be its own neighbour, at a distance of 0.
        np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_values_beyond_single_precision(small, table):
    """A detector of float32 rows takes double ones that are far out."""
    detector = small().fit(table.astype(np.float32))
    far = np.full((1, 4), 1e300)
    assert detector.anomaly_score(far)[0] > detector.threshold_


@pytest.mark.parametrize("cls", DETECTORS)
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"conv": True, "input_shape": (1, 2, 2)},
        {"validation_fraction": 0.2, "threshold": "conformal"},
    ],
    ids=["rows", "images", "conformal"],
)
def test_skops(small, cls, params, table, new_rows, tmp_path):
    """Files without pickle hold all, and ask to trust nothing but this library."""
    skops_io = pytest.importorskip("skops.io", reason="skops is not installed")
    detector = small(cls, max_steps=3, **params).fit(table)
    pipeline = make_pipeline(StandardScaler(), small(cls, max_steps=3)).fit(table)
    for model in (detector, pipeline):
        skops_io.dump(model, tmp_path / "model.skops")
        names = skops_io.get_untrusted_types(file=tmp_path / "model.skops")
        assert all(name.startswith("skganomaly.") for name in names)
        loaded = skops_io.load(tmp_path / "model.skops", trusted=names)
        assert_array_equal(loaded.predict(new_rows), model.predict(new_rows))
        scores = model.score_samples(new_rows)
        assert_array_equal(loaded.score_samples(new_rows), scores)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, bool])
def test_small_types(small, dtype):
    """What single precision holds exactly is held in it, and scores as doubles do."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2 if dtype is bool else 200, size=(60, 6)).astype(dtype)
    detector = small().fit(X)
    assert detector.model_.scaling.single
    expected = small().fit(X.astype(np.float64)).anomaly_score(X.astype(np.float64))
    for rows in (X, X.astype(np.float32), X.astype(np.float64)):
        assert_array_equal(detector.anomaly_score(rows), expected)
