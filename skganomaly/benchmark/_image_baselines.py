"""Detectors of whole images at 64 x 64 pixels, for others to be compared with."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from torch.nn import functional as F

from .. import GANomalyDetector
from ._baselines import KNNDistance

__all__ = ["GANomalyOnPixels", "OnPixels", "PixelForest", "PixelKNN", "PixelPCA"]

_SIDE = 64
_RATE = 0.05
# Share of the images that the cut is found from, as ImageDetector holds them out.
_HELD_OUT = 0.2
# Images that are mapped or scored together.
_BLOCK = 64


class OnPixels(OutlierMixin, BaseEstimator):
    """Scores images by their pixels, once they are all of one small size.

    Scores and maps come from `_scores` and `_maps` of a subclass, of arrays
    (n, channels, 64, 64).

    Parameters
    ----------
    random_state : int or None, default=None
        Decides which images are held out for the cut, and what a detector draws.
    """

    def __init__(self, random_state: int | None = None) -> None:
        self.random_state = random_state

    def fit(self, images, y=None, *, groups=None):
        """Fit on images, and find the cut from such as were held out."""
        X = np.concatenate([_small(images, i, j) for i, j in _blocks(len(images))])
        self._fit(X, np.random.default_rng(self.random_state), groups)
        return self

    def _fit(self, X, rng, groups):
        units = np.arange(len(X)) if groups is None else np.asarray(groups)
        names = np.unique(units)
        chosen = rng.permutation(names)[: max(1, round(_HELD_OUT * len(names)))]
        out = np.isin(units, chosen)
        self._learn(X[~out])
        self.threshold_ = float(np.quantile(self._scores(X[out]), 1 - _RATE))

    def anomaly_score(self, images):
        """One score an image, higher for more anomalous."""
        return np.concatenate(
            [self._scores(_small(images, i, j)) for i, j in _blocks(len(images))]
        )

    def anomaly_map(self, images):
        """A map for each image, in its size, or None for each if there is none."""
        maps = []
        for i, j in _blocks(len(images)):
            sizes = [images[k].shape[-2:] for k in range(i, j)]
            found = self._maps(_small(images, i, j))
            if found is None:
                maps += [None] * (j - i)
            else:
                maps += [
                    _resized(one[None], size)[0]
                    for one, size in zip(found, sizes, strict=True)
                ]
        return maps

    def _maps(self, X):
        return None


class PixelKNN(OnPixels):
    """Distance to the nearest training images, and the difference to the nearest."""

    def _fit(self, X, rng, groups):
        # Each leaves itself out, so that none has to be held out.
        self.train_ = X
        self.neighbours_ = KNNDistance(false_alarm_rate=_RATE).fit(_flat(X))
        self.threshold_ = -float(self.neighbours_.offset_)

    def _scores(self, X):
        return -self.neighbours_.score_samples(_flat(X))

    def _maps(self, X):
        search = self.neighbours_.neighbors_
        nearest = search.kneighbors(_flat(X), n_neighbors=1)[1][:, 0]
        return np.abs(X - self.train_[nearest]).mean(axis=1)


class PixelPCA(OnPixels):
    """What the principal components with 95 % of the variance leave of an image."""

    def _learn(self, X):
        self.shape_ = X.shape[1:]
        self.pca_ = PCA(n_components=0.95, svd_solver="full").fit(_flat(X))

    def _residual(self, X):
        rows = _flat(X)
        back = self.pca_.inverse_transform(self.pca_.transform(rows))
        return (rows - back).reshape(len(X), *self.shape_)

    def _scores(self, X):
        return np.square(self._residual(X)).mean(axis=(1, 2, 3))

    def _maps(self, X):
        return np.abs(self._residual(X)).mean(axis=1)


class PixelForest(OnPixels):
    """Isolation forest on pixels; it draws no maps."""

    def _learn(self, X):
        self.forest_ = IsolationForest(random_state=self.random_state).fit(_flat(X))

    def _scores(self, X):
        return -self.forest_.score_samples(_flat(X))


class GANomalyOnPixels(OnPixels):
    """GANomaly with its defaults, its own cut and its own maps."""

    def _fit(self, X, rng, groups):
        self.detector_ = GANomalyDetector(random_state=self.random_state).fit(
            _plain(X), groups=groups
        )
        self.threshold_ = float(self.detector_.threshold_)

    def _scores(self, X):
        return self.detector_.anomaly_score(_plain(X))

    def _maps(self, X):
        found = np.asarray(self.detector_.anomaly_map(_plain(X)))
        return found if found.ndim == 3 else found.mean(axis=1)


def _blocks(n):
    return [(i, min(i + _BLOCK, n)) for i in range(0, n, _BLOCK)]


def _small(images, first, last):
    """Images at 64 x 64, in units of full brightness: (n, channels, 64, 64)."""
    return np.stack([_one_small(images[i]) for i in range(first, last)])


def _one_small(image):
    full = np.iinfo(image.dtype).max if image.dtype.kind in "iu" else 1.0
    return _resized(np.asarray(image, dtype=np.float32) / np.float32(full))


def _resized(image, size=(_SIDE, _SIDE)):
    """An image, (channels, height, width), in another size; pixels are averaged."""
    x = torch.from_numpy(np.array(image, dtype=np.float32))[None]
    return F.interpolate(x, size, mode="bilinear", antialias=True)[0].numpy()


def _flat(X):
    return X.reshape(len(X), -1)


def _plain(X):
    """Without the axis of channels, if there is but one."""
    return X[:, 0] if X.shape[1] == 1 else X
