"""
Can a detector be tuned without labels?
=======================================

A search needs a figure to maximise, and without labels there is only a stand-in for the
truth. This example tunes a pipeline by such a criterion, and then looks at what labels
that were held back say about every candidate.
"""

# %%
# Rows without labels
# -------------------
#
# The search gets 400 rows that are believed to be normal, a few of their values
# missing, and nothing else. Anomalies are drawn for later, of three kinds, beside the
# same normal rows: more spread out in their own group ("local"), shifted away from it
# ("cluster"), and anywhere in the range of the columns ("global").

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import QuantileTransformer

from skganomaly import GANomalyDetector
from skganomaly.datasets import make_anomalies
from skganomaly.model_selection import InlierKFold, pseudo_anomaly_roc_auc

anomalies = {}
for kind in ("local", "cluster", "global"):
    X, y = make_anomalies(1400, 6, kind=kind, contamination=0.3, random_state=0)
    normal, anomalies[kind] = X[y == 1], X[y == -1]
normal[np.random.default_rng(0).uniform(size=normal.shape) < 0.01] = np.nan
X_train, X_new = normal[:400], normal[400:]

# %%
# The search
# ----------
#
# Preprocessing and detector are tuned together. A pseudo-anomaly is made of each
# held-out row by giving some of its columns the values of other rows, and the
# criterion is the ROC AUC between the two. One network and fifty steps keep the
# search short. The best candidate is trained on all rows, which is right here, as all
# are taken to be normal.

pipeline = Pipeline(
    [
        ("impute", SimpleImputer()),
        ("reshape", "passthrough"),
        ("detect", GANomalyDetector(n_members=1, max_steps=50, random_state=0)),
    ]
)
to_normal = QuantileTransformer(n_quantiles=100, output_distribution="normal")
search = GridSearchCV(
    pipeline,
    {
        "reshape": ["passthrough", to_normal],
        "detect__score_type": ["local", "joint", "reconstruction", "latent"],
        "detect__latent_dim": [2, 6],
    },
    cv=InlierKFold(3, random_state=0),
    scoring=pseudo_anomaly_roc_auc,
).fit(X_train)
candidates = search.cv_results_["params"]
criterion = search.cv_results_["mean_test_score"]
print(search.best_params_)
print(f"new normal rows flagged: {np.mean(search.predict(X_new) == -1):.1%}")

# %%
# What labels say
# ---------------
#
# Now the labels: each candidate is trained on the same rows, and asked to tell new
# normal rows from the anomalies of each kind.


def auc_of(model, kind):
    """ROC AUC of new normal rows against the anomalies of a kind."""
    rows = np.vstack([X_new, anomalies[kind]])
    is_anomaly = np.repeat([0, 1], [len(X_new), len(anomalies[kind])])
    return roc_auc_score(is_anomaly, -model.score_samples(rows))


models = [clone(pipeline).set_params(**params).fit(X_train) for params in candidates]
truth = {kind: np.array([auc_of(m, kind) for m in models]) for kind in anomalies}
print("         chosen    best   worst")
for kind, auc in truth.items():
    chosen = auc[search.best_index_]
    print(f"{kind:8s}{chosen:7.3f} {auc.max():7.3f} {auc.min():7.3f}")

# %%
# The picture
# -----------
#
# Each mark is a candidate; its place from left to right is what the search saw, and
# the same in all panels. The criterion is good for weeding out: what is far to the
# left is bad for every kind. It is not good for picking. With the three better
# scores, candidates with transformed columns (open marks) are rated lower than those
# without, and yet find shifted anomalies better. No criterion can tell which kind
# will come.
#
# Generated tables are kind to the criterion as well. On tables of real data it says
# less; see :ref:`tuning-without-labels` for figures, and for what to do instead.

STYLES = {
    "local": ("#0072B2", "o"),
    "joint": ("#009E73", "^"),
    "reconstruction": ("#D55E00", "D"),
    "latent": ("#CC79A7", "s"),
}
figure, panels = plt.subplots(
    1, 3, figsize=(11, 4.4), sharex=True, sharey=True, layout="constrained"
)
for axes, (kind, auc) in zip(panels, truth.items(), strict=True):
    for params, value, true_value in zip(candidates, criterion, auc, strict=True):
        color, marker = STYLES[params["detect__score_type"]]
        plain = params["reshape"] == "passthrough"
        axes.plot(
            value,
            true_value,
            marker,
            color=color,
            markerfacecolor=color if plain else "none",
            markersize=7,
            alpha=0.85,
        )
    best, chosen = np.argmax(auc), search.best_index_
    ring = {"s": 190, "facecolors": "none", "edgecolors": "black"}
    axes.scatter(criterion[chosen], auc[chosen], **ring)
    axes.scatter(criterion[best], auc[best], linestyle=":", **ring)
    axes.set(title=f'anomalies of kind "{kind}"', xlabel="criterion without labels")
    axes.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("ROC AUC by labels held back")

for score_type, (color, marker) in STYLES.items():
    panels[0].plot([], [], marker, color=color, label=f'score "{score_type}"')
grey = {"color": "#555555", "linestyle": "none"}
panels[0].plot([], [], marker="o", label="columns as they are", **grey)
panels[0].plot(
    [], [], marker="o", markerfacecolor="none", label="columns made normal", **grey
)
panels[0].scatter([], [], label="chosen by the criterion", **ring)
panels[0].scatter([], [], linestyle=":", label="best by labels", **ring)
figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
plt.show()
