"""One score, one verdict and one map for each image."""

from __future__ import annotations

import copy
import math
import warnings
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin, clone
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted
from tqdm import tqdm

from .._all_or_nothing import all_or_nothing
from .._compat import HasMethods, Interval, StrOptions, _fit_context
from .._cut import highest_of, is_auto, too_few
from .._decisions import CutMixin
from .._device import resolve_device
from .._groups import one_score_a_group, read_labels
from .._left_out import in_file, loaded_device
from .._memory import out_of_memory
from .._process import own_settings
from .._ranks import current
from .._saving import SaveMixin
from .._seed import draw_seed
from .._training._plain import given_to
from .._validation import first_few
from ..thresholds import p_values
from ._crops import damage
from ._drawing import DrawnDefects
from ._maps import MIN_AREA, find_regions, image_score, map_of_score
from ._methods import DefectDiscriminator
from ._normalising import Normaliser
from ._reading import as_images, naming

if TYPE_CHECKING:
    from typing import Literal

    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from .._cut import Threshold


__all__ = ["ImageDetector"]

# Maps together: how well each tells drawn defects counts with this power.
_POWER = 2.0

# Images that drawn defects take their fills from, and so many are drawn into at least,
# if need be several times into one.
_N_MATERIAL = 20
_N_DRAWN = 60

# Images that processes of one fit look at, to see whether they have the same.
_N_COMPARED = 20

# An image whose values are of another dtype, and all so much smaller than those of the
# fit, is in other units.
_SMALLER = 20


