"""What a second thread is worth to steps and scores, on idle cores and on busy ones.

Run ``python docs/measurements/threads.py``, and with ``--busy 1`` beside a process that
keeps a core busy. A table takes seconds, and minutes beside that process; images take
longer. Everything is done in turns: with one thread, with all and no limit of ours, and
with all and our limit. Shown are the milliseconds that pass, medians and, in brackets,
the least.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import torch

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly._models import _fitted
from skganomaly._training import _trainer

# Detector, shape of the training rows.
CASES = {
    "ganomaly-30": (GANomalyDetector, (1000, 30)),
    "ganomaly-100": (GANomalyDetector, (1000, 100)),
    "ganomaly-200": (GANomalyDetector, (500, 200)),
    "ganomaly-768": (GANomalyDetector, (500, 768)),
    "ganomaly-28x28": (GANomalyDetector, (200, 28, 28)),
    "autoencoder-30": (AutoencoderDetector, (1000, 30)),
    "autoencoder-28x28": (AutoencoderDetector, (200, 28, 28)),
    "autoencoder-64x64": (AutoencoderDetector, (200, 64, 64)),
}
LIMIT = _fitted.threads_for


def measure(name, turns, n_steps, n_threads):
    """Print what a detector takes in each way."""
    cls, shape = CASES[name]
    X = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    ways = (1, False), (n_threads, False), (n_threads, True)
    taken = {}
    for turn in range(turns + 1):
        for count, limited in ways:
            torch.set_num_threads(count)
            threads_for = LIMIT if limited else lambda *a, **b: contextlib.nullcontext()
            _fitted.threads_for = _trainer.threads_for = threads_for
            detector = cls(max_steps=n_steps, random_state=0)
            calls = {"fit": detector.fit, "score": detector.anomaly_score}
            for label, rows in (("fit", X), ("score", X[:1]), ("score", X)):
                start = time.perf_counter()
                calls[label](rows)
                seconds = time.perf_counter() - start
                # What a process does once is no part of it.
                if turn:
                    key = label if label == "fit" else f"score {len(rows)}"
                    taken.setdefault((key, count, limited), []).append(seconds)
    print(f"{name}, {n_steps} steps")
    for label in dict.fromkeys(key for key, *_ in taken):
        cells = [1e3 * np.array(taken[(label, *way)]) for way in ways]
        cells = [f"{np.median(ms):9.1f} [{ms.min():.1f}]" for ms in cells]
        print(f"  {label:10}" + "".join(cells), flush=True)


def main():
    """Measure all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CASES)}")
    parser.add_argument("--busy", type=int, default=0, help="processes beside this one")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(options.busy)]
    try:
        print(f"ms: one thread, {options.threads} without a limit, with ours")
        for name in options.names or CASES:
            measure(name, options.turns, options.steps, options.threads)
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    main()
