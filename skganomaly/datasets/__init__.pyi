from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "AnomalyDataset",
    "LazyDatasets",
    "load_adbench",
    "load_benchmark_data",
    "load_bundled",
    "load_digits_anomaly",
    "load_mnist",
    "make_anomalies",
    "make_image_anomalies",
    "make_metric_anomalies",
]

class AnomalyDataset:
    name: str
    # An array or a data frame.
    X: Any
    target: NDArray[Any]
    classes: tuple[Any, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    test_rows: NDArray[np.bool_] | None = None
    def __init__(
        self,
        name: str,
        X: Any,
        target: ArrayLike,
        classes: Sequence[Any] | None = None,
        input_shape: Sequence[int] | None = None,
        test_rows: ArrayLike | None = None,
    ) -> None: ...
    def rows(self, numbers: NDArray[np.int64]) -> Any: ...
    @property
    def n_anomalies(self) -> int | None: ...

class LazyDatasets(Mapping[str, AnomalyDataset]):
    def __init__(self, loaders: Mapping[str, Callable[[], AnomalyDataset]]) -> None: ...
    def __getitem__(self, name: str) -> AnomalyDataset: ...
    def __iter__(self) -> Iterator[str]: ...
    def __len__(self) -> int: ...
    def select(self, names: Sequence[str]) -> LazyDatasets: ...

def load_adbench(folder: str | PathLike[str]) -> LazyDatasets: ...
def load_benchmark_data(
    path: str | PathLike[str], *, classes: Sequence[int] | None = None
) -> LazyDatasets: ...
def load_bundled() -> LazyDatasets: ...
def load_digits_anomaly(
    *,
    normal_classes: int | Sequence[int] | None = None,
    anomaly_class: int | None = None,
    as_images: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
def load_mnist(
    path: str | PathLike[str], *, classes: Sequence[int] | None = None
) -> AnomalyDataset: ...
def make_anomalies(
    n_samples: int = 1000,
    n_features: int = 10,
    *,
    kind: Literal["global", "local", "cluster", "dependency"] = "global",
    contamination: float = 0.1,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]: ...
def make_image_anomalies(
    n_samples: int = 1000,
    *,
    kind: Literal["mixed", "patch", "erasure", "stroke"] = "mixed",
    contamination: float = 0.1,
    images: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Any: ...
def make_metric_anomalies(
    n_steps: int = 3000,
    n_metrics: int = 1,
    *,
    kind: Literal["mixed", "spike", "level_shift", "seasonality"] = "mixed",
    n_anomalies: int = 9,
    first_anomaly: int = 0,
    period: int = 100,
    random_state: int | np.random.RandomState | None = None,
) -> Any: ...
