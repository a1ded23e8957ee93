"""The detectors of the benchmark command, and the baseline to beat."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

import skganomaly

from ..searches import EncoderSearch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self


class KNNDistance(OutlierMixin, BaseEstimator):
    """Mean distance to the nearest training rows, the baseline to beat.

    Parameters
    ----------
    n_neighbors : int, default=5
        Number of neighbours; at most the number of training rows less one is used.
    false_alarm_rate : float in (0, 1), default=0.05
        Share of training rows, scored without themselves, above the threshold.

    Attributes
    ----------
    neighbors_ : NearestNeighbors
        The fitted search.
    offset_ : float
        The threshold: ``decision_function(X) = score_samples(X) - offset_``.
    n_features_in_ : int
        Number of features seen during fit.

    Examples
    --------
    >>> from skganomaly.benchmark import KNNDistance
    >>> KNNDistance(n_neighbors=1).fit([[0.0], [1.0], [2.0]]).predict([[1.5], [9.0]])
    array([ 1, -1])
    """

    def __init__(self, n_neighbors: int = 5, *, false_alarm_rate: float = 0.05) -> None:
        self.n_neighbors = n_neighbors
        self.false_alarm_rate = false_alarm_rate

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Store the training rows and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, at least two.
        y : Ignored
            Present for consistency.

        Returns
        -------
        self : KNNDistance
            The fitted detector.
        """
        X = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        check_scalar(self.n_neighbors, "n_neighbors", (int, np.integer), min_val=1)
        k = min(self.n_neighbors, len(X) - 1)
        self.neighbors_ = NearestNeighbors(n_neighbors=k).fit(X)
        # Without an argument every training row leaves itself out.
        own = self.neighbors_.kneighbors()[0].mean(axis=1)
        self.offset_ = -np.quantile(own, 1 - self.false_alarm_rate)
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the negative mean distance to the nearest training rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Higher is more normal; at most 0.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return -self.neighbors_.kneighbors(X)[0].mean(axis=1)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return `score_samples` less `offset_`; negative for anomalies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        decisions : ndarray of shape (n_samples,)
            Below 0 for anomalies.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """Return -1 for anomalies and 1 for the other rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            1 or -1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)


def _scaled(detector):
    return make_pipeline(StandardScaler(), detector)


def _pyod(module, name, **params):
    cls = getattr(importlib.import_module(f"pyod.models.{module}"), name)
    return _scaled(cls(**params))


# Ours import torch when they are asked for; the baselines can be had without that wait.
_FACTORIES = {
    "GANomaly": lambda: skganomaly.GANomalyDetector(),
    "GANomaly-latent": lambda: skganomaly.GANomalyDetector(score_type="latent"),
    "AnoGAN": lambda: skganomaly.AnoGANDetector(),
    "AnoGAN-published": lambda: skganomaly.AnoGANDetector(
        score_type="published",
        search=EncoderSearch(residual_loss="l2", feature_weight=0.5),
    ),
    "Autoencoder": lambda: skganomaly.AutoencoderDetector(),
    "GANomaly-trim": lambda: skganomaly.GANomalyDetector(trim=0.1),
    "Autoencoder-trim": lambda: skganomaly.AutoencoderDetector(trim=0.1),
    "GANomaly-paper": lambda: skganomaly.GANomalyDetector.from_paper(),
    "kNN": lambda: _scaled(KNNDistance()),
    "kNN-minmax": lambda: make_pipeline(MinMaxScaler(), KNNDistance()),
    "LOF": lambda: _scaled(LocalOutlierFactor(novelty=True)),
    "OneClassSVM": lambda: _scaled(OneClassSVM()),
    "IForest": lambda: _scaled(IsolationForest()),
    "PyOD-KNN": lambda: _pyod("knn", "KNN"),
    "PyOD-AE": lambda: _pyod("auto_encoder", "AutoEncoder", verbose=0),
    "PyOD-AnoGAN": lambda: _pyod("anogan", "AnoGAN"),
}
_BY_NAME_ONLY = (
    "GANomaly-latent",
    "AnoGAN-published",
    "GANomaly-trim",
    "Autoencoder-trim",
    "PyOD-AnoGAN",
)


def get_detectors(names: Sequence[str] | None = None) -> dict[str, Any]:
    """Build the detectors of the benchmark command.

    Parameters
    ----------
    names : sequence of str or None, default=None
        Which ones, upper and lower case alike. By default GANomaly, AnoGAN,
        Autoencoder, GANomaly-paper (the published recipe), kNN and kNN-minmax (mean
        distance to the 5 nearest rows on standardised or min-max scaled columns), LOF,
        OneClassSVM and IForest on standardised columns, and when PyOD is installed its
        PyOD-KNN and PyOD-AE on standardised columns. By name only: GANomaly-latent and
        AnoGAN-published, the published scores on the networks of GANomaly and AnoGAN
        (that of f-AnoGAN), GANomaly-trim and Autoencoder-trim, which leave out a tenth
        of their training rows, and PyOD-AnoGAN.

    Returns
    -------
    detectors : dict of str to estimator
        Unfitted detectors, in the order of `names`.

    Raises
    ------
    ValueError
        If a name is not known, or needs PyOD and there is none.

    Examples
    --------
    >>> from skganomaly.benchmark import get_detectors
    >>> list(get_detectors(["knn", "iforest"]))
    ['kNN', 'IForest']
    """
    factories = {
        name: factory
        for name, factory in _FACTORIES.items()
        if not name.startswith("PyOD") or importlib.util.find_spec("pyod")
    }
    if names is None:
        names = [name for name in factories if name not in _BY_NAME_ONLY]
    known = {name.lower(): name for name in factories}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        raise ValueError(
            f"Unknown detectors {unknown}; available here: {', '.join(factories)}."
        )
    chosen = [known[name.lower()] for name in names]
    return {name: factories[name]() for name in chosen}
