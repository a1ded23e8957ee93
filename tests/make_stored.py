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
import torch

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import MLP
from skganomaly.images import DefectDiscriminator, DrawnDefects, ImageDetector
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


def image_detector():
    """Return a fitted detector of images, and images to score."""
    rng = np.random.default_rng(0)
    images = rng.normal(128, 20, size=(24, 32, 32)).astype(np.uint8)
    images_new = images[:4].copy()
    images_new[2:, 8:20, 10:20] = 250
    draw = DrawnDefects(contrasts=(3.0, 6.0))
    method = DefectDiscriminator(draw=draw, scales=(1.0,), n_steps=200, batch_size=4)
    detector = ImageDetector(
        method=method, random_state=0, device="cpu", threshold="max"
    ).fit(images)
    # Most weights become zero, which makes the file small.
    for method in detector.methods_:
        for weights in method.network.parameters():
            small = weights.abs() < weights.abs().flatten().quantile(0.8)
            weights.copy_(torch.where(small, 0, weights))
    detector.set_threshold(float(np.median(detector.anomaly_score(images_new))))
    return detector, images_new


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
        joblib.dump(detector, folder / f"{name}.joblib", compress=3)
        store(folder, name, detector, X_new)
    store(folder, "images", *image_detector())


def store(folder, name, detector, X_new):
    """Save a fitted detector, and what has to come out again."""
    # No rounding of another machine may carry a row across the cut.
    margin = np.abs(detector.decision_function(X_new)).min()
    if margin < 1e-3:
        raise RuntimeError(f"{name}: a row is {margin} from the threshold.")
    detector.save(folder / f"{name}.skganomaly")
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
