"""What fewer steps of training do to accuracy.

Run ``python docs/measurements/steps.py FOLDER``, a folder of ADBench's files; with its
larger tables it takes five minutes on one core. One-class, three seeds, the benchmark's
splits; tables whose default is less than the fewest steps are left out, as they would
not change.
"""

import argparse
import warnings

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from skganomaly import GANomalyDetector
from skganomaly.benchmark._protocols import iterate_splits
from skganomaly.datasets import load_adbench

N_SEEDS = 3


def measure(split, X, seed, max_steps):
    detector = GANomalyDetector(max_steps=max_steps, random_state=seed, device="cpu")
    scores = detector.fit(X[split.train]).anomaly_score(X[split.test])
    return (
        roc_auc_score(split.anomalous, scores),
        average_precision_score(split.anomalous, scores),
        np.mean(scores[~split.anomalous] > detector.threshold_),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--steps", nargs="+", type=int, default=[600, 400, 300])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    fewest, means = min(options.steps), {steps: [] for steps in options.steps}
    for name, table in load_adbench(options.folder).items():
        X, found = np.asarray(table.X, dtype=float), {}
        for seed in range(N_SEEDS):
            (split,) = iterate_splits(table, "one-class", seed)
            default = 20 * len(split.train) // 64
            if default <= fewest:
                break
            for steps in options.steps:
                figures = measure(split, X, seed, min(steps, default))
                found.setdefault(steps, []).append(figures)
        for steps, figures in found.items():
            mean = np.mean(figures, axis=0)
            means[steps].append(mean)
            print(f"{name:12s} {steps} steps: AUC, AP, alarms {mean.round(4)}")
    for steps, figures in means.items():
        mean = np.mean(figures, axis=0).round(4)
        print(f"{len(figures)} tables, {steps} steps: AUC, AP, alarms {mean}")


if __name__ == "__main__":
    main()
