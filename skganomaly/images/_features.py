"""Frozen features of an image, compared place by place with those of normal images."""

from __future__ import annotations

import copy
import math
from itertools import product
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
from ._normalising import check_scales
from ._reading import naming
from ._tiles import tiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Literal

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["FeatureMemory", "FrozenFeatures"]

# What torchvision's and timm's weights were trained with.
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# Height and width of the tiles in which a network sees a larger image, what these are
# multiples of, as is the stride of most networks, and how far beyond its own part a
# tile may have to reach. With that on all sides it has a million pixels.
_TILE = 512, 1024
_STRIDE = 32
_MOST_REACH = 256

# How far features of a tile may be from those of the image, as a share of the largest.
_SAME = 1e-4

# Places that are compared with the memory at once.
_BLOCK = 1024

# Places that a coreset is chosen from, for each that it keeps, and the width of the
# random projection in which it is chosen.
_CANDIDATES = 12
_PROJECTED = 64

# Remembered vectors whose distances to each other say what is usual.
_N_SAMPLE = 500

# By how much a share of white may be beyond 0 and 1.
_ROUNDING = 1e-3

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
        of them, (n, channels, height, width); with ``layers`` any module. A module
        stays as it is: a fit works with a copy, in evaluation mode and in single
        precision. Any other callable is called as it is, with tensors on the
        detector's device, and can be pickled if it itself can.
    layers : sequence of str or None, default=None
        Names of submodules, as of ``named_modules``, whose outputs are taken in place
        of what the network returns. The network runs no further than these.
    mean : tuple of float, default=(0.485, 0.456, 0.406)
        What the network wants its input to be centred by, for values in [0, 1]. The
        default is that of ImageNet.
    std : tuple of float, default=(0.229, 0.224, 0.225)
        What it wants its input to be divided by.
    value_range : tuple of float or None, default=None
        The values of black and white, such as ``(0, 4095)`` for 12 bits in uint16; what
        is beyond them is kept. None is 0 and the largest of the dtype for whole
        numbers, and [0, 1] for others, which have to lie in it.
    scales : tuple of float, default=(1.0, 2.0)
        Factors by which images are enlarged; maps are averaged. Twice the size finds
        smaller defects, and costs four times as much.
    neighbourhood : int, default=3
        Each place is averaged with those around it in a square of this side, which is
        odd.
    memory : {"bank", "gaussian"}, default="bank"
        The distance to the nearest of many vectors, or to one Gaussian, which is ten
        times cheaper to compute. That suits one even surface; of images with parts
        that differ, as solar cells have them, it finds much less.
    max_references : int, default=2000
        Vectors of a bank, chosen so that they cover all of them.

    Notes
    -----
    Many networks are local: what they say of a place depends on what is near, and not
    on the whole image. A fit tries whether this one is. If so, images are continued at
    their right and lower end to a multiple of 32 pixels, and larger ones are seen in
    tiles that overlap by as much as the network sees, so that memory is bounded and
    features are the same but for rounding. Others (with squeeze-and-excitation,
    attention, or other strides) see each image whole, in memory that grows with its
    size.

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
        "value_range": [tuple, list, None],
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
        value_range: tuple[float, float] | None = None,
        scales: Sequence[float] = (1.0, 2.0),
        neighbourhood: int = 3,
        memory: Literal["bank", "gaussian"] = "bank",
        max_references: int = 2000,
    ) -> None:
        self.network = network
        self.layers = layers
        self.mean = mean
        self.std = std
        self.value_range = value_range
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
            Read one at a time; for their values see ``value_range``.
        groups : ndarray of shape (n_images,), int
            Ignored; present for API consistency.
        seed : int
            Decides which places are remembered.
        device : torch.device
            Where features are computed and compared.
        progress : callable or None, default=None
            Is handed an iterable, with one item an image, and returns one, as tqdm
            does.

        Returns
        -------
        FeatureMemory
            Maps images to maps of distances.
        """
        self._validate_params()
        check_scales(self.scales)
        if self.neighbourhood % 2 == 0:
            raise ValueError(
                f"neighbourhood has to be odd, with a place in its middle; got "
                f"{self.neighbourhood}."
            )
        generator = torch.Generator().manual_seed(seed)
        extract = _Extractor(self, device)
        share = max(1, _CANDIDATES * self.max_references // len(images))
        vectors = [[] for _ in self.scales]
        places = range(len(images))
        for i in places if progress is None else progress(places):
            image = images[i]
            with naming(images, i):
                for kept, scale in zip(vectors, self.scales, strict=True):
                    for features, part, _ in extract(image, scale):
                        n_kept = max(1, round(share * part))
                        kept.append(_some(features.flatten(1).T, n_kept, generator))
        vectors = [torch.cat(kept) for kept in vectors]
        if not all(torch.isfinite(kept).all() for kept in vectors):
            raise ValueError(
                "The network returned features of normal images that are not finite."
            )
        memory = FeatureMemory(self, extract)
        for place, kept in zip(memory.places, vectors, strict=True):
            place.fit(kept, self.max_references, generator)
        return memory

    def __getstate__(self) -> dict[str, Any]:
        """Return parameters; a file has no network, and a pickle has it on the CPU."""
        network = leave_out(self.network)
        if isinstance(network, nn.Module):
            network = copy.deepcopy(network).cpu()
        return {**super().__getstate__(), "network": network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take in the network that a file has not."""
        super().__setstate__({**state, "network": take_in(state["network"])})


