"""How a training went."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._directions import detector_inside
from ._drawing import LINE_COLORS, LINE_STYLES, import_pyplot, one_axes, strip
from ._reading import check_has, is_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike
    from typing_extensions import Self

    from ._drawing import Scale

# Entries of a history that are not losses. The last is the sum of all of them, those of
# adversaries included, and says little where they are known one by one.
_BOOKKEEPING = {"epoch", "dur", "n_steps"}
_LOSS_SUM = "train_loss"


class LossCurveDisplay:
    """Losses over the optimiser steps of a training.

    Use :meth:`from_estimator` to create it; it keeps the parameters as attributes.

    Parameters
    ----------
    steps : ndarray of shape (n_epochs,)
        Optimiser steps done at the end of each epoch.
    losses : dict of str to ndarray of shape (n_epochs,)
        Mean of each loss over each epoch; NaN in epochs without it.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        The curve of each loss.
    ax_ : matplotlib Axes
        Axes with the curves.
    figure_ : matplotlib Figure
        Figure with the axes.

    Examples
    --------
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.datasets import make_anomalies
    >>> from skganomaly.plotting import LossCurveDisplay
    >>> X, y = make_anomalies(300, 4, random_state=0)
    >>> detector = AutoencoderDetector(max_steps=60, random_state=0).fit(X[y == 1])
    >>> display = LossCurveDisplay.from_estimator(detector)
    >>> list(display.losses)
    ['reconstruction']
    """

    lines_: dict[str, Line2D]
    ax_: Axes
    figure_: Figure

    def __init__(self, *, steps: ArrayLike, losses: Mapping[str, ArrayLike]) -> None:
        self.steps = steps
        self.losses = losses

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        names: Sequence[str] | None = None,
        yscale: Scale = "auto",
        ax: Axes | None = None,
    ) -> Self:
        """Draw the losses in the history of a fitted detector.

        Parameters
        ----------
        estimator : object
            A fitted detector of this library, or a Pipeline or search that ends in one.
        names : list of str or None, default=None
            Losses to draw; None is all of them, without their sum "train_loss".
        yscale : {"auto", "linear", "log"}, default="auto"
            Scale of the losses; "auto" is "log" if all are positive.
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.

        Returns
        -------
        display : LossCurveDisplay
            The losses, drawn.

        Raises
        ------
        TypeError
            If the estimator has no history.
        ValueError
            If a name is not in the history.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        detector = detector_inside(estimator)
        check_has(detector, "history_", cls.__name__)
        history = detector.history_
        known = [
            name
            for name in dict.fromkeys(name for epoch in history for name in epoch)
            if name not in _BOOKKEEPING
            and not name.startswith("event_")
            and all(is_number(epoch.get(name, 0.0)) for epoch in history)
        ]
        if names is None:
            names = [name for name in known if name != _LOSS_SUM] or known
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(f"names={list(names)!r} has {missing}; there are {known}.")
        display = cls(
            steps=np.array([epoch["n_steps"] for epoch in history]),
            losses={
                name: np.array([epoch.get(name, np.nan) for epoch in history], float)
                for name in names
            },
        )
        return display.plot(ax=ax, yscale=yscale)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        yscale: Scale = "auto",
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Axes to draw on. None makes a new figure.
        yscale : {"auto", "linear", "log"}, default="auto"
            Scale of the losses; "auto" is "log" if all are positive.

        Returns
        -------
        display : LossCurveDisplay
            The object itself.
        """
        if yscale not in ("auto", "linear", "log"):
            raise ValueError(f"yscale={yscale!r} must be 'auto', 'linear' or 'log'.")
        self.ax_ = ax = one_axes(ax, f"{type(self).__name__}.plot")
        self.figure_ = ax.figure
        # A single epoch has no line, only a point.
        marker = "o" if len(self.steps) < 30 else None
        self.lines_ = {}
        for i, (name, loss) in enumerate(self.losses.items()):
            drawn = np.isfinite(loss)
            (self.lines_[name],) = ax.plot(
                self.steps[drawn],
                loss[drawn],
                color=LINE_COLORS[i % len(LINE_COLORS)],
                linestyle=LINE_STYLES[i % len(LINE_STYLES)],
                marker=marker,
                markersize=3,
                label=name,
            )
        if yscale == "auto":
            positive = all(
                (loss[np.isfinite(loss)] > 0).all() for loss in self.losses.values()
            )
            yscale = "log" if positive else "linear"
        ax.set(xlabel="optimiser step", ylabel="loss, mean of an epoch", yscale=yscale)
        ax.set_xlim(left=0)
        ax.legend(frameon=False)
        strip(ax)
        return self
