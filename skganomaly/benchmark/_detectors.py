"""Which way a detector's scores point, and the detectors of the benchmark command."""

import copy
import importlib.util
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import OneClassSVM
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted, validate_data

from .._directions import (
    anomaly_flags,
    anomaly_label,
    anomaly_scores,
    detector_inside,
    higher_means,
    is_pyod,
    score_method,
)


@dataclass(frozen=True)
class Detector:
    """A detector with the direction of its scores.

    Scikit-learn's detectors score normal rows higher and label anomalies -1; PyOD's
    score anomalies higher and label them 1. A wrong guess would turn a ROC AUC of 0.9
    into 0.1, so nothing is guessed: the direction follows from the class, or is given.

    Parameters
    ----------
    estimator : object
        Unfitted detector with `fit`, one of `anomaly_score`, `score_samples` and
        `decision_function`, and preferably `predict`; or a
        :class:`~sklearn.pipeline.Pipeline` or search that ends in one.
    higher_is : {"auto", "anomaly", "normal"}, default="auto"
        What higher scores mean. "auto" knows objects with a method `anomaly_score`
        ("anomaly"), PyOD's detectors ("anomaly") and subclasses of scikit-learn's
        :class:`~sklearn.base.OutlierMixin` ("normal"), and raises for others.
    anomaly_label : {"auto", -1, 1}, default="auto"
        What `predict` returns for anomalies. "auto" takes 1 for PyOD's detectors and -1
        for subclasses of OutlierMixin; for others -1 or 0 among the labels decides.

    Raises
    ------
    ValueError
        If the direction is "auto" and cannot be known.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from sklearn.neighbors import KernelDensity
    >>> from skganomaly.benchmark import Detector
    >>> Detector(IsolationForest()).higher_is
    'normal'
    >>> Detector(KernelDensity(), higher_is="normal").score_method
    'score_samples'
    """

    estimator: object
    higher_is: str = "auto"
    anomaly_label: object = "auto"

    def __post_init__(self):
        """Resolve the direction, or refuse."""
        if self.higher_is not in ("auto", "anomaly", "normal"):
            raise ValueError(
                "higher_is must be 'auto', 'anomaly' or 'normal', got "
                f"{self.higher_is!r}."
            )
        if self.anomaly_label not in ("auto", -1, 1):
            raise ValueError(
                f"anomaly_label must be 'auto', -1 or 1, got {self.anomaly_label!r}."
            )
        if isinstance(self.estimator, type):
            raise ValueError(
                f"Pass an instance, not the class {self.estimator.__name__}."
            )
        higher_is, label = self.higher_is, self.anomaly_label
        if higher_is == "auto":
            higher_is = higher_means(self.estimator)
        if higher_is is None:
            raise ValueError(
                "Cannot know whether higher scores of "
                f"{type(detector_inside(self.estimator)).__name__} mean anomaly or "
                'normal. Wrap it: Detector(estimator, higher_is="anomaly") or '
                'higher_is="normal".'
            )
        if label == "auto":
            label = anomaly_label(self.estimator) or "auto"
        object.__setattr__(self, "higher_is", higher_is)
        object.__setattr__(self, "anomaly_label", label)
        # Asking now gives the error before anything has run.
        _ = self.score_method

    @property
    def score_method(self):
        """Name of the method that scores rows."""
        return score_method(self.estimator, self.higher_is)

    def prepare(self, seed, input_shape=None):
        """Return an unfitted copy with its seed, and its image shape if it takes one.

        Parameters
        ----------
        seed : int
            Value for every parameter `random_state`, nested ones included.
        input_shape : tuple of int or None, default=None
            Value for every parameter `input_shape` that is None.

        Returns
        -------
        estimator : object
            The copy; the wrapped estimator stays as it is.
        """
        try:
            estimator = clone(self.estimator)
        except (TypeError, RuntimeError):
            # No get_params, or a constructor that changes what it was given, as those
            # of PyOD's networks do.
            estimator = copy.deepcopy(self.estimator)
        if not hasattr(estimator, "get_params"):
            return estimator
        changes = {}
        for name, value in estimator.get_params().items():
            own = name.rpartition("__")[2]
            if own == "random_state":
                changes[name] = seed
            elif own == "input_shape" and value is None and input_shape is not None:
                changes[name] = input_shape
        if changes:
            estimator.set_params(**changes)
        for part in (estimator, *estimator.get_params().values()):
            if is_pyod(part):
                # PyOD's networks use their seed in the constructor only.
                part.__init__(**part.get_params(deep=False))
        return estimator

    def anomaly_score(self, estimator, X):
        """Score rows with a fitted copy; higher is worse.

        Parameters
        ----------
        estimator : object
            What :meth:`prepare` returned, fitted.
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Anomaly scores.
        """
        return anomaly_scores(estimator, X, self.higher_is)

    def flags(self, estimator, X):
        """Tell which rows a fitted copy's `predict` calls anomalies.

        Parameters
        ----------
        estimator : object
            What :meth:`prepare` returned, fitted.
        X : array-like of shape (n_samples, n_features)
            The rows.

        Returns
        -------
        flags : boolean ndarray of shape (n_samples,), or None
            True for anomalies; None if there is no `predict`.
        """
        if not hasattr(estimator, "predict"):
            return None
        label = None if self.anomaly_label == "auto" else self.anomaly_label
        try:
            return anomaly_flags(estimator, X, label)
        except ValueError as error:
            raise ValueError(
                f"{error} Pass Detector(..., anomaly_label=-1) or anomaly_label=1."
            ) from error


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

    def __init__(self, n_neighbors=5, *, false_alarm_rate=0.05):
        self.n_neighbors = n_neighbors
        self.false_alarm_rate = false_alarm_rate

    def fit(self, X, y=None):
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

    def score_samples(self, X):
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

    def decision_function(self, X):
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

    def predict(self, X):
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


