from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OutlierMixin,
    TransformerMixin,
)
from typing_extensions import Self

__all__ = ["SlidingWindow", "TimeSeriesDetector", "event_scores"]

_Aggregation = Literal["mean", "max", "last"]
_Missing = Literal["raise", "drop"]

class _SeriesEstimator(BaseEstimator):
    missing: _Missing
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    sampling_interval_: np.timedelta64 | None

class SlidingWindow(TransformerMixin, _SeriesEstimator):
    def __init__(
        self, length: int, *, stride: int = 1, missing: _Missing = "raise"
    ) -> None: ...
    def fit(self, X: ArrayLike, y: Any = None) -> Self: ...
    def transform(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def to_steps(
        self, scores: ArrayLike, X: ArrayLike, *, aggregation: _Aggregation = "mean"
    ) -> NDArray[np.float64]: ...

class TimeSeriesDetector(MetaEstimatorMixin, OutlierMixin, _SeriesEstimator):
    detector_: Any
    offset_: float
    threshold_rule_: Any
    reference_scores_: NDArray[np.float64]
    def __init__(
        self,
        detector: Any,
        *,
        window_length: int,
        stride: int | Literal["auto"] = "auto",
        aggregation: _Aggregation = "mean",
        n_blocks: int = 5,
        false_alarm_rate: float = 0.05,
        threshold: Literal["auto", "max", "tail", "conformal"]
        | float
        | Callable[[NDArray[np.float64]], float]
        | Any = "auto",
        missing: _Missing = "raise",
        n_jobs: int | None = None,
    ) -> None: ...
    @property
    def threshold_(self) -> float: ...
    def fit(
        self, X: ArrayLike, y: Any = None, groups: ArrayLike | None = None
    ) -> Self: ...
    def set_callbacks(self, *callbacks: Any) -> Self: ...
    def anomaly_score(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def predict(self, X: ArrayLike) -> NDArray[np.int64]: ...
    def set_threshold(
        self, threshold: Any = "auto", *, false_alarm_rate: float | None = None
    ) -> Self: ...

def event_scores(
    y_true: ArrayLike, y_pred: ArrayLike, *, alpha: float = 0.0
) -> dict[str, float]: ...
