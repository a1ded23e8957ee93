"""
Where is the defect?
====================

Images with a defect, and three ways to a map of where it is.
"""

# %%
# Intact images to train on, damaged ones to look at
# --------------------------------------------------
#
# Eights of scikit-learn's digits. Half of those that were not used for training get a
# block of noise, an erased block or a line, and we know which pixels that changed.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from skganomaly import AnoGANDetector, GANomalyDetector
from skganomaly.datasets import make_image_anomalies

digits = load_digits()
eights = digits.images[digits.target == 8]
train, rest = eights[:100], eights[100:]
damaged = make_image_anomalies(
    len(rest), contamination=0.5, images=rest, random_state=0
)
defective = damaged.target == -1
images, masks = damaged.images[defective], damaged.masks[defective]
kinds = damaged.kinds[defective]

detectors = {
    "AnoGAN": AnoGANDetector(random_state=0).fit(train),
    "GANomaly": GANomalyDetector(random_state=0).fit(train),
}

# %%
# Maps
# ----
#
# ``anomaly_map`` compares an image with a normal counterpart. AnoGAN generates it from
# the codes of the most similar training images; GANomaly's is the mean of these images
# themselves. The baseline is the one training image with the nearest pixels.

distances = np.abs(images[:, None] - train).mean(axis=(2, 3))
maps = {name: detector.anomaly_map(images) for name, detector in detectors.items()}
maps["nearest image"] = np.abs(images - train[distances.argmin(axis=1)])
for name, heat in maps.items():
    auc = {
        kind: round(
            roc_auc_score(masks[kinds == kind].ravel(), heat[kinds == kind].ravel()), 3
        )
        for kind in ("patch", "erasure", "stroke")
    }
    print(f"{name:14} pixel ROC AUC: {auc}")

# %%
# The picture
# -----------
#
# Outlined is what was changed. No two eights are alike, so every map is faintly lit
# elsewhere as well.

shown = np.concatenate(
    [np.flatnonzero(kinds == kind)[:2] for kind in ("patch", "erasure", "stroke")]
)
figure, axes = plt.subplots(
    1 + len(maps), len(shown), figsize=(8, 5.6), layout="constrained"
)
for panel, row in zip(axes[0], shown, strict=True):
    panel.imshow(images[row], cmap="gray_r")
    panel.set_title(kinds[row], fontsize=10)
axes[0, 0].set_ylabel("image")
for panels, (name, heat) in zip(axes[1:], maps.items(), strict=True):
    for panel, row in zip(panels, shown, strict=True):
        panel.imshow(heat[row], cmap="magma", vmin=0, vmax=np.quantile(heat, 0.99))
        panel.contour(masks[row], levels=[0.5], colors="white", linewidths=0.8)
    panels[0].set_ylabel(name)
for panel in axes.flat:
    panel.set_xticks([])
    panel.set_yticks([])
plt.show()
