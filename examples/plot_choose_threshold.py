"""
Does the threshold keep its promise?
====================================

A threshold rule promises how many rows it will flag. This example asks each rule for
several rates, and then counts what it flags among thousands of normal rows that the
detector has never seen.
"""

# %%
# Small tables, on purpose
# ------------------------
#
# Thresholds are easy with many rows. Here 300 training rows have 20 columns, few enough
# for training rows to look better than new ones. Six tables are drawn, each with 4000
# new normal rows to count on.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter

from skganomaly import GANomalyDetector
from skganomaly.datasets import make_anomalies

N_TRAIN, N_TABLES = 300, 6
RATES = np.array([0.01, 0.02, 0.05, 0.1, 0.2])


def draw_normal_rows(seed):
    """Training rows and new rows of the same kind."""
    X, y = make_anomalies(
        4400, 20, kind="dependency", contamination=0.01, random_state=seed
    )
    X = X[y == 1]
    return X[:N_TRAIN], X[N_TRAIN : N_TRAIN + 4000]


# %%
# Four rules
# ----------
#
# - ``"auto"`` is the quantile of scores that the training rows would have had if they
#   were new.
# - ``"tail"`` fits a generalised Pareto tail to the same scores. It is meant for rates
#   below 10 %.
# - ``"conformal"`` uses rows held out of training, here a third of them. It guarantees
#   the rate on average over tables, and pays with training rows.
# - The quantile of the scores that the training rows really have is what
#   ``contamination`` stands for: it is about the training rows, not about new ones.
#
# ``set_threshold`` changes the rule without training again, so two fits per table are
# enough.


def realised_rates(seed):
    """Share of new normal rows that each rule flags, for each promised rate."""
    X_train, X_new = draw_normal_rows(seed)
    all_rows = GANomalyDetector(random_state=seed).fit(X_train)
    held_out = GANomalyDetector(validation_fraction=1 / 3, random_state=seed)
    held_out.fit(X_train)
    train_scores = all_rows.anomaly_score(X_train)
    scores = {
        detector: detector.anomaly_score(X_new) for detector in (all_rows, held_out)
    }

    def share_flagged(detector, threshold, rate):
        detector.set_threshold(threshold, false_alarm_rate=rate)
        return np.mean(scores[detector] > detector.threshold_)

    return {
        "auto": [share_flagged(all_rows, "auto", rate) for rate in RATES],
        "tail": [
            share_flagged(all_rows, "tail", rate) if rate < 0.1 else np.nan
            for rate in RATES
        ],
        "conformal": [share_flagged(held_out, "conformal", rate) for rate in RATES],
        "contamination": [
            np.mean(scores[all_rows] > np.quantile(train_scores, 1 - rate))
            for rate in RATES
        ],
    }


tables = [realised_rates(seed) for seed in range(N_TABLES)]
realised = {rule: np.array([table[rule] for table in tables]) for rule in tables[0]}

print("promised      " + "".join(f"{rate:8.0%}" for rate in RATES))
for rule, values in realised.items():
    means = [f"{mean:8.1%}" for mean in values.mean(axis=0) if np.isfinite(mean)]
    print(f"{rule:14s}" + "".join(means))

# %%
# The picture
# -----------
#
# Left: averages over the tables. A rule that keeps its promise lies on the diagonal;
# above it there are more alarms than promised. Right: each table by itself at a
# promise of 5 %. However good the rule, a threshold from a few hundred rows varies from
# table to table; only more rows narrow this.

STYLES = {
    "auto": ("#0072B2", "o", "-"),
    "tail": ("#009E73", "^", "--"),
    "conformal": ("#CC79A7", "s", "-."),
    "contamination": ("#D55E00", "D", ":"),
}

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=(1.1, 1)
)
left.plot(
    [0.005, 0.4], [0.005, 0.4], color="#999999", linewidth=1, label="kept exactly"
)
five_percent = int(np.flatnonzero(RATES == 0.05)[0])
jitter = np.linspace(-0.18, 0.18, N_TABLES)
for place, (rule, values) in enumerate(realised.items()):
    color, marker, line = STYLES[rule]
    left.plot(
        RATES,
        values.mean(axis=0),
        color=color,
        marker=marker,
        linestyle=line,
        label=rule,
    )
    right.scatter(
        place + jitter, values[:, five_percent], color=color, marker=marker, alpha=0.8
    )
left.set(
    xscale="log",
    yscale="log",
    xlim=(0.006, 0.3),
    ylim=(0.004, 0.3),
    xlabel="promised rate",
    ylabel="unseen normal rows flagged",
    title=f"Average over {N_TABLES} tables",
)
ticks = [0.01, 0.02, 0.05, 0.1, 0.2]
for axis in (left.xaxis, left.yaxis):
    axis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_ticks(ticks)
    axis.set_ticks([], minor=True)
left.legend(frameon=False, loc="upper left")
right.axhline(0.05, color="#999999", linewidth=1)
right.set_xticks(range(len(realised)), realised, fontsize=9)
right.set(
    ylim=(0, None),
    xlim=(-0.5, 3.5),
    ylabel="unseen normal rows flagged",
    title="Each table, promised 5 %",
)
right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
