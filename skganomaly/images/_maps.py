"""From the map of an image to its score, and to regions."""

import numpy as np
from scipy import ndimage

__all__ = ["MIN_AREA", "find_regions", "image_score", "map_of_score"]

# The score of an image: the mean of so many of its largest pixels.
_N_LARGEST = 100

# Regions of fewer pixels are mostly noise beside a defect.
MIN_AREA = 8


def image_score(found):
    """Mean of the 100 largest pixels of a map, less the median of all.

    An image in which everything looks a bit odd is not one with a defect.
    """
    pixels = found.ravel()
    n = min(_N_LARGEST, len(pixels))
    largest = np.partition(pixels, len(pixels) - n)[-n:].astype(np.float64)
    # As exact as a pixel is, so that a map can have it as its maximum.
    return float(np.float32(largest.mean() - np.median(pixels)))


def map_of_score(found):
    """A map in units of the score, whose largest pixel is the score to the last bit.

    What is above the mean of the 100 largest pixels is brought down to it. The other
    defects of an image keep their height, as they would not if all were shifted.
    """
    score = np.float32(image_score(found))
    beyond = np.minimum(found - np.median(found), score)
    beyond.flat[beyond.argmax()] = score
    return beyond


def find_regions(found, cut, min_area=MIN_AREA):
    """Boxes, areas and peaks of what is above a cut, the highest and largest first.

    If all are smaller than the least area, the first of them is there nevertheless.
    """
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
    regions.sort(key=lambda region: (-region["peak"], -region["area"]))
    large = [region for region in regions if region["area"] >= min_area]
    return large or regions[:1]
