"""Write fitted detectors of this version, which every later version has to load.

Usage: python tests/make_stored.py

The files go into a folder of tests/data that is named after the version, each with the
rows, scores, labels and threshold that test_stored.py expects of it. They are written
once, before the release; a folder that is there is left alone.
"""

import sys
from pathlib import Path

import joblib
import numpy as np

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import MLP
from skganomaly.searches import EncoderSearch
from skganomaly.timeseries import TimeSeriesDetector

FOLDER = Path(__file__).parent / "data"


def detectors():
    """Return unfitted detectors by the names of their files."""
    tiny = {
        "architecture": MLP(hidden_layer_sizes=(4,), discriminator_layer_sizes=(4,)),
        "max_steps": 20,
        "n_members": 2,
        "random_state": 0,
        "device": "cpu",  # others round in another way than these scores
    }
    return {
        "ganomaly": GANomalyDetector(**tiny),
        "anogan": AnoGANDetector(search=EncoderSearch(encoder_steps=20), **tiny),
        "autoencoder": AutoencoderDetector(**tiny),
        "timeseries": TimeSeriesDetector(
            AutoencoderDetector(**tiny), window_length=4, n_blocks=2
        ),
    }


def main(folder):
    """Fit, store, and note what has to come out again."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    X = rng.normal(size=(40, 3)) @ mixing
    X_new = rng.normal(size=(40, 3)) @ mixing
    X_new[20:] *= 4
    folder.mkdir(parents=True)
    for name, detector in detectors().items():
        detector.fit(X)
        # No rounding of another machine may carry a row across the cut.
        margin = np.abs(detector.decision_function(X_new)).min()
        if margin < 1e-3:
            raise RuntimeError(f"{name}: a row is {margin} from the threshold.")
        joblib.dump(detector, folder / f"{name}.joblib", compress=3)
        np.savez_compressed(
            folder / f"{name}.npz",
            rows=X_new,
            scores=detector.anomaly_score(X_new),
            labels=detector.predict(X_new),
            threshold=detector.threshold_,
        )


if __name__ == "__main__":
    target = FOLDER / skganomaly.__version__
    if target.exists():
        sys.exit(f"{target} is there, and what is stored is not written anew.")
    main(target)
