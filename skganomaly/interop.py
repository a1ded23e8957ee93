"""PyOD in both directions: our detectors there, and its detectors here.

PyOD [1]_ and scikit-learn use the same names with opposite signs: a higher
``decision_function`` is an anomaly in the one and normal in the other. So no object has
both. :func:`~skganomaly.as_pyod` and :func:`~skganomaly.from_pyod` return wrappers that
follow one convention throughout.

References
----------
.. [1] Zhao, Nasrullah and Li, "PyOD: A Python Toolbox for Scalable Outlier
   Detection", JMLR 20(96), 2019, :arxiv:`1901.01588`.
"""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, OutlierMixin, clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from ._all_or_nothing import all_or_nothing
from ._compat import HasMethods, _fit_context
from ._cut import words_if_constant
from ._decisions import DecisionMixin
from ._directions import (
    anomaly_scores,
    anomaly_threshold,
    detector_inside,
    pyod_threshold,
)
from ._validation import validate_table

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

try:
    from pyod.models.base import BaseDetector
except ImportError as error:
    BaseDetector, _PYOD_ERROR = None, error

__all__ = ["as_pyod", "from_pyod"]

_PYOD_CONTAMINATION = 0.1


# PyOD has no type information, so neither has its base class of what this returns.
def as_pyod(
    detector: Any,
    *,
    X_train: ArrayLike | None = None,
    contamination: Any = None,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    """Return a detector as a PyOD detector.

    The result is an instance of :class:`pyod.models.base.BaseDetector`: its
    ``decision_function`` is higher for anomalies, its labels are 0 and 1, and all that
    PyOD does with a detector works, such as ``predict_proba``, ``predict_confidence``,
    ``predict_with_rejection``, thresholders and ensembles. ``fit`` trains a clone,
    which is then in ``detector_``. Parameters nest, as in ``detector__max_steps``.

    A detector that is fitted already is used as it is, without training: the result
    can predict at once.

    Parameters
    ----------
    detector : estimator
        An outlier detector that has scikit-learn's directions and ``score_samples``,
        fitted or not: a detector of this library, one of scikit-learn's, or a
        :class:`~sklearn.pipeline.Pipeline` that ends in one.
    X_train : array-like of the shape that ``fit`` saw, or None, default=None
        For a fitted detector, the rows that it was trained on. They are scored, not
        learned from, and ``decision_scores_`` and ``labels_`` are theirs, row by row.
        Without them ``decision_scores_`` are the detector's ``reference_scores_``: as
        good for thresholds, probabilities and confidence, but sorted, so **not in the
        order of the training rows**, and not one for each where some rows were held
        out or were more than ``max_references``.
    contamination : float in (0, 0.5], thresholder or None, default=None
        PyOD's parameter. A number is the share of the training rows to be flagged,
        whatever the detector's own threshold. An object with ``fit``, ``predict``,
        ``labels_`` and ``thresh_``, as in ``pyod.models.thresholds``, finds the cut
        itself. None is

        - for a fitted detector, its own threshold, so that labels agree with the
          detector's; the parameter then reads as the share of ``decision_scores_``
          above it, but at least one row's and at most 0.5;
        - otherwise the detector's own ``contamination`` if that is a number, and
          PyOD's default of 0.1 if not.

    random_state : int, RandomState instance or None, default=None
        Seed of everything random in the detector: ``fit`` gives it to each parameter
        called ``random_state`` of the clone that it trains, at whatever depth, as in a
        Pipeline. It is there for callers that seed what they are given by this name.
        None leaves the parameters as they are. A detector without such a parameter
        has nothing to seed.

    Returns
    -------
    PyODDetector
        With ``detector_``, ``decision_scores_``, ``threshold_`` and ``labels_`` when
        fitted. A fitted detector is shared and not copied. ``clone``, and with it the
        ensembles of PyOD, forget what it learned and train again.

    Raises
    ------
    ImportError
        If PyOD is not installed.
    TypeError
        If `detector` is a class, a PyOD detector, or no outlier detector with
        ``score_samples``.
    ValueError
        If `contamination` is none of the above; if `X_train` is given for a detector
        that is not fitted; if it is missing for a fitted detector without
        ``reference_scores_``.

    See Also
    --------
    from_pyod : The other way.

    Examples
    --------
    >>> from skganomaly import GANomalyDetector, as_pyod
    >>> from skganomaly.datasets import make_anomalies
    >>> X, _ = make_anomalies(200, 4, random_state=0)
    >>> detector = as_pyod(GANomalyDetector(max_steps=20, random_state=0)).fit(X)
    >>> int(detector.labels_.sum()), detector.predict_proba(X).shape
    (20, (200, 2))
    """
    if BaseDetector is None:
        raise ImportError(
            'as_pyod needs PyOD. Install it with: pip install "skganomaly[pyod]"'
        ) from _PYOD_ERROR
    _check_instance(detector)
    name = type(detector).__name__
    if isinstance(detector, BaseDetector):
        raise TypeError(f"{name} is a PyOD detector already; use it as it is.")
    if not (
        isinstance(detector, BaseEstimator)
        and is_outlier_detector(detector)
        and hasattr(detector, "score_samples")
    ):
        raise TypeError(
            f"as_pyod takes an outlier detector with scikit-learn's score_samples; got "
            f"{name}. Pass a detector of skganomaly, or a Pipeline that ends in one."
        )
    if isinstance(contamination, Real):
        # PyOD takes every number that is no float or int for a thresholder.
        contamination = float(contamination)
    elif not (contamination is None or hasattr(contamination, "fit")):
        raise ValueError(
            "contamination must be a number in (0, 0.5], a thresholder such as those "
            f"of pyod.models.thresholds, or None; got {contamination!r}."
        )
    inside = detector_inside(detector)
    try:
        check_is_fitted(detector)
    except NotFittedError:
        if X_train is not None:
            raise ValueError(
                f"X_train is for a fitted detector, and this {name} is not fitted. "
                "Leave it out, and call fit(X_train) on what as_pyod returns."
            ) from None
        if contamination is None:
            share = getattr(inside, "contamination", None)
            contamination = _PYOD_CONTAMINATION
            if isinstance(share, Real):
                contamination = float(share)
        return PyODDetector(detector, contamination, random_state=random_state)

    if X_train is not None:
        scores = anomaly_scores(detector, X_train, "normal")
    elif hasattr(inside, "reference_scores_"):
        scores = inside.reference_scores_
    else:
        raise ValueError(
            f"{name} is fitted and has no reference_scores_, which PyOD's thresholds "
            "and probabilities are made from. Pass the training rows as X_train."
        )
    threshold = None
    if contamination is None:
        threshold = anomaly_threshold(detector)
        share = max(1, int(np.sum(scores > threshold))) / len(scores)
        # A little more, as PyOD rounds this share times the number of scores down.
        contamination = min(0.5, float(np.nextafter(share, 1)))
    wrapped = PyODDetector(detector, contamination, random_state=random_state)
    return wrapped._adopt(detector, scores, threshold)


def from_pyod(
    detector: Any, *, random_state: int | np.random.RandomState | None = None
) -> SklearnDetector:
    """Return a PyOD detector as a scikit-learn outlier detector.

    The result has the directions of scikit-learn and of this library: lower
    ``score_samples`` and ``decision_function`` are more anomalous, ``predict`` gives 1
    and -1, and ``anomaly_score`` is PyOD's own score. It works in pipelines, searches
    and cross-validation, and in :func:`as_pyod` for the way back. Parameters nest, as
    in ``detector__n_neighbors``.

    Parameters
    ----------
    detector : object
        An instance of PyOD, or another with its conventions: ``fit``, a
        ``decision_function`` that is higher for anomalies, and after ``fit``
        ``threshold_``, ``labels_`` and ``decision_scores_``. If it is fitted already it
        is used as it is, shared and not copied, and without training.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random in the detector, as in :func:`as_pyod`.

    Returns
    -------
    SklearnDetector
        Whose threshold is the detector's.

    Raises
    ------
    TypeError
        If `detector` is a class, has scikit-learn's directions already, or lacks
        ``fit`` or ``decision_function``.

    See Also
    --------
    as_pyod : The other way.

    Examples
    --------
    >>> from pyod.models.knn import KNN
    >>> from skganomaly import from_pyod
    >>> detector = from_pyod(KNN(n_neighbors=1)).fit([[0.0], [1.0], [2.0], [3.5]])
    >>> detector.predict([[1.5], [9.0]])
    array([ 1, -1])
    """
    _check_instance(detector)
    name = type(detector).__name__
    if isinstance(detector, OutlierMixin):
        raise TypeError(
            f"{name} has scikit-learn's directions already; use it as it is, or bring "
            "it to PyOD with as_pyod."
        )
    if not (hasattr(detector, "fit") and hasattr(detector, "decision_function")):
        raise TypeError(
            "from_pyod takes a detector with fit and decision_function, such as "
            f"pyod.models.knn.KNN(); got {name}."
        )
    wrapped = SklearnDetector(detector, random_state=random_state)
    return wrapped._adopt(detector) if hasattr(detector, "threshold_") else wrapped


def _check_instance(detector: Any) -> None:
    if isinstance(detector, type):
        raise TypeError(
            f"Pass an instance, {detector.__name__}(), not the class "
            f"{detector.__name__}."
        )


def _seeded_clone(
    detector: Any, random_state: int | np.random.RandomState | None
) -> Any:
    """Clone a detector, with a seed in each place for one; None keeps what is there."""
    detector = clone(detector, safe=False)
    if random_state is not None and hasattr(detector, "get_params"):
        names = detector.get_params(deep=True)
        seeds = {
            name: random_state
            for name in names
            if name == "random_state" or name.endswith("__random_state")
        }
        detector.set_params(**seeds)
    return detector


def _fit(detector: Any, *rows: Any, groups: ArrayLike | None) -> Any:
    """Fit a detector, or the last step of a Pipeline, to rows that belong together."""
    if groups is None:
        return detector.fit(*rows)
    last, prefix = detector, ""
    if get_config().get("enable_metadata_routing"):
        # Says itself which of its steps did not request them.
        takes_them = isinstance(detector, Pipeline)
    else:
        takes_them = False
        while isinstance(last, Pipeline):
            name, last = last.steps[-1]
            prefix += f"{name}__"
    if not (takes_them or has_fit_parameter(last, "groups")):
        raise TypeError(
            f"fit was given groups, and {type(last).__name__} takes no groups. Leave "
            "them out, or use a detector whose fit does, alone or as the last step of "
            "a Pipeline."
        )
    return detector.fit(*rows, **{f"{prefix}groups": groups})


if BaseDetector is not None:

    class PyODDetector(BaseDetector):
        """A detector with scikit-learn's directions, as a PyOD detector.

        Made by :func:`as_pyod`, which describes it.

        Parameters
        ----------
        detector : estimator
            The detector; ``fit`` trains a clone.
        contamination : float in (0, 0.5] or thresholder, default=0.1
            Share of the training rows to be flagged, or what finds the cut.
        random_state : int, RandomState instance or None, default=None
            Seed of everything random in the detector; None leaves it its own seeds.

        Attributes
        ----------
        detector_ : estimator
            The fitted detector. It keeps a threshold of its own, for its own
            ``predict``.
        decision_scores_ : ndarray of shape (n_samples,)
            Scores of the training rows, equal to ``decision_function(X)`` on them.
            See :func:`as_pyod` for a detector that was fitted before.
        threshold_ : float
            Rows with scores above it are anomalies. With a thresholder it is that
            one's ``thresh_``, in its units.
        labels_ : ndarray of shape (n_samples,)
            1 for the training rows that are anomalies, else 0.
        """

        def __init__(
            self,
            detector: Any,
            contamination: Any = _PYOD_CONTAMINATION,
            *,
            random_state: int | np.random.RandomState | None = None,
        ) -> None:
            super().__init__(contamination=contamination)
            self.detector = detector
            self.random_state = random_state

        @all_or_nothing
        def fit(
            self, X: ArrayLike, y: Any = None, *, groups: ArrayLike | None = None
        ) -> Self:
            """Train a clone of the detector and set the threshold.

            Parameters
            ----------
            X : array-like of shape (n_samples, n_features) or (n_samples, ...)
                Training rows, as the detector takes them.
            y : array-like of shape (n_samples,) or None, default=None
                Handed to the detector as it is; those of this library ignore it.
            groups : array-like of shape (n_samples,) or None, default=None
                Which rows belong together, for a detector whose ``fit`` takes groups,
                also as the last step of a Pipeline.

            Returns
            -------
            self : object
                The fitted detector.

            Raises
            ------
            TypeError
                If there are groups and the detector takes none.
            """
            detector = _seeded_clone(self.detector, self.random_state)
            _fit(detector, X, y, groups=groups)
            return self._adopt(detector, anomaly_scores(detector, X, "normal"))

        def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
            """Return anomaly scores, higher for more anomalous.

            Parameters
            ----------
            X : array-like of the shape that ``fit`` saw
                Rows to score.

            Returns
            -------
            ndarray of shape (n_samples,)
                The negative of the detector's ``score_samples``.
            """
            check_is_fitted(self, "detector_")
            return anomaly_scores(self.detector_, X, "normal")

        def _adopt(
            self,
            detector: Any,
            scores: NDArray[np.float64],
            threshold: float | None = None,
        ) -> Self:
            """Take a fitted detector; a threshold of its own overrules PyOD's."""
            self.detector_ = detector
            self.decision_scores_ = scores
            # What PyOD's own detectors do at the end of their fit.
            self._set_n_classes(None)
            with words_if_constant(scores, self.contamination):
                self._process_decision_scores()
            if threshold is not None:
                self.threshold_ = threshold
                self.labels_ = (scores > threshold).astype(int)
            return self


class SklearnDetector(DecisionMixin, OutlierMixin, BaseEstimator):
    """A PyOD detector with scikit-learn's directions.

    Made by :func:`from_pyod`, which describes it.

    Parameters
    ----------
    detector : object
        The PyOD detector; ``fit`` trains a clone.
    random_state : int, RandomState instance or None, default=None
        Seed of everything random in the detector; None leaves it its own seeds.

    Attributes
    ----------
    detector_ : object
        The fitted PyOD detector.
    offset_ : float
        The negative of its threshold: ``decision_function(X) = score_samples(X) -
        offset_``. With a thresholder, whose threshold is in units of its own, it is
        the cut between the training scores that it flagged and the others.
    n_features_in_ : int
        Number of features seen during ``fit``.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if all were strings.
    """

    detector_: Any
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    _parameter_constraints = {
        "detector": [HasMethods(["fit", "decision_function"])],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        detector: Any,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.detector = detector
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    @all_or_nothing
    def fit(
        self, X: ArrayLike, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Train a clone of the PyOD detector.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Training rows, at least two.
        y : None
            Ignored; present for API consistency.
        groups : array-like of shape (n_samples,) or None, default=None
            Which rows belong together, for a detector whose ``fit`` takes groups, such
            as one that :func:`as_pyod` made. PyOD's own do not.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        TypeError
            If there are groups and the detector takes none.
        """
        X = validate_table(self, X, reset=True, min_samples=2)
        detector = _seeded_clone(self.detector, self.random_state)
        _fit(detector, X, groups=groups)
        return self._adopt(detector)

    def _adopt(self, detector: Any) -> Self:
        """Take a fitted PyOD detector and its threshold."""
        if not hasattr(detector, "threshold_"):
            raise TypeError(
                f"{type(detector).__name__} has no threshold_ after fit, which PyOD's "
                "detectors have. In a Pipeline, wrap its last step."
            )
        self._cut_at(pyod_threshold(detector))
        self.detector_ = detector
        return self

    def anomaly_score(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return PyOD's scores, higher for more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows to score.

        Returns
        -------
        ndarray of shape (n_samples,)
            The detector's ``decision_function``. Rows above ``threshold_`` are
            anomalies.
        """
        check_is_fitted(self)
        X = validate_table(self, X, reset=False)
        return anomaly_scores(self.detector_, X, "anomaly")
