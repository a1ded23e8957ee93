from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from typing_extensions import Self

__all__ = ["as_pyod", "from_pyod"]

class SklearnDetector(OutlierMixin, BaseEstimator):
    detector_: Any
    offset_: float
    n_features_in_: int
    def __init__(
        self,
        detector: Any,
        *,
        random_state: int | np.random.RandomState | None = None,
    ) -> None: ...
    @property
    def threshold_(self) -> float: ...
    def fit(
        self, X: ArrayLike, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self: ...
    def predict(self, X: ArrayLike) -> NDArray[np.int64]: ...
    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]: ...
    def anomaly_score(self, X: ArrayLike) -> NDArray[np.float64]: ...

# PyOD has no type information, so neither has its base class of what this returns.
def as_pyod(
    detector: Any,
    *,
    X_train: ArrayLike | None = None,
    contamination: Any = None,
    random_state: int | np.random.RandomState | None = None,
) -> Any: ...
def from_pyod(
    detector: Any, *, random_state: int | np.random.RandomState | None = None
) -> SklearnDetector: ...
