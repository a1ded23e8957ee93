"""
What does a detector make of a digit it has never seen?
=======================================================

A detector is trained on scikit-learn's 8x8 digits without the fours. Then it is shown
all ten digits.
"""

# %%
# Nine digits to train on
# -----------------------
#
# Images are passed as an array of shape (n, channels, height, width) or (n, height,
# width); the detector then takes convolutional networks by itself. Half of the images
# of the nine known digits are for training, the other half and all fours for testing.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skganomaly import GANomalyDetector
from skganomaly.datasets import load_digits_anomaly

UNKNOWN = 4
images, y = load_digits_anomaly(anomaly_class=UNKNOWN, as_images=True)
rng = np.random.default_rng(0)
known = rng.permutation(np.flatnonzero(y == 1))
train, test_known = known[: len(known) // 2], known[len(known) // 2 :]
test = np.concatenate([test_known, np.flatnonzero(y == -1)])

detector = GANomalyDetector(random_state=0).fit(images[train])
settings = detector.settings_
print(f"networks: {settings.architecture}, rows of shape {settings.input_shape}")

# %%
# Scores and verdicts
# -------------------

scores = detector.anomaly_score(images[test])
flagged = detector.predict(images[test]) == -1
unknown = y[test] == -1
print(f"known digits flagged:   {flagged[~unknown].mean():.1%}")
print(f"unknown digits flagged: {flagged[unknown].mean():.1%}")

# %%
# Looking inside
# --------------
#
# ``explain`` divides the score among the pixels: what does each add by being as it is
# and not as it is in the most similar training images? The default networks carry an
# image through a wide code, of 100 numbers, and compare codes; even a four comes back
# much as it was. For a reconstruction that looks like what was learned, train a second
# detector whose code is too narrow to carry what training has not shown.

narrow = GANomalyDetector(
    latent_dim=8, max_steps=600, score_type="reconstruction", random_state=0
).fit(images[train])

digit = load_digits().target[test]


def typical(of_digit, how_many):
    """Rows whose scores are in the middle of their digit's."""
    rows = np.flatnonzero(digit == of_digit)
    rows = rows[np.argsort(scores[rows])]
    middle = (len(rows) - how_many) // 2
    return rows[middle : middle + how_many]


shown = np.concatenate(
    [typical(0, 1), typical(3, 1), typical(7, 1), typical(UNKNOWN, 3)]
)
shown_images = images[test[shown]]
wide_copies = detector.reconstruct(shown_images)
narrow_copies = narrow.reconstruct(shown_images)
heat = detector.explain(shown_images)
for d, added in zip(digit[shown], heat.sum(axis=(1, 2, 3)), strict=True):
    print(f"digit {d}: scores {added:.2f} more than the training images most like it")

# %%
# The picture
# -----------
#
# The wide code returns a four much as it was, the narrow one a blur of what it has
# learned. The heat map shows where an image leaves the training images most like it.
# A known digit does so here and there as well, as no two are written alike; in a four
# it adds up to a higher score.

BLUE, ORANGE = "#0072B2", "#D55E00"

figure = plt.figure(figsize=(11, 5.4), layout="constrained")
gallery, chart = figure.subfigures(1, 2, width_ratios=(1.55, 1))
axes = gallery.subplots(4, len(shown))
# One extreme pixel should not pale the others.
limit = np.quantile(np.abs(heat), 0.99)
grey = {"cmap": "gray_r", "vmin": 0, "vmax": 16}
rows_of_panels = {
    "input": (shown_images, grey),
    "wide\ncode": (wide_copies, grey),
    "narrow\ncode": (narrow_copies, grey),
    "explain": (heat, {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}),
}
for panels, (label, (pictures, style)) in zip(
    axes, rows_of_panels.items(), strict=True
):
    for panel, picture in zip(panels, pictures, strict=True):
        drawn = panel.imshow(picture[0], **style)
        panel.set_xticks([])
        panel.set_yticks([])
    panels[0].set_ylabel(label)
for panel, row in zip(axes[0], shown, strict=True):
    panel.set_title("unknown" if unknown[row] else "known", fontsize=10)
bar = gallery.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, aspect=40)
bar.set_label("explain: added to the score")

panel = chart.subplots()
bins = np.linspace(scores.min(), scores.max(), 32)
panel.hist(scores[~unknown], bins, color=BLUE, alpha=0.75, label="known digits")
panel.hist(
    scores[unknown],
    bins,
    histtype="stepfilled",
    facecolor="none",
    edgecolor=ORANGE,
    hatch="///",
    linewidth=1.5,
    label="the unknown 4",
)
panel.axvline(detector.threshold_, color="black", linestyle="--", label="threshold")
panel.set(
    xlabel="anomaly score",
    ylabel="test images",
    title="Scores of test images",
)
panel.margins(y=0.25)
panel.legend(frameon=False, loc="upper left")
panel.spines[["top", "right"]].set_visible(False)
plt.show()
