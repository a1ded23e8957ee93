"""One score, one verdict and one map for each image."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.metrics import roc_auc_score
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from .._all_or_nothing import all_or_nothing
from .._compat import HasMethods, Interval, StrOptions, _fit_context
from .._cut import check_rate, fit_threshold
from .._decisions import DecisionMixin
from .._device import resolve_device
from .._groups import one_score_a_group
from .._process import own_settings
from .._seed import draw_seed
from ..thresholds import p_values
from ._crops import damage
from ._drawing import DrawnDefects
from ._methods import DefectDiscriminator
from ._normalising import Normaliser
from ._reading import as_images

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self


__all__ = ["ImageDetector"]

# The score of an image: the mean of so many of its largest pixels.
_N_LARGEST = 100

# Methods together: how well each tells drawn defects counts with this power.
_POWER = 2.0

_TINY = 1e-12


class ImageDetector(DecisionMixin, OutlierMixin, BaseEstimator):
    """Finds images with defects, and where these are.

    Parameters
    ----------
    method : {"defects"}, object or list of objects, default="defects"
        How pixels are scored. "defects" is :class:`DefectDiscriminator`, which needs no
        pretrained weights; :class:`FrozenFeatures` takes a network of yours. Methods of
        a list are weighted by how well each tells defects that are drawn into normal
        images from the images as they were, which needs no labels.
    channels : {"auto", "first", "last", "none"}, default="auto"
        Which axis of an array has the channels; see :func:`as_images`.
    validation_fraction : float, default=0.2
        Share of the images, or of their groups, that nothing is trained on and that
        the threshold is found from. Not needed by methods that leave an image's own
        group out.
    false_alarm_rate : float, default=0.05
        Share of new normal images that may be flagged.
    threshold : str, float, callable or object, default="auto"
        How the cut is found from the reference scores; see
        :class:`~skganomaly.GANomalyDetector`.
    device : str or torch.device, default="auto"
        Where to train and score.
    random_state : int, RandomState instance or None, default=None
        Decides all that is drawn.
    verbose : int, default=0
        Anything above 0 shows progress.
    """

    _parameter_constraints = {
        "method": [StrOptions({"defects"}), HasMethods(["fit_maps"]), list],
        "channels": [StrOptions({"auto", "first", "last", "none"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "threshold": [
            StrOptions({"auto", "max", "tail", "conformal"}),
            Real,
            callable,
            HasMethods(["fit"]),
        ],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        method: Any = "defects",
        channels: Literal["auto", "first", "last", "none"] = "auto",
        validation_fraction: float = 0.2,
        false_alarm_rate: float = 0.05,
        threshold: Any = "auto",
        device: str | torch.device = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.method = method
        self.channels = channels
        self.validation_fraction = validation_fraction
        self.false_alarm_rate = false_alarm_rate
        self.threshold = threshold
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    @all_or_nothing
    @own_settings()
    def fit(
        self, images: Any, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Learn what normal images look like, and set the threshold."""
        images = as_images(images, channels=self.channels)
        groups = _read_groups(images, groups)
        rng = np.random.default_rng(draw_seed(self.random_state))
        held_out = _hold_out(groups, self.validation_fraction, rng)
        seen = np.flatnonzero(~held_out)
        unseen = np.flatnonzero(held_out)
        device = resolve_device(self.device)
        methods = self._methods()
        fitted = [
            method.fit_maps(
                images[seen],
                groups[seen],
                seed=int(rng.integers(2**31)),
                device=device,
            )
            for method in methods
        ]
        self.maps_ = fitted
        self.weights_, self.centres_, self.units_ = _weigh(
            fitted, images, unseen, groups, rng
        )
        scores = np.array([self._score(images[i], int(groups[i])) for i in unseen])
        units = groups[unseen]
        self.reference_scores_ = one_score_a_group(
            scores, np.ones(len(scores), dtype=int), len(np.unique(units))
        )
        self.n_channels_ = len(images[0])
        self._rate_ = self.false_alarm_rate
        n, rate = len(self.reference_scores_), self.false_alarm_rate
        if (n + 1) * rate < 1:
            warnings.warn(
                f"{n} groups of images are held out, and a rate of {rate:g} takes "
                f"{int(np.ceil(1 / rate)) - 1}: the cut is the highest of their scores, "
                f"which flags one in {n + 1}.",
                UserWarning,
                stacklevel=4,
            )
        return self._set(self.threshold, rate)

    def _methods(self):
        methods = self.method if isinstance(self.method, list) else [self.method]
        return [DefectDiscriminator() if m == "defects" else clone(m) for m in methods]

    def _set(self, threshold, rate):
        check_rate(rate, "false_alarm_rate")
        rule = fit_threshold(threshold, self.reference_scores_, rate=rate)
        self.threshold_rule_ = rule
        self.offset_ = -float(rule.threshold_)
        return self

    def set_threshold(
        self, threshold: Any = "auto", *, false_alarm_rate: float | None = None
    ) -> Self:
        """Set another threshold without training again."""
        check_is_fitted(self)
        rate = self._rate_ if false_alarm_rate is None else false_alarm_rate
        return self._set(threshold, rate)

    def _joined(self, image, own=-1):
        """The map of an image, in the units of the reference images."""
        total = 0.0
        for fitted, weight, centre, unit in zip(
            self.maps_, self.weights_, self.centres_, self.units_, strict=True
        ):
            if weight:
                total = total + weight * (fitted.map(image, own) - centre) / unit
        return total

    def _score(self, image, own=-1):
        return image_score(self._joined(image, own))

    @own_settings()
    def anomaly_score(self, images: Any) -> NDArray[np.float64]:
        """One score an image, higher for more anomalous."""
        check_is_fitted(self)
        images = as_images(images, channels=self.channels)
        return np.array([self._score(image) for image in self._with_bar(images)])

    def _with_bar(self, images):
        return tqdm(images, "Images", unit="image", disable=not self.verbose)

    @own_settings()
    def anomaly_map(self, images: Any) -> list[NDArray[np.float32]]:
        """A map for each image, in its size; its largest pixel is the image's score.

        So an image is flagged exactly if a pixel is above ``threshold_``.
        """
        check_is_fitted(self)
        maps = []
        for image in self._with_bar(as_images(images, channels=self.channels)):
            found = self._joined(image)
            maps.append((found - found.max() + image_score(found)).astype(np.float32))
        return maps

    def regions(self, images: Any) -> list[list[dict[str, Any]]]:
        """For each image, what of its map is above the threshold."""
        return [
            find_regions(found, self.threshold_) for found in self.anomaly_map(images)
        ]

    def p_values(self, images: Any) -> NDArray[np.float64]:
        """How usual an image's score is among normal images."""
        return p_values(self.reference_scores_, self.anomaly_score(images))


