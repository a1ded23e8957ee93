"""ROC AUC and cost of a fit on a sample from Parquet files, and of one on all rows.

Run ``python docs/measurements/partitions.py``; it takes two minutes on one core and
needs pyarrow. The generated kind "dependency", 20 columns, 200,000 training rows.
"""

import argparse
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from skganomaly import GANomalyDetector
from skganomaly.datasets import make_anomalies
from skganomaly.distributed import fit


def rows(n_rows, seed):
    """Training rows, rows to score, and which of these are anomalies."""
    X, y = make_anomalies(
        n_rows + 6000, 20, contamination=0.01, kind="dependency", random_state=seed
    )
    X = pd.DataFrame(X.astype(np.float32), columns=[f"x{i}" for i in range(20)])
    normal, anomalies = X[y == 1], X[y == -1][:1000]
    new = pd.concat([normal[-4000:], anomalies])
    return normal[:-4000], new, np.arange(len(new)) >= 4000


def measure(n_rows, seed):
    """The AUC and the CPU seconds of a fit on a sample, and of one on all rows."""
    import pyarrow as pa
    import pyarrow.dataset

    X, new, anomalous = rows(n_rows, seed)
    options = {"max_rows_per_file": 20_000, "max_rows_per_group": 20_000}
    with tempfile.TemporaryDirectory() as folder:
        table = pa.Table.from_pandas(X, preserve_index=False)
        pa.dataset.write_dataset(table, folder, format="parquet", **options)
        source = pa.dataset.dataset(folder)
        for call in (lambda d: fit(d, source), lambda d: d.fit(X)):
            detector = GANomalyDetector(random_state=seed)
            start = time.process_time()
            call(detector)
            seconds = time.process_time() - start
            yield roc_auc_score(anomalous, detector.anomaly_score(new)), seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for seed in range(args.seeds):
        sampled, whole = measure(args.rows, seed)
        print(
            f"seed {seed}: of a sample {sampled[0]:.4f} ({sampled[1]:.1f} CPU s)",
            end="",
        )
        print(f", of all rows {whole[0]:.4f} ({whole[1]:.1f} CPU s)", flush=True)


if __name__ == "__main__":
    main()
