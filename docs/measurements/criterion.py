"""How well criteria without labels rank recipes, against what labels say.

Run ``python docs/measurements/criterion.py --seeds 2 --data FOLDER``, where FOLDER has
tables of ADBench as ``.npz`` files, or run it without options on the bundled tables. It
writes all figures to criterion.csv. One-class protocol, at most 1000 training and 2000
test rows; criteria are means over three folds of the training rows.
"""

import argparse
import sys

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold
from tqdm import tqdm

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import load_benchmark_data, load_bundled
from skganomaly.model_selection import pseudo_anomaly_roc_auc

MAX_TRAIN, MAX_TEST = 1000, 2000
N_FOLDS = 3
N_LABELS = (5, 10, 20)
N_DRAWS = 10


def recipes(seed):
    """Settings that a user might search over, the default first.

    With one network each, which is cheaper and differs more.
    """
    shared = {"n_members": 1, "random_state": seed}

    def ganomaly(score_type, **params):
        return GANomalyDetector(score_type=score_type, **params, **shared)

    def autoencoder(score_type, **params):
        return AutoencoderDetector(score_type=score_type, **params, **shared)

    return {
        "local": ganomaly("local"),
        "local, standard scaler": ganomaly("local", scaler="standard"),
        "local, autoencoder": autoencoder("local"),
        "joint": ganomaly("joint"),
        "joint, standard scaler": ganomaly("joint", scaler="standard"),
        "joint, narrow": ganomaly("joint", latent_dim=2),
        "joint, 20 steps": ganomaly("joint", max_steps=20),
        "latent": ganomaly("latent"),
        "reconstruction": ganomaly("reconstruction"),
        "reconstruction, narrow": ganomaly("reconstruction", latent_dim=2),
        "reconstruction, narrow autoencoder": autoencoder(
            "reconstruction", latent_dim=2
        ),
    }


def measure(datasets, seeds):
    """A row for each table, seed and recipe, with its true ROC AUC and each criterion.

    Of data with classes the first that takes a turn is the normal one.
    "roc_auc" is of the recipe trained on all training rows, on the test rows but for 40
    anomalies (half of them if they are fewer than 80). Criteria are the ROC AUC against
    "swapped columns" (the public one) and "uniform rows" (in the box around the
    held-out rows); "mean score", of the held-out rows; and "5 labels #0" to "20 labels
    #9", ROC AUC against ten draws of as many of the 40 anomalies, if there are.
    """
    rows = []
    for name in tqdm(datasets, unit="table"):
        try:
            data = datasets[name]
        except (ValueError, OSError) as error:
            print(f"Left out: {error}")
            continue
        # Swapped columns are no pseudo-anomalies of images.
        if data.input_shape is None:
            for seed in seeds:
                rows += measure_table(data, seed)
    return pd.DataFrame(rows)


