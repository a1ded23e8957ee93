"""Frozen features of an image, compared place by place with those of normal images."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn import functional as F

from .._compat import Interval, StrOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Literal

    from torch import Tensor

__all__ = ["FeatureMemory", "FrozenFeatures"]

# What torchvision's and timm's weights were trained with.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Places that are compared with the memory at once.
_BLOCK = 1024

# Places that a coreset is chosen from, for each that it keeps, and the width of the
# random projection in which it is chosen.
_CANDIDATES = 4
_PROJECTED = 64

# A Gaussian gives up this share of the correlations.
_SHRINKAGE = 0.05

_TINY = 1e-12


class FrozenFeatures(BaseEstimator):
    """Method "features": a frozen network, and a memory of what is normal.

    Feature maps of some layers are brought to one size and joined, so that each place
    of an image has a vector. A place is as anomalous as its vector is far from those
    of normal images [1]_, [2]_. Nothing is trained.

    Parameters
    ----------
    network : torch.nn.Module or callable
        Maps images, (n, 3, height, width), to a feature map or to a sequence or dict
        of them, (n, channels, height, width); with ``layers`` any module.
    layers : sequence of str or None, default=None
        Names of submodules, as of ``named_modules``, whose outputs are taken in place
        of what the network returns.
    mean, std : tuple of 3 floats
        What the network wants its input to be centred and scaled by, for values in
        [0, 1]. The defaults are those of ImageNet.
    scales : tuple of float, default=(1.0, 2.0)
        Factors by which images are enlarged; maps are averaged. Small defects need the
        second, at four times the cost of the first.
    neighbourhood : int, default=3
        Each place is averaged with so many around it.
    memory : {"bank", "gaussian"}, default="bank"
        The distance to the nearest of many vectors, or to one Gaussian, which is many
        times cheaper and a little worse.
    max_references : int, default=6000
        Vectors of a bank, chosen so that they cover all of them.

    References
    ----------
    .. [1] K. Roth et al., "Towards total recall in industrial anomaly detection", CVPR
       2022, :arxiv:`2106.08265`.
    .. [2] T. Defard et al., "PaDiM: a patch distribution modeling framework for anomaly
       detection and localization", 2020, :arxiv:`2011.08785`.
    """

    _parameter_constraints = {
        "network": [callable],
        "layers": ["array-like", None],
        "mean": ["array-like"],
        "std": ["array-like"],
        "scales": ["array-like"],
        "neighbourhood": [Interval(Integral, 1, None, closed="left")],
        "memory": [StrOptions({"bank", "gaussian"})],
        "max_references": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        network: Callable[[Tensor], Any],
        *,
        layers: Sequence[str] | None = None,
        mean: Sequence[float] = _IMAGENET[0],
        std: Sequence[float] = _IMAGENET[1],
        scales: Sequence[float] = (1.0, 2.0),
        neighbourhood: int = 3,
        memory: Literal["bank", "gaussian"] = "bank",
        max_references: int = 6000,
    ) -> None:
        self.network = network
        self.layers = layers
        self.mean = mean
        self.std = std
        self.scales = scales
        self.neighbourhood = neighbourhood
        self.memory = memory
        self.max_references = max_references

    def fit_maps(
        self,
        images: Sequence[np.ndarray],
        groups: np.ndarray,
        *,
        seed: int,
        device: torch.device,
        progress: Any = None,
    ) -> FeatureMemory:
        """Remember the features of normal images."""
        self._validate_params()
        generator = torch.Generator().manual_seed(seed)
        extract = _Extractor(self)
        most = _CANDIDATES * self.max_references
        kept = []
        for scale in self.scales:
            vectors, owners = [], []
            for image, group in zip(images, groups, strict=True):
                found = extract(image, scale).flatten(1).T
                share = max(1, most // len(images))
                if len(found) > share:
                    chosen = torch.randperm(len(found), generator=generator)[:share]
                    found = found[chosen.sort().values]
                vectors.append(found)
                owners.append(torch.full((len(found),), int(group)))
            kept.append((torch.cat(vectors), torch.cat(owners)))
        return FeatureMemory(extract, self, kept, generator)


class _Extractor(nn.Module):
    """A frozen network as a function of one image: one map of joined features."""

    def __init__(self, options):
        super().__init__()
        self.network = options.network
        if isinstance(self.network, nn.Module):
            self.network.eval().requires_grad_(False)
        self.layers = options.layers
        self.neighbourhood = options.neighbourhood
        self.mean = torch.tensor(options.mean, dtype=torch.float32).view(-1, 1, 1)
        self.std = torch.tensor(options.std, dtype=torch.float32).view(-1, 1, 1)

    @torch.inference_mode()
    def forward(self, image, scale):
        """Features of a (channels, height, width) array, (width, rows, columns)."""
        x = _shares(image)
        x = x.expand(3, -1, -1) if len(x) == 1 else x[:3]
        x = ((x - self.mean) / self.std)[None]
        if scale != 1:
            x = F.interpolate(x, scale_factor=scale, mode="bilinear", antialias=True)
        maps = self._maps(x)
        pad = self.neighbourhood // 2
        maps = [
            F.avg_pool2d(m, self.neighbourhood, 1, pad, count_include_pad=False)
            for m in maps
        ]
        largest = max(maps, key=lambda m: m.shape[-1]).shape[-2:]
        maps = [
            m if m.shape[-2:] == largest else F.interpolate(m, largest, mode="bilinear")
            for m in maps
        ]
        return torch.cat(maps, dim=1)[0]

    def _maps(self, x):
        if self.layers is None:
            made = self.network(x)
            made = made.values() if isinstance(made, dict) else made
            return [made] if isinstance(made, torch.Tensor) else list(made)
        seen = {}
        modules = dict(self.network.named_modules())
        handles = [
            modules[name].register_forward_hook(
                lambda module, given, made, name=name: seen.__setitem__(name, made)
            )
            for name in self.layers
        ]
        try:
            self.network(x)
        finally:
            for handle in handles:
                handle.remove()
        return [seen[name] for name in self.layers]


class FeatureMemory(nn.Module):
    """What is normal, in features; maps images to maps of distances."""

    def __init__(self, extract, options, kept, generator):
        super().__init__()
        self.extract = extract
        self.scales = tuple(options.scales)
        self.places = nn.ModuleList()
        for vectors, owners in kept:
            if options.memory == "gaussian":
                self.places.append(_Gaussian(vectors))
            else:
                self.places.append(
                    _Bank(vectors, owners, options.max_references, generator)
                )

    def map(self, image, own=-1):
        """Distances, (height, width), float32; of a group's own vectors none counts."""
        total = 0
        for scale, place in zip(self.scales, self.places, strict=True):
            features = self.extract(image, scale)
            distances = place(features.flatten(1).T, own).view(
                1, 1, *features.shape[1:]
            )
            total = total + F.interpolate(
                distances / place.unit, image.shape[-2:], mode="bilinear"
            )
        return (total / len(self.scales))[0, 0].numpy()


