"""What a CUDA device is good for: tests, then wall times beside one thread of the CPU.

Run ``python docs/measurements/gpu.py`` in a clone; it should take less than six
minutes. ``--without-tests`` leaves the tests out, and ``--device cpu`` tries the script
where there is no such device.
"""

import argparse
import subprocess
import sys
import time
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback
from torch.utils.data import DataLoader, TensorDataset

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.cuda import graphs
from skganomaly.searches import GradientSearch


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def timed(call, device):
    wait(device)
    start = time.perf_counter()
    result = call()
    wait(device)
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
        _, fit = timed(lambda: detector.fit(X), device)  # noqa: B023
        _, many = timed(lambda: detector.anomaly_score(new), device)  # noqa: B023
        _, one = timed(lambda: detector.anomaly_score(new[:1]), device)  # noqa: B023
        line(device, f"{cls.__name__}, 10,000 x 30", fit, ("20,000", many), ("1", one))
    detector = GANomalyDetector(device=device, max_steps=100, random_state=0)
    _, fit = timed(lambda: detector.fit(images), device)
    _, scores = timed(lambda: detector.anomaly_score(images), device)
    line(device, "GANomaly, 100 steps, 512 x 32 x 32", fit, ("512", scores))
    search = AnoGANDetector(
        device=device,
        search=GradientSearch(n_steps=100),
        max_steps=100,
        max_restarts=0,
        max_references=128,
        random_state=0,
    )
    _, fit = timed(lambda: search.fit(images), device)
    _, scores = timed(lambda: search.anomaly_score(images), device)
    line(device, "AnoGAN, search of 100 steps", fit, ("512", scores))


def steps_per_second(device, block, n_steps=1000):
    """Of our training in a block, such as that of graphs, once it is under way."""
    clock = TrainingClock(device, start=n_steps // 4)
    detector = GANomalyDetector(
        device=device, max_steps=n_steps, callbacks=[("clock", clock)], random_state=0
    )
    with block:
        detector.fit(np.random.default_rng(0).normal(size=(10_000, 30)))
    return dict(detector.net_.callbacks_)["clock"].rate_


def naive_steps_per_second(device, n_steps=300):
    """Of the loop that one writes first.

    That loop trains one network after the other, takes mini-batches from a DataLoader
    to the device, and asks for the losses after every step. A step is one of all four
    members that the estimator has.
    """
    X = np.random.default_rng(0).normal(size=(10_000, 30))
    single = GANomalyDetector(device=device, n_members=1, max_steps=1, random_state=0)
    model = single.fit(X).model_
    method, players = model.method.train().requires_grad_(True), model.method.players()
    optimizers = {
        name: torch.optim.Adam(network.parameters(), 1e-3)
        for name, network in players.items()
    }
    rows = TensorDataset(torch.from_numpy(model.scaling.transform(X)))

    def loop():
        done, losses = 0, []
        while done < n_steps:
            for (batch,) in DataLoader(rows, batch_size=64, shuffle=True):
                x = batch.to(device)[None]
                terms = method.losses(x, x, method.phase(done), None)
                for name in ("discriminator", "generator"):
                    optimizers[name].zero_grad()
                    total = torch.stack(list(terms[name].values())).sum()
                    total.backward(
                        inputs=list(players[name].parameters()),
                        retain_graph=name == "discriminator",
                    )
                    losses.append(total.item())
                for optimizer in optimizers.values():
                    optimizer.step()
                done += 1
        return done

    done, taken = timed(loop, device)
    return done / taken / 4


class TrainingClock(Callback):
    """Steps a second of a training, from one of its steps to the last."""

    def __init__(self, device, start):
        self.device = device
        self.start = start

    def on_train_begin(self, net, **kwargs):
        self.since_ = None

    def on_epoch_end(self, net, **kwargs):
        if self.since_ is None and net.n_steps_ >= self.start:
            wait(self.device)
            self.since_ = net.n_steps_, time.perf_counter()

    def on_train_end(self, net, **kwargs):
        wait(self.device)
        n_steps, since = self.since_
        self.rate_ = (net.n_steps_ - n_steps) / (time.perf_counter() - since)


def share_of_products(device, n_rows=100_000):
    """What the products of scores alone would take, as a share of scoring."""
    X = np.random.default_rng(0).normal(size=(10_000, 30))
    detector = GANomalyDetector(device=device, max_steps=20, random_state=0).fit(X)
    many = np.resize(X, (n_rows, 30)) + 0.001
    detector.anomaly_score(many[:2000])
    _, taken = timed(lambda: detector.anomaly_score(many), device)
    references = detector.model_.score.joined.references
    rows = torch.randn(len(references), 512, references.shape[2], device=device)
    torch.bmm(rows, references.mT)

    def products():
        for _ in range(-(-n_rows // 512)):
            torch.bmm(rows, references.mT)

    _, least = timed(products, device)
    return least / taken


def search(device, counts, n_steps=500):
    """Seconds of a search in images of the size of MNIST's: as usual, with graphs."""
    images = np.random.default_rng(0).uniform(size=(max(counts), 1, 28, 28))
    detector = AnoGANDetector(
        device=device,
        search=GradientSearch(n_steps=n_steps),
        max_steps=20,
        max_restarts=0,
        max_references=64,
        random_state=0,
    ).fit(images[:256])
    for n_images, block in zip(counts, (nullcontext(), graphs()), strict=False):
        with block:
            _, taken = timed(lambda: detector.anomaly_score(images[:n_images]), device)  # noqa: B023
        how = "" if isinstance(block, nullcontext) else ", graphs"
        print(f"{device:4s} {n_steps} steps, {n_images} images{how}: {taken:.3g} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--without-tests", action="store_true")
    options = parser.parse_args()
    device = options.device
    if device == "cuda":
        if not torch.cuda.is_available():
            parser.error("torch finds no CUDA device; --device cpu tries the script")
        print(torch.cuda.get_device_name(), "torch", torch.__version__, flush=True)
    if not options.without_tests:
        tests = [sys.executable, "-m", "pytest", "-m", "cuda", "-q"]
        subprocess.run(tests, cwd=Path(__file__).parents[2], check=False)
    # So few steps are enough to measure, not to detect.
    warnings.simplefilter("ignore", ConvergenceWarning)
    warm = np.random.default_rng(0).normal(size=(200, 30))
    GANomalyDetector(device=device, max_steps=20, random_state=0).fit(warm)
    ours, naive = (
        steps_per_second(device, nullcontext()),
        naive_steps_per_second(device),
    )
    print(f"{device:4s} steps a second: {ours:.0f}, of a naive loop {naive:.0f}")
    if device == "cuda":
        replayed = steps_per_second(device, graphs())
        print(f"cuda steps a second with graphs: {replayed:.0f}", flush=True)
        search(device, (512, 10_000))
    share = share_of_products(device)
    print(
        f"{device:4s} scoring over its products in float32: {1 / share:.2f}", flush=True
    )
    measure(device)
    torch.set_num_threads(1)
    if device != "cpu":
        measure("cpu")


if __name__ == "__main__":
    main()
