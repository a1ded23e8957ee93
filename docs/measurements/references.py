"""What more references do, where there are many training rows.

Run ``python docs/measurements/references.py FOLDER``, a folder of ADBench's files such
as ``cover.npz``; with all references of the largest tables it takes minutes. All rows
of the training half of one split are trained on, by the defaults, and 10,000 others
scored; beside it are the 5 nearest of all standardised training rows.
"""

import argparse
import time

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from skganomaly import GANomalyDetector
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import load_adbench


def line(what, anomalous, scores, fit, score, alarms=None):
    auc = roc_auc_score(anomalous, scores)
    precision = average_precision_score(anomalous, scores)
    alarms = "" if alarms is None else f", {alarms:.1%} alarms"
    print(
        f"{what:26s} AUC {auc:.4f}, AP {precision:.4f}{alarms}, fit {fit:.1f} s, "
        f"{score / len(scores) * 1e6:.0f} us a row",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--datasets", nargs="+", default=["celeba", "cover", "skin"])
    parser.add_argument(
        "--references", nargs="+", type=int, default=[2_000, 6_000, 20_000, 60_000]
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    tables = load_adbench(options.folder)
    for name in options.datasets:
        table, clock = tables[name], time.process_time
        (split,) = iterate_splits(table, "one-class", 0, max_train=len(table.target))
        train, test = (table.X[r].astype(float) for r in (split.train, split.test))
        print(f"{name}: {len(train):,} x {train.shape[1]}", flush=True)
        for most in options.references:
            detector = GANomalyDetector(
                max_references=most, random_state=0, device="cpu"
            )
            times = [clock()]
            detector.fit(train)
            times.append(clock())
            scores = detector.anomaly_score(test)
            times.append(clock())
            alarms = np.mean(scores[~split.anomalous] > detector.threshold_)
            what = f"max_references={most}"
            line(what, split.anomalous, scores, *np.diff(times), alarms)
        scaler = StandardScaler().fit(train)
        times = [clock()]
        nearest = NearestNeighbors(n_neighbors=5).fit(scaler.transform(train))
        times.append(clock())
        scores = nearest.kneighbors(scaler.transform(test))[0].mean(1)
        times.append(clock())
        line("nearest neighbours of all", split.anomalous, scores, *np.diff(times))


if __name__ == "__main__":
    main()
