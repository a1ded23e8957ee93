"""What scores and maps of images are worth, by what is known to be defective."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["image_figures", "region_overlap", "within_image_auc"]

# Pixels that touch at a corner belong to one defect.
_NEIGHBOURS = np.ones((3, 3), dtype=int)


def image_figures(
    y: ArrayLike, scores: ArrayLike, alarms: ArrayLike
) -> dict[str, float]:
    """What is found among images, and what of the good ones is flagged.

    Parameters
    ----------
    y : array-like of shape (n_images,)
        1 for good images, -1 for defective ones.
    scores : array-like of shape (n_images,)
        Higher for more anomalous.
    alarms : array-like of bool of shape (n_images,)
        Which images are flagged.

    Returns
    -------
    dict of str to float
        "roc_auc" and "average_precision", with defective as the positive class; and
        "false_alarms" and "recall", the flagged shares of the good and of the defective
        images. NaN where it takes images of a kind of which there are none.
    """
    defective = np.asarray(y) == -1
    scores, alarms = np.asarray(scores), np.asarray(alarms, dtype=bool)
    both = defective.any() and not defective.all()
    return {
        "roc_auc": float(roc_auc_score(defective, scores)) if both else np.nan,
        "average_precision": (
            float(average_precision_score(defective, scores)) if both else np.nan
        ),
        "false_alarms": _share(alarms[~defective]),
        "recall": _share(alarms[defective]),
    }


def _share(flags):
    return float(flags.mean()) if len(flags) else np.nan


def within_image_auc(mask: ArrayLike, found: ArrayLike) -> float:
    """ROC AUC of the pixels of one image.

    Parameters
    ----------
    mask : array-like of bool of shape (height, width)
        Which pixels are defective.
    found : array-like of shape (height, width)
        The map, higher for more anomalous.

    Returns
    -------
    float
        NaN if all pixels or none are defective.
    """
    mask, found = np.ravel(mask).astype(bool), np.ravel(found)
    if not mask.any() or mask.all():
        return np.nan
    return float(roc_auc_score(mask, found))


def region_overlap(
    pairs: Iterable[tuple[ArrayLike | None, ArrayLike]], limit: float = 0.3
) -> float:
    """Per-region overlap (PRO) as the cut falls, up to a share of false positives.

    At each cut, the covered shares of all defects are averaged, so that a small one
    counts as much as a large one. Their curve over the share of good pixels that are
    above the cut as well is integrated up to `limit`, and divided by it [1]_.

    Parameters
    ----------
    pairs : iterable of (mask, map)
        Of all images, good ones included, whose mask is None. A defect is a connected
        part of a mask, also by corners.
    limit : float, default=0.3
        Share of false positives up to which it is integrated.

    Returns
    -------
    float
        From 0 to 1; NaN if there is no defect or no good pixel. Where nothing tells
        pixels apart, half of `limit`.

    References
    ----------
    .. [1] P. Bergmann, M. Fauser, D. Sattlegger, C. Steger, "Uninformed students:
       student-teacher anomaly detection with discriminative latent embeddings", CVPR
       2020, :arxiv:`1911.02357`.
    """
    values, gains, n_regions, n_good = [], [], 0, 0
    for mask, found in pairs:
        values.append(np.ravel(found).astype(np.float32))
        # What a pixel adds to the sum of covered shares; 0 for good ones.
        gain = np.zeros(values[-1].size, dtype=np.float32)
        if mask is not None:
            labels, n = ndimage.label(np.asarray(mask), _NEIGHBOURS)
            labels = labels.ravel()
            sizes = np.bincount(labels, minlength=n + 1).astype(np.float32)
            gain = np.where(labels > 0, 1 / np.maximum(sizes, 1)[labels], 0)
            n_regions += n
        gains.append(gain.astype(np.float32))
        n_good += np.count_nonzero(gain == 0)
    if not n_regions or not n_good:
        return np.nan
    values, gains = np.concatenate(values), np.concatenate(gains)
    order = np.argsort(-values, kind="stable")
    values, gains = values[order], gains[order]
    # One cut for each value: equal pixels are above it together.
    last = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    false = np.cumsum(gains == 0)[last] / n_good
    covered = np.minimum(np.cumsum(gains, dtype=np.float64)[last] / n_regions, 1)
    return _area(np.append(0, false), np.append(0, covered), limit)


def _area(x: NDArray, y: NDArray, limit: float) -> float:
    """Mean height of a curve from 0 to a limit, by trapezoids."""
    inside = x <= limit
    # At the limit itself, between the last cut below it and the first above.
    x, y = np.append(x[inside], limit), np.append(y[inside], _at(x, y, limit))
    return float(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2) / limit)


def _at(x, y, place):
    after = np.searchsorted(x, place, side="right")
    if after == len(x):
        return y[-1]
    share = (place - x[after - 1]) / (x[after] - x[after - 1])
    return y[after - 1] + share * (y[after] - y[after - 1])