def measure_table(data, seed):
    limits = {"max_train": MAX_TRAIN, "max_test": MAX_TEST}
    split = next(iterate_splits(data, "one-class", seed, **limits))
    X = np.asarray(data.rows(split.train), dtype=np.float64)
    test = np.asarray(data.rows(split.test), dtype=np.float64)
    anomalies = np.random.default_rng(seed).permutation(np.flatnonzero(split.anomalous))
    known = anomalies[: min(2 * max(N_LABELS), len(anomalies) // 2)]
    others = np.setdiff1d(np.arange(len(test)), known)
    folds = list(KFold(N_FOLDS, shuffle=True, random_state=seed).split(X))
    rows = []
    for recipe, detector in recipes(seed).items():
        whole = clone(detector).fit(X)
        row = {"dataset": data.name, "seed": seed, "recipe": recipe}
        row["roc_auc"] = roc_auc_score(
            split.anomalous[others], whole.anomaly_score(test[others])
        )
        figures = [
            rate(clone(detector).fit(X[train]), X[held_out], test[known])
            for train, held_out in folds
        ]
        row |= {name: np.mean([f[name] for f in figures]) for name in figures[0]}
        rows.append(row)
    return rows


def rate(detector, X, anomalies):
    low, high = X.min(axis=0), X.max(axis=0)
    margin = 0.1 * (high - low)
    normal = detector.anomaly_score(X)

    def auc_against(scores):
        anomalous = np.arange(len(normal) + len(scores)) >= len(normal)
        return roc_auc_score(anomalous, np.r_[normal, scores])

    rng = np.random.default_rng(0)
    uniform = rng.uniform(low - margin, high + margin, X.shape)
    figures = {
        "swapped columns": pseudo_anomaly_roc_auc(detector, X),
        "uniform rows": auc_against(detector.anomaly_score(uniform)),
        "mean score": -normal.mean(),
    }
    scores = detector.anomaly_score(anomalies)
    for n_labels in N_LABELS:
        for draw in range(N_DRAWS):
            # The same anomalies for all folds and recipes.
            drawn = np.random.default_rng(draw).permutation(scores)[:n_labels]
            figures[f"{n_labels} labels #{draw}"] = auc_against(drawn)
    return figures


def summarize(figures):
    """Rate each criterion, by table, seed and draw of labels.

    That is the "spearman" correlation with the true ROC AUC over all recipes, and
    "within" recipes of the same score type (0 where one of the two is constant); the
    true ROC AUC of the "chosen" recipe (of several that are equally good, their mean),
    its "regret" (that of the best less that), and its "gain" over the default, the
    first. Three further criteria are to choose "the default" always, one at "random",
    and the "best".
    """
    criteria = list(figures.columns[figures.columns.get_loc("roc_auc") + 1 :])
    rows = []
    for (name, seed), table in figures.groupby(["dataset", "seed"], sort=False):
        truth = table["roc_auc"]
        types = table["recipe"].str.partition(",")[0]
        several = [types == kind for kind in types.unique() if sum(types == kind) > 2]
        chosen = {
            "the default": truth.iloc[0],
            "random": truth.mean(),
            "best": truth.max(),
        }
        spearman, within = {}, {}
        for criterion in criteria:
            values = table[criterion]
            spearman[criterion] = correlation(values, truth)
            within[criterion] = np.mean(
                [correlation(values[same], truth[same]) for same in several]
            )
            chosen[criterion] = truth[values >= values.max() - 1e-12].mean()
        rows += [
            {
                "dataset": name,
                "seed": seed,
                "criterion": criterion.partition(" #")[0],
                "spearman": spearman.get(criterion, np.nan),
                "within": within.get(criterion, np.nan),
                "chosen": value,
                "regret": truth.max() - value,
                "gain": value - truth.iloc[0],
            }
            for criterion, value in chosen.items()
        ]
    return pd.DataFrame(rows)


def correlation(a, b):
    # A constant tells nothing, which counts as no correlation.
    return 0.0 if min(a.nunique(), b.nunique()) < 2 else a.corr(b, method="spearman")


def tables(summary):
    """The public criterion by data set, then mean and median over these of each."""
    chosen = summary.pivot_table("chosen", "dataset", "criterion", sort=False)
    ours = summary[summary["criterion"] == "swapped columns"].groupby("dataset")
    by_table = chosen[["the default", "random", "best", "swapped columns"]].assign(
        spearman=ours["spearman"].mean()
    )
    figures = ["spearman", "within", "chosen", "regret", "gain"]
    # Draws of labels are averaged first, as tables count alike.
    averaged = summary.groupby(["criterion", "dataset"], sort=False)[figures].mean()
    groups = averaged.groupby("criterion", sort=False)
    texts = []
    for title, table in (
        ("True ROC AUC of what is chosen, by table", by_table),
        ("Mean over tables", groups.mean()),
        ("Median over tables", groups.median()),
    ):
        text = table.to_string(float_format="{:.3f}".format, na_rep="", index_names=0)
        texts.append(f"{title}\n\n{text}")
    return "\n\n".join(texts)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", metavar="FOLDER", help="default: the bundled tables")
    parser.add_argument("--seeds", type=int, default=1, help="default: %(default)s")
    options = parser.parse_args(argv)
    datasets = load_benchmark_data(options.data) if options.data else load_bundled()
    figures = measure(datasets, range(options.seeds))
    if figures.empty:
        return "There is no table to measure criteria on."
    figures.to_csv("criterion.csv", index=False)
    print(tables(summarize(figures)))
    return None


if __name__ == "__main__":
    sys.exit(main())
