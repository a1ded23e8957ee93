"""What a data set is, and a dict of data sets loaded one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False, init=False)
class AnomalyDataset:
    """One data set of a benchmark: rows, what they are, and how to read them.

    Parameters
    ----------
    name : str
        Name used in tables and file names.
    X : ndarray or DataFrame of shape (n_samples, n_features)
        The rows: an array of any real dtype, where images are given as flat rows, or a
        pandas data frame with columns of any kind, missing values included. A data
        frame stays as it is, for detectors in a Pipeline that encodes them.
    target : ndarray of shape (n_samples,)
        Either 1 for normal and -1 for anomalous rows, or the class of each row.
    classes : sequence or None, default=None
        None says that `target` holds 1 and -1. Otherwise `target` holds classes and
        `classes` lists those that take a turn as the special class: the only normal
        one in the one-class protocol, the only anomalous one in the others.
    input_shape : tuple of int or None, default=None
        Shape of one row for image detectors, e.g. ``(1, 28, 28)``; None for tables.
    test_rows : ndarray of bool of shape (n_samples,) or None, default=None
        Rows that the authors of the data set aside for testing. The one-class protocol
        of class data keeps to this division where there is one.

    Raises
    ------
    ValueError
        If the arrays don't fit together, or if the labels are not what `classes` says.

    Examples
    --------
    >>> from skganomaly.datasets import AnomalyDataset
    >>> AnomalyDataset("tiny", [[0.0], [0.1], [5.0]], [1, 1, -1]).n_anomalies
    1
    """

    name: str
    X: Any = field(repr=False)
    target: NDArray[Any] = field(repr=False)
    classes: tuple[Any, ...] | None
    input_shape: tuple[int, ...] | None
    test_rows: NDArray[np.bool_] | None = field(repr=False)

    def __init__(
        self,
        name: str,
        X: Any,
        target: ArrayLike,
        classes: Sequence[Any] | None = None,
        input_shape: Sequence[int] | None = None,
        test_rows: ArrayLike | None = None,
    ) -> None:
        if not hasattr(X, "iloc"):
            X = np.asarray(X)
        labels = np.asarray(target)
        check_table(X, labels, f"data set {name!r}")
        found = np.unique(labels)
        if classes is None:
            if set(found.tolist()) != {-1, 1}:
                raise ValueError(
                    f"The target of data set {name!r} must hold both 1 (normal) "
                    f"and -1 (anomaly), got {some_values(found)}. For labels 0 "
                    "and 1 pass numpy.where(y == 1, -1, 1); for classes pass `classes`."
                )
        else:
            classes = tuple(classes)
            known = set(classes) <= set(found.tolist())
            if not classes or not known or len(found) < 2:
                raise ValueError(
                    f"`classes` of data set {name!r} must be one or more of at "
                    f"least two classes in its target ({some_values(found)}), got "
                    f"{list(classes)}."
                )
        if input_shape is not None and np.prod(input_shape) != X.shape[1]:
            raise ValueError(
                f"input_shape={input_shape} of data set {name!r} does not match its "
                f"{X.shape[1]} features."
            )
        if test_rows is not None:
            test_rows = np.asarray(test_rows)
            if test_rows.shape != labels.shape or test_rows.dtype != bool:
                raise ValueError(
                    f"`test_rows` of data set {name!r} must be a boolean for each of "
                    f"its {len(labels)} rows."
                )
        # The dataclass is frozen so that a data set shared by many runs stays as it is.
        vars(self).update(
            name=name,
            X=X,
            target=labels,
            classes=classes,
            input_shape=None if input_shape is None else tuple(input_shape),
            test_rows=test_rows,
        )

    def rows(self, numbers: NDArray[np.int64]) -> Any:
        """Return some of the rows.

        Parameters
        ----------
        numbers : ndarray of int
            Which ones.

        Returns
        -------
        ndarray or DataFrame of shape (n_numbers, n_features)
            In double precision, or the rows of a data frame as they are.
        """
        if hasattr(self.X, "iloc"):
            return self.X.iloc[numbers]
        return np.asarray(self.X[numbers], dtype=np.float64)

    @property
    def n_anomalies(self) -> int | None:
        """Number of rows labelled -1; None for class data."""
        return None if self.classes is not None else int(np.sum(self.target == -1))


class LazyDatasets(Mapping[str, AnomalyDataset]):
    """A read-only dict of data sets, each loaded when it is asked for and not kept.

    Parameters
    ----------
    loaders : dict of str to callable
        For each name a function without arguments that returns the data set.

    Examples
    --------
    >>> from skganomaly.datasets import load_bundled
    >>> sets = load_bundled()
    >>> sets["wine"].X.shape
    (178, 13)
    """

    def __init__(self, loaders: Mapping[str, Callable[[], AnomalyDataset]]) -> None:
        self._loaders = dict(loaders)

    def __getitem__(self, name: str) -> AnomalyDataset:
        """Load the data set called `name`."""
        return self._loaders[name]()

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._loaders)

    def __len__(self) -> int:
        """Return the number of data sets."""
        return len(self._loaders)

    def __repr__(self) -> str:
        """List the names; nothing is loaded."""
        return f"{type(self).__name__}({list(self._loaders)})"

    def select(self, names: Iterable[str]) -> LazyDatasets:
        """Return some of the data sets, still unloaded.

        Parameters
        ----------
        names : sequence of str
            Their names, in the order wanted.

        Returns
        -------
        LazyDatasets
        """
        return LazyDatasets({name: self._loaders[name] for name in names})


def check_table(X: Any, y: NDArray[Any], what: str) -> None:
    if X.ndim != 2 or y.shape != X.shape[:1] or not X.size:
        raise ValueError(
            f"X of {what} must have shape (n_samples, n_features) and its labels shape "
            f"(n_samples,), got {X.shape} and {y.shape}."
        )
    if hasattr(X, "iloc"):
        return
    if X.dtype.kind not in "buif" or (X.dtype.kind == "f" and not np.isfinite(X).all()):
        raise ValueError(
            f"X of {what} must hold finite real numbers ({X.dtype}). Text, categories "
            "and missing values can be passed in a pandas data frame, to detectors in "
            "a Pipeline that encodes them."
        )


def some_values(values: NDArray[Any], most: int = 6) -> str:
    """Return a short text of a few of `values`."""
    text = ", ".join(str(value) for value in values[:most])
    return text + (", ..." if len(values) > most else "")
