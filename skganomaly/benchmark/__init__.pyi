from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from pandas import DataFrame
from sklearn.base import BaseEstimator, OutlierMixin
from typing_extensions import Self

from ..datasets import AnomalyDataset

__all__ = [
    "Detector",
    "KNNDistance",
    "compare",
    "format_datasets",
    "format_summary",
    "get_detectors",
    "plot_results",
    "summarize",
]

class Detector:
    estimator: Any
    higher_is: Literal["auto", "anomaly", "normal"] = "auto"
    anomaly_label: Literal["auto", -1, 1] = "auto"
    def __init__(
        self,
        estimator: Any,
        higher_is: Literal["auto", "anomaly", "normal"] = "auto",
        anomaly_label: Literal["auto", -1, 1] = "auto",
    ) -> None: ...
    @property
    def score_method(self) -> str: ...
    def prepare(self, seed: int, input_shape: Sequence[int] | None = None) -> Any: ...
    def anomaly_score(self, estimator: Any, X: ArrayLike) -> NDArray[np.float64]: ...
    def flags(self, estimator: Any, X: ArrayLike) -> NDArray[np.bool_] | None: ...

class KNNDistance(OutlierMixin, BaseEstimator):
    neighbors_: Any
    offset_: float
    n_features_in_: int
    def __init__(
        self, n_neighbors: int = 5, *, false_alarm_rate: float = 0.05
    ) -> None: ...
    def fit(self, X: ArrayLike, y: Any = None) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.int64]: ...
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]: ...

def compare(
    detectors: Mapping[str, Any],
    datasets: (
        Mapping[str, AnomalyDataset | tuple[Any, ArrayLike]] | Iterable[AnomalyDataset]
    ),
    seeds: Iterable[int] = (0, 1, 2),
    *,
    protocol: Literal["one-class", "leave-one-class-out", "contaminated"] = "one-class",
    max_train: int = 10000,
    max_test: int = 10000,
    n_jobs: int = 1,
    n_threads: int = 1,
    verbose: int = 0,
) -> DataFrame: ...
def summarize(results: DataFrame) -> DataFrame: ...
def format_summary(summary: DataFrame) -> str: ...
def format_datasets(results: DataFrame, figure: str = "roc_auc") -> str: ...
def plot_results(
    results: DataFrame,
    figure: Literal["roc_auc", "average_precision", "f1"] = "roc_auc",
) -> Figure: ...
def get_detectors(names: Sequence[str] | None = None) -> dict[str, Any]: ...
