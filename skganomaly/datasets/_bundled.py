"""Benchmark data that need no file: scikit-learn's own sets and generated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

from ._containers import AnomalyDataset, LazyDatasets
from ._generated import (
    TABLE_KINDS,
    TableKind,
    make_anomalies,
    make_image_anomalies,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

# Generated tables get the number of columns at which detectors differ most.
_N_FEATURES = {"global": 4, "local": 6, "cluster": 10, "dependency": 10}


def load_digits_anomaly(
    *,
    normal_classes: int | Sequence[int] | None = None,
    anomaly_class: int | None = None,
    as_images: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Load scikit-learn's 8x8 digits as an anomaly task.

    Exactly one of `normal_classes` and `anomaly_class` says which digits are normal.

    Parameters
    ----------
    normal_classes : int, sequence of int or None, default=None
        The normal digits; all others are anomalies.
    anomaly_class : int or None, default=None
        The anomalous digit; all others are normal.
    as_images : bool, default=False
        Whether to return images in place of flat rows.

    Returns
    -------
    X : ndarray of shape (1797, 64), or (1797, 1, 8, 8) with ``as_images=True``
        Grey values from 0 to 16.
    y : ndarray of shape (1797,)
        1 for normal digits, -1 for anomalies.

    Examples
    --------
    >>> from skganomaly.datasets import load_digits_anomaly
    >>> X, y = load_digits_anomaly(anomaly_class=8)
    >>> X.shape, int((y == -1).sum())
    ((1797, 64), 174)
    """
    if (normal_classes is None) == (anomaly_class is None):
        raise ValueError("Pass either `normal_classes` or `anomaly_class`.")
    chosen = np.unique(
        np.asarray(normal_classes if anomaly_class is None else anomaly_class)
    )
    if not len(chosen) or not np.isin(chosen, np.arange(10)).all() or len(chosen) > 9:
        raise ValueError(
            f"Digits must be between one and nine of 0 to 9, got {chosen}."
        )
    digits = load_digits()
    in_chosen = np.isin(digits.target, chosen)
    y = np.where(in_chosen == (anomaly_class is None), 1, -1)
    return (digits.images[:, np.newaxis] if as_images else digits.data), y


def load_bundled() -> LazyDatasets:
    """Open the data sets that need no file: scikit-learn's own and generated ones.

    Returns
    -------
    datasets : LazyDatasets
        Read-only dict from name to :class:`AnomalyDataset`. "breast-cancer" (malignant
        = anomaly), "digits-8" (the 8 among the digits), "defects" (digits with a
        defect) and the generated "global", "local", "cluster" and "dependency" have
        fixed anomalies; in "wine", "iris" and "digits" each class takes a turn.

    Examples
    --------
    >>> from skganomaly.datasets import load_bundled
    >>> load_bundled()["digits-8"].input_shape
    (1, 8, 8)
    """
    loaders: dict[str, Callable[[], AnomalyDataset]] = {
        "breast-cancer": _breast_cancer,
        "digits-8": _digits_8,
        "defects": _defects,
    }
    loaders |= {kind: _GeneratedLoader(kind) for kind in TABLE_KINDS}
    loaders |= {"wine": _wine, "iris": _iris, "digits": _digits}
    return LazyDatasets(loaders)


def _breast_cancer() -> AnomalyDataset:
    bunch = load_breast_cancer()
    return AnomalyDataset(
        "breast-cancer", bunch.data, np.where(bunch.target == 1, 1, -1)
    )


def _digits_8() -> AnomalyDataset:
    X, y = load_digits_anomaly(anomaly_class=8)
    return AnomalyDataset("digits-8", X, y, input_shape=(1, 8, 8))


def _defects() -> AnomalyDataset:
    bunch = make_image_anomalies(1500, random_state=0)
    return AnomalyDataset("defects", bunch.data, bunch.target, input_shape=(1, 8, 8))


def _wine() -> AnomalyDataset:
    return _from_classes("wine", load_wine())


def _iris() -> AnomalyDataset:
    return _from_classes("iris", load_iris())


def _digits() -> AnomalyDataset:
    return _from_classes("digits", load_digits(), input_shape=(1, 8, 8))


def _from_classes(name: str, bunch: Any, **options: Any) -> AnomalyDataset:
    classes = tuple(np.unique(bunch.target).tolist())
    return AnomalyDataset(name, bunch.data, bunch.target, classes=classes, **options)


# A small object, not a closure, so that a dict of them can be pickled.
@dataclass(frozen=True)
class _GeneratedLoader:
    kind: TableKind

    def __call__(self) -> AnomalyDataset:
        X, y = make_anomalies(
            2000, _N_FEATURES[self.kind], kind=self.kind, random_state=0
        )
        return AnomalyDataset(self.kind, X, y)
