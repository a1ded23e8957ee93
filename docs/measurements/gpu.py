"""Wall time of fitting and scoring on a CUDA device and on one thread of the CPU.

Run ``python docs/measurements/gpu.py``; it takes about a minute and a half.
"""

import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.searches import GradientSearch


def timed(call):
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return result, time.perf_counter() - start


def line(device, what, fit, *scores):
    times = ", ".join(f"{words} {seconds:.3g} s" for words, seconds in scores)
    print(f"{device:4s} {what:38s} fit {fit:.3g} s, {times}", flush=True)


def measure(device):
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(30, 30))
    X, new = (rng.normal(size=(n, 30)) @ mixing for n in (10_000, 20_000))
    images = rng.uniform(size=(512, 1, 32, 32)).astype(np.float32)
    for cls in (GANomalyDetector, AutoencoderDetector, AnoGANDetector):
        detector = cls(device=device, random_state=0)
        _, fit = timed(lambda: detector.fit(X))  # noqa: B023
        _, many = timed(lambda: detector.anomaly_score(new))  # noqa: B023
        _, one = timed(lambda: detector.anomaly_score(new[:1]))  # noqa: B023
        line(device, f"{cls.__name__}, 10,000 x 30", fit, ("20,000", many), ("1", one))
    detector = GANomalyDetector(device=device, max_steps=100, random_state=0)
    _, fit = timed(lambda: detector.fit(images))
    _, scores = timed(lambda: detector.anomaly_score(images))
    line(device, "GANomaly, 100 steps, 512 x 32 x 32", fit, ("512", scores))
    search = AnoGANDetector(
        device=device,
        search=GradientSearch(n_steps=100),
        max_steps=100,
        max_restarts=0,
        max_references=128,
        random_state=0,
    )
    _, fit = timed(lambda: search.fit(images))
    _, scores = timed(lambda: search.anomaly_score(images))
    line(device, "AnoGAN, search of 100 steps", fit, ("512", scores))


def main():
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    # So few steps are enough to measure, not to detect.
    warnings.simplefilter("ignore", ConvergenceWarning)
    warm = np.random.default_rng(0).normal(size=(200, 30))
    GANomalyDetector(device="cuda", max_steps=20, random_state=0).fit(warm)
    measure("cuda")
    torch.set_num_threads(1)
    measure("cpu")


if __name__ == "__main__":
    main()
