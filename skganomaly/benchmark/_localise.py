"""Do the anomaly maps show where a defect is? Pixel ROC AUC on generated defects."""

import time

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from .. import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from ..datasets import make_image_anomalies
from ._protocols import iterate_splits

DEFECTS = ("patch", "erasure", "stroke")
NEAREST = "nearest image"
_DETECTORS = {
    "AnoGAN": AnoGANDetector,
    "GANomaly": GANomalyDetector,
    "Autoencoder": AutoencoderDetector,
}


def measure_localisation(dataset, seeds, *, max_train=6000, n_images=200):
    """Train on the images of one class, and look for defects in others of that class.

    The maps are those of ``anomaly_map`` with its defaults. Beside them stands the
    distance to the training image with the nearest pixels, smoothed alike.

    Parameters
    ----------
    dataset : AnomalyDataset
        Grey images with classes.
    seeds : iterable of int
        Seeds of the division, the defects and the training.
    max_train : int, default=6000
        Maximum number of training images.
    n_images : int, default=200
        Maximum number of images with each kind of defect.

    Yields
    ------
    dict
        "class", "seed", "method", "fit_s" in CPU seconds, and for each kind of defect
        the ROC AUC over all pixels of the images with a defect.
    """
    channels, height, width = dataset.input_shape
    if channels != 1:
        raise ValueError(
            f"Defects are drawn on grey images; {dataset.name} has colour."
        )
    X = np.asarray(dataset.X, dtype=np.float64).reshape(-1, height, width)
    for seed in seeds:
        for split in iterate_splits(dataset, "one-class", seed, max_train=max_train):
            train = X[split.train]
            intact = X[split.test[~split.anomalous]][: 2 * n_images]
            damaged = {
                kind: make_image_anomalies(
                    len(intact),
                    kind=kind,
                    contamination=0.5,
                    images=intact,
                    random_state=seed,
                )
                for kind in DEFECTS
            }
            for method in (*_DETECTORS, NEAREST):
                start = time.process_time()
                draw = _fit(method, train, seed)
                row = {"class": split.special, "seed": seed, "method": method}
                row["fit_s"] = time.process_time() - start
                for kind, bunch in damaged.items():
                    defective = bunch.target == -1
                    maps = draw(bunch.images[defective])
                    truth = bunch.masks[defective]
                    row[kind] = roc_auc_score(truth.ravel(), maps.ravel())
                yield row


def _fit(method, train, seed):
    """Train, and return what draws maps of images."""
    if method != NEAREST:
        return _DETECTORS[method](random_state=seed).fit(train).anomaly_map
    search = NearestNeighbors(n_neighbors=1).fit(train.reshape(len(train), -1))
    sigma = max(0.5, min(train.shape[1:]) / 28)

    def draw(images):
        nearest = search.kneighbors(images.reshape(len(images), -1))[1][:, 0]
        return gaussian_filter(np.abs(images - train[nearest]), (0, sigma, sigma))

    return draw
