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
from .._left_out import leave_out, take_in
from .._models._whitening import Fitted, Whitening
from .._process import own_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    from numpy.typing import NDArray
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

# Remembered vectors whose distances to each other say what is usual.
_N_SAMPLE = 500

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
    mean : tuple of float, default=(0.485, 0.456, 0.406)
        What the network wants its input to be centred by, for values in [0, 1]. The
        default is that of ImageNet.
    std : tuple of float, default=(0.229, 0.224, 0.225)
        What it wants its input to be divided by.
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
        images: Sequence[NDArray[Any]],
        groups: NDArray[np.intp],
        *,
        seed: int,
        device: torch.device,
        progress: Callable[[Iterable[Any]], Iterable[Any]] | None = None,
    ) -> FeatureMemory:
        """Remember the features of normal images.

        Parameters
        ----------
        images : sequence of ndarray of shape (1 or 3, height, width)
            Read one at a time. Whole numbers are divided by the largest of their dtype;
            others should lie in [0, 1].
        groups : ndarray of shape (n_images,), int
            Ignored; present for API consistency.
        seed : int
            Decides which places are remembered.
        device : torch.device
            Where features are computed and compared.
        progress : callable or None, default=None
            Is handed the iterable of images and returns one, as tqdm does.

        Returns
        -------
        FeatureMemory
            Maps images to maps of distances.
        """
        self._validate_params()
        generator = torch.Generator().manual_seed(seed)
        extract = _Extractor(self).to(device)
        share = max(1, _CANDIDATES * self.max_references // len(images))
        vectors = [[] for _ in self.scales]
        for image in images if progress is None else progress(images):
            for kept, scale in zip(vectors, self.scales, strict=True):
                found = extract(image, scale).flatten(1).T
                if len(found) > share:
                    chosen = torch.randperm(len(found), generator=generator)[:share]
                    found = found[chosen.sort().values.to(found.device)]
                kept.append(found)
        memory = FeatureMemory(self, extract)
        for place, kept in zip(memory.places, vectors, strict=True):
            place.fit(torch.cat(kept), self.max_references, generator)
        return memory

    def __getstate__(self) -> dict[str, Any]:
        """Return parameters; a file has no network."""
        state = super().__getstate__()
        return {**state, "network": leave_out(self.network)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take in the network that a file has not."""
        super().__setstate__({**state, "network": take_in(state["network"])})


class _Extractor(nn.Module):
    """A frozen network as a function of one image: one map of joined features."""

    def __init__(self, options):
        super().__init__()
        self.network = options.network
        if isinstance(self.network, nn.Module):
            self.network.eval().requires_grad_(False)
        self.layers = options.layers
        self.neighbourhood = options.neighbourhood
        for name in ("mean", "std"):
            values = torch.tensor(getattr(options, name), dtype=torch.float32)
            self.register_buffer(name, values.view(-1, 1, 1))
        if self.layers is not None:
            known = dict(getattr(self.network, "named_modules", dict)())
            unknown = [name for name in self.layers if name not in known]
            if unknown:
                raise ValueError(
                    f"layers has {unknown}, which the network has not. It has "
                    f"{[name for name in known if name][:20]}, as named_modules() says."
                )

    @torch.inference_mode()
    def forward(self, image, scale):
        """Features of a (channels, height, width) array, (width, rows, columns)."""
        x = _shares(image).to(self.mean.device)
        if len(x) not in (1, 3):
            raise ValueError(
                f"FrozenFeatures takes images of 1 or 3 channels, and one has {len(x)}."
            )
        x = ((x.expand(3, -1, -1) - self.mean) / self.std)[None]
        if scale != 1:
            x = F.interpolate(x, scale_factor=scale, mode="bilinear", antialias=True)
        maps = self._maps(x)
        pad, side = self.neighbourhood // 2, self.neighbourhood
        maps = [F.avg_pool2d(m, side, 1, pad, count_include_pad=False) for m in maps]
        largest = max(maps, key=lambda m: m.shape[-2] * m.shape[-1]).shape[-2:]
        maps = [
            m if m.shape[-2:] == largest else F.interpolate(m, largest, mode="bilinear")
            for m in maps
        ]
        return torch.cat(maps, dim=1)[0]

    def _maps(self, x):
        if self.layers is None:
            made = self.network(x)
        else:
            made = self._outputs(x)
        made = list(made.values()) if isinstance(made, dict) else made
        maps = [made] if isinstance(made, torch.Tensor) else list(made)
        if not maps or any(getattr(m, "ndim", 0) != 4 or len(m) != 1 for m in maps):
            shapes = [tuple(getattr(m, "shape", ())) for m in maps]
            raise ValueError(
                f"The network returned, for one image, {shapes}. It has to return "
                "feature maps (n, channels, height, width); name some modules in "
                "layers."
            )
        return maps

    def _outputs(self, x):
        """What the modules in ``layers`` return."""
        seen, modules = {}, dict(self.network.named_modules())

        def keep(name):
            return lambda module, given, made: seen.__setitem__(name, made)

        handles = [
            modules[name].register_forward_hook(keep(name)) for name in self.layers
        ]
        try:
            self.network(x)
        finally:
            for handle in handles:
                handle.remove()
        return [seen[name] for name in self.layers]


class FeatureMemory(nn.Module):
    """What is normal, in features; maps images to maps of distances."""

    def __init__(self, options, extract):
        super().__init__()
        self.options = options
        self.extract = extract
        self.scales = tuple(options.scales)
        new = _Gaussian if options.memory == "gaussian" else _Bank
        self.places = nn.ModuleList(new() for _ in self.scales)

    def __getstate__(self):
        arrays = {k: v.cpu().numpy() for k, v in self.places.state_dict().items()}
        return {"options": self.options, "arrays": arrays}

    @own_settings()
    def __setstate__(self, state):
        options, arrays = state["options"], state["arrays"]
        FeatureMemory.__init__(self, options, _Extractor(options))
        self.places.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})

    def map(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """How far each place of an image is from normal ones.

        Parameters
        ----------
        image : ndarray of shape (1 or 3, height, width)

        Returns
        -------
        ndarray of shape (height, width)
            Distances, in units of those of a normal image, averaged over the scales.
        """
        total = 0
        for scale, place in zip(self.scales, self.places, strict=True):
            features = self.extract(image, scale)
            distances = place(features.flatten(1).T) / place.unit
            distances = distances.view(1, 1, *features.shape[1:])
            total = total + F.interpolate(
                distances, image.shape[-2:], mode="bilinear", align_corners=False
            )
        return (total / len(self.scales))[0, 0].cpu().numpy()


class _Bank(Fitted):
    """Distances to the nearest of many vectors."""

    def fit(self, vectors, most, generator):
        """Keep some of the vectors."""
        if len(vectors) > most:
            vectors = vectors[_coreset(vectors, most, generator)]
        # Of a vector that is remembered, the second nearest.
        sample = torch.randperm(len(vectors), generator=generator)[:_N_SAMPLE]
        sample = vectors[sample.to(vectors.device)]
        near = torch.cdist(sample, vectors).topk(min(2, len(vectors)), largest=False)
        self.store(
            vectors=vectors,
            norms=vectors.square().sum(1),
            unit=near.values[:, -1].median().clamp_min(_TINY),
        )

    @torch.inference_mode()
    def forward(self, rows):
        """Distance of each row, (n_rows,)."""
        found = []
        for block in rows.split(_BLOCK):
            nearest = (self.norms - 2 * block @ self.vectors.T).argmin(1)
            found.append((block - self.vectors[nearest]).square().sum(1).sqrt())
        return torch.cat(found)


class _Gaussian(Fitted):
    """Mahalanobis distances from the mean of vectors."""

    def __init__(self):
        super().__init__()
        self.whitening = Whitening()

    def fit(self, vectors, most, generator):
        """Learn the Gaussian of the vectors."""
        # In double precision, which not every accelerator has.
        self.whitening.fit(vectors.cpu()[None]).to(vectors.device)
        unit = torch.tensor(float(vectors.shape[1]) ** 0.5, device=vectors.device)
        self.store(unit=unit)

    @torch.inference_mode()
    def forward(self, rows):
        """Distance of each row, (n_rows,)."""
        return self.whitening(rows[None])[0].square().sum(1).sqrt()


def _coreset(vectors, most, generator):
    """Positions of vectors that leave none of the others far from all of them."""
    width = vectors.shape[1]
    directions = torch.randn(width, _PROJECTED, generator=generator) / width**0.5
    points = vectors @ directions.to(vectors.device)
    chosen = torch.empty(most, dtype=torch.int64)
    farthest = torch.full((len(points),), torch.inf, device=points.device)
    place = int(torch.randint(len(points), (), generator=generator))
    for i in range(most):
        chosen[i] = place
        farthest = torch.minimum(farthest, (points - points[place]).square().sum(1))
        place = int(farthest.argmax())
    return chosen.sort().values.to(vectors.device)


def _shares(image):
    """An image as shares of its dtype's range, (channels, height, width)."""
    x = torch.from_numpy(np.ascontiguousarray(image))
    if image.dtype == np.uint8:
        return x.float() / 255
    return x.float() / 65535 if image.dtype == np.uint16 else x.float()
