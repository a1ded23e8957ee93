"""What threads are worth to fits and to scoring, on idle cores and on busy ones.

Run ``python docs/measurements/threads.py``, and with ``--busy 1`` beside a process that
keeps a core busy; each takes a few minutes on two cores. Everything is done in turns
with one thread and with all, as set by ``torch.set_num_threads``; shown are medians of
the seconds that pass, with CPU seconds of all threads in brackets.
"""

import argparse
import os
import subprocess
import sys
import time
import warnings

import numpy as np
import torch

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector

# Detector, shape of the training rows, steps.
FITS = {
    "ganomaly-table": (GANomalyDetector, (10_000, 30), 100),
    "ganomaly-wide": (GANomalyDetector, (2000, 768), 20),
    "ganomaly-wider": (GANomalyDetector, (1500, 1555), 10),
    "ganomaly-32": (GANomalyDetector, (200, 32, 32), 30),
    "ganomaly-64": (GANomalyDetector, (200, 64, 64), 15),
    "autoencoder-table": (AutoencoderDetector, (10_000, 30), 100),
    "autoencoder-32": (AutoencoderDetector, (200, 32, 32), 30),
    "anogan-table": (AnoGANDetector, (2000, 30), 100),
    "anogan-32": (AnoGANDetector, (200, 32, 32), 50),
}

# Rows scored at once, and how often.
SCORED = ((1, 20), (64, 5), (2000, 1))


def seconds(function, n_times=1):
    """Wall and CPU seconds of a call."""
    start = time.perf_counter(), time.process_time()
    for _ in range(n_times):
        function()
    end = time.perf_counter(), time.process_time()
    return [(b - a) / n_times for a, b in zip(start, end, strict=True)]


def measure(name, turns, counts):
    """Print what one detector takes with each number of threads."""
    cls, (n_rows, *shape), n_steps = FITS[name]
    rng = np.random.default_rng(0)
    X, new = (
        rng.normal(size=(n, *shape)).astype(np.float32) for n in (n_rows, SCORED[-1][0])
    )
    detector = cls(max_steps=n_steps, random_state=0)
    taken, scores = {}, {}
    for turn in range(turns + 1):
        for count in counts:
            torch.set_num_threads(count)
            what = {"fit": (lambda: detector.fit(X), 1)}
            for n, n_times in SCORED:
                rows = new[:n]
                what[f"score {n}"] = (
                    lambda rows=rows: detector.anomaly_score(rows),
                    n_times,
                )
            for label, (function, n_times) in what.items():
                figures = seconds(function, n_times)
                # What a process does once is no part of it.
                if turn:
                    taken.setdefault((label, count), []).append(figures)
            scores[count] = detector.anomaly_score(new[:64])
    equal = all(np.array_equal(scores[counts[0]], s) for s in scores.values())
    print(f"{name}, {n_steps} steps; equal to the last bit: {equal}")
    for label in what:
        medians = [np.median(taken[label, count], axis=0) for count in counts]
        cells = "   ".join(f"{1e3 * a:9.2f} ({1e3 * b:9.2f})" for a, b in medians)
        print(f"  {label:10} {cells}   {medians[-1][0] / medians[0][0]:.2f}", flush=True)


def main():
    """Measure all, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*FITS, []], help="by default all")
    parser.add_argument("--busy", type=int, default=0, help="processes beside this one")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(options.busy)]
    try:
        print(f"milliseconds with 1 thread, with {options.threads}, and their ratio")
        for name in options.names or FITS:
            measure(name, options.turns, (1, options.threads))
    finally:
        for other in others:
            other.kill()


if __name__ == "__main__":
    main()
