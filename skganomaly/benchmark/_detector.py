"""Which way a detector's scores point."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sklearn.base import clone

from .._directions import (
    anomaly_flags,
    anomaly_label,
    anomaly_scores,
    detector_inside,
    higher_means,
    is_pyod,
    score_method,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


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

    estimator: Any
    higher_is: Literal["auto", "anomaly", "normal"] = "auto"
    anomaly_label: Literal["auto", -1, 1] = "auto"

    def __post_init__(self) -> None:
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
    def score_method(self) -> str:
        """Name of the method that scores rows."""
        return score_method(self.estimator, self.higher_is)

    def prepare(self, seed: int, input_shape: Sequence[int] | None = None) -> Any:
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

    def anomaly_score(self, estimator: Any, X: ArrayLike) -> NDArray[np.float64]:
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

    def flags(self, estimator: Any, X: ArrayLike) -> NDArray[np.bool_] | None:
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
