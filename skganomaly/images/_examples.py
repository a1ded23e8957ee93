"""What defects look like in a user's own images, as a network is shown them."""

import numpy as np

from ._crops import CropSource
from ._drawing import DrawnDefects, check_drawn
from ._normalising import Normaliser
from ._segmenter import _material

__all__ = ["drawn_examples"]

# Reading more takes long and shows nothing new.
_N_IMAGES = 50


def drawn_examples(images, draw, n_examples, generator):
    """Crops of normal images, and the same with defects.

    Parameters
    ----------
    images : sequence of ndarray of shape (n_channels, height, width)
        Normal images, of which 50 are read.
    draw : callable or "auto"
        As in training.
    n_examples : int
        Number of crops.
    generator : numpy.random.Generator
        Source of all that is random.

    Returns
    -------
    crops, drawn : ndarray of shape (n_examples, n_channels, 96, 96)
        In normalised units.
    changed : ndarray of bool, of shape (n_examples, 96, 96)
    """
    if len(images) > _N_IMAGES:
        chosen = generator.choice(len(images), _N_IMAGES, replace=False)
        images = images[np.sort(chosen)]
    normaliser = Normaliser(len(images[0])).fit(images)
    source = CropSource(images, normaliser, generator)
    if isinstance(draw, str):
        draw = DrawnDefects()
    if hasattr(draw, "prepare"):
        draw = draw.prepare(_material(source), generator, hard=normaliser.hard)
    crops, drawn, changed = [], [], []
    for _ in range(n_examples):
        source.advance()
        crop = source.draw()
        # A copy, as nothing keeps a user's function from writing to its own.
        image, mask = check_drawn(draw(crop.copy(), generator), crop)
        crops.append(crop)
        drawn.append(image)
        changed.append(mask)
    return np.stack(crops), np.stack(drawn), np.stack(changed)
