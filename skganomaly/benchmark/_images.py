"""Detectors of images: what they find on textures, on boards and cells, in a folder."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..datasets import make_texture_defects
from ..datasets._textures import TEXTURE_KINDS
from ..images import FrozenFeatures, ImageDetector, ImageFolder, as_images
from ._image_baselines import GANomalyOnPixels, PixelForest, PixelKNN, PixelPCA
from ._image_metrics import image_figures, region_overlap, within_image_auc
from ._report import _align, _number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

__all__ = [
    "FIGURES",
    "ImageSplit",
    "format_images",
    "get_image_detectors",
    "load_image_data",
    "measure_images",
]

# Images of a generated set: to train on, and good and defective ones to test with.
_N_TRAIN, _N_GOOD, _N_DEFECTIVE = 120, 60, 60
_N_BLOCKS = 10
# A module has about as many cells, which follow each other in the published list.
_CELLS_OF_MODULE = 60
# Maps that are drawn together.
_BLOCK = 16

FIGURES = {
    "roc_auc": "image AUC",
    "average_precision": "AP",
    "false_alarms": "alarms at 5%",
    "recall": "recall at 5%",
    "pixel_auc": "pixel AUC within",
    "pro": "PRO to 30%",
    "fit_seconds": "fit s",
    "score_ms": "ms an image",
}


@dataclass(frozen=True)
class ImageSplit:
    """Images to train on and to test with.

    Parameters
    ----------
    train, test : sequence of images
        As :func:`~skganomaly.images.as_images` makes them.
    y : ndarray of shape (n_test,)
        1 for good images, -1 for defective ones.
    masks : sequence or None, default=None
        For each test image which pixels are defective, or None where that is not
        known; None if it is of no image.
    groups : ndarray of shape (n_train,) or None, default=None
        Training images that are not independent.
    """

    train: Any
    test: Any
    y: NDArray[np.int64]
    masks: Any = None
    groups: NDArray[Any] | None = None


def load_image_data(
    path: str | Path | None = None,
) -> dict[str, Callable[[int], ImageSplit]]:
    """Sets of images, each a function of the seed.

    Parameters
    ----------
    path : str, path or None, default=None
        A folder with boards.npz, cells.npz or both, or one in the layout train/good,
        test/KIND, ground_truth/KIND, or one of such. None for generated textures.

    Returns
    -------
    dict of str to callable
        ``seed -> ImageSplit``, by the name of the set. Of textures the seed decides
        what is drawn and of cells which five of ten blocks are trained on; the others
        have one split.

    Raises
    ------
    ValueError
        If there is nothing of the kind in the folder.
    OSError
        If it cannot be read.
    """
    if path is None:
        return {kind: _textures(kind) for kind in TEXTURE_KINDS}
    root = Path(path)
    sets = {
        name: split(root / f"{name}.npz")
        for name, split in (("boards", _boards), ("cells", _cells))
        if (root / f"{name}.npz").is_file()
    }
    if (root / "train").is_dir():
        return {**sets, root.resolve().name: _folder(root)}
    if root.is_dir():
        for inside in sorted(root.iterdir()):
            if (inside / "train").is_dir():
                sets[inside.name] = _folder(inside)
    if not sets:
        raise ValueError(
            f"{str(path)!r} has no boards.npz, no cells.npz, and no folder train "
            "beside test and ground_truth, in it or in a folder below it."
        )
    return sets


def _textures(kind):
    def split(seed):
        bunch = make_texture_defects(
            _N_TRAIN + _N_GOOD, _N_DEFECTIVE, kind=kind, random_state=seed
        )
        return ImageSplit(
            as_images(bunch.images[:_N_TRAIN]),
            as_images(bunch.images[_N_TRAIN:]),
            bunch.target[_N_TRAIN:],
            bunch.masks[_N_TRAIN:],
        )

    return split


def _boards(path):
    def split(seed):
        with np.load(path, allow_pickle=False) as data:
            test = data["test"]
            masks = np.unpackbits(data["mask"], axis=-1)[..., : test.shape[2]]
            return ImageSplit(
                as_images(data["train"]), as_images(test), data["y"], masks.astype(bool)
            )

    return split


def _cells(path):
    def split(seed):
        with np.load(path, allow_pickle=False) as data:
            X, y, order = data["X"], data["y"], data["order"]
        sorted_ = np.argsort(order, kind="stable")
        blocks = np.array_split(sorted_, _N_BLOCKS)
        chosen = np.random.default_rng(seed).permutation(_N_BLOCKS)
        half = _N_BLOCKS // 2
        train = np.concatenate([blocks[i] for i in np.sort(chosen[:half])])
        test = np.concatenate([blocks[i] for i in np.sort(chosen[half:])])
        train = train[y[train] == 1]
        return ImageSplit(
            as_images(X[train]),
            as_images(X[test]),
            y[test],
            groups=order[train] // _CELLS_OF_MODULE,
        )

    return split


def _folder(root):
    def split(seed):
        train, test = ImageFolder(root, "train/**"), ImageFolder(root, "test/**")
        if test.labels is None:
            raise ValueError(
                f"Of {str(root)!r}, test needs folders with one called good."
            )
        if train.labels is not None:
            train = train[train.labels == 1]
        masks = test.masks
        if masks is not None and not any(path is not None for path in masks.paths):
            masks = None
        return ImageSplit(train, test, test.labels, masks)

    return split


def get_image_detectors(
    names: Sequence[str] | None = None, *, features: str | None = None
) -> dict[str, Callable[[int], Any]]:
    """Detectors of the command, each a function of the seed.

    Parameters
    ----------
    names : sequence of str or None, default=None
        Which ones, upper and lower case alike; all by default.
    features : str or None, default=None
        ``module:function`` that returns the network of :class:`FrozenFeatures`, or a
        :class:`FrozenFeatures`. Without it there is no "features" and no "both".

    Returns
    -------
    dict of str to callable
        ``seed -> detector``, unfitted.

    Raises
    ------
    ValueError
        If a name is not known, or the function cannot be had.
    """
    makers: dict[str, Callable[[int], Any]] = {
        "defects": lambda seed: ImageDetector(random_state=seed)
    }
    if features is not None:
        make = _function(features)

        def frozen():
            network = make()
            if isinstance(network, FrozenFeatures):
                return network
            return FrozenFeatures(network)

        makers["features"] = lambda seed: ImageDetector(
            method=frozen(), random_state=seed
        )
        makers["both"] = lambda seed: ImageDetector(
            method=["defects", frozen()], random_state=seed
        )
    makers |= {
        "GANomaly": GANomalyOnPixels,
        "kNN": PixelKNN,
        "PCA": PixelPCA,
        "IForest": PixelForest,
    }
    if names is None:
        return makers
    known = {name.lower(): name for name in makers}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        hint = "" if features else "; features and both need --features"
        raise ValueError(
            f"Unknown methods {unknown}; available here: {', '.join(makers)}{hint}."
        )
    chosen = [known[name.lower()] for name in names]
    return {name: makers[name] for name in chosen}


def _function(words):
    module, _, name = words.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            "features must be module:function, such as mine:get_network, that can be "
            f"imported; got {words!r}: {error}."
        ) from error
    if not callable(made):
        raise ValueError(f"{words!r} is no function that returns a network.")
    return made


def measure_images(
    detectors: Mapping[str, Callable[[int], Any]],
    sets: Mapping[str, Callable[[int], ImageSplit]],
    seeds: Sequence[int],
) -> Iterator[dict[str, Any]]:
    """Fit each detector on each set with each seed, and say what it finds.

    Parameters
    ----------
    detectors : dict of str to callable
        ``seed -> detector``, with `fit`, `anomaly_score`, `anomaly_map` and
        `threshold_`.
    sets : dict of str to callable
        ``seed -> ImageSplit``.
    seeds : sequence of int
        Seeds of data and detectors.

    Yields
    ------
    dict
        "data", "method", "seed", the keys of ``FIGURES``, and "error", which is "" or
        what went wrong; figures are NaN then. Seconds are CPU seconds. "pixel_auc" is
        the mean over defective images with a mask, and "pro" over all test images but
        defective ones without.
    """
    for name, split in sets.items():
        for seed in seeds:
            try:
                data: Any = split(seed)
            except (OSError, ValueError) as error:
                data = error
            for method, make in detectors.items():
                row: dict[str, Any] = {"data": name, "method": method, "seed": seed}
                row |= dict.fromkeys(FIGURES, np.nan) | {"error": ""}
                try:
                    if isinstance(data, Exception):
                        raise data
                    row |= _measure(make(seed), data)
                except Exception as error:
                    # One method that fails leaves the others of many hours.
                    row["error"] = f"{type(error).__name__}: {error}"
                yield row


def _measure(detector, data):
    start = time.process_time()
    detector.fit(data.train, groups=data.groups)
    fitted = time.process_time()
    scores = np.asarray(detector.anomaly_score(data.test))
    scored = time.process_time()
    row = image_figures(data.y, scores, scores > detector.threshold_)
    row["fit_seconds"] = fitted - start
    row["score_ms"] = 1e3 * (scored - fitted) / len(scores)
    if data.masks is not None:
        within: list[float] = []
        row["pro"] = region_overlap(_with_masks(detector, data, within))
        within = [auc for auc in within if not np.isnan(auc)]
        row["pixel_auc"] = float(np.mean(within)) if within else np.nan
    return row


def _with_masks(detector, data, within):
    """Pairs of mask and map; the AUC within each defective image is noted."""
    for first in range(0, len(data.y), _BLOCK):
        maps = detector.anomaly_map(data.test[first : first + _BLOCK])
        for i, found in enumerate(maps, first):
            if found is None:
                continue
            defective = data.y[i] == -1
            mask = data.masks[i] if defective else None
            if defective and mask is None:
                continue
            if defective:
                within.append(within_image_auc(mask, found))
            yield mask, found


def format_images(results: DataFrame) -> str:
    """Write medians over seeds, and how far these lie apart, as aligned text.

    Parameters
    ----------
    results : DataFrame
        Rows of :func:`measure_images`.

    Returns
    -------
    str
        A line for each method on each set of images: the median over the seeds that
        succeeded, with more than one followed by the range in brackets.
    """
    lines = [["method", *FIGURES.values(), "failed"]]
    for (name, method), runs in results.groupby(["data", "method"], sort=False):
        cells = [_spread(runs[figure].dropna(), figure) for figure in FIGURES]
        failed = int((runs["error"] != "").sum())
        lines.append([f"{name}, {method}", *cells, str(failed)])
    return _align(lines)


def _spread(values, figure):
    digits = 1 if figure in ("fit_seconds", "score_ms") else 3
    if not len(values):
        return "-"
    text = _number(values.median(), digits)
    if len(values) > 1:
        text += f" [{_number(values.max() - values.min(), digits)}]"
    return text
