"""What a training that held-out rows end loses and saves, on generated tables.

Run ``python docs/measurements/stopping.py``; it takes two minutes on one core.
"""

import time
import warnings

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.callbacks import HeldOutStopping
from skganomaly.datasets import make_anomalies
from skganomaly.searches import EncoderSearch

STEPS = 2000
DETECTORS = {
    GANomalyDetector: {"max_steps": STEPS},
    AutoencoderDetector: {"max_steps": STEPS},
    AnoGANDetector: {"search": EncoderSearch(encoder_steps=STEPS)},
}


def measure(cls, kind, callbacks):
    """AUC, steps, share of normal rows flagged, CPU seconds of the fit and scores."""
    X, y = make_anomalies(1400, 8, kind=kind, random_state=1)
    normal, anomalies = X[y == 1], X[y == -1]
    normal = normal[np.random.default_rng(0).permutation(len(normal))]
    rows = np.vstack([normal[400:], anomalies])
    start = time.process_time()
    detector = cls(
        n_members=2, random_state=0, callbacks=callbacks, **DETECTORS[cls]
    ).fit(normal[:400])
    scores = detector.anomaly_score(rows)
    seconds = time.process_time() - start
    n_normal = len(normal) - 400
    auc = roc_auc_score(np.arange(len(rows)) >= n_normal, scores)
    flagged = (scores[:n_normal] > detector.threshold_).mean()
    return auc, detector.n_iter_, flagged, seconds


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for kind in ("dependency", "local"):
        for cls in DETECTORS:
            for callbacks in ([], [HeldOutStopping()]):
                auc, n_steps, flagged, seconds = measure(cls, kind, callbacks)
                print(f"{kind}, {cls.__name__}, {'ended' if callbacks else 'whole'}:")
                print(
                    f"  AUC {auc:.4f}, {n_steps} steps, {flagged:.1%} flagged,", end=""
                )
                print(f" {seconds:.1f} CPU s", flush=True)
