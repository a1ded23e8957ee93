"""What is drawn into normal images for a network to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .._seed import draw_seed
from ..images import as_images
from ..images._examples import drawn_examples
from ._drawing import (
    check_count,
    grid_of_axes,
    import_pyplot,
    label_panel,
    robust_limits,
)
from ._pictures import RED, as_picture, cover, without_ticks

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from typing_extensions import Self

    from ._drawing import Panels

_OPACITY = 0.85


class DrawnDefectsDisplay:
    """Crops of normal images, the same with defects drawn, and which pixels changed.

    Use :meth:`from_images` to create it; it keeps the parameters as attributes.

    Parameters
    ----------
    crops : ndarray of shape (n, n_channels, height, width)
        Crops of normal images, in the units in which defects are drawn.
    drawn : ndarray of the shape of `crops`
        The same, with defects.
    changed : ndarray of bool of shape (n, height, width)
        Which pixels a network is to find.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (3, n)
        One column per crop: as it was, with defects, and with the changed pixels in
        red.
    figure_ : matplotlib Figure
        Figure with the axes.

    See Also
    --------
    ImageVerdictDisplay : What a detector that was trained so says of images.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.images import DrawnDefects
    >>> from skganomaly.plotting import DrawnDefectsDisplay
    >>> rng = np.random.default_rng(0)
    >>> images = rng.normal(120, 10, size=(5, 100, 130))
    >>> display = DrawnDefectsDisplay.from_images(
    ...     images, DrawnDefects(shapes=["line"]), n=3, random_state=0
    ... )
    >>> display.axes_.shape, display.changed.shape
    ((3, 3), (3, 96, 96))
    """

    axes_: NDArray[np.object_]
    figure_: Figure

    def __init__(
        self,
        *,
        crops: NDArray[Any],
        drawn: NDArray[Any],
        changed: NDArray[np.bool_],
    ) -> None:
        self.crops = crops
        self.drawn = drawn
        self.changed = changed

    @classmethod
    def from_images(
        cls,
        images: Any,
        draw: Callable[..., Any] | Literal["auto"] = "auto",
        *,
        n: int = 6,
        channels: Literal["auto", "first", "last", "none"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        ax: Panels | None = None,
    ) -> Self:
        """Draw defects into crops of images, as in training, and show both.

        Parameters
        ----------
        images : array, sequence or ImageFolder
            Normal images, as for ``ImageDetector.fit``. No more than 50 are read.
        draw : callable or "auto", default="auto"
            What draws defects, as for
            :class:`~skganomaly.images.DefectDiscriminator`.
        n : int, default=6
            Number of crops, up to 20.
        channels : {"auto", "first", "last", "none"}, default="auto"
            Which axis of an array has the channels; see
            :func:`~skganomaly.images.as_images`.
        random_state : int, RandomState instance or None, default=None
            Decides which crops, and which defects.
        ax : matplotlib Axes, array of them or None, default=None
            One Axes in a grid, in whose place the panels are drawn, or one for each
            panel. None makes a new figure.

        Returns
        -------
        display : DrawnDefectsDisplay
            The crops, drawn.
        """
        import_pyplot(f"{cls.__name__}.from_images")
        check_count(n, "crops", "n=6 or so")
        generator = np.random.default_rng(draw_seed(random_state))
        images = as_images(images, channels=channels)
        crops, drawn, changed = drawn_examples(images, draw, n, generator)
        return cls(crops=crops, drawn=drawn, changed=changed).plot(ax=ax)

    def plot(self, ax: Panels | None = None) -> Self:
        """Draw the grid. All panels have one scale of grey, or of colours.

        Parameters
        ----------
        ax : matplotlib Axes, array of them or None, default=None
            As in :meth:`from_images`.

        Returns
        -------
        display : DrawnDefectsDisplay
            The object itself.
        """
        n = len(self.crops)
        self.axes_ = grid_of_axes(
            ax,
            3,
            n,
            f"{type(self).__name__}.plot",
            figsize=(max(1.5 * n + 0.5, 3.2), 5.2),
        )
        self.figure_ = self.axes_[0, 0].figure
        low, high = robust_limits(self.crops)
        for panels, crop, drawn, changed in zip(
            self.axes_.T, self.crops, self.drawn, self.changed, strict=True
        ):
            panels[0].imshow(as_picture(crop, low, high))
            panels[1].imshow(as_picture(drawn, low, high))
            grey = as_picture(drawn, low, high, grey=True)
            panels[2].imshow(cover(grey, RED, _OPACITY * changed))
            n_changed = int(np.count_nonzero(changed))
            panels[2].set_xlabel(
                f"{n_changed} pixel{'s' * (n_changed != 1)}", fontsize="small"
            )
        for panel, label in zip(
            self.axes_[:, 0], ("normal", "with defects", "changed pixels"), strict=True
        ):
            label_panel(panel, label)
        without_ticks(self.axes_)
        return self