class _AllSeen(Exception):
    """All layers that were asked for have returned; the others need not run."""


class _Extractor(nn.Module):
    """A frozen network as a function of one image: a map of joined features.

    An image that is larger than a tile is seen in several, where that makes no
    difference: where features depend on what is near and not on the whole, which is
    tried once.
    """

    def __init__(self, options, device, reach="find"):
        super().__init__()
        self.network = options.network
        if isinstance(self.network, nn.Module):
            self.network = copy.deepcopy(self.network)
            self.network.to("cpu", torch.float32).eval().requires_grad_(False)
        self.layers = options.layers
        self.neighbourhood = options.neighbourhood
        self.value_range = options.value_range
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
        if not isinstance(self.network, nn.Module):
            self.to(device)
        # Of a module on the CPU, where it is as exact as features of tiles are to be.
        self.reach = self._find_reach() if reach == "find" else reach
        self.to(device)

    @torch.inference_mode()
    def forward(self, image, scale):
        """Features of each tile of a (channels, height, width) array.

        Yields
        ------
        features : Tensor of shape (width, rows, columns)
        part : float
            Of all features of the image.
        top : int
            Where the tile begins; those of one line follow each other.
        """
        x = self._normalised(image)[None]
        if scale != 1:
            x = F.interpolate(x, scale_factor=scale, mode="bilinear", antialias=True)
        if self.reach is None:
            yield self._features(x), 1.0, 0
            return
        x = F.pad(
            x, (0, -x.shape[-1] % _STRIDE, 0, -x.shape[-2] % _STRIDE), "replicate"
        )
        sides = x.shape[-2:]
        pairs = zip(sides, _TILE, strict=True)
        for down, across in product(
            *(tiles(n, most, _STRIDE, self.reach) for n, most in pairs)
        ):
            features = self._features(x[..., down.wide, across.wide])
            cell = (across.wide.stop - across.wide.start) // features.shape[-1]
            own = features[:, down.inside(cell), across.inside(cell)]
            part = cell**2 * own.shape[1] * own.shape[2] / math.prod(sides)
            yield own, part, down.own.start

    def covered(self, image, scale):
        """Height and width, in pixels of an image, that features lie in."""
        if self.reach is None:
            return image.shape[-2:]
        sides = (int(side * scale) for side in image.shape[-2:])
        return tuple(round((side + -side % _STRIDE) / scale) for side in sides)

    def _normalised(self, image):
        x = self._shares(image).to(self.mean.device)
        if len(x) not in (1, 3):
            raise ValueError(
                f"FrozenFeatures takes images of 1 or 3 channels, and this one has "
                f"{len(x)}."
            )
        return (x.expand(3, -1, -1) - self.mean) / self.std

    def _shares(self, image):
        """An image with black at 0 and white at 1."""
        x = torch.from_numpy(np.ascontiguousarray(image)).float()
        if self.value_range is not None:
            low, high = self.value_range
            return (x - low) / (high - low)
        if image.dtype.kind == "u":
            return x / np.iinfo(image.dtype).max
        low, high = float(x.min()), float(x.max())
        if low < -_ROUNDING or high > 1 + _ROUNDING:
            raise ValueError(
                f"Values are between {low:.6g} and {high:.6g}, and FrozenFeatures "
                "takes numbers with a fraction for shares of what is white, from 0 to "
                "1. Say value_range=(black, white), or pass uint8 or uint16."
            )
        return x

    def _features(self, x):
        """Joined features of one image as the network wants it."""
        maps = self._maps(x)
        pad, side = self.neighbourhood // 2, self.neighbourhood
        maps = [F.avg_pool2d(m, side, 1, pad, count_include_pad=False) for m in maps]
        largest = max(maps, key=lambda m: m.shape[-2] * m.shape[-1]).shape[-2:]
        maps = [
            m if m.shape[-2:] == largest else F.interpolate(m, largest, mode="bilinear")
            for m in maps
        ]
        return torch.cat(maps, dim=1)[0]

    @torch.inference_mode()
    def _find_reach(self):
        """How far beyond its own part a tile has to reach, or None if all is needed."""
        generator = torch.Generator().manual_seed(0)
        # Half of it is no multiple of a larger stride, and what a network finds out
        # about the whole is different in the halves.
        half = 15 * _STRIDE
        x = torch.randn(1, 3, 3 * _STRIDE, 2 * half, generator=generator)
        x[..., half:] *= 3
        x = x.to(self.mean.device)
        try:
            whole = self._features(x)
            halves = [self._features(x[..., :half]), self._features(x[..., half:])]
        except Exception:
            # Some networks take one size only. Other faults are found with images.
            return None
        n_cells = whole.shape[-1]
        cell = 2 * half // n_cells
        if cell * n_cells != 2 * half or _STRIDE % cell:
            return None
        if torch.cat(halves, -1).shape != whole.shape:
            return None
        differs = (torch.cat(halves, -1) - whole).abs().amax((0, 1))
        differs = ~(differs <= _SAME * whole.abs().max())
        places = torch.arange(n_cells, device=differs.device)[differs]
        cells = (places - n_cells / 2 + 0.5).abs().max().ceil() if len(places) else 0
        reach = -(-int(cells) * cell // _STRIDE) * _STRIDE
        return reach if reach <= _MOST_REACH else None

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
        return [m.to(x.device, torch.float32) for m in maps]

    def _outputs(self, x):
        """What the modules in ``layers`` return."""
        seen, modules, wanted = {}, dict(self.network.named_modules()), set(self.layers)

        def keep(name):
            def hook(module, given, made):
                seen[name] = made
                if len(seen) == len(wanted):
                    raise _AllSeen

            return hook

        handles = [modules[name].register_forward_hook(keep(name)) for name in wanted]
        try:
            self.network(x)
        except _AllSeen:
            pass
        finally:
            for handle in handles:
                handle.remove()
        if wanted - seen.keys():
            raise ValueError(
                f"The network does not call {sorted(wanted - seen.keys())} of layers."
            )
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
        return {
            "options": self.options,
            "reach": self.extract.reach,
            "arrays": arrays,
        }

    @own_settings()
    def __setstate__(self, state):
        options, reach, arrays = state["options"], state["reach"], state["arrays"]
        FeatureMemory.__init__(self, options, _Extractor(options, "cpu", reach))
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
        height, width = image.shape[-2:]
        for scale, place in zip(self.scales, self.places, strict=True):
            lines = {}
            for features, _, top in self.extract(image, scale):
                found = place(features.flatten(1).T) / place.unit
                lines.setdefault(top, []).append(found.view(features.shape[1:]))
            found = torch.cat([torch.cat(line, dim=1) for line in lines.values()])
            found = F.interpolate(
                found[None, None],
                self.extract.covered(image, scale),
                mode="bilinear",
                align_corners=False,
            )
            total = total + found[0, 0, :height, :width]
        return (total / len(self.scales)).cpu().numpy()


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


def _some(rows, n_kept, generator):
    """At most so many of some rows, in their order."""
    if len(rows) <= n_kept:
        return rows
    chosen = torch.randperm(len(rows), generator=generator)[:n_kept]
    return rows[chosen.sort().values.to(rows.device)]


def _coreset(vectors, most, generator):
    """Positions of vectors that leave none of the others far from all of them."""
    width = vectors.shape[1]
    directions = torch.randn(width, _PROJECTED, generator=generator) / width**0.5
    points = vectors @ directions.to(vectors.device)
    norms = points.square().sum(1)
    chosen = torch.empty(most, dtype=torch.int64)
    farthest = torch.full((len(points),), torch.inf, device=points.device)
    place = int(torch.randint(len(points), (), generator=generator))
    for i in range(most):
        chosen[i] = place
        # Written as a product, as the differences of all would be a large array each.
        distances = norms + norms[place] - 2 * (points @ points[place])
        farthest = torch.minimum(farthest, distances)
        place = int(farthest.argmax())
    return chosen.sort().values.to(vectors.device)
