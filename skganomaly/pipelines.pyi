from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from typing_extensions import Self

from .base import _Threshold

__all__ = ["MissingCount", "ThroughPipeline", "through"]

def through(estimator: Any) -> ThroughPipeline: ...

class ThroughPipeline:
    estimator: Any
    detector_: Any
    def __init__(self, estimator: Any) -> None: ...
    @property
    def threshold_(self) -> float: ...
    def transform(self, X: Any) -> Any: ...
    def anomaly_score(
        self, X: Any, *, part: str | None = None
    ) -> NDArray[np.float64]: ...
    def p_values(self, X: Any) -> NDArray[np.float64]: ...
    def set_threshold(
        self, threshold: _Threshold = "auto", *, false_alarm_rate: float | None = None
    ) -> Self: ...
    # A data frame for a data frame, else an array.
    def explain(
        self,
        X: Any,
        *,
        columns: Literal["original", "transformed"] = "original",
        n_steps: int = 16,
    ) -> Any: ...

class MissingCount(TransformerMixin, BaseEstimator):
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    def fit(self, X: ArrayLike, y: Any = None) -> Self: ...
    def transform(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def get_feature_names_out(
        self, input_features: Any = None
    ) -> NDArray[np.object_]: ...
