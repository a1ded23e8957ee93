"""What fits of images and of wide tables cost, and what a step of them does.

Run ``python docs/measurements/fits.py``; it takes four minutes on one core. Times are
CPU seconds on one thread. Images are the digits of scikit-learn, enlarged.
"""

import time
import warnings

import numpy as np
import torch
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.benchmark._speed import TrainingTime
from skganomaly.losses import (
    discriminator_cross_entropy,
    reconstruction_error,
    squared_error,
)
from skganomaly.searches import EncoderSearch

FITS = (
    (AnoGANDetector, (500, 32, 32)),
    (AnoGANDetector, (500, 64, 64)),
    (GANomalyDetector, (500, 64, 64)),
    (AutoencoderDetector, (500, 64, 64)),
    (GANomalyDetector, (200, 3, 96, 96)),
    (GANomalyDetector, (500, 768)),
    (GANomalyDetector, (2000, 768)),
)


def fit_seconds(detector, X):
    """CPU seconds of a fit."""
    start = time.process_time()
    detector.fit(X)
    return time.process_time() - start


def digits(size):
    """The digits at a size, in [0, 1], and their labels."""
    data = load_digits()
    factor = size // data.images.shape[1]
    images = zoom(data.images / 16, (1, factor, factor), order=1)
    return images.astype(np.float32), data.target


def compare_accuracy(seeds=(0, 1)):
    """AnoGAN on the digits 0 to 4 at 32 x 32: with defaults, and with more steps."""
    images, target = digits(32)
    longer = {"max_steps": 1000, "search": EncoderSearch(encoder_steps=500)}
    for name, options in (("defaults", {}), ("1000 and 500 steps", longer)):
        found = []
        for seed in seeds:
            order = np.random.default_rng(seed).permutation(len(images))
            normal = order[target[order] < 5]
            test = np.r_[normal[500:], order[target[order] >= 5][:400]]
            detector = AnoGANDetector(random_state=seed, **options)
            seconds = fit_seconds(detector, images[normal[:500]])
            scores = detector.anomaly_score(images[test])
            found.append((roc_auc_score(target[test] >= 5, scores), seconds))
        auc, seconds = np.mean(found, axis=0)
        print(f"AnoGAN, digits 0 to 4, {name}: AUC {auc:.3f}, {seconds:.1f} s")


def original_step(networks, optimizers, x):
    """One step as the authors of GANomaly wrote it, for a member after the other."""
    l1 = reconstruction_error("l1")
    for (encoder, decoder, second, critic), (move_g, move_d), rows in zip(
        networks, optimizers, x, strict=True
    ):
        code = encoder(rows)
        made = decoder(code)
        again = second(made)
        real, fake = critic(rows)[0], critic(made.detach())[0]
        move_g.zero_grad()
        features = squared_error(critic(made)[1][None], critic(rows)[1].detach()[None])
        loss = 50 * l1(made[None], rows[None]) + squared_error(again[None], code[None])
        (loss + features).sum().backward()
        move_g.step()
        move_d.zero_grad()
        discriminator_cross_entropy(real[None], fake[None]).sum().backward()
        move_d.step()


def compare_steps(size=64, n_steps=30):
    """A step of the library's against the original's, on the same images."""
    X = digits(size)[0][:500]
    clock = TrainingTime()
    detector = GANomalyDetector(
        max_steps=n_steps, callbacks=[("clock", clock)], random_state=0
    ).fit(X)
    ours = dict(detector.net_.callbacks_)["clock"].seconds_ / n_steps
    shape, settings = (1, size, size), detector.settings_
    net, width = settings.architecture, settings.latent_dim
    networks, optimizers = [], []
    for _ in range(settings.n_members):
        made = (
            net.encoder(shape, width),
            net.decoder(width, shape),
            net.encoder(shape, width),
            net.discriminator(shape),
        )
        networks.append(made)
        generator = [p for part in made[:3] for p in part.parameters()]
        optimizers.append(
            [
                torch.optim.Adam(weights, 1e-3, (0.5, 0.999))
                for weights in (generator, made[3].parameters())
            ]
        )
    rows = torch.from_numpy(2 * X[: 64 * len(networks)] - 1).view(-1, 64, *shape)
    original_step(networks, optimizers, rows)
    start = time.process_time()
    for _ in range(n_steps):
        original_step(networks, optimizers, rows)
    theirs = (time.process_time() - start) / n_steps
    print(
        f"GANomaly, a step at {size} x {size}: {1e3 * ours:.0f} ms, the original's "
        f"{1e3 * theirs:.0f} ms, {theirs / ours:.2f} times as long"
    )


def main():
    """Print all figures."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # What a process does once is no part of a fit.
    GANomalyDetector(max_steps=1).fit(np.eye(10))
    compare_steps()
    rng = np.random.default_rng(0)
    for cls, shape in FITS:
        if len(shape) == 2:
            X = rng.normal(size=shape)
        else:
            X = digits(shape[-1])[0][: shape[0]]
            X = np.broadcast_to(X[:, None], (len(X), *shape[1:])) if shape[3:] else X
        seconds = fit_seconds(cls(random_state=0), X)
        size = " x ".join(map(str, shape[1:]))
        print(f"{cls.__name__}, {shape[0]} of {size}: {seconds:.1f} s", flush=True)
    compare_accuracy()


if __name__ == "__main__":
    main()
