"""A fit by two processes beside one by one process: steps a second, and ROC AUC.

Run ``python docs/measurements/data_parallel.py``; it takes six minutes on two cores,
each process with one thread. Speed is that of the fastest epoch, on images of noise,
whose content changes nothing of the cost. Quality is that of bars with a part missing,
and of defects in a texture. ``--only quality --seeds 1`` takes one minute.
"""

import argparse
import subprocess
import sys
import time
import warnings

import numpy as np
import torch
import torch.distributed as dist
from sklearn.metrics import roc_auc_score
from skorch.callbacks import Callback

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import ConvNet
from skganomaly.datasets import make_texture_defects
from skganomaly.distributed import data_parallel
from skganomaly.images import DefectDiscriminator, DrawnDefects, ImageDetector
from skganomaly.images._segmenter import train_segmenter
from skganomaly.searches import EncoderSearch


def bars(n_normal, n_anomalous, seed):
    """Images of a bright bar under noise; of the anomalous, a part of it is missing."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(n_normal + n_anomalous, 16, 16))
    for place, image in enumerate(images):
        top, left = rng.integers(0, 12), rng.integers(0, 11)
        image[top : top + 4] += 2
        if place >= n_normal:
            image[top : top + 4, left : left + 5] -= 2
    return images


def recipes(seed):
    """Detectors, normal images, and as new ones 40 normal and 40 anomalous."""
    maps = {"max_steps": 200, "n_members": 1, "random_state": seed}
    search = EncoderSearch(encoder_steps=150)
    training, new = bars(400, 0, 3 * seed), bars(40, 40, 3 * seed + 1)
    yield AutoencoderDetector(**maps), training, new
    yield GANomalyDetector(**maps), training, new
    yield AnoGANDetector(**maps, search=search), training, new
    made = make_texture_defects(100, 40, kind="dots", random_state=seed).images
    method = DefectDiscriminator(n_steps=150, scales=(1.0,))
    yield ImageDetector(method=method, random_state=seed), made[:60], made[60:]


def quality(n_seeds):
    """The AUC of a fit by all processes, and of one by the first alone."""
    for seed in range(n_seeds):
        for detector, training, new in recipes(seed):
            with data_parallel():
                detector.fit(training)
            aucs = [roc_auc_score(np.arange(80) >= 40, detector.anomaly_score(new))]
            if not dist.get_rank():
                detector.fit(training)
                alone = detector.anomaly_score(new)
                aucs.append(roc_auc_score(np.arange(80) >= 40, alone))
                figures = "together {:.4f}, alone {:.4f}".format(*aucs)
                print(f"seed {seed}, {type(detector).__name__}: {figures}", flush=True)


class Clock(Callback):
    """Takes the time, and the CPU time of this process, after every epoch."""

    stamps = []

    def stamp(self):
        self.stamps.append((time.perf_counter(), time.process_time()))

    def on_epoch_end(self, net, **kwargs):
        self.stamp()


def per_step(train, n_steps):
    """Seconds of a step between the nearest stamps, and CPU seconds of any step."""
    Clock.stamps.clear()
    train()
    wall, cpu = np.array(Clock.stamps).T
    n_steps /= len(wall)
    return np.diff(wall).min() / n_steps, (cpu[-1] - cpu[0]) / (len(cpu) - 1) / n_steps


def of_rows(images, **params):
    """Of GANomaly, 4 steps an epoch."""
    params |= {"max_steps": 80, "callbacks": [Clock()], "random_state": 0}
    detector = GANomalyDetector(score_type="latent", max_references=2, **params)
    return per_step(lambda: detector.fit(images), 80)


def of_crops(images):
    """Of "defects"."""

    def progress(steps):
        for step in steps:
            if step % 4 == 3:
                Clock().stamp()
            yield step

    rng, draw = np.random.default_rng(0), DrawnDefects()
    options = {"generator": rng, "n_steps": 80, "progress": progress}
    return per_step(lambda: train_segmenter(images, draw, **options), 80)


def speed():
    """Steps a second by all processes, and by the first alone."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, size=(256, 64, 64)).astype(np.uint8)
    large = ConvNet(base_channels=32)
    for name, measure in (
        ("GANomaly, 64 x 64", lambda: of_rows(noise)),
        ("GANomaly, 64 x 64, 32 channels", lambda: of_rows(noise, architecture=large)),
        ("defects", lambda: of_crops(noise[:, None].repeat(3, 2).repeat(3, 3))),
    ):
        with data_parallel():
            together = measure()
        if not dist.get_rank():
            alone = measure()
            print(
                f"{name}: together {1 / together[0]:.2f} steps a second, alone "
                f"{1 / alone[0]:.2f}; CPU seconds of a step {together[1]:.3f} in each "
                f"and {alone[1]:.3f}",
                flush=True,
            )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=["speed", "quality"])
    args = parser.parse_args()
    if not dist.is_torchelastic_launched():
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        command = [*launcher, "--nproc-per-node=2", *sys.argv]
        return subprocess.run([sys.executable, *command], check=False).returncode
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist.init_process_group("gloo")
    if args.only != "quality":
        speed()
    if args.only != "speed":
        quality(args.seeds)
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
