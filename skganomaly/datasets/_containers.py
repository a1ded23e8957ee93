"""What a data set is, and a dict of data sets loaded one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
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
    X: np.ndarray = field(repr=False)
    target: np.ndarray = field(repr=False)
    classes: tuple | None = None
    input_shape: tuple | None = None
    test_rows: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self):
        """Check that the parts fit together."""
        X = self.X if hasattr(self.X, "iloc") else np.asarray(self.X)
        target = np.asarray(self.target)
        check_table(X, target, f"data set {self.name!r}")
        found = np.unique(target)
        if self.classes is None:
            if set(found.tolist()) != {-1, 1}:
                raise ValueError(
                    f"The target of data set {self.name!r} must hold both 1 (normal) "
                    f"and -1 (anomaly), got {some_values(found)}. For labels 0 "
                    "and 1 pass numpy.where(y == 1, -1, 1); for classes pass `classes`."
                )
        else:
            object.__setattr__(self, "classes", tuple(self.classes))
            known = set(self.classes) <= set(found.tolist())
            if not self.classes or not known or len(found) < 2:
                raise ValueError(
                    f"`classes` of data set {self.name!r} must be one or more of at "
                    f"least two classes in its target ({some_values(found)}), got "
                    f"{list(self.classes)}."
                )
        if self.input_shape is not None and np.prod(self.input_shape) != X.shape[1]:
            raise ValueError(
                f"input_shape={self.input_shape} of data set {self.name!r} does not "
                f"match its {X.shape[1]} features."
            )
        if self.test_rows is not None:
            test_rows = np.asarray(self.test_rows)
            if test_rows.shape != target.shape or test_rows.dtype != bool:
                raise ValueError(
                    f"`test_rows` of data set {self.name!r} must be a boolean for each "
                    f"of its {len(target)} rows."
                )
            object.__setattr__(self, "test_rows", test_rows)
        # The dataclass is frozen so that a data set shared by many runs stays as it is.
        object.__setattr__(self, "X", X)
        object.__setattr__(self, "target", target)

    def rows(self, numbers):
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
    def n_anomalies(self):
        """Number of rows labelled -1; None for class data."""
        return None if self.classes is not None else int(np.sum(self.target == -1))


class LazyDatasets(Mapping):
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

    def __init__(self, loaders):
        self._loaders = dict(loaders)

    def __getitem__(self, name):
        """Load the data set called `name`."""
        return self._loaders[name]()

    def __iter__(self):
        """Iterate over the names."""
        return iter(self._loaders)

    def __len__(self):
        """Return the number of data sets."""
        return len(self._loaders)

    def __repr__(self):
        """List the names; nothing is loaded."""
        return f"{type(self).__name__}({list(self._loaders)})"

    def select(self, names):
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


def check_table(X, y, what):
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


def some_values(values, most=6):
    """Return a short text of a few of `values`."""
    text = ", ".join(str(value) for value in values[:most])
    return text + (", ..." if len(values) > most else "")
