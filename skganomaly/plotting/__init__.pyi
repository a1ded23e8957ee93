from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

__all__ = [
    "ContributionDisplay",
    "LossCurveDisplay",
    "ReconstructionDisplay",
    "ScoreDistributionDisplay",
    "ScoreOverTimeDisplay",
]

class ContributionDisplay:
    bars_: BarContainer | list[BarContainer]
    axes_: NDArray[np.object_]
    ax_: Axes
    figure_: Figure
    def __init__(
        self,
        *,
        contributions: ArrayLike,
        feature_names: Sequence[str],
        values: ArrayLike | None = None,
        expected: ArrayLike | None = None,
        score: float | ArrayLike | None = None,
        threshold: float | None = None,
        row_names: Sequence[Any] | None = None,
    ) -> None: ...
    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        feature_names: Sequence[str] | None = None,
        top_k: int = 10,
        ax: Axes | NDArray[np.object_] | None = None,
    ) -> Self: ...
    def plot(
        self, ax: Axes | NDArray[np.object_] | None = None, *, top_k: int = 10
    ) -> Self: ...

class LossCurveDisplay:
    lines_: dict[str, Line2D]
    ax_: Axes
    figure_: Figure
    def __init__(
        self, *, steps: ArrayLike, losses: Mapping[str, ArrayLike]
    ) -> None: ...
    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        names: Sequence[str] | None = None,
        yscale: Literal["auto", "linear", "log"] = "auto",
        ax: Axes | None = None,
    ) -> Self: ...
    def plot(
        self,
        ax: Axes | None = None,
        *,
        yscale: Literal["auto", "linear", "log"] = "auto",
    ) -> Self: ...

class ReconstructionDisplay:
    axes_: NDArray[np.object_]
    colorbar_: Colorbar | None
    figure_: Figure
    def __init__(
        self,
        *,
        inputs: NDArray[Any],
        reconstructions: NDArray[Any],
        heat: NDArray[Any] | None = None,
        heat_label: str = "heat",
        scores: ArrayLike | None = None,
        threshold: float | None = None,
    ) -> None: ...
    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        heat: (Literal["auto", "anomaly_map", "difference", "explain"] | None) = "auto",
        cmap: str | Colormap | None = None,
        ax: Axes | NDArray[np.object_] | None = None,
    ) -> Self: ...
    def plot(
        self,
        ax: Axes | NDArray[np.object_] | None = None,
        *,
        cmap: str | Colormap | None = None,
    ) -> Self: ...

class ScoreDistributionDisplay:
    ax_: Axes
    figure_: Figure
    def __init__(
        self,
        *,
        scores: ArrayLike,
        is_anomaly: ArrayLike | None = None,
        threshold: float | None = None,
        reference_scores: ArrayLike | None = None,
    ) -> None: ...
    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        bins: int = 40,
        xscale: Literal["auto", "linear", "log"] = "auto",
        ax: Axes | None = None,
    ) -> Self: ...
    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_score: ArrayLike,
        *,
        threshold: float | None = None,
        reference_scores: ArrayLike | None = None,
        bins: int = 40,
        xscale: Literal["auto", "linear", "log"] = "auto",
        ax: Axes | None = None,
    ) -> Self: ...
    def plot(
        self,
        ax: Axes | None = None,
        *,
        bins: int = 40,
        xscale: Literal["auto", "linear", "log"] = "auto",
    ) -> Self: ...

class ScoreOverTimeDisplay:
    flagged_: NDArray[np.bool_]
    axes_: NDArray[np.object_]
    figure_: Figure
    def __init__(
        self,
        *,
        values: ArrayLike,
        scores: ArrayLike,
        time: ArrayLike,
        threshold: float | None = None,
        is_anomaly: ArrayLike | None = None,
        names: Sequence[str] | None = None,
        time_label: str = "time",
    ) -> None: ...
    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        time: ArrayLike | None = None,
        ax: Axes | NDArray[np.object_] | None = None,
    ) -> Self: ...
    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike | None,
        y_score: ArrayLike,
        values: ArrayLike,
        *,
        time: ArrayLike | None = None,
        threshold: float | None = None,
        ax: Axes | NDArray[np.object_] | None = None,
    ) -> Self: ...
    def plot(self, ax: Axes | NDArray[np.object_] | None = None) -> Self: ...
