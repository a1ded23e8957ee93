"""
From a folder of images to a report
===================================

Pictures of plates in mixed sizes, some of them with a scratch or a spot: which, and
where?
"""

# %%
# A folder
# --------
#
# The layout is that of many public data sets: normal images in ``train/good``, others
# in ``test``, and in ``ground_truth`` masks of the known defects, which serve to see
# how well it went and are not needed. It is filled with brushed plates in three sizes.
# Of each plate to train on there are two shots, which are more alike than two plates.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from skganomaly.images import (
    DefectDiscriminator,
    DrawnDefects,
    ImageDetector,
    ImageFolder,
)
from skganomaly.plotting import DrawnDefectsDisplay, ImageVerdictDisplay

rng = np.random.default_rng(0)
SIZES = [(96, 128), (110, 110), (128, 96)]


def plate(shape):
    """Brushed metal with stains."""
    brushed = gaussian_filter(rng.normal(size=shape), (0.6, 6))
    stains = gaussian_filter(rng.normal(size=shape), 12)
    return 130 + 14 * brushed / brushed.std() + 8 * stains / stains.std()


def scratch(shape):
    """Mask of a scratch."""
    mask = np.zeros(shape, dtype=bool)
    length, slope = rng.integers(12, 30), rng.uniform(-1, 1)
    row, column = rng.integers(30, shape[0] - 30), rng.integers(5, shape[1] - 35)
    along = np.arange(0, length, 0.25)
    mask[(row + slope * along).astype(int), (column + along).astype(int)] = True
    return mask


def spot(shape):
    """Mask of a spot."""
    row, column = (rng.integers(8, length - 8) for length in shape)
    rows, columns = np.indices(shape)
    return np.hypot(rows - row, columns - column) <= rng.uniform(1.5, 4)


def save(image, *parts):
    """Write an image into the folder."""
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


temporary = tempfile.TemporaryDirectory()
root = Path(temporary.name) / "plates"
for i in range(100):
    first = plate(SIZES[i % 3])
    for shot in "ab":
        noisy = first + rng.normal(0, 3, size=first.shape)
        save(noisy, "train", "good", f"plate{i:03}_{shot}.png")
for i in range(40):
    save(plate(SIZES[i % 3]), "test", "good", f"{i:03}.png")
for kind, draw, change in (("scratch", scratch, 55), ("spot", spot, -50)):
    for i in range(12):
        shape = SIZES[i % 3]
        mask = draw(shape)
        save(plate(shape) + change * mask, "test", kind, f"{i:03}.png")
        save(255 * mask, "ground_truth", kind, f"{i:03}.png")

train = ImageFolder(root, "train/**", groups=r"(plate\d+)_")
test = ImageFolder(root, "test/**")
print(train)
print(test)

# %%
# What will be drawn
# ------------------
#
# The detector learns from normal images alone: defects are drawn into them, and a small
# network learns to say which pixels were changed. So look at what is drawn first. Here
# it has more contrast than by default, as that is learned within seconds.

draw = DrawnDefects(contrasts=(1.0, 4.0))
DrawnDefectsDisplay.from_images(train, draw, random_state=0)
plt.show()

# %%
# Fit
# ---
#
# 250 steps with few crops each take ten seconds. The defaults take minutes, and are for
# fainter defects than these. ``groups`` says which shots are of one plate. A fifth of
# the *plates* is held out, and the threshold is found from their scores.

method = DefectDiscriminator(draw=draw, scales=(1.0,), n_steps=250, batch_size=8)
detector = ImageDetector(method=method, random_state=0).fit(train, groups=train.groups)

# %%
# Verdicts
# --------
#
# Red is what is above the threshold. The largest pixel of a map is the score of its
# image, so an image is flagged exactly if some of it is red. Around what was really
# changed there is a dashed line.

some = np.concatenate(
    [np.flatnonzero(test.kinds == kind)[:2] for kind in ("good", "scratch", "spot")]
)
verdicts = ImageVerdictDisplay.from_estimator(
    detector, test[some], masks=test[some].masks, n_columns=6
)
verdicts.figure_.savefig(root / "verdicts.png")
plt.show()

# %%
# The report
# ----------
#
# Each region is a line of the table. The p-value is the share of normal plates that
# score as high as the image; with 20 plates held out it is at least 1 / 21.

regions = detector.regions(test)
p_values = detector.p_values(test)
report = pd.DataFrame(
    [
        {
            "image": f"{path.parent.name}/{path.name}",
            "left, top, right, bottom": region["box"],
            "pixels": region["area"],
            "score": round(region["peak"], 2),
            "p": round(p, 3),
        }
        for path, found, p in zip(test.paths, regions, p_values, strict=True)
        for region in found
    ]
)
page = (
    "<h1>Plates</h1><img src='verdicts.png' alt='verdicts'>"
    f"<p>{len(report)} regions</p>{report.to_html(index=False)}"
)
(root / "report.html").write_text(page)
print(report.to_string(index=False))

# %%
# How well does it do?
# --------------------
#
# Only because the labels and the masks are known here.

scores = detector.anomaly_score(test)
flagged = scores > detector.threshold_
inside = [
    roc_auc_score(mask.ravel(), found.ravel())
    for mask, found in zip(test.masks, detector.anomaly_map(test), strict=True)
    if mask is not None
]
print("ROC AUC of images:", round(roc_auc_score(test.labels == -1, scores), 3))
print("flagged, of good ones:", np.mean(flagged[test.labels == 1]))
print("flagged, of others:", np.mean(flagged[test.labels == -1]))
print("ROC AUC of pixels, median of images:", round(np.median(inside), 3))
temporary.cleanup()
