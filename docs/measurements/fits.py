"""What fits of images and of wide tables cost.

Run ``python docs/measurements/fits.py``; it takes four minutes on one core. Times are
CPU seconds on one thread. Images are the digits of scikit-learn, enlarged.
"""

import time
import warnings

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.searches import EncoderSearch

FITS = (
    (AnoGANDetector, (500, 32, 32)),
    (AnoGANDetector, (500, 64, 64)),
    (GANomalyDetector, (500, 64, 64)),
    (AutoencoderDetector, (500, 64, 64)),
    (GANomalyDetector, (200, 3, 96, 96)),
    (GANomalyDetector, (500, 768)),
    (GANomalyDetector, (2000, 768)),
)


def fit_seconds(detector, X):
    """CPU seconds of a fit."""
    start = time.process_time()
    detector.fit(X)
    return time.process_time() - start


def digits(size):
    """The digits at a size, in [0, 1], and their labels."""
    data = load_digits()
    factor = size // data.images.shape[1]
    images = zoom(data.images / 16, (1, factor, factor), order=1)
    return images.astype(np.float32), data.target


def compare_accuracy(seeds=(0, 1)):
    """AnoGAN on the digits 0 to 4 at 32 x 32: with defaults, and with more steps."""
    images, target = digits(32)
    longer = {"max_steps": 1000, "search": EncoderSearch(encoder_steps=500)}
    for name, options in (("defaults", {}), ("1000 and 500 steps", longer)):
        found = []
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(images))
            normal = order[target[order] < 5]
            test = np.r_[normal[500:], order[target[order] >= 5][:400]]
            detector = AnoGANDetector(random_state=seed, **options)
            seconds = fit_seconds(detector, images[normal[:500]])
            scores = detector.anomaly_score(images[test])
            found.append((roc_auc_score(target[test] >= 5, scores), seconds))
        auc, seconds = np.mean(found, axis=0)
        print(f"AnoGAN, digits 0 to 4, {name}: AUC {auc:.3f}, {seconds:.1f} s")


def main():
    """Print all figures."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # What a process does once is no part of a fit.
    GANomalyDetector(max_steps=1).fit(np.eye(10))
    rng = np.random.default_rng(0)
    for cls, shape in FITS:
        if len(shape) == 2:
            X = rng.normal(size=shape)
        else:
            X = digits(shape[-1])[0][: shape[0]]
            X = np.broadcast_to(X[:, None], (len(X), *shape[1:])) if shape[3:] else X
        seconds = fit_seconds(cls(random_state=0), X)
        size = " x ".join(map(str, shape[1:]))
        print(f"{cls.__name__}, {shape[0]} of {size}: {seconds:.1f} s", flush=True)
    compare_accuracy()


if __name__ == "__main__":
    main()
