"""What training with products in bfloat16 saves, and what it costs in accuracy.

Run ``python docs/measurements/mixed_precision.py``, which compares the time of steps on
one core in two minutes, or with ``--data PATH``, such as ``python -m
skganomaly.benchmark compare`` takes, the accuracy on these data instead: with three
seeds, half a minute a table.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from skorch.callbacks import Callback

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.benchmark import compare
from skganomaly.datasets import load_benchmark_data

PRECISIONS = (None, "bfloat16")

# Shapes of tables and of grey images, and steps that take about a second.
TRAININGS = (
    (GANomalyDetector, (10_000, 30), 200),
    (GANomalyDetector, (2000, 100), 150),
    (GANomalyDetector, (500, 768), 40),
    (GANomalyDetector, (2000, 768), 40),
    (AutoencoderDetector, (2000, 768), 100),
    (AnoGANDetector, (2000, 768), 60),
    (GANomalyDetector, (200, 32, 32), 30),
    (AnoGANDetector, (200, 32, 32), 40),
    (GANomalyDetector, (100, 64, 64), 8),
    (AnoGANDetector, (100, 64, 64), 10),
)


class Clock(Callback):
    """CPU seconds of the training, without scores and threshold."""

    def on_train_begin(self, net, **kwargs):
        """Start."""
        self.seconds_ = -time.process_time()

    def on_train_end(self, net, **kwargs):
        """Stop."""
        self.seconds_ += time.process_time()


def training_ms(cls, X, n_steps, precision):
    """CPU milliseconds of a step of the first training."""
    detector = cls(
        max_steps=n_steps,
        max_references=100,
        net_params={"mixed_precision": precision},
        # That of AnoGAN's encoder is not timed.
        callbacks=[("training__clock", Clock())],
        device="cpu",
        random_state=0,
    ).fit(X)
    return 1e3 * dict(detector.net_.callbacks_)["training__clock"].seconds_ / n_steps


def compare_speed(n_repeats=3):
    """Print a line for each training, of which either precision has its turn."""
    for cls, shape, n_steps in TRAININGS:
        X = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        turns = np.array(
            [
                [training_ms(cls, X, n_steps, precision) for precision in PRECISIONS]
                for _ in range(n_repeats + 1)
            ][1:]
        )
        single, half = np.median(turns, axis=0)
        ratios = turns[:, 0] / turns[:, 1]
        print(
            f"{cls.__name__}, {' x '.join(map(str, shape))}: {single:.1f} and "
            f"{half:.1f} ms a step, {np.median(ratios):.2f} times as fast "
            f"[{ratios.min():.2f}, {ratios.max():.2f}]",
            flush=True,
        )


def compare_accuracy(data, classes, detectors, n_seeds, most):
    """Print means over seeds, and classes if there are any, and over all data."""
    named = {
        f"{cls.__name__}, {precision}": cls(net_params={"mixed_precision": precision})
        for cls in detectors
        for precision in PRECISIONS
    }
    figures = ["roc_auc", "average_precision", "false_alarms", "fit_seconds"]
    means = []
    for name, table in load_benchmark_data(data, classes=classes).items():
        results = compare(
            named, {name: table}, range(n_seeds), max_train=most, max_test=most
        )
        means.append(results.groupby("detector", sort=False)[figures].mean())
        print(name, means[-1].round(4).to_string(header=False), sep="\n", flush=True)
    mean = sum(means) / len(means)
    print(mean.round(4).to_string(), flush=True)


def main():
    """Print all figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data")
    parser.add_argument("--classes", type=int, nargs="+")
    parser.add_argument("--detectors", nargs="+", default=["GANomaly"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--most", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if options.data is None:
        compare_speed()
        return
    words = {
        "GANomaly": GANomalyDetector,
        "Autoencoder": AutoencoderDetector,
        "AnoGAN": AnoGANDetector,
    }
    compare_accuracy(
        options.data,
        options.classes,
        [words[name] for name in options.detectors],
        options.seeds,
        options.most,
    )


if __name__ == "__main__":
    main()
