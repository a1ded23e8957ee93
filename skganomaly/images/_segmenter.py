"""A small network that says which pixels of an image are part of a defect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from .._models._networks import initialize_layers
from .._process import own_settings
from .._ranks import current
from ._crops import CROP_SIDE, RIM, CropSource, HarmlessChanges
from ._drawing import check_drawn
from ._normalising import Normaliser, pad_by_reflection
from ._tiles import tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["Segmenter", "train_segmenter"]

_WIDTHS = 24, 32, 40, 64

# The network halves an image so often that its sides have to be multiples of this.
_STRIDE = 2 ** len(_WIDTHS)

# A pixel's logit depends on no pixel farther away than this, a multiple of the stride.
_REACH = 96

# The largest part of an image whose logits are found at once, without the margin.
_TILE_SIDE = 36 * _STRIDE

# Weight of the pixels of defects in the cross-entropy, which are few.
_POSITIVE_WEIGHT = 3.0

# The loss of peaks: of so many pixels outside of defects, farther from them than this,
# and of so many inside.
_N_OUTSIDE = 20
_N_INSIDE = 5
_APART = 3

# Crops that are offered to what draws defects, to take fills from.
_N_MATERIAL = 256

# The learning rate rises for so many steps and falls to this share of its largest.
_WARM_UP = 20
_LAST_RATE = 0.02

# Share of the moving average of the weights that a step leaves, once there is one.
_AVERAGE = 0.98


class _Block(nn.Sequential):
    """Convolution, normalisation over the batch, and a nonlinearity."""

    def __init__(self, n_in, n_out, stride=1):
        super().__init__(
            nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.LeakyReLU(0.1),
        )


class SegmentationNet(nn.Module):
    """From images to a logit for each pixel: how likely it is part of a defect.

    Pixels are first gathered by fours into channels, which makes the first and largest
    level a quarter as large; what each level of the encoder found is added to what
    comes back from the next.

    Parameters
    ----------
    n_channels : int
        Of the images, whose sides have to be multiples of 16.
    """

    def __init__(self, n_channels):
        super().__init__()
        n_in = (4 * n_channels, *_WIDTHS)
        self.encoder = nn.ModuleList(
            nn.Sequential(
                _Block(n_in[level], width, stride=2 if level else 1),
                _Block(width, width),
            )
            for level, width in enumerate(_WIDTHS)
        )
        finer = list(pairwise(_WIDTHS))[::-1]
        self.narrow = nn.ModuleList(
            nn.Conv2d(coarse, fine, 1) for fine, coarse in finer
        )
        self.decoder = nn.ModuleList(_Block(fine, fine) for fine, _ in finer)
        self.head = nn.Conv2d(_WIDTHS[0], 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (n_images, height, width)."""
        x = F.pixel_unshuffle(x, 2)
        levels = []
        for level in self.encoder:
            x = level(x)
            levels.append(x)
        levels.pop()
        for narrow, level in zip(self.narrow, self.decoder, strict=True):
            x = F.interpolate(
                narrow(x), scale_factor=2, mode="bilinear", align_corners=False
            )
            x = level(x + levels.pop())
        return F.pixel_shuffle(self.head(x), 2)[:, 0]


