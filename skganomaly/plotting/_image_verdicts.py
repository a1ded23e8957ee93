"""Images, where a detector sees defects in them, and its verdict."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .._directions import steps_inside, transform_by
from ..images import as_images
from ..images._maps import find_regions
from ._drawing import (
    check_count,
    grid_of_axes,
    import_pyplot,
    robust_limits,
)
from ._pictures import RED, as_picture, coarser, cover, without_ticks
from ._reading import check_has

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from typing_extensions import Self

    from ._drawing import Panels

# Below the cut from nothing to a blue that lets the image through, above it from red to
# nearly black. Both can be seen on black and on white.
_BLUE = np.array([0.15, 0.5, 0.95])
_DARK_RED = np.array([0.35, 0.0, 0.10])
_BELOW, _ABOVE = 0.6, 0.75
_MASK_COLOR = "#F0E442"
_N_COLORS = 512
_N_LETTERS = 24


class ImageVerdictDisplay:
    r"""Images, where a detector sees defects in them, and its verdict.

    Use :meth:`from_estimator` to create it; it keeps the parameters as attributes.

    Parameters
    ----------
    images : sequence of ndarray of shape (n_channels, height, width)
        The images, of any sizes.
    maps : sequence of ndarray of shape (height, width)
        For each image a map in its size, whose largest pixel is the image's score.
    threshold : float
        The cut, in the units of the maps.
    regions : sequence of list of dict or None, default=None
        For each image the regions above the cut, whose ``"box"`` is (left, top, right,
        bottom).
    masks : sequence of (ndarray of bool or None) or None, default=None
        For each image which pixels are known to be defective.
    names : sequence of str or None, default=None
        What to call the images.

    Attributes
    ----------
    scores : ndarray of shape (n_images,)
        The largest pixel of each map.
    flagged : ndarray of bool of shape (n_images,)
        Which scores are above the cut.
    axes_ : ndarray of matplotlib Axes
        Two lines of panels for each line of images, of up to ``n_columns``: the images
        as they are, and in grey under their maps. Those without an image are empty.
    colorbar_ : matplotlib Colorbar
        Scale of all maps, with the cut.
    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    DrawnDefectsDisplay : What such a detector was trained to find.
    ReconstructionDisplay : For detectors of small images of one size.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.plotting import ImageVerdictDisplay
    >>> images = np.random.default_rng(0).uniform(size=(2, 1, 30, 40))
    >>> maps = np.zeros((2, 30, 40))
    >>> maps[1, 5:9, 10:30] = 3.0
    >>> display = ImageVerdictDisplay(images=images, maps=maps, threshold=2.0).plot()
    >>> display.flagged.tolist(), display.axes_[0, 1].get_title()
    ([False, True], 'anomaly\n3.0 > 2.0')
    """

    axes_: NDArray[np.object_]
    colorbar_: Colorbar
    figure_: Figure

    def __init__(
        self,
        *,
        images: Sequence[NDArray[Any]],
        maps: Sequence[NDArray[Any]],
        threshold: float,
        regions: Sequence[list[dict[str, Any]]] | None = None,
        masks: Sequence[NDArray[np.bool_] | None] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        self.images = images
        self.maps = maps
        self.threshold = threshold
        self.regions = regions
        self.masks = masks
        self.names = names
        self.scores = np.array([np.max(found) for found in maps], dtype=np.float64)
        self.flagged = self.scores > threshold

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        images: Any,
        *,
        masks: Any = None,
        names: Sequence[str] | None = None,
        n_columns: int = 5,
        ax: Panels | None = None,
    ) -> Self:
        """Map a few images, and draw them.

        Parameters
        ----------
        estimator : object
            A fitted :class:`~skganomaly.images.ImageDetector`, or what has the same
            methods, or a Pipeline or search that ends in one. Images are drawn as the
            detector sees them.
        images : array, sequence or ImageFolder
            At most 20 images, as the detector takes them.
        masks : sequence of (array of shape (height, width) or None), default=None
            For each image which pixels are known to be defective, to be outlined, such
            as ``folder.masks``; None for an image of which nothing is known.
        names : sequence of str or None, default=None
            What to call the images. None calls those of files by the file's name and
            that of its folder, and others not at all.
        n_columns : int, default=5
            Images side by side, at most.
        ax : matplotlib Axes, array of them or None, default=None
            One Axes in a grid, in whose place the panels are drawn, or one for each
            panel. None makes a new figure.

        Returns
        -------
        display : ImageVerdictDisplay
            The images, drawn.

        Raises
        ------
        TypeError
            If the estimator has no ``anomaly_map``.
        ValueError
            If there are no images or more than 20, or if masks or names are of others.
        """
        import_pyplot(f"{cls.__name__}.from_estimator")
        steps, detector = steps_inside(estimator)
        for method in ("anomaly_map", "regions", "threshold_"):
            check_has(detector, method, cls.__name__)
        channels = getattr(detector, "channels", "auto")
        images = as_images(transform_by(steps, images), channels=channels)
        check_count(len(images), "images", "a few, as in images[:8]")
        if names is None and hasattr(images, "paths"):
            names = [f"{path.parent.name}/{path.name}" for path in images.paths]
        for what, given in (("masks", masks), ("names", names)):
            if given is not None and len(given) != len(images):
                raise ValueError(
                    f"There are {len(given)} {what} for {len(images)} images."
                )
        shown = list(images)
        if masks is not None:
            masks = [_read_mask(mask, i, shown[i]) for i, mask in enumerate(masks)]
        # Regions are those of the maps: to ask the detector would map all again.
        maps, threshold = detector.anomaly_map(images), float(detector.threshold_)
        display = cls(
            images=shown,
            maps=maps,
            threshold=threshold,
            regions=[find_regions(found, threshold) for found in maps],
            masks=masks,
            names=names,
        )
        return display.plot(ax=ax, n_columns=n_columns)

    def plot(self, ax: Panels | None = None, *, n_columns: int = 5) -> Self:
        """Draw the images, each with its map below.

        A pixel of a map is red exactly if it is above the cut, and darker the higher it
        is; below the cut it is between clear and blue. All maps have one scale,
        which begins at what most of an image is. An image is called an anomaly exactly
        if some of it is red. Where a panel has fewer pixels than its image, each shows
        the largest value of several. Boxes are drawn a little wider than the regions
        are, and so are the outlines of masks, which are yellow and dashed.

        Images of one type of values, such as ``uint8``, have one scale of brightness.

        Parameters
        ----------
        ax : matplotlib Axes, array of them or None, default=None
            As in :meth:`from_estimator`.
        n_columns : int, default=5
            Images side by side, at most.

        Returns
        -------
        display : ImageVerdictDisplay
            The object itself.
        """
        if n_columns < 1:
            raise ValueError(f"n_columns must be at least 1, got {n_columns}.")
        n = len(self.images)
        check_count(n, "images", "a few, as in images[:8]")
        n_columns = min(n_columns, n)
        n_lines = math.ceil(n / n_columns)
        # Panels are as high as the tallest image is at their width.
        tallest = max(image.shape[1] / image.shape[2] for image in self.images)
        height = 1.9 * float(np.clip(tallest, 0.4, 1.6))
        self.axes_ = grid_of_axes(
            ax,
            2 * n_lines,
            n_columns,
            f"{type(self).__name__}.plot",
            figsize=(max(1.9 * n_columns + 0.6, 3.4), n_lines * (2 * height + 0.7) + 1),
        )
        self.figure_ = self.axes_[0, 0].figure
        pairs = self.axes_.reshape(n_lines, 2, n_columns).transpose(0, 2, 1)
        pairs = pairs.reshape(-1, 2)
        without_ticks(self.axes_)
        for panel in pairs[n:].flat:
            panel.set_axis_off()
        scales = _scales(self.images)
        low, high = self._ends()
        for i, (above, below) in enumerate(pairs[:n]):
            image, found = self.images[i], np.asarray(self.maps[i])
            size = _pixels_of(above)
            limits = scales[image.dtype]
            extent = (-0.5, image.shape[2] - 0.5, image.shape[1] - 0.5, -0.5)
            options = {"extent": extent, "interpolation": "nearest"}
            picture = as_picture(image, *limits)
            above.imshow(coarser(picture, *size, largest=False), **options)
            grey = coarser(as_picture(image, *limits, grey=True), *size, largest=False)
            colors, opacity = self._colors(
                coarser(found, *size, largest=True), low, high
            )
            below.imshow(cover(grey, colors, opacity), **options)
            # Titles in one line, which leaves them the room that the layout reserves.
            above.set_anchor("N")
            below.set_anchor("N")
            self._mark(below, i)
            self._title(above, i)
        self._draw_scale(low, high)
        return self

    def _ends(self):
        """Ends of the scale of colours, which has the cut inside."""
        high = max(float(np.max(found)) for found in self.maps)
        # What most of an image is, which is to be clear; but not if all of it is red.
        usual = [float(np.median(found)) for found in self.maps]
        low = max((value for value in usual if value < self.threshold), default=None)
        if low is None:
            low = 2 * self.threshold - max(high, self.threshold)
        margin = 0.1 * (max(high, self.threshold) - low) or 1.0
        return min(low, self.threshold - margin), max(high, self.threshold + margin)

    def _colors(self, values, low, high):
        """Colours of the values of a map, and their opacities."""
        cut = self.threshold
        red = values > cut
        below = np.clip((values - low) / (cut - low), 0, 1)
        above = np.clip((values - cut) / (high - cut), 0, 1)[..., None]
        colors = np.where(red[..., None], RED + above * (_DARK_RED - RED), _BLUE)
        # So that what is far below the cut leaves the image as it is.
        return colors, np.where(red, _ABOVE, _BELOW * below**2)

    def _mark(self, panel, i):
        """Boxes of the regions of an image, and the outline of what is known."""
        from matplotlib.patches import Rectangle

        height, width = self.images[i].shape[1:]
        room = 1 + round(0.015 * max(height, width))
        for region in self.regions[i] if self.regions is not None else ():
            left, top, right, bottom = region["box"]
            # The middle of the first pixel is at 0. A box ends where the image does.
            x0, y0 = max(left - room, 0) - 0.5, max(top - room, 0) - 0.5
            x1, y1 = min(right + room, width) - 0.5, min(bottom + room, height) - 0.5
            box = Rectangle(
                (x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=RED, linewidth=1
            )
            panel.add_patch(box)
        mask = None if self.masks is None else self.masks[i]
        if mask is not None and mask.any():
            wide = _widened(mask, room)
            panel.contour(
                np.arange(-room - 1, width + room + 1),
                np.arange(-room - 1, height + room + 1),
                wide.astype(float),
                levels=[0.5],
                colors=[_MASK_COLOR],
                linewidths=1.2,
                linestyles="dashed",
            )
            panel.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))

    def _title(self, panel, i):
        flagged = self.flagged[i]
        score, cut = _apart(self.scores[i], self.threshold)
        lines = [
            "anomaly" if flagged else "normal",
            f"{score} {'>' if flagged else '≤'} {cut}",
        ]
        if self.names is not None:
            name = str(self.names[i])
            if len(name) > _N_LETTERS:
                name = "…" + name[1 - _N_LETTERS :]
            lines.insert(0, name)
        panel.set_title(
            "\n".join(lines), fontsize="small", color=RED if flagged else "black"
        )

    def _draw_scale(self, low, high):
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import ListedColormap, Normalize

        values = np.linspace(low, high, _N_COLORS)
        colors, opacity = self._colors(values, low, high)
        # On the grey that images have in the middle.
        shown = cover(np.full((_N_COLORS, 3), 0.75), colors, opacity)
        scale = ScalarMappable(Normalize(low, high), ListedColormap(shown))
        self.colorbar_ = self.figure_.colorbar(
            scale,
            ax=list(self.axes_.flat),
            location="bottom",
            shrink=0.7,
            aspect=30,
            panchor=False,
            extend="min"
            if min(np.min(found) for found in self.maps) < low
            else "neither",
        )
        bar = self.colorbar_.ax
        bar.axvline(self.threshold, color="black", linewidth=2)
        label = f"score; above the threshold, {self.threshold:.3g}, red"
        n_letters = int(_pixels_of(bar)[1] / (0.08 * self.figure_.dpi))
        self.colorbar_.set_label(textwrap.fill(label, max(n_letters, 12)))


def _read_mask(mask, i, image):
    if mask is None:
        return None
    mask = np.asarray(mask).astype(bool)
    if mask.shape != image.shape[1:]:
        raise ValueError(
            f"Mask {i} has shape {mask.shape}, and its image {image.shape[1:]}."
        )
    return mask


def _widened(mask, room):
    """A mask that reaches so many pixels farther, with a rim of False around it."""
    for axis in (0, 1):
        wide = np.pad(mask, [(2 * room,) * 2 if axis == i else (0, 0) for i in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(wide, 2 * room + 1, axis)
        mask = windows.any(axis=-1)
    return np.pad(mask, 1)


def _scales(images):
    """What is black and white, for each type of values."""
    scales = {}
    for dtype in {image.dtype for image in images}:
        values = [image.ravel() for image in images if image.dtype == dtype]
        scales[dtype] = robust_limits(np.concatenate(values))
    return scales


def _pixels_of(panel):
    extent = panel.get_window_extent()
    return extent.height, extent.width


def _apart(score, cut):
    """Two numbers, written with as many digits as it takes to tell them apart."""
    for n_digits in range(2, 18):
        texts = (
            f"{score:#.{n_digits}g}".rstrip("."),
            f"{cut:#.{n_digits}g}".rstrip("."),
        )
        if texts[0] != texts[1] or score == cut:
            return texts
    return texts
