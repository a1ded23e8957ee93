from abc import ABCMeta
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

__all__ = [
    "InlierGroupKFold",
    "InlierKFold",
    "anomaly_average_precision",
    "anomaly_f1",
    "anomaly_roc_auc",
    "check_anomaly_labels",
    "pseudo_anomaly_roc_auc",
    "recall_at_false_alarm_rate",
]

def check_anomaly_labels(y: ArrayLike) -> NDArray[np.bool_]: ...

class InlierKFold(StratifiedKFold, metaclass=ABCMeta):
    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None: ...
    def split(
        self, X: Any, y: ArrayLike | None = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]: ...

class InlierGroupKFold(StratifiedGroupKFold, metaclass=ABCMeta):
    def __init__(
        self,
        n_splits: int = 5,
        *,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
    ) -> None: ...
    def split(
        self, X: Any, y: ArrayLike | None = None, groups: Any = None
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]: ...

def anomaly_roc_auc(estimator: Any, X: Any, y: ArrayLike) -> float: ...
def anomaly_average_precision(estimator: Any, X: Any, y: ArrayLike) -> float: ...
def anomaly_f1(estimator: Any, X: Any, y: ArrayLike) -> float: ...
def recall_at_false_alarm_rate(
    rate: float,
) -> Callable[[Any, Any, ArrayLike], float]: ...
def pseudo_anomaly_roc_auc(estimator: Any, X: Any, y: Any = None) -> float: ...
