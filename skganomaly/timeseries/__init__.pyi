from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    MetaEstimatorMixin,
    OutlierMixin,
    TransformerMixin,
)
from typing_extensions import Self

__all__ = [
    "AdaptiveThreshold",
    "Alarm",
    "SlidingWindow",
    "TimeSeriesDetector",
    "alarm_events",
    "calendar_columns",
    "event_scores",
]

_Aggregation = Literal["mean", "max", "min", "last"]
_Missing = Literal["raise", "drop"]

class _SeriesEstimator(BaseEstimator):
    missing: _Missing
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    sampling_interval_: np.timedelta64 | None

class SlidingWindow(TransformerMixin, _SeriesEstimator):
    length_: int
    stride_: int
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
    held_out_rates_: NDArray[np.float64]
    window_length_: int
    aggregation_: _Aggregation
    def __init__(
        self,
        detector: Any,
        *,
        window_length: int,
        stride: int | Literal["auto"] = "auto",
        aggregation: _Aggregation = "mean",
        n_blocks: int = 5,
        contamination: float | Literal["auto"] = "auto",
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
    def p_values(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def explain(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def alarms(
        self,
        X: ArrayLike,
        *,
        threshold: ArrayLike | None = None,
        release: ArrayLike | None = None,
        cooldown: int | None = None,
    ) -> list[Alarm]: ...
    def set_threshold(
        self, threshold: Any = "auto", *, false_alarm_rate: float | None = None
    ) -> Self: ...

class AdaptiveThreshold(BaseEstimator):
    false_alarm_rate: float
    step: float
    threshold_: float
    n_seen_: int
    n_flagged_: int
    def __init__(
        self, *, false_alarm_rate: float = 0.05, step: float = 0.05
    ) -> None: ...
    def fit(self, scores: ArrayLike, y: Any = None) -> Self: ...
    @overload
    def update(self, scores: float, *, learn: bool | ArrayLike = True) -> float: ...
    @overload
    def update(
        self,
        scores: Sequence[float] | NDArray[Any],
        *,
        learn: bool | ArrayLike = True,
    ) -> NDArray[np.float64]: ...

@dataclass(frozen=True)
class Alarm:
    start: Any
    end: Any
    peak: Any
    score: float
    n_steps: int

def alarm_events(
    scores: ArrayLike,
    threshold: ArrayLike,
    *,
    release: ArrayLike | None = None,
    cooldown: int = 0,
    index: Sequence[Any] | Any | None = None,
) -> list[Alarm]: ...
def calendar_columns(
    times: Any, *, days_off: Sequence[int] = (5, 6), holidays: Iterable[Any] = ()
) -> dict[str, NDArray[np.float64]]: ...
def event_scores(
    y_true: ArrayLike, y_pred: ArrayLike, *, alpha: float = 0.0
) -> dict[str, float]: ...
