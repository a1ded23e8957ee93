"""Tables in pipelines: methods of the detector at the end, and missing values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._directions import steps_inside, transform_by
from ._sources import names_behind, sources_of

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._cut import Threshold

__all__ = ["MissingCount", "ThroughPipeline", "through"]


def through(estimator: Any) -> ThroughPipeline:
    """Return a fitted pipeline or search with the methods of its detector.

    A Pipeline offers ``predict``, ``score_samples`` and ``decision_function``. What
    else the detector at its end can do is asked for through this.

    Parameters
    ----------
    estimator : object
        A fitted :class:`~sklearn.pipeline.Pipeline` that ends in a detector of this
        library, a search over one, such as
        :class:`~sklearn.model_selection.GridSearchCV`, a
        :class:`~sklearn.frozen.FrozenEstimator`, any nesting of these, or the detector
        alone.

    Returns
    -------
    ThroughPipeline
        Its methods take the rows that the pipeline takes.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import OneHotEncoder
    >>> from sklearn.compose import make_column_transformer
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.pipelines import through
    >>> rng = np.random.default_rng(0)
    >>> X = np.c_[rng.normal(size=(200, 2)), rng.integers(3, size=200)]
    >>> encode = make_column_transformer(
    ...     (OneHotEncoder(sparse_output=False), [2]), remainder="passthrough"
    ... )
    >>> pipeline = make_pipeline(encode, AutoencoderDetector(random_state=0)).fit(X)
    >>> through(pipeline).explain(X[:4]).shape
    (4, 3)
    """
    return ThroughPipeline(estimator)


class ThroughPipeline:
    """The methods of a detector, for the rows that the pipeline around it takes.

    Made by :func:`through`.

    Parameters
    ----------
    estimator : object
        See :func:`through`.

    Attributes
    ----------
    estimator : object
        What was passed.
    detector_ : object
        The fitted detector inside, the very object: :meth:`set_threshold` changes what
        ``estimator.predict`` says.

    Raises
    ------
    NotFittedError
        If the estimator has not been fitted.
    TypeError
        If the detector inside is not one of this library.
    """

    detector_: Any

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self._steps, detector = steps_inside(estimator)
        check_is_fitted(detector)
        missing = [
            name
            for name in ("anomaly_score", "explain", "p_values", "set_threshold")
            if not hasattr(detector, name)
        ]
        if missing:
            raise TypeError(
                f"{type(detector).__name__}, the last step, has no method "
                f"{', '.join(missing)}. Pass a pipeline or search that ends in a "
                "detector of skganomaly."
            )
        self.detector_ = detector

    def __repr__(self) -> str:
        return f"through({self.estimator!r})"

    @property
    def threshold_(self) -> float:
        """The cut in the units of :meth:`anomaly_score`."""
        return self.detector_.threshold_

    def transform(self, X: Any) -> Any:
        """Rows as the detector sees them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the pipeline takes them.

        Returns
        -------
        array or DataFrame of shape (n_samples, n_transformed)
        """
        return transform_by(self._steps, X)

    def anomaly_score(self, X: Any, *, part: str | None = None) -> NDArray[np.float64]:
        """Anomaly scores, higher for more anomalous.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the pipeline takes them.
        part : str or None, default=None
            As for the detector's method.

        Returns
        -------
        ndarray of shape (n_samples,)
            Rows above ``threshold_`` are anomalies.
        """
        options = {} if part is None else {"part": part}
        return self.detector_.anomaly_score(self.transform(X), **options)

    def p_values(self, X: Any) -> NDArray[np.float64]:
        """Conformal p-values: how usual a row's score is among normal rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the pipeline takes them.

        Returns
        -------
        ndarray of shape (n_samples,)
            As the detector's method gives them.
        """
        return self.detector_.p_values(self.transform(X))

    def set_threshold(
        self, threshold: Threshold = "auto", *, false_alarm_rate: float | None = None
    ) -> Self:
        """Set another threshold of the detector inside, without training again.

        Parameters
        ----------
        threshold : str, float, callable or object, default="auto"
            As the detector's parameter.
        false_alarm_rate : float or None, default=None
            Share of unseen normal rows that may be flagged; None keeps the
            detector's.

        Returns
        -------
        self : ThroughPipeline
            ``estimator.predict`` goes by the new threshold, too.
        """
        self.detector_.set_threshold(threshold, false_alarm_rate=false_alarm_rate)
        return self

    def explain(
        self,
        X: Any,
        *,
        columns: Literal["original", "transformed"] = "original",
        n_steps: int = 16,
    ) -> Any:
        """Contribution of each column to the score.

        Those of all columns that were made of one, such as the dummies of a category,
        the parts of a date or the indicator of a missing value, are summed. A column
        that no step passes on contributes nothing.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows as the pipeline takes them.
        columns : {"original", "transformed"}, default="original"
            Whether contributions are of the columns of ``X``, or of those that the
            detector sees.
        n_steps : int, default=16
            As for the detector's method.

        Returns
        -------
        DataFrame or ndarray of shape (n_samples, n_columns)
            If ``X`` is a :class:`~pandas.DataFrame`, one with the names of the columns
            and the index of ``X``, else an array. The columns add up to what the
            detector's own ``explain`` adds up to. What several columns were mixed into,
            for instance by principal components, cannot be divided among them: a data
            frame has further columns for it, with the transformed names, after those
            of ``X``.

        Raises
        ------
        ValueError
            If columns were mixed and ``X`` has no names; use ``columns="transformed"``.
        """
        if columns not in ("original", "transformed"):
            raise ValueError(
                f"columns must be 'original' or 'transformed', got {columns!r}."
            )
        rows = self.transform(X)
        contributions = self.detector_.explain(rows, n_steps=n_steps)
        if columns == "transformed":
            if not hasattr(X, "iloc"):
                return contributions
            return _frame(contributions, self._transformed_names(contributions), X)
        names = self._input_names(X)
        sources = self._sources(len(names), contributions)
        sums = np.zeros((len(contributions), len(names)))
        mixed = []
        for i, source in enumerate(sources):
            if len(source) == 1:
                sums[:, next(iter(source))] += contributions[:, i]
            else:
                mixed.append(i)
        if mixed and not hasattr(X, "iloc"):
            parts = ", ".join(str(names[j]) for j in sorted(sources[mixed[0]])[:5])
            raise ValueError(
                f"{len(mixed)} of {len(sources)} transformed columns are made of "
                f"several columns of X (column {mixed[0]} of {parts}), so their "
                "contributions cannot be divided among these. Pass X as a data frame "
                "to get them as columns of their own, or columns='transformed'."
            )
        if not hasattr(X, "iloc"):
            return sums
        others = self._transformed_names(contributions)[mixed]
        return _frame(np.hstack([sums, contributions[:, mixed]]), [*names, *others], X)

    def _input_names(self, X: Any) -> list[Any]:
        """Names of the columns that the first step was fitted on, or numbers."""
        first = (*self._steps, self.detector_)[0]
        names = getattr(first, "feature_names_in_", None)
        if names is None:
            names = X.columns if hasattr(X, "iloc") else range(np.shape(X)[1])
        return list(names)

    def _transformed_names(self, contributions: NDArray[Any]) -> NDArray[np.object_]:
        return names_behind(self._steps, self.detector_, contributions.shape[1])

    def _sources(
        self, n_inputs: int, contributions: NDArray[Any]
    ) -> list[frozenset[int]]:
        if contributions.ndim != 2:
            raise ValueError(
                f"The detector explains rows of shape {contributions.shape[1:]}, not "
                "columns of a table. Use columns='transformed'."
            )
        sources = [frozenset([i]) for i in range(n_inputs)]
        if self._steps:
            sources = sources_of(self._steps, n_inputs, contributions.shape[1])
        return sources


def _frame(values: NDArray[Any], names: Any, like: Any) -> Any:
    import pandas

    return pandas.DataFrame(values, columns=names, index=like.index)


class MissingCount(TransformerMixin, BaseEstimator):
    """One column: how many values are missing in a row.

    An indicator for each column that lacks values is nearly always 0. A 1 in any of
    them sets a row apart from nearly all others, whatever else is in it, and costs a
    detector that compares rows more than it says. Their sum says most of it and costs
    little.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen during ``fit``.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, where all of them are strings.

    See Also
    --------
    sklearn.impute.MissingIndicator : A column for each column.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.pipelines import MissingCount
    >>> MissingCount().fit_transform([[1.0, np.nan], [np.nan, np.nan], [0.0, 1.0]])
    array([[1.],
           [2.],
           [0.]])
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Remember the columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Values of any kind. NaN, None, NaT and pandas' NA are missing.
        y : None
            Ignored; present for API consistency.

        Returns
        -------
        self : MissingCount
        """
        self._check(X, reset=True)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float64]:
        """Count the missing values of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The same columns.

        Returns
        -------
        ndarray of shape (n_samples, 1)
        """
        check_is_fitted(self)
        return self._check(X, reset=False).sum(axis=1, keepdims=True, dtype=np.float64)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Name of the column.

        Parameters
        ----------
        input_features : None, default=None
            Ignored; present for API consistency.

        Returns
        -------
        ndarray of shape (1,)
            "n_missing".
        """
        check_is_fitted(self)
        return np.array(["n_missing"], dtype=object)

    def _check(self, X: Any, *, reset: bool) -> NDArray[np.bool_]:
        """Which values are missing, of validated rows."""
        if hasattr(X, "iloc"):
            # An extension dtype is not to become a float, nor NaT a number.
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X.isna().to_numpy()
        X = validate_data(
            self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan"
        )
        if X.dtype.kind == "O":
            return np.frompyfunc(_is_missing, 1, 1)(X).astype(bool)
        return np.isnat(X) if X.dtype.kind in "mM" else X != X

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = tags.input_tags.categorical = True
        return tags


def _is_missing(value: Any) -> bool | np.bool_:
    if value is None:
        return True
    different = value != value
    # A comparison with pandas' NA is NA itself.
    return different if isinstance(different, bool | np.bool_) else True
