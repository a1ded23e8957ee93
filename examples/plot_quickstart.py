"""
Which rows are anomalous, and why?
==================================

A detector is trained on rows that are believed to be normal. It then gives every new
row a score, a verdict, and the share of each feature in the score.
"""

# %%
# A table with anomalies
# ----------------------
#
# In this table the columns depend on each other. Each value of an anomaly could stand
# in a normal row; only the combination is wrong, so that no look at single columns
# finds it. Training uses normal rows alone.

import matplotlib.pyplot as plt
import numpy as np

from skganomaly import GANomalyDetector
from skganomaly.datasets import make_anomalies

X, y = make_anomalies(1400, 6, kind="dependency", contamination=0.1, random_state=0)
normal_rows = np.flatnonzero(y == 1)
X_train = X[normal_rows[:800]]
held_back = np.setdiff1d(np.arange(len(X)), normal_rows[:800])
X_test, y_test = X[held_back], y[held_back]

# %%
# Three lines
# -----------
#
# The threshold follows from the training rows, so that about 5 % of unseen normal rows
# are flagged.

detector = GANomalyDetector(false_alarm_rate=0.05, random_state=0).fit(X_train)
labels = detector.predict(X_test)  # 1 normal, -1 anomaly
scores = detector.anomaly_score(X_test)  # higher is worse

flagged = labels == -1
print(f"normal rows flagged: {flagged[y_test == 1].mean():.1%}")
print(f"anomalies found:     {flagged[y_test == -1].mean():.1%}")

# %%
# One row in detail
# -----------------
#
# ``explain`` divides the score among the features, and ``reconstruct`` says what the
# detector would have expected. To know the right answer, one value of a normal row is
# spoilt: feature 3 gets a value that is common in the table, only not beside the other
# five.

normal_test = X_test[y_test == 1]
row = normal_test[[np.argmin(normal_test[:, 3])]]
score_before = detector.anomaly_score(row)[0]
row[0, 3] = np.quantile(X_train[:, 3], 0.8)
score_after = detector.anomaly_score(row)[0]
print(f"score {score_before:.2f} before, {score_after:.2f} after")

contribution = detector.explain(row)[0]
expected = detector.reconstruct(row)[0]

# %%
# The picture
# -----------
#
# On the left the scores of the test rows and the threshold, on the right the spoilt
# row: the feature with the long bar is the one to look at.

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#555555"

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4), layout="constrained", width_ratios=(1.2, 1)
)
bins = np.linspace(scores.min(), scores.max(), 32)
left.hist(scores[y_test == 1], bins, color=BLUE, alpha=0.75, label="normal rows")
left.hist(
    scores[y_test == -1],
    bins,
    histtype="stepfilled",
    facecolor="none",
    edgecolor=ORANGE,
    hatch="///",
    linewidth=1.5,
    label="anomalies",
)
left.axvline(detector.threshold_, color="black", linestyle="--", label="threshold")
left.set(
    xlabel="anomaly score", ylabel="test rows", title="Scores of rows not trained on"
)
left.legend(frameon=False)

bars = right.barh(
    [f"feature {j}" for j in range(6)],
    contribution,
    color=np.where(contribution > 0, ORANGE, BLUE),
)
for bar, value, usual in zip(bars, row[0], expected, strict=True):
    right.annotate(
        f"is {value:.1f}, expected {usual:.1f}",
        (max(bar.get_width(), 0), bar.get_y() + bar.get_height() / 2),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=GREY,
        fontsize=9,
    )
right.axvline(0, color="black", linewidth=0.8)
right.set_xlim(right.get_xlim()[0] - 0.05, 1.6 * right.get_xlim()[1])
right.invert_yaxis()
right.set(
    xlabel="contribution to the score",
    title=f"A row with one spoilt value (score {score_after:.2f})",
)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
