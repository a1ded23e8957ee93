"""
The nearest normal image
========================

AnoGAN learns to generate normal images. For a new image it then searches for the
nearest one that it can generate, and what is left over shows what is wrong with it.
"""

# %%
# Train on zeros
# --------------
#
# Scikit-learn's 8x8 digits, of which the detector sees zeros alone: 120 of them. The
# search starts from fixed random codes and takes 200 steps of gradient descent, as
# published.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from skganomaly import AnoGANDetector

digits = load_digits()
images, target = digits.images, digits.target
rng = np.random.default_rng(0)
zeros = rng.permutation(np.flatnonzero(target == 0))
train, new_zeros = zeros[:120], zeros[120:]

detector = AnoGANDetector(search="gradient", random_state=0).fit(images[train])
report = detector.training_report_
print(f"diversity of the samples: {report.diversity}, problems: {report.problems}")

# %%
# Search for zeros and for other digits
# -------------------------------------

others = rng.permutation(np.flatnonzero(target != 0))[:300]
test = np.concatenate([new_zeros, others])
is_other = target[test] != 0
found = detector.reconstruct(images[test])
residuals = np.abs(images[test] - found).mean(axis=(1, 2)) / 16
print(f"mean residual of new zeros:    {residuals[~is_other].mean():.3f}")
print(f"mean residual of other digits: {residuals[is_other].mean():.3f}")
print(f"ROC AUC of the residual: {roc_auc_score(is_other, residuals):.3f}")
print(
    "ROC AUC of the score:    "
    f"{roc_auc_score(is_other, detector.anomaly_score(images[test])):.3f}"
)

# %%
# The picture
# -----------
#
# Next to a zero the search finds the same zero. Next to another digit it finds the most
# similar that a generator of zeros can do; where the two differ, the residual is large.
# The anomaly map compares with what is generated from the codes of the most similar
# training images, and is smoothed.

shown = np.concatenate(
    [
        np.flatnonzero(target[test] == 0)[:2],
        *(np.flatnonzero(target[test] == digit)[:1] for digit in (1, 4, 6, 7, 9)),
    ]
)
pictures, nearest = images[test][shown], found[shown]
heat = detector.anomaly_map(pictures)

BLUE, ORANGE = "#0072B2", "#D55E00"
figure = plt.figure(figsize=(11, 5), layout="constrained")
gallery, chart = figure.subfigures(1, 2, width_ratios=(1.6, 1))
axes = gallery.subplots(4, len(shown))
grey = {"cmap": "gray_r", "vmin": 0, "vmax": 16}
rows_of_panels = {
    "input": (pictures, grey),
    "nearest\nnormal": (nearest, grey),
    "residual": (pictures - nearest, {"cmap": "RdBu_r", "vmin": -16, "vmax": 16}),
    "anomaly\nmap": (heat, {"cmap": "magma", "vmin": 0, "vmax": heat.max()}),
}
for panels, (label, (row, style)) in zip(axes, rows_of_panels.items(), strict=True):
    for panel, picture in zip(panels, row, strict=True):
        panel.imshow(picture, **style)
        panel.set_xticks([])
        panel.set_yticks([])
    panels[0].set_ylabel(label)
for panel, row in zip(axes[0], shown, strict=True):
    panel.set_title("a zero" if target[test][row] == 0 else "another", fontsize=9)

panel = chart.subplots()
bins = np.linspace(0, residuals.max(), 30)
panel.hist(residuals[~is_other], bins, density=True, color=BLUE, label="new zeros")
panel.hist(
    residuals[is_other],
    bins,
    density=True,
    histtype="stepfilled",
    facecolor="none",
    edgecolor=ORANGE,
    hatch="///",
    label="other digits",
)
panel.set(
    xlabel="mean residual (1 is black against white)",
    ylabel="density",
    title="What the search leaves over",
)
panel.legend(frameon=False)
panel.spines[["top", "right"]].set_visible(False)
plt.show()
