"""
When does a metric behave unlike itself?
========================================

A metric with a daily season is rarely wrong because its value is high or low. It is
wrong because the value is unusual *for that moment*: a spike at night, a level a little
off for hours, a day with two rush hours. This example learns what is usual from a quiet
past and raises alarms in what follows, with a promise about false ones.
"""

# %%
# A metric with three kinds of trouble
# ------------------------------------
#
# The generated metric has a season of 100 steps whose height varies from one to the
# next, and correlated noise. Its first 2000 steps are normal, for training. Then nine
# spans are anomalous: three spikes, three shifts of level, and three times the season
# runs at double speed. Most of their values are within the usual range.

import matplotlib.pyplot as plt
import numpy as np

from skganomaly import GANomalyDetector
from skganomaly.datasets import make_metric_anomalies
from skganomaly.timeseries import TimeSeriesDetector, event_scores

N_TRAIN = 2000
bunch = make_metric_anomalies(4600, first_anomaly=N_TRAIN + 100, random_state=1)
metric, is_anomaly = bunch.data[:, 0], bunch.target == -1

# %%
# One score per step
# ------------------
#
# Windows of half a season are the rows that the detector learns from. A step is in many
# windows; its score is the mean of theirs. The threshold comes from blocks of the
# training steps that were held out in turn, since windows that overlap training windows
# would look better than new ones do.

monitor = TimeSeriesDetector(
    GANomalyDetector(random_state=0), window_length=50, false_alarm_rate=0.01
)
monitor.fit(metric[:N_TRAIN])
scores = monitor.anomaly_score(metric[N_TRAIN:])
alarms = scores > monitor.threshold_

# %%
# How good are the alarms? By steps, the flagged steps around each span count as false.
# By events, what matters is whether a span was met by an alarm, and how many alarms met
# none. The false alarm rate promised is that of a metric without anomalies, which a
# generated metric lets us look at.

results = event_scores(is_anomaly[N_TRAIN:], alarms)
for name in ("event_recall", "delay", "alarms", "false_alarms", "precision", "recall"):
    print(f"{name:14s}{results[name]:8.2f}")
quiet = monitor.predict(bunch.originals[N_TRAIN:])
print(f"flagged without anomalies {np.mean(quiet == -1):.1%}")

# %%
# Flags as events, each narrowed to the steps of which every window is above the
# threshold.

for alarm in monitor.alarms(metric[N_TRAIN:]):
    print(f"{alarm.start + N_TRAIN} to {alarm.end + N_TRAIN}, score {alarm.score:.2f}")

# %%
# The picture
# -----------
#
# Shaded spans are anomalous in truth, spikes drawn wider than they are; black bars are
# alarms. One spike is too small for this threshold. A mean over windows that reach half
# a season back and forth makes alarms begin before a span and end after it. For live
# monitoring, where nothing is known of later steps, use ``aggregation="last"``.

COLORS = {"spike": "#D55E00", "level_shift": "#0072B2", "seasonality": "#009E73"}
steps = np.arange(N_TRAIN, len(metric))
figure, (top, bottom) = plt.subplots(
    2, 1, figsize=(11, 5.5), sharex=True, layout="constrained", height_ratios=(1.2, 1)
)
shown = slice(N_TRAIN - 200, None)
top.plot(np.arange(len(metric))[shown], metric[shown], color="#333333", linewidth=0.8)
bottom.plot(steps, scores, color="#333333", linewidth=1)
bottom.axhline(
    monitor.threshold_, color="#CC79A7", linestyle="--", label="threshold (1 %)"
)
for axes in (top, bottom):
    for (start, stop), kind in zip(bunch.spans, bunch.kinds, strict=True):
        margin = 4 if kind == "spike" else 0
        axes.axvspan(
            start - margin, stop + margin, color=COLORS[kind], alpha=0.3, linewidth=0
        )
    axes.spines[["top", "right"]].set_visible(False)
low = metric[shown].min() - 0.4
top.fill_between(
    steps, low - 0.15, low + 0.15, where=alarms, color="black", label="alarms"
)
for kind, color in COLORS.items():
    top.fill_between([], [], color=color, alpha=0.3, label=kind.replace("_", " "))
top.axvline(N_TRAIN, color="#999999", linewidth=1)
top.text(N_TRAIN - 8, metric.max(), "training", ha="right", va="top", color="#666666")
top.set(ylabel="metric", xlim=(N_TRAIN - 200, len(metric)))
top.legend(
    frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9
)
bottom.set(ylabel="anomaly score", xlabel="step")
bottom.legend(frameon=False, loc="upper left", fontsize=9)
plt.show()
