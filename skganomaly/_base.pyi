from abc import ABCMeta
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from typing_extensions import Self

from .reports import TrainingReport

__all__ = ["BaseGANDetector"]

_Scores: TypeAlias = NDArray[np.float64]

class _ThresholdRule(Protocol):
    def fit(self, scores: _Scores, /) -> Any: ...

_Threshold: TypeAlias = (
    Literal["auto", "max", "tail", "conformal"]
    | float
    | Callable[[_Scores], float]
    | _ThresholdRule
)

class BaseGANDetector(OutlierMixin, BaseEstimator, metaclass=ABCMeta):
    offset_: float
    threshold_rule_: Any
    reference_scores_: _Scores
    n_held_out_: int
    score_type_: str
    history_: list[dict[str, Any]]
    n_iter_: int
    training_report_: TrainingReport
    value_range_: NDArray[np.float64]
    input_shape_: tuple[int, ...]
    latent_dim_: int
    n_members_: int
    architecture_: Any
    scaler_: Any
    net_: Any
    device_: torch.device
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    @property
    def threshold_(self) -> float: ...
    def fit(
        self, X: ArrayLike, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self: ...
    def set_callbacks(self, *callbacks: Any) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.int64]: ...
    def decision_function(self, X: ArrayLike) -> _Scores: ...
    def score_samples(self, X: ArrayLike) -> _Scores: ...
    def score(self, X: ArrayLike, y: Any = None) -> float: ...
    def anomaly_score(self, X: ArrayLike, *, part: str | None = None) -> _Scores: ...
    def p_values(self, X: ArrayLike) -> _Scores: ...
    def set_threshold(
        self,
        threshold: _Threshold = "auto",
        *,
        false_alarm_rate: float | None = None,
    ) -> Self: ...
    def encode(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def reconstruct(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def sample(
        self,
        n_samples: int = 1,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> NDArray[np.float64]: ...
    def anomaly_map(
        self,
        X: ArrayLike,
        *,
        error: Literal["absolute", "squared"] = "absolute",
        smoothing: float | Literal["auto"] = "auto",
    ) -> NDArray[np.float64]: ...
    def explain(self, X: ArrayLike, *, n_steps: int = 16) -> NDArray[np.float64]: ...
