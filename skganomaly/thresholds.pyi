from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from typing_extensions import Self

__all__ = [
    "CallableThreshold",
    "ConformalThreshold",
    "FixedThreshold",
    "MaxThreshold",
    "QuantileThreshold",
    "TailThreshold",
    "p_values",
]

class _ThresholdRule(BaseEstimator):
    threshold_: float
    n_references_: int
    def fit(self, scores: ArrayLike) -> Self: ...

class QuantileThreshold(_ThresholdRule):
    def __init__(
        self, *, rate: float = 0.05, method: Literal["weibull", "linear"] = "weibull"
    ) -> None: ...

class MaxThreshold(_ThresholdRule): ...

class TailThreshold(_ThresholdRule):
    def __init__(self, *, rate: float = 0.01, tail_fraction: float = 0.1) -> None: ...

class ConformalThreshold(_ThresholdRule):
    def __init__(self, *, rate: float = 0.05) -> None: ...

class FixedThreshold(_ThresholdRule):
    def __init__(self, *, value: float) -> None: ...

class CallableThreshold(_ThresholdRule):
    def __init__(self, *, function: Callable[[NDArray[np.float64]], float]) -> None: ...

def p_values(
    reference_scores_sorted: ArrayLike, scores: ArrayLike
) -> NDArray[np.float64]: ...
