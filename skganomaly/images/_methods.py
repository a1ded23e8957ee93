"""Method "defects": a discriminator that is trained to find drawn defects."""

from __future__ import annotations

from itertools import islice
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator

from .._compat import HasMethods, Interval, StrOptions
from ._drawing import DrawnDefects
from ._normalising import check_scales
from ._segmenter import train_segmenter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    import torch
    from numpy.typing import NDArray

    from ._segmenter import Segmenter

__all__ = ["DefectDiscriminator"]


class DefectDiscriminator(BaseEstimator):
    """A small network learns which pixels of normal images were changed.

    Defects are drawn into crops of normal images, and a fully convolutional network is
    trained to say which pixels changed; then it says so of new images. No anomaly and
    no pretrained weights are needed. Of the theme of this package, generator against
    discriminator, only the discriminator learns: generators that learn were tried and
    did not earn their cost.

    Parameters
    ----------
    draw : callable or "auto", default="auto"
        What draws defects; see :class:`DrawnDefects`, whose defaults are "auto".
    scales : tuple of float, default=(1.0, 0.5)
        Factors by which images are enlarged or reduced, with a network of its own for
        each. The first sees defects of a few pixels, the second what is large or soft;
        how much each counts is up to :class:`ImageDetector`.
    n_steps : int, default=1200
        Steps of the training of each network.
    batch_size : int, default=16
        Crops of a step.
    learning_rate : float, default=3e-3
        Largest step size of AdamW.
    """

    _parameter_constraints = {
        "draw": [callable, HasMethods(["prepare"]), StrOptions({"auto"})],
        "scales": ["array-like"],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        *,
        draw: Callable[..., Any] | Literal["auto"] = "auto",
        scales: Sequence[float] = (1.0, 0.5),
        n_steps: int = 1200,
        batch_size: int = 16,
        learning_rate: float = 3e-3,
    ) -> None:
        self.draw = draw
        self.scales = scales
        self.n_steps = n_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate

    def fit_maps(
        self,
        images: Sequence[NDArray[Any]],
        groups: NDArray[np.intp],
        *,
        seed: int,
        device: torch.device,
        progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    ) -> list[Segmenter]:
        """Train on normal images.

        Parameters
        ----------
        images : sequence of ndarray of shape (n_channels, height, width)
            Read one at a time.
        groups : ndarray of shape (n_images,), int
            Ignored; present for API consistency.
        seed : int
            Decides all that is drawn.
        device : torch.device
            Where to train and score.
        progress : callable or None, default=None
            Is handed the iterable of all steps and returns one, as tqdm does.

        Returns
        -------
        list of Segmenter
            For each scale, what maps images to maps of logits.
        """
        self._validate_params()
        scales = check_scales(self.scales)
        draw = DrawnDefects() if isinstance(self.draw, str) else self.draw
        steps: Iterable[int] = range(len(scales) * self.n_steps)
        left = iter(steps if progress is None else progress(steps))
        rng = np.random.default_rng(seed)
        fitted = [
            train_segmenter(
                images,
                draw,
                generator=rng,
                n_steps=self.n_steps,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                scale=scale,
                device=device,
                progress=lambda steps: islice(left, len(steps)),
            )
            for scale in scales
        ]
        # Ends a progress bar.
        next(left, None)
        return fitted
