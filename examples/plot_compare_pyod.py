"""
Where does it stand among PyOD's detectors?
===========================================

A comparison as users of PyOD write it: a dict of detectors, a loop, ``fit`` and
``decision_function``. :func:`~skganomaly.as_pyod` is all it takes to add one of ours.
"""

# %%
# The detectors
# -------------
#
# Each may flag 5 % of its training rows, which PyOD calls ``contamination``.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import PercentFormatter
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from sklearn.base import clone
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.preprocessing import StandardScaler

from skganomaly import GANomalyDetector, as_pyod
from skganomaly.datasets import load_bundled

SHARE = 0.05
detectors = {
    "IForest": IForest(contamination=SHARE, random_state=0),
    "ECOD": ECOD(contamination=SHARE),
    "KNN": KNN(contamination=SHARE),
    "AutoEncoder": AutoEncoder(contamination=SHARE, verbose=0, random_state=0),
    "GANomaly": as_pyod(GANomalyDetector(random_state=0), contamination=SHARE),
}

# %%
# The tables
# ----------
#
# Two are generated. In the first each value of an anomaly is usual, and only the
# columns do not go together; in the second the anomalies lie shifted beside the
# normal rows. The third has measurements of breast tumours, the malignant ones being
# the anomalies. Training uses half of the normal rows and nothing else, as
# ``contamination`` is about them; PyOD's labels are 0 for normal rows and 1 for
# anomalies.

TABLES = {
    "dependency": "columns do not go together",
    "cluster": "shifted rows",
    "breast-cancer": "breast tumours",
}
bundled = load_bundled()


def split(name):
    """Standardised training rows, test rows, and the labels of these."""
    X, y = bundled[name].X, (bundled[name].target == -1).astype(int)
    normal = np.random.default_rng(0).permutation(np.flatnonzero(y == 0))
    train, rest = np.array_split(normal, 2)
    test = np.concatenate([rest, np.flatnonzero(y == 1)])
    scaler = StandardScaler().fit(X[train])
    return scaler.transform(X[train]), scaler.transform(X[test]), y[test]


# %%
# The loop
# --------

results = {name: [] for name in detectors}
for table in TABLES:
    X_train, X_test, y_test = split(table)
    print(f"\n{table:14s} ROC AUC      AP  false alarms  found")
    for name, detector in detectors.items():
        clf = clone(detector)
        clf.fit(X_train)
        scores = clf.decision_function(X_test)  # higher is worse
        labels = clf.predict(X_test)
        row = (
            roc_auc_score(y_test, scores),
            average_precision_score(y_test, scores),
            labels[y_test == 0].mean(),
        )
        results[name].append(row)
        found = labels[y_test == 1].mean()
        print(f"{name:14s}{row[0]:8.3f}{row[1]:8.3f}{row[2]:14.1%}{found:7.1%}")

# %%
# The picture
# -----------
#
# Which detector is best depends on the table. Where columns depend on each other,
# detectors that look at one column at a time (ECOD) or cut along columns (IForest)
# are lost. The tumours are far out in plain sight, and an isolation forest finds them
# as well as any network, in a tenth of the time. Three tables and one seed are an
# illustration and no ranking: for that see :ref:`accuracy`, and run ``python -m
# skganomaly.benchmark`` with detectors and tables of your own.
#
# On the right, about 5 % of new normal rows should be flagged. With a few hundred
# training rows the true share varies for every detector.

MARKS = [("#0072B2", "o"), ("#D55E00", "D"), ("#009E73", "^")]
TITLES = ("ROC AUC", "average precision", "new normal rows flagged")
figure, panels = plt.subplots(1, 3, figsize=(11, 4), sharey=True, layout="constrained")
places = np.arange(len(detectors))
values = np.array([results[name] for name in detectors])  # detector, table, figure
for i, (axes, title) in enumerate(zip(panels, TITLES, strict=True)):
    axes.hlines(places, 0, 1, color="#dddddd", linewidth=0.8, zorder=0)
    for j, (label, (color, mark)) in enumerate(
        zip(TABLES.values(), MARKS, strict=True)
    ):
        height = places + 0.16 * (j - 1)
        axes.plot(values[:, j, i], height, mark, color=color, markersize=7, label=label)
    axes.set_title(title)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
panels[0].set(xlim=(0.4, 1.02), yticks=places, yticklabels=detectors)
panels[1].set_xlim(0, 1.04)
panels[2].set(xlim=(0, 0.105), xticks=[0, 0.05, 0.1])
panels[2].axvline(SHARE, color="black", linestyle="--", linewidth=1, zorder=0)
panels[2].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
panels[0].invert_yaxis()
handles, labels = panels[0].get_legend_handles_labels()
figure.legend(
    handles, labels, loc="outside lower center", ncols=3, frameon=False, title="table"
)
plt.show()
