"""What an earlier version stored is loaded by this one, and scores as it did then."""

from pathlib import Path

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

import skganomaly

# Written by make_stored.py.
FOLDER = Path(__file__).parent / "data"
STORED = sorted([*FOLDER.glob("*/*.joblib"), *FOLDER.glob("*/*.skganomaly")])


def test_each_release_is_stored():
    """No version is released without files that later ones are held to."""
    # Between releases, "dev" is a part of the version.
    version = skganomaly.__version__
    assert "dev" in version or (FOLDER / version).is_dir(), "run make_stored.py"
    names = {"anogan", "autoencoder", "ganomaly", "timeseries"}
    for folder in FOLDER.iterdir():
        assert {path.stem for path in folder.glob("*.joblib")} >= names, folder
        files = {path.stem for path in folder.glob("*.skganomaly")}
        assert files >= names | {"images"}, folder


@pytest.mark.parametrize(
    "path", STORED, ids=lambda path: f"{path.parent.name}-{path.name}"
)
@pytest.mark.filterwarnings(
    "ignore:This .* was saved by skganomaly:UserWarning",
    "ignore:.* was saved with .*. Check that its scores:UserWarning",
    "ignore::sklearn.exceptions.InconsistentVersionWarning",
)
def test_stored_detectors(path):
    """Scores, labels and threshold come out again, and the detector can be cloned."""
    load = joblib.load if path.suffix == ".joblib" else skganomaly.load
    detector = load(path)
    with np.load(path.with_suffix(".npz")) as expected:
        rows = expected["rows"]
        assert_allclose(
            detector.anomaly_score(rows), expected["scores"], rtol=1e-5, atol=1e-5
        )
        assert_array_equal(detector.predict(rows), expected["labels"])
        assert detector.threshold_ == pytest.approx(expected["threshold"], rel=1e-5)
    clone(detector)
