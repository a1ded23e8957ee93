"""From the map of an image to its score, and to regions."""

import numpy as np
from scipy import ndimage

__all__ = ["find_regions", "image_score"]

# The score of an image: the mean of so many of its largest pixels.
_N_LARGEST = 100


def image_score(found):
    """Mean of the 100 largest pixels of a map, less the median of all.

    An image in which everything looks a bit odd is not one with a defect.
    """
    pixels = found.ravel()
    n = min(_N_LARGEST, len(pixels))
    largest = np.partition(pixels, len(pixels) - n)[-n:].astype(np.float64)
    # As exact as a pixel is, so that a map can have it as its maximum.
    return float(np.float32(largest.mean() - np.median(pixels)))


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