def image_score(found):
    """Mean of the largest pixels of a map, less its median."""
    pixels = found.ravel()
    n = min(_N_LARGEST, len(pixels))
    largest = np.partition(pixels, len(pixels) - n)[-n:]
    return float(largest.mean() - np.median(pixels))


def find_regions(found, cut):
    """Boxes, areas and peaks of what is above a cut, the highest first."""
    labels, n_regions = ndimage.label(found > cut)
    boxes = ndimage.find_objects(labels)
    peaks = ndimage.maximum(found, labels, range(1, n_regions + 1))
    areas = ndimage.sum(labels > 0, labels, range(1, n_regions + 1))
    regions = [
        {
            "box": (x.start, y.start, x.stop, y.stop),
            "area": int(area),
            "peak": float(peak),
        }
        for (y, x), peak, area in zip(boxes, peaks, areas, strict=True)
    ]
    return sorted(regions, key=lambda region: -region["peak"])


def _read_groups(images, groups):
    if groups is None:
        groups = getattr(images, "groups", None)
    if groups is None:
        return np.arange(len(images))
    groups = np.asarray(groups)
    if groups.shape != (len(images),):
        raise ValueError(
            f"groups has shape {groups.shape}, and there are {len(images)} images."
        )
    return np.unique(groups, return_inverse=True)[1]


def _hold_out(groups, fraction, rng):
    n_groups = int(groups.max()) + 1
    n_held_out = max(1, round(fraction * n_groups))
    if n_groups - n_held_out < 1:
        raise ValueError(f"{n_groups} groups of images are too few to hold some out.")
    chosen = rng.permutation(n_groups)[:n_held_out]
    return np.isin(groups, chosen)


def _weigh(fitted, images, unseen, groups, rng):
    """Weight, centre and unit of each map, from held-out images and drawn defects."""
    n = len(fitted)
    if n == 1:
        return np.ones(1), np.zeros(1), np.ones(1)
    normaliser = Normaliser(len(images[0])).fit(images[unseen])
    material = [normaliser(images[i]) for i in unseen[:20]]
    painter = DrawnDefects().prepare(material, rng, hard=normaliser.hard)
    clean, drawn = [[] for _ in range(n)], [[] for _ in range(n)]
    for i in unseen:
        image = images[i]
        damaged, _ = damage(image, painter, normaliser, rng)
        for k, one in enumerate(fitted):
            clean[k].append(image_score(one.map(image, int(groups[i]))))
            drawn[k].append(image_score(one.map(damaged, int(groups[i]))))
    y = np.r_[np.zeros(len(unseen)), np.ones(len(unseen))]
    aucs = np.array(
        [roc_auc_score(y, c + d) for c, d in zip(clean, drawn, strict=True)]
    )
    weights = np.clip(2 * aucs - 1, 0, None) ** _POWER
    weights = weights / weights.sum() if weights.any() else np.full(n, 1 / n)
    units = [max(np.std(c), _TINY) for c in clean]
    return weights, np.zeros(n), np.array(units)