class Segmenter(nn.Module):
    """Says of each pixel of an image how likely it is part of a defect.

    Its ``state_dict`` is all that was learned.

    Parameters
    ----------
    n_channels : int
        Of all images.
    scale : float, default=1.0
        Factor by which the network sees images enlarged, or reduced.
    """

    def __init__(self, n_channels: int, scale: float = 1.0) -> None:
        super().__init__()
        self.n_channels = n_channels
        self.scale = scale
        self.normaliser = Normaliser(n_channels)
        # Without storage, so that no weight is drawn from torch's global generator.
        with torch.device("meta"):
            network = SegmentationNet(n_channels)
        network.to_empty(device="cpu")
        self.network = network.to(memory_format=torch.channels_last)

    def __getstate__(self) -> dict[str, Any]:
        """Return NumPy arrays only."""
        arrays = {k: v.cpu().numpy() for k, v in self.state_dict().items()}
        return {"n_channels": self.n_channels, "scale": self.scale, "arrays": arrays}

    @own_settings()
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the network, on the CPU."""
        n_channels, arrays = state["n_channels"], state["arrays"]
        with torch.device("meta"):
            wanted = SegmentationNet(n_channels).state_dict()
        for name, tensor in wanted.items():
            if tensor.shape != np.shape(arrays[f"network.{name}"]):
                raise ValueError(f"{name} is not of images of {n_channels} channels")
        Segmenter.__init__(self, n_channels, state["scale"])
        self.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
        self.requires_grad_(False).eval()

    @own_settings()
    def map(self, image: NDArray) -> NDArray[np.float32]:
        """How likely each pixel is part of a defect, as a logit.

        A large image is looked at in tiles, which changes nothing: they overlap by as
        far as the network sees.

        Parameters
        ----------
        image : ndarray of shape (n_channels, height, width)
            In the units of the images that it was trained on.

        Returns
        -------
        ndarray of shape (height, width)
        """
        if image.ndim != 3 or len(image) != self.n_channels:
            raise ValueError(
                f"The segmenter was trained on images of {self.n_channels} channels, "
                f"(n_channels, height, width); got an array of shape {image.shape}."
            )
        full = image.shape[1:]
        image = _resized(image, self.scale)
        height, width = image.shape[1:]
        padded, top, left = pad_by_reflection(image, RIM, (CROP_SIDE, CROP_SIDE))
        logits = self._logits(padded, *self.normaliser.scale_of(image))
        # A single pixel may be noise.
        smooth = ndimage.gaussian_filter(logits, 1.0)
        found = smooth[top : top + height, left : left + width].copy()
        return found if self.scale == 1 else _interpolated(found[None], full)[0]

    @torch.no_grad()
    def _logits(self, image, centre, scale):
        """Logits of a padded image, tile by tile."""
        self.eval()
        device = self.network.head.weight.device
        logits = np.empty(image.shape[1:], dtype=np.float32)
        sides = (
            tiles(length, _TILE_SIDE, _STRIDE, _REACH) for length in image.shape[1:]
        )
        for y, x in product(*sides):
            tile = image[:, y.wide, x.wide]
            tile = ((tile - centre) / scale).astype(np.float32)
            tile = np.pad(tile, ((0, 0), (0, y.missing), (0, x.missing)), "reflect")
            batch = torch.from_numpy(tile)[None].to(device)
            found = self.network(batch.to(memory_format=torch.channels_last))[0]
            logits[y.own, x.own] = found[y.inside(), x.inside()].cpu().numpy()
        return logits


class _Resized(Sequence):
    """Images as a network of some scale sees them, made when they are asked for."""

    def __init__(self, images, scale):
        self._images = images
        self._scale = scale

    def __len__(self):
        return len(self._images)

    def __getitem__(self, place):
        return _resized(self._images[place], self._scale)


def _resized(image, scale):
    """An image enlarged or reduced, in single precision; itself if it is neither."""
    if scale == 1:
        return image
    sides = tuple(max(round(scale * side), 1) for side in image.shape[1:])
    return _interpolated(image, sides)


def _interpolated(image, sides):
    # A view of what is turned or flipped is none of torch's.
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
    return F.interpolate(pixels, sides, mode="bilinear", antialias=True)[0].numpy()


@own_settings()
def train_segmenter(
    images: Sequence[NDArray],
    draw: Any,
    *,
    generator: np.random.Generator,
    n_steps: int = 1200,
    batch_size: int = 16,
    learning_rate: float = 3e-3,
    scale: float = 1.0,
    clean_fraction: float = 0.3,
    peak_weight: float = 0.4,
    device: torch.device | str = "cpu",
    progress: Callable[[range], Iterable[int]] | None = None,
) -> Segmenter:
    """Train a network to find the defects that are drawn into normal images.

    Parameters
    ----------
    images : sequence of ndarray of shape (n_channels, height, width)
        Normal images, of any sizes. They are read one at a time, and few are kept.
    draw : callable
        ``(crop, generator) -> crop, changed``, or an object whose ``prepare(crops,
        generator, hard=hard)`` returns one; see :class:`DrawnDefects`. What has a
        method ``advance(share)`` is told before each step how much is over.
    generator : numpy.random.Generator
        Source of all that is random.
    n_steps : int, default=1200
        Optimiser steps.
    batch_size : int, default=16
        Crops in a step.
    learning_rate : float, default=3e-3
        Largest step size of AdamW.
    scale : float, default=1.0
        Factor by which the network sees images enlarged, or reduced. Reduced ones show
        it what is larger or softer than a crop of the others does.
    clean_fraction : float, default=0.3
        Share of the crops that nothing is drawn into.
    peak_weight : float, default=0.4
        Weight of the loss of peaks beside the cross-entropy. The score of an image is
        that of its few largest pixels; this is what makes these right.
    device : torch.device or str, default="cpu"
        Where the network is trained.
    progress : callable or None, default=None
        Is handed the range of steps and returns as many of anything, as tqdm is and
        does.

    Returns
    -------
    Segmenter
        On ``device``.
    """
    if isinstance(draw, type):
        raise TypeError(f"draw is the class {draw.__name__}. Pass an object of it.")
    ranks = current()
    ranks.check_batch(batch_size)
    images = images if scale == 1 else _Resized(images, scale)
    segmenter = Segmenter(len(images[0]), scale).to(device)
    weights = torch.Generator().manual_seed(int(generator.integers(2**63)))
    network = segmenter.network.cpu()
    initialize_layers(network, weights)
    network.to(device)
    normaliser = segmenter.normaliser.fit(images)
    ranks.equalise([segmenter])
    if ranks.size > 1:
        # Crops take about as long to draw as to train on, so no process draws all.
        seed = int(generator.integers(2**63))
        generator = np.random.default_rng([seed, ranks.rank])
    crops = CropSource(images, normaliser, generator)
    if hasattr(draw, "prepare"):
        material = _material(crops)
        draw = draw.prepare(material, generator, hard=normaliser.hard)
    vary = HarmlessChanges(int(generator.integers(2**63)), hard=normaliser.hard)

    def example():
        crop, changed = crops.draw(), np.zeros((CROP_SIDE, CROP_SIDE), dtype=bool)
        if generator.random() >= clean_fraction:
            crop, changed = check_drawn(draw(crop, generator), crop)
        return vary(crop, generator), changed

    optimizer = torch.optim.AdamW(
        network.parameters(), lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-4
    )
    statistics = [b for b in network.buffers() if b.is_floating_point()]
    average = [parameter.detach().clone() for parameter in network.parameters()]
    steps, n_crops = range(n_steps), batch_size // ranks.size
    network.train()
    advance = getattr(draw, "advance", lambda share: None)
    for step, _ in enumerate(steps if progress is None else progress(steps)):
        advance(step / n_steps)
        drawn, changed = zip(*(example() for _ in range(n_crops)), strict=True)
        crops.advance()
        x = torch.from_numpy(np.stack(drawn)).to(device)
        target = torch.from_numpy(np.stack(changed)).to(device)
        logits = network(x.to(memory_format=torch.channels_last))
        loss = segmentation_loss(logits, target, peak_weight)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * _rate(step, n_steps)
        optimizer.zero_grad()
        loss.backward()
        ranks.average([*(p.grad for p in network.parameters()), *statistics])
        optimizer.step()
        decay = min(_AVERAGE, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(average, network.parameters(), strict=True):
                mean.lerp_(parameter, 1 - decay)
    with torch.no_grad():
        for mean, parameter in zip(average, network.parameters(), strict=True):
            parameter.copy_(mean)
    ranks.equalise([segmenter])
    if not all(torch.isfinite(each).all() for each in network.state_dict().values()):
        raise FloatingPointError(
            "The training of the segmenter ended in weights that are not finite; try a "
            f"lower learning_rate than {learning_rate}."
        )
    return segmenter.requires_grad_(False).eval()


def segmentation_loss(logits, changed, peak_weight):
    """Cross-entropy of the pixels, and the loss of peaks.

    Parameters
    ----------
    logits : Tensor of shape (n_crops, height, width)
    changed : Tensor of bool, of the same shape
    peak_weight : float

    Returns
    -------
    Tensor of no dimension
    """
    target = changed.to(logits.dtype)
    weight = torch.full((), _POSITIVE_WEIGHT, device=logits.device)
    pixels = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
    if not peak_weight:
        return pixels
    near = F.max_pool2d(target[:, None], 2 * _APART + 1, stride=1, padding=_APART)
    outside = logits.masked_fill(near[:, 0] > 0, -torch.inf).flatten(1)
    # A crop that is all defect has no outside.
    outside = _mean_of_largest(outside, _N_OUTSIDE)
    peaks = F.softplus(outside).mean()
    damaged = changed.flatten(1).any(1)
    if damaged.any():
        inside = logits.masked_fill(~changed, -torch.inf).flatten(1)[damaged]
        inside = _mean_of_largest(inside, _N_INSIDE)
        peaks = peaks + F.softplus(-inside).mean()
    return pixels + peak_weight * peaks


def _mean_of_largest(logits, n_largest):
    """Mean of the largest logits of each row, of as many as count; 0 of none."""
    largest = logits.topk(n_largest, dim=1).values
    left = largest > -torch.inf
    n_left = left.sum(1).clamp_min(1)
    return torch.where(left, largest, 0).sum(1) / n_left


def _rate(step, n_steps):
    """Share of the learning rate: it rises for a few steps, then falls as a cosine."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / n_steps)
    return min((step + 1) / _WARM_UP, 1) * (_LAST_RATE + (1 - _LAST_RATE) * cosine)


def _material(crops):
    """Crops of many images, for fills."""
    material = []
    for place in range(_N_MATERIAL):
        material.append(crops.draw())
        if place % 8 == 7:
            crops.advance()
    return material