class ImageDetector(SaveMixin, CutMixin, OutlierMixin, BaseEstimator):
    """Finds images with defects, and where in them these are.

    scikit-learn's face over *images*: of any size, also mixed, read one at a time from
    arrays, lists or files. Each gets one score, one label, and a map in its
    own size. The other detectors take an image for a row, which suits
    small aligned pictures that are anomalous as a whole; this one looks at pixels and
    their surroundings, for defects that may be small and anywhere.

    Parameters
    ----------
    method : "defects", object or list of objects, default="defects"
        What scores pixels. "defects" is :class:`DefectDiscriminator`, which needs no
        pretrained weights; :class:`FrozenFeatures` takes a network of yours. Maps of
        several methods, and of several scales of a discriminator, are weighted by how
        well each tells defects that are drawn into held-out normal images from these as
        they were, which needs no labels.
    channels : {"auto", "first", "last", "none"}, default="auto"
        Which axis of an image in an array has the channels; see :func:`as_images`.
    validation_fraction : float in (0, 1), default=0.2
        Share of the images, or of their groups, that nothing is trained on. Their
        scores are the reference scores that the threshold is found from.
    false_alarm_rate : float in (0, 1), default=0.05
        Share of *unseen normal* images that may be flagged.
    threshold : str, float, callable or object, default="auto"
        How the cut is found from the reference scores, as for
        :class:`~skganomaly.GANomalyDetector`.
    device : str or torch.device, default="auto"
        Where to train and score. "auto" takes CUDA when there is one, then MPS, then
        the CPU.
    random_state : int, RandomState instance or None, default=None
        Decides all that is drawn. The same seed gives the same scores on the same
        machine with the same number of threads.
    verbose : int, default=0
        Anything above 0 shows progress bars of the training and of scoring.

    Attributes
    ----------
    offset_ : float
        The cut in the units of ``score_samples``.
    threshold_ : float
        The same cut in the units of ``anomaly_score``, ``-offset_``.
    threshold_rule_ : object
        The fitted threshold rule.
    reference_scores_ : ndarray of shape (n_references,)
        Sorted scores of held-out images: one for each group, or for each image where
        these groups are too few for ``false_alarm_rate``.
    methods_ : list
        What was fitted, each with ``map(image)``: for each method one, or one for each
        of its scales.
    weights_ : ndarray of shape (n_maps,)
        What the map of each counts for; they add up to 1.
    units_ : ndarray of shape (n_maps,)
        What the map of each is divided by: the standard deviation of the scores of
        held-out images, or 1 if these do not differ or there is one map only.
    n_held_out_ : int
        Images that nothing was trained on.
    n_channels_ : int
        Channels of an image.

    See Also
    --------
    skganomaly.GANomalyDetector : For tables, windows, and small aligned pictures.
    ImageFolder : Images as files.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly.images import DefectDiscriminator, ImageDetector
    >>> images = np.random.default_rng(0).normal(size=(40, 48, 64))
    >>> method = DefectDiscriminator(n_steps=5)
    >>> detector = ImageDetector(method=method, false_alarm_rate=0.2, random_state=0)
    >>> detector = detector.fit(images)
    >>> detector.anomaly_map(images[:2])[0].shape
    (48, 64)
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

    # All images that it is fitted on are believed to be normal.
    contamination = "auto"

    methods_: list[Any]
    weights_: NDArray[np.float64]
    units_: NDArray[np.float64]
    threshold_rule_: Any
    reference_scores_: NDArray[np.float64]
    n_held_out_: int
    n_channels_: int

    def __init__(
        self,
        *,
        method: Any = "defects",
        channels: Literal["auto", "first", "last", "none"] = "auto",
        validation_fraction: float = 0.2,
        false_alarm_rate: float = 0.05,
        threshold: Threshold = "auto",
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
    def fit(
        self, images: Any, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Learn what normal images look like, and set the threshold.

        Parameters
        ----------
        images : array, sequence of arrays, pictures or paths, or ImageSequence
            Images believed to be normal; see :func:`as_images`. They are read one at a
            time, several times, and never stacked.
        y : None
            Ignored; present for API consistency.
        groups : array-like of shape (n_images,) or None, default=None
            Which images belong together, such as shots of one part, one board or one
            day. New images are of groups that are not here, so groups are held out
            whole, and the threshold counts groups. None takes the ``groups`` of an
            :class:`ImageFolder` that has some, or each image for one of its own.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If an image cannot be read, differs in its channels or is not finite, with
            its place or file; if ``groups`` does not fit, or has fewer than two.
        FloatingPointError
            If training diverged.
        MemoryError or torch.OutOfMemoryError
            If there is not enough memory on the host, or on a device. The message says
            which options need less. The detector is then left unfitted.

        Warns
        -----
        UserWarning
            If so few images, or groups, are held out that ``false_alarm_rate`` cannot
            be kept; or if images of an :class:`ImageFolder` are of kinds that are not
            good.
        """
        with own_settings(), out_of_memory(self._less_memory):
            return self._fit(as_images(images, channels=self.channels), groups)

    def _less_memory(self):
        return (
            "Training needs less with lower scales, a lower batch_size of "
            "DefectDiscriminator, or a smaller neighbourhood or network of "
            "FrozenFeatures."
        )

    def _fit(self, images, groups):
        groups = _read_groups(images, groups)
        labels = getattr(images, "labels", None)
        if labels is not None and (labels != 1).any():
            warnings.warn(
                f"{(labels != 1).sum()} of {len(labels)} images are not of a good kind "
                f"in {images!r}, and all are learned as normal. To learn from the good "
                "ones, pass images[images.labels == 1].",
                stacklevel=5,
            )
        ranks = current()
        if ranks.size > 1:
            # To read all images for that would take as long as a part of the fit.
            some = range(0, len(images), -(-len(images) // _N_COMPARED))
            pixels = {f"image {i}": images[i] for i in some}
            ranks.compare(given_to(self, groups=groups, **pixels))
        seed = ranks.agreed(draw_seed(self.random_state))
        rng = np.random.default_rng(seed)
        held_out = _hold_out(groups, self.validation_fraction, rng)
        seen, unseen = np.flatnonzero(~held_out), np.flatnonzero(held_out)
        device = resolve_device(self.device)
        methods, fitted = self._methods(), []
        for method in methods:
            found = method.fit_maps(
                images[seen],
                groups[seen],
                seed=int(rng.integers(2**31)),
                device=device,
                progress=self._bar if self.verbose else None,
            )
            fitted += found if isinstance(found, list) else [found]
        self.n_channels_, self.n_held_out_ = len(images[0]), len(unseen)
        self.methods_ = fitted
        draw = next((m.draw for m in methods if hasattr(m, "draw")), "auto")
        draw = DrawnDefects() if isinstance(draw, str) else draw
        self.weights_, self.units_ = _weigh(fitted, images[unseen], draw, rng)
        dtypes, largest = set(), []

        def first_score(image):
            dtypes.add(str(image.dtype))
            largest.append(_largest(image))
            return image_score(self._joined(image))

        scores = np.array([*self._each(images[unseen], first_score)])
        self._dtypes_, self._largest_ = sorted(dtypes), max(largest)
        if not np.isfinite(scores).all():
            raise FloatingPointError(
                "Training diverged: scores are not finite. Lower the learning_rate of "
                "the method."
            )
        self._image_scores_ = np.sort(scores)
        self._n_groups_ = len(np.unique(groups[unseen]))
        return self._fit_cut(lambda: scores, stacklevel=7)

    def _references(self, threshold, rate):
        """Scores of groups, or of images where these are too few for the rate."""
        if not hasattr(self, "_n_groups_"):
            # From a file of before they were kept.
            return super()._references(threshold, rate)
        scores, n_groups = self._image_scores_, self._n_groups_
        ones = np.ones(len(scores), dtype=int)
        if not too_few(n_groups, rate):
            return one_score_a_group(scores, ones, n_groups), ""
        n_images = len(scores)
        kind = "groups of images" if n_groups < n_images else "images"
        least = math.ceil(
            (math.ceil(round(1 / rate, 6)) - 1) / self.validation_fraction
        )
        words = ""
        if not too_few(n_images, rate):
            # The quantile of a few groups would be the highest of what they have in
            # the middle, which flags far more.
            words = (
                f"{n_groups} groups of images are held out, too few to tell how new "
                f"ones differ. The threshold is found from their {n_images} images: "
                f"the share of {rate:g} that was asked for holds for images of groups "
                "like these, and of new groups more may be flagged."
            )
        elif is_auto(threshold):
            words = highest_of(n_images, "images", rate)
        if not words or isinstance(threshold, Real):
            return scores, ""
        return scores, (
            f"{words} Pass {least} {kind} or more to fit, or raise validation_fraction "
            "or false_alarm_rate."
        )

    def _methods(self):
        methods = self.method if isinstance(self.method, list) else [self.method]
        if not methods:
            raise ValueError("method=[] has no method. Leave it at 'defects'.")
        for method in methods:
            words = isinstance(method, str) and method == "defects"
            if not words and (
                isinstance(method, type) or not hasattr(method, "fit_maps")
            ):
                raise TypeError(
                    f"method has {method!r}. Use 'defects', DefectDiscriminator(...), "
                    "FrozenFeatures(network), or an object with their methods."
                )
        return [DefectDiscriminator() if m == "defects" else clone(m) for m in methods]

    def set_threshold(
        self, threshold: Threshold = "auto", *, false_alarm_rate: float | None = None
    ) -> Self:
        """Set another threshold without training again.

        Parameters
        ----------
        threshold : str, float, callable or object, default="auto"
            As the parameter of the same name.
        false_alarm_rate : float or None, default=None
            Share of unseen normal images that may be flagged; None is the parameter's
            value in the fit.

        Returns
        -------
        self : object
            With new ``threshold_rule_`` and ``offset_``, and ``reference_scores_`` of
            groups or of images, as they suffice for the rate.

        Warns
        -----
        UserWarning
            If so few images, or groups, were held out that the rate cannot be kept.
        """
        check_is_fitted(self)
        return self._set_cut(threshold, false_alarm_rate)

    def _bar(self, items):
        return tqdm(
            items, type(self).__name__, disable=not self.verbose or current().rank > 0
        )

    def _read(self, images):
        check_is_fitted(self)
        return as_images(images, channels=self.channels)

    def _each(self, images, function):
        """What a function finds in each image."""
        for i, image in enumerate(self._bar(images)):
            with naming(images, i):
                yield function(image)

    def _check_units(self, image):
        """Refuse an image in other units than those of the fit."""
        if str(image.dtype) not in self._dtypes_ and (
            0 < _SMALLER * _largest(image) < self._largest_
        ):
            known = first_few(self._dtypes_)
            raise ValueError(
                f"The largest value of this image is {_largest(image):.3g}, of dtype "
                f"{image.dtype}, and the detector was fitted on images with values up "
                f"to {self._largest_:.3g}, of dtype {known}. Bring images to the same "
                "units."
            )

    def _joined(self, image):
        """The maps of all methods, weighted, in the units of the score."""
        if len(image) != self.n_channels_:
            raise ValueError(
                f"The detector was fitted on images of {self.n_channels_} channels, "
                f"and this one has {len(image)}. Bring images to the same channels, "
                "as with as_images(..., color='grey')."
            )
        return sum(
            np.float32(weight / unit) * method.map(image)
            for method, weight, unit in zip(
                self.methods_, self.weights_, self.units_, strict=True
            )
            if weight
        )

    def _score(self, image):
        self._check_units(image)
        return image_score(self._joined(image))

    def _map(self, image):
        self._check_units(image)
        return map_of_score(self._joined(image))

    @own_settings()
    def anomaly_score(self, images: Any) -> NDArray[np.float64]:
        """Anomaly scores, higher for more anomalous.

        Parameters
        ----------
        images : array, sequence or ImageSequence
            See :func:`as_images`; of any sizes.

        Returns
        -------
        ndarray of shape (n_images,)
            Mean of the 100 largest pixels of an image's map, less the median of all.
            The score of an image depends on that image alone.
        """
        return np.array([*self._each(self._read(images), self._score)])

    @own_settings()
    def anomaly_map(self, images: Any) -> list[NDArray[np.float32]]:
        """Where images are anomalous, in the units of their scores.

        Parameters
        ----------
        images : array, sequence or ImageSequence

        Returns
        -------
        list of ndarray of shape (height, width)
            A map for each image, in its size: 0 is the median of its pixels, and what
            exceeds the image's score is brought down to it, so that the largest pixel
            *is* the score. Some pixel is above ``threshold_`` exactly where the image
            is an alarm.
        """
        return [*self._each(self._read(images), self._map)]

    def regions(
        self, images: Any, *, min_area: int = MIN_AREA
    ) -> list[list[dict[str, Any]]]:
        """What of each image's map is above the threshold.

        Parameters
        ----------
        images : array, sequence or ImageSequence
        min_area : int, default=8
            Regions of fewer pixels are left out, unless an alarm has only such: then
            the first of them is there.

        Returns
        -------
        list of list of dict
            For each image its regions, those with the highest peak first, and of these
            the largest: "box" (left, top, right, bottom) in pixels, right and bottom
            excluded, "area" in pixels and "peak" in units of the score. None for an
            image that is no alarm.
        """
        check_scalar(min_area, "min_area", Integral, min_val=1)
        return [
            find_regions(found, self.threshold_, min_area)
            for found in self.anomaly_map(images)
        ]

    def p_values(self, images: Any) -> NDArray[np.float64]:
        """How usual an image's score is among held-out normal images.

        Parameters
        ----------
        images : array, sequence or ImageSequence

        Returns
        -------
        ndarray of shape (n_images,)
            ``(1 + number of reference scores at least as high) / (1 + number of
            reference scores)``.
        """
        return p_values(self.reference_scores_, self.anomaly_score(images))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # What takes images for rows of a table is to know that they are none.
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __getstate__(self) -> dict[str, Any]:
        """What is stored is on the CPU, and loads where there is no other device."""
        state = super().__getstate__().copy()
        if "methods_" in state and not in_file():
            state["methods_"] = [
                copy.deepcopy(method).to("cpu") for method in state["methods_"]
            ]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Bring the methods to the device of this machine."""
        super().__setstate__(state)
        if hasattr(self, "methods_"):
            device = loaded_device(self)
            self.methods_ = [method.to(device) for method in self.methods_]


def _largest(image):
    return float(np.abs(image).max())


def _read_groups(images, groups):
    if groups is None:
        groups = getattr(images, "groups", None)
    if groups is None:
        return np.arange(len(images))
    if not isinstance(groups, str) and len(groups) != len(images):
        raise ValueError(
            f"groups names {len(groups)} groups, and there are {len(images)} images. "
            "Name one for each."
        )
    return read_labels(images, groups, "image")


def _hold_out(groups, fraction, rng):
    n_groups = int(groups.max()) + 1
    n_held_out = max(1, round(fraction * n_groups))
    if n_groups - n_held_out < 1:
        raise ValueError(
            f"{n_groups} groups of images are too few: at least one is to learn from, "
            "and one to set the threshold with. Pass more images, or other groups."
        )
    chosen = rng.permutation(n_groups)[:n_held_out]
    return np.isin(groups, chosen)


def _weigh(fitted, images, draw, rng):
    """Weight and unit of each map, from held-out images and defects drawn into them."""
    n = len(fitted)
    if n == 1:
        return np.ones(1), np.ones(1)
    normaliser = Normaliser(len(images[0])).fit(images)
    if hasattr(draw, "prepare"):
        material = [normaliser(image) for image in images[:_N_MATERIAL]]
        draw = draw.prepare(material, rng, hard=normaliser.hard)
    clean, drawn = [], []
    for image in images:
        clean.append([image_score(method.map(image)) for method in fitted])
        for _ in range(math.ceil(_N_DRAWN / len(images))):
            damaged, _ = damage(image, draw, normaliser, rng)
            drawn.append([image_score(method.map(damaged)) for method in fitted])
    labels = np.repeat([0, 1], [len(clean), len(drawn)])
    told = np.array([roc_auc_score(labels, s) for s in np.transpose(clean + drawn)])
    weights = np.maximum(2 * told - 1, 0) ** _POWER
    if not weights.any():
        weights[:] = 1
    spread = np.std(clean, axis=0)
    return weights / weights.sum(), np.where(spread > 0, spread, 1.0)
