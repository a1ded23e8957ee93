"""Axes, colours and scales that the displays share."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    # One Axes to draw on or in whose place, or one for each panel.
    Panels: TypeAlias = Axes | NDArray[np.object_]
    Scale: TypeAlias = Literal["auto", "linear", "log"]

BLUE, VERMILLION, ORANGE, GREY = "#0072B2", "#D55E00", "#E69F00", "#999999"
LINE_COLORS = [BLUE, VERMILLION, "#009E73", "#CC79A7", ORANGE, "#56B4E9", "black"]
LINE_STYLES = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3))]

# Panels side by side or one above the other that can still be read.
_MAX_PANELS = 20
# Share of entries that may lie beyond the ends of a colour scale.
_CLIPPED_SHARE = 0.005


def import_pyplot(caller):
    """Import pyplot, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'{caller} needs matplotlib: pip install "skganomaly[plot]".'
        ) from error
    return plt


def one_axes(ax, caller, **options):
    """Axes of a new figure, unless there are some."""
    plt = import_pyplot(caller)
    if ax is None:
        _, ax = plt.subplots(layout="constrained", **options)
    return ax


def grid_of_axes(ax, n_lines, n_columns, caller, *, figsize, **shared):
    """Axes of shape (n_lines, n_columns): new, in the place of one, or those given."""
    plt = import_pyplot(caller)
    shape = n_lines, n_columns
    if ax is None:
        figure = plt.figure(figsize=figsize, layout="constrained")
        return figure.subplots(*shape, squeeze=False, **shared)
    if isinstance(ax, plt.Axes):
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError(
                f"{caller} draws {n_lines} x {n_columns} panels in the place of ax, "
                "which must be in a grid. Make it with plt.subplots, or pass an array "
                "of axes."
            )
        ax.set_axis_off()
        grid = place.subgridspec(*shape)
        return grid.subplots(squeeze=False, **shared)
    axes = np.asarray(ax, dtype=object)
    if axes.size != n_lines * n_columns:
        raise ValueError(
            f"{caller} draws {n_lines} x {n_columns} panels; ax has {axes.size} axes."
        )
    return axes.reshape(shape)


def check_count(n, what, instead):
    """Refuse more panels than can be read."""
    if not 0 < n <= _MAX_PANELS:
        raise ValueError(
            f"Between 1 and {_MAX_PANELS} {what} can be drawn, got {n}. Pass {instead}."
        )


def strip(ax):
    """Take away the lines above and to the right."""
    ax.spines[["top", "right"]].set_visible(False)


def label_panel(panel, label):
    """Label a panel at its left, in lines that are no longer than the panel is high.

    Beside one that is too low for most words, the label lies.
    """
    panel.set_ylabel(label)
    # A letter is little more than half as wide as the font is high.
    letter = 0.6 * panel.yaxis.label.get_fontsize() * panel.figure.dpi / 72
    n_letters = int(panel.get_window_extent().height / letter)
    if n_letters < 8:
        panel.yaxis.label.set(rotation=0, ha="right", va="center")
        n_letters = 18
    panel.set_ylabel(textwrap.fill(label, n_letters))


def draw_threshold(draw_line, threshold, **options):
    """Draw the threshold with axvline or axhline, and name it for the legend."""
    draw_line(
        threshold,
        color="black",
        linestyle="--",
        linewidth=1.2,
        label=f"threshold {threshold:.3g}",
        **options,
    )


def heat_colors(cmap, signed, level=None):
    """Colours that get lighter from the lowest value to the highest.

    Parameters
    ----------
    cmap : str, Colormap or None
        What is taken instead.
    signed : bool
        Whether the scale goes from -1 to 1, and not from 0.
    level : float or None, default=None
        Where on the scale, below 1, the colours begin. Nothing has a colour that is
        nearer to 0, or, without a sign, if there is no level.
    """
    from matplotlib.colors import LinearSegmentedColormap

    if cmap is not None:
        return cmap
    low, high = ["#001A33", "#004C82"], [ORANGE, "#FFF3B0"]
    if level is None:
        colors = [*low, "#777777", *high] if signed else ["black", "white"]
    else:
        # Two colours in one place are a jump.
        colors = [(0, "black"), (level, "#777777"), (level, high[0]), (1, high[1])]
        if signed:
            below, above = (1 - level) / 2, (1 + level) / 2
            colors = [(0, low[0]), (below, low[1]), (below, "#404040")]
            colors += [(above, "#8A8A8A"), (above, high[0]), (1, high[1])]
    return LinearSegmentedColormap.from_list("heat", colors, N=1024)


def robust_limits(values):
    """Ends of a scale that leave out the most extreme values on both sides."""
    ordered = np.sort(values, axis=None)
    k = _n_clipped(ordered.size)
    low, high = ordered[k], ordered[-1 - k]
    if low == high:
        low, high = ordered[0], ordered[-1]
    return (low, high) if low < high else (low, low + 1)


def robust_maximum(sizes):
    """End of a scale from zero that leaves out the largest values."""
    ordered = np.sort(sizes, axis=None)
    return ordered[-1 - _n_clipped(ordered.size)] or ordered[-1] or 1.0


def _n_clipped(n):
    return min(max(1, round(_CLIPPED_SHARE * n)), (n - 1) // 2)
