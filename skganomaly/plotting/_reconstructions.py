"""Images and windows, and what a detector makes of them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .._directions import steps_inside, transform_by
from ._drawing import (
    LINE_COLORS,
    LINE_STYLES,
    VERMILLION,
    check_count,
    grid_of_axes,
    heat_colors,
    import_pyplot,
    label_panel,
    robust_limits,
    robust_maximum,
    strip,
)
from ._reading import check_has, scores_and_threshold

if TYPE_CHECKING:
    from typing import Any, Literal, TypeAlias

    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._drawing import Panels

    _Heat: TypeAlias = Literal["auto", "anomaly_map", "difference", "explain"]

_HEAT_LABELS = {
    "anomaly_map": "distance from a normal counterpart",
    "difference": "|input - reconstruction|",
    "explain": "contribution to the score",
}
# Share of normal rows whose heat stays below the level at which colours begin.
_USUAL_SHARE = 0.95


class ReconstructionDisplay:
    """Images or windows, what a detector makes of them, and where they differ.

    Use :meth:`from_estimator` to create it; it keeps the parameters as attributes.

    Parameters
    ----------
    inputs : ndarray of shape (n, channels, height, width) or (n, channels, length)
        The rows.
    reconstructions : ndarray of the shape of `inputs`
        What the detector makes of them.
    heat : ndarray of shape (n, channels, ...) or None, default=None
        A value for each entry, drawn as a heat map or as curves.
    heat_label : str, default="heat"
        What the values are.
    scores : ndarray of shape (n,) or None, default=None
        Anomaly scores.
    threshold : float or None, default=None
        The cut, in the units of the scores.
    level : float or None, default=None
        What the heat of normal rows rarely reaches: of images the sum over channels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One column per row of data. For images there is a line of panels each for
        inputs, reconstructions and heat; for windows one for each channel and one for
        the heat.
    colorbar_ : matplotlib Colorbar or None
        Scale of the heat maps; None without them.
    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    ContributionDisplay : The same question for rows of a table.
    ImageVerdictDisplay : Images whose maps are in units of the score.

    Examples
    --------
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.datasets import load_digits_anomaly
    >>> from skganomaly.plotting import ReconstructionDisplay
    >>> X, y = load_digits_anomaly(anomaly_class=4, as_images=True)
    >>> detector = AutoencoderDetector(max_steps=20, random_state=0)
    >>> detector = detector.fit(X[y == 1][:200])
    >>> display = ReconstructionDisplay.from_estimator(detector, X[:3])
    >>> display.axes_.shape
    (3, 3)
    """

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
        level: float | None = None,
    ) -> None:
        self.inputs = inputs
        self.reconstructions = reconstructions
        self.heat = heat
        self.heat_label = heat_label
        self.scores = scores
        self.threshold = threshold
        self.level = level

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        *,
        heat: _Heat | None = "auto",
        normal: ArrayLike | None = None,
        cmap: str | Colormap | None = None,
        ax: Panels | None = None,
    ) -> Self:
        """Reconstruct a few images or windows, and draw them.

        The verdict goes by the score and not by the heat. With the score "local", which
        compares codes, the two may disagree: an image that is normal as a whole may
        have a spot that no other has. ``normal`` tells such a spot from what is bright
        only because everything else is darker.

        Parameters
        ----------
        estimator : object
            A detector of this library, fitted on images or windows, or a Pipeline or
            search that ends in one. The rows are drawn as the detector sees them.
        X : array-like of the shape that ``fit`` saw
            At most 20 images or windows.
        heat : {"auto", "anomaly_map", "difference", "explain"} or None, default="auto"
            What to show of each entry:

            - "anomaly_map": the detector's ``anomaly_map``;
            - "difference": ``abs(X - detector.reconstruct(X))``;
            - "explain": the contribution to the score, with its sign;
            - "auto": "anomaly_map" if the detector has it, else "difference";
            - None: nothing.

        normal : array-like of the shape that ``fit`` saw or None, default=None
            Some 20 to 200 normal rows, best such as were not trained on, to compare the
            heat with. It gives ``level``, which the heat of 95 % of them does not
            exceed anywhere, and of all of them if they are 20 or fewer.
        cmap : str, matplotlib Colormap or None, default=None
            Colours of the heat maps. None is from dark to light, larger values being
            lighter: with ``normal``, grey for what normal rows have and yellow above;
            without, nothing is known to be unusual and all is grey. Where some values
            are negative, these are blue.
        ax : matplotlib Axes, array of them or None, default=None
            One Axes in a grid, in whose place the panels are drawn, or one for each
            panel. None makes a new figure.

        Returns
        -------
        display : ReconstructionDisplay
            The rows, drawn.

        Raises
        ------
        TypeError
            If the estimator has no ``reconstruct``.
        ValueError
            If it was fitted on plain rows; if there are no rows or more than 20; if
            ``normal`` is given for no heat.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        steps, detector = steps_inside(estimator)
        X = transform_by(steps, X)
        check_has(detector, "reconstruct", cls.__name__)
        check_is_fitted(detector)
        shape = detector.input_shape_
        if len(shape) == 1:
            raise ValueError(
                f"{cls.__name__} draws images and windows, and this detector was "
                f"fitted on plain rows of {shape[0]} values. Fit with input_shape, or "
                "use ContributionDisplay for a row of a table."
            )
        check_count(len(X), "rows", "a few, as in X[:8]")
        if heat not in ("auto", "anomaly_map", "difference", "explain", None):
            raise ValueError(
                f"heat={heat!r} must be 'auto', 'anomaly_map', 'difference', 'explain' "
                "or None."
            )
        if normal is not None:
            if heat is None:
                raise ValueError(
                    "normal is what the heat is compared with, and heat=None draws "
                    "none. Leave one of the two out."
                )
            if not len(normal):
                raise ValueError("normal has no rows. Pass some 20 to 200 of them.")
            normal = transform_by(steps, normal)
        if heat == "auto":
            has_map = hasattr(detector, "anomaly_map")
            heat = "anomaly_map" if has_map else "difference"

        def heat_of(rows):
            if heat == "difference":
                values = np.abs(np.asarray(rows) - detector.reconstruct(rows))
            else:
                values = np.asarray(getattr(detector, heat)(rows))
            return values.reshape(len(rows), -1, *shape[1:])

        reconstructions = np.asarray(detector.reconstruct(X))
        scores, threshold = scores_and_threshold(detector, X)
        display = cls(
            inputs=np.asarray(X, dtype=np.float64).reshape(-1, *shape),
            reconstructions=reconstructions.reshape(-1, *shape),
            heat=None if heat is None else heat_of(X),
            heat_label=_HEAT_LABELS.get(heat),
            scores=scores,
            threshold=threshold,
            level=None if normal is None else _level(heat_of(normal)),
        )
        return display.plot(ax=ax, cmap=cmap)

    def plot(
        self,
        ax: Panels | None = None,
        *,
        cmap: str | Colormap | None = None,
    ) -> Self:
        """Draw the grid.

        All images have one scale and all heat maps another. The ends of a scale leave
        out the most extreme 0.5 % of the values, at least one of them, so that no
        single pixel sets it; arrows at the ends of the colour bar say so. With a
        ``level``, a pixel has a colour if it is above that, to a thousandth of the
        scale, and the title says whether any is.

        Parameters
        ----------
        ax : matplotlib Axes, array of them or None, default=None
            As in :meth:`from_estimator`.
        cmap : str, matplotlib Colormap or None, default=None
            Colours of the heat maps.

        Returns
        -------
        display : ReconstructionDisplay
            The object itself.
        """
        self.colorbar_ = None
        name = f"{type(self).__name__}.plot"
        if self.inputs.ndim == 4:
            self._plot_images(ax, cmap, name)
        else:
            self._plot_windows(ax, name)
        self.figure_ = self.axes_[0, 0].figure
        if self.scores is not None:
            unusual = None
            if self.heat is not None and self.level is not None:
                unusual = _largest(self.heat) > self.level
            for i, (panel, score) in enumerate(
                zip(self.axes_[0], self.scores, strict=True)
            ):
                # A score of many digits would reach into the next panel.
                title = f"score {score:{'.2f' if abs(score) < 1e5 else '.3g'}}"
                if self.threshold is not None:
                    flagged = score > self.threshold
                    title += "\nanomaly" if flagged else "\nnormal"
                if unusual is not None:
                    title += "\nmap unusual" if unusual[i] else "\nmap as usual"
                panel.set_title(title, fontsize="medium")
        return self

    def _plot_images(self, ax, cmap, name):
        n, n_channels, height, width = self.inputs.shape
        lines = {"input": self.inputs, "reconstruction": self.reconstructions}
        n_lines = len(lines) + (self.heat is not None)
        size = 1.3
        panel_height = float(np.clip(size * height / width, 0.4, 3.0))
        self.axes_ = grid_of_axes(
            ax,
            n_lines,
            n,
            name,
            figsize=(max(size * n + 0.6, 3.2), panel_height * n_lines + 1.3),
        )
        low, high = robust_limits(self.inputs)
        for panels, (label, images) in zip(self.axes_, lines.items(), strict=False):
            for panel, image in zip(panels, images, strict=True):
                if n_channels == 3:
                    shown = np.clip((image - low) / (high - low), 0, 1)
                    panel.imshow(shown.transpose(1, 2, 0))
                else:
                    panel.imshow(image.mean(axis=0), cmap="gray", vmin=low, vmax=high)
            if n_channels not in (1, 3):
                label += f" (mean of {n_channels} channels)"
            label_panel(panels[0], label)
        if self.heat is not None:
            self._plot_heat_maps(self.axes_[-1], cmap)
        for panel in self.axes_.flat:
            panel.set_xticks([])
            panel.set_yticks([])

    def _plot_heat_maps(self, panels, cmap):
        from matplotlib.ticker import MaxNLocator

        heat = self.heat.sum(axis=1)
        signed = (heat < 0).any()
        limit, level = robust_maximum(np.abs(heat)), None
        if self.level is not None:
            # The level is inside, or the scale would be that of the images shown.
            limit = max(limit, 2 * self.level)
            level = self.level / limit
        colors = heat_colors(cmap, signed, level)
        scale = {"vmin": -limit if signed else 0, "vmax": limit}
        for panel, image in zip(panels, heat, strict=True):
            drawn = panel.imshow(image, cmap=colors, **scale)
        beyond = (heat < -limit).any(), (heat > limit).any()
        extend = {
            (False, False): "neither",
            (True, False): "min",
            (False, True): "max",
            (True, True): "both",
        }[beyond]
        # Numbers without a power of ten for all, which would stand in the label.
        inches = panels[0].figure.dpi_scale_trans.inverted()
        (left, _), (right, _) = inches.transform(
            [panels[0].get_window_extent().min, panels[-1].get_window_extent().max]
        )
        self.colorbar_ = panels[0].figure.colorbar(
            drawn,
            ticks=MaxNLocator(int(np.clip(1.2 * (right - left), 2, 8))),
            format="%.3g",
            ax=list(panels),
            location="bottom",
            extend=extend,
            shrink=0.8,
            aspect=30,
        )
        summed = ", sum over channels" if self.heat.shape[1] > 1 else ""
        label = self.heat_label + summed
        if self.level is not None:
            sign = "±" if signed else ""
            label += f"; normal images rarely exceed {sign}{self.level:.3g}"
            for end in (-self.level, self.level) if signed else (self.level,):
                self.colorbar_.ax.axvline(end, color="black", linewidth=2)
        elif self.scores is not None and not signed:
            label += "; the verdict goes by the score, not by this"
        n_letters = int((right - left) / 0.08)
        self.colorbar_.set_label(textwrap.fill(label, max(n_letters, 20)))
        label_panel(panels[0], "heat map")

    def _plot_windows(self, ax, name):
        n, n_channels, _ = self.inputs.shape
        n_lines = n_channels + (self.heat is not None)
        check_count(n_channels, "channels", "windows of fewer channels")
        self.axes_ = grid_of_axes(
            ax,
            n_lines,
            n,
            name,
            figsize=(max(2.4 * n + 0.8, 4.8), 1.5 * n_lines + 1),
            sharex=True,
            sharey="row",
        )
        for c, panels in enumerate(self.axes_[:n_channels]):
            for i, panel in enumerate(panels):
                panel.plot(self.inputs[i, c], color="black", label="input")
                panel.plot(
                    self.reconstructions[i, c],
                    color=VERMILLION,
                    linestyle="--",
                    label="reconstruction",
                )
            label_panel(panels[0], "value" if n_channels == 1 else f"channel {c}")
        self.axes_[0, 0].legend(frameon=False, fontsize="small")
        if self.heat is not None:
            # Not the colours of the panels above, which mean something else.
            colors = LINE_COLORS[2:-1]
            for panel, curves in zip(self.axes_[-1], self.heat, strict=True):
                for c, curve in enumerate(curves):
                    panel.plot(
                        curve,
                        color=colors[c % len(colors)],
                        linestyle=LINE_STYLES[c % len(LINE_STYLES)],
                        label=f"channel {c}",
                    )
                if self.level is not None:
                    panel.axhline(
                        self.level, color="black", linestyle=":", label="rare if normal"
                    )
            label_panel(self.axes_[-1, 0], self.heat_label)
            if len(curves) > 1 or self.level is not None:
                self.axes_[-1, 0].legend(frameon=False, fontsize="small")
        for panel in self.axes_.flat:
            strip(panel)
        for panel in self.axes_[-1]:
            panel.set_xlabel("time step")


def _largest(heat):
    """Largest size of an entry of each row, of images of the sum over channels."""
    if heat.ndim == 4:
        heat = heat.sum(axis=1)
    return np.abs(heat).reshape(len(heat), -1).max(axis=1)


def _level(heat):
    """What the heat of most normal rows does not exceed."""
    return float(np.quantile(_largest(heat), _USUAL_SHARE, method="higher"))