def get_detectors(names=None):
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
        (that of f-AnoGAN), and PyOD-AnoGAN.

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


def _ganomaly():
    # The estimators import torch; the baselines can be had without that wait.
    from .. import GANomalyDetector

    return GANomalyDetector()


def _ganomaly_paper():
    from .. import GANomalyDetector

    return GANomalyDetector.from_paper()


def _ganomaly_latent():
    from .. import GANomalyDetector

    return GANomalyDetector(score_type="latent")


def _anogan():
    from .. import AnoGANDetector

    return AnoGANDetector()


def _f_anogan():
    from .. import AnoGANDetector

    return AnoGANDetector(
        score_type="published", residual_loss="l2", feature_weight=0.5
    )


def _autoencoder():
    from .. import AutoencoderDetector

    return AutoencoderDetector()


def _knn():
    return make_pipeline(StandardScaler(), KNNDistance())


def _knn_minmax():
    return make_pipeline(MinMaxScaler(), KNNDistance())


def _lof():
    return make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True))


def _one_class_svm():
    return make_pipeline(StandardScaler(), OneClassSVM())


def _isolation_forest():
    return make_pipeline(StandardScaler(), IsolationForest())


def _pyod_knn():
    from pyod.models.knn import KNN

    return make_pipeline(StandardScaler(), KNN())


def _pyod_anogan():
    from pyod.models.anogan import AnoGAN

    return make_pipeline(StandardScaler(), AnoGAN())


def _pyod_autoencoder():
    from pyod.models.auto_encoder import AutoEncoder

    return make_pipeline(StandardScaler(), AutoEncoder(verbose=0))


_FACTORIES = {
    "GANomaly": _ganomaly,
    "GANomaly-latent": _ganomaly_latent,
    "AnoGAN": _anogan,
    "AnoGAN-published": _f_anogan,
    "Autoencoder": _autoencoder,
    "GANomaly-paper": _ganomaly_paper,
    "kNN": _knn,
    "kNN-minmax": _knn_minmax,
    "LOF": _lof,
    "OneClassSVM": _one_class_svm,
    "IForest": _isolation_forest,
    "PyOD-KNN": _pyod_knn,
    "PyOD-AE": _pyod_autoencoder,
    "PyOD-AnoGAN": _pyod_anogan,
}


_BY_NAME_ONLY = ("GANomaly-latent", "AnoGAN-published", "PyOD-AnoGAN")