class _Bank(nn.Module):
    def __init__(self, vectors, owners, most, generator):
        super().__init__()
        if len(vectors) > most:
            chosen = _coreset(vectors, most, generator)
            vectors, owners = vectors[chosen], owners[chosen]
        self.register_buffer("vectors", vectors)
        self.register_buffer("norms", vectors.square().sum(1))
        self.register_buffer("owners", owners)
        self.register_buffer("unit", torch.ones(()))
        sample = torch.randperm(len(vectors), generator=generator)[:500]
        near = torch.cat([self(vectors[[i]], int(owners[i])) for i in sample.tolist()])
        self.unit = near.median().clamp_min(_TINY)

    @torch.inference_mode()
    def forward(self, rows, own):
        allowed = torch.where(self.owners == own, torch.inf, self.norms)
        found = []
        for block in rows.split(_BLOCK):
            squares = allowed - 2 * block @ self.vectors.T
            nearest = squares.argmin(1)
            found.append((block - self.vectors[nearest]).square().sum(1).sqrt())
        return torch.cat(found)


class _Gaussian(nn.Module):
    def __init__(self, vectors):
        super().__init__()
        rows = vectors.double()
        mean = rows.mean(0)
        covariance = torch.cov(rows.T)
        diagonal = covariance.diagonal().clamp_min(_TINY)
        shrunk = (1 - _SHRINKAGE) * covariance + _SHRINKAGE * torch.diag(diagonal)
        factor = torch.linalg.cholesky(
            shrunk + 1e-6 * diagonal.mean() * torch.eye(len(mean))
        )
        inverse = torch.linalg.solve_triangular(
            factor, torch.eye(len(mean), dtype=torch.float64), upper=False
        )
        self.register_buffer("mean", mean.float())
        self.register_buffer("matrix", inverse.T.float())
        self.register_buffer("unit", torch.tensor(float(len(mean)) ** 0.5))

    @torch.inference_mode()
    def forward(self, rows, own):
        return ((rows - self.mean) @ self.matrix).square().sum(1).sqrt()


def _coreset(vectors, most, generator):
    """Positions of vectors that leave none of the others far from all of them."""
    width = vectors.shape[1]
    directions = torch.randn(width, _PROJECTED, generator=generator) / width**0.5
    points = vectors @ directions
    chosen = torch.empty(most, dtype=torch.int64)
    farthest = torch.full((len(points),), torch.inf)
    place = int(torch.randint(len(points), (), generator=generator))
    for i in range(most):
        chosen[i] = place
        farthest = torch.minimum(farthest, (points - points[place]).square().sum(1))
        place = int(farthest.argmax())
    return chosen.sort().values


def _shares(image):
    """An image as shares of its dtype's range, (channels, height, width)."""
    x = torch.from_numpy(np.ascontiguousarray(image))
    if image.dtype == np.uint8:
        return x.float() / 255
    return x.float() / 65535 if image.dtype == np.uint16 else x.float()
