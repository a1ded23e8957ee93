"""What detectors of images cost: a training step, an image, and memory.

Run ``python docs/measurements/images.py`` for "defects" with defaults; it takes two
minutes on one core. ``python docs/measurements/images.py detectors`` compares what a
fit of each detector costs on small images, in six. Images are noise, whose content
changes nothing of the cost.
"""

import resource
import subprocess
import sys
import time
import warnings

import numpy as np
import torch

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.images import DefectDiscriminator, ImageDetector
from skganomaly.searches import EncoderSearch

SIZES = [(1, 160, 140), (1, 320, 320), (1, 1024, 1024), (3, 1024, 1024)]
N_STEPS = 100


class Images:
    """So many images of noise that are made when they are asked for."""

    def __init__(self, n_images, shape):
        self.n_images = n_images
        self.shape = shape

    def __len__(self):
        return self.n_images

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        return rng.integers(0, 255, size=self.shape, dtype=np.uint8)


def measure(shape):
    """CPU milliseconds of a step and of an image, and the peak memory in MiB.

    A step is one of both networks, and an image is seen by both.
    """
    torch.set_num_threads(1)
    images = Images(100, shape)
    method = DefectDiscriminator(n_steps=N_STEPS)
    start = time.process_time()
    fitted = method.fit_maps(images, None, seed=0, device=torch.device("cpu"))
    step = (time.process_time() - start) / N_STEPS
    picture = images[0]
    start = time.process_time()
    for _ in range(5):
        for network in fitted:
            network.map(picture)
    image = (time.process_time() - start) / 5
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = " x ".join(map(str, shape))
    print(f"{name:18} step {1e3 * step:.0f} ms, image {1e3 * image:.0f} ms, ", end="")
    print(f"peak {peak:.0f} MiB", flush=True)


def fit_seconds(detector, images):
    """CPU seconds of a fit."""
    start = time.process_time()
    detector.fit(images)
    return time.process_time() - start


def image_detector_seconds(images):
    """Of a fit, from a short one and what a longer one adds for each step."""
    short, longer = (
        fit_seconds(ImageDetector(method=DefectDiscriminator(n_steps=n)), images)
        for n in (10, 10 + N_STEPS)
    )
    step = (longer - short) / N_STEPS
    return short + step * (DefectDiscriminator().n_steps - 10)


def compare_detectors():
    """Print what a fit costs by size and number of images, with defaults."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # A quarter of the steps that it takes whatever the number of images.
    quarter = AnoGANDetector(
        max_steps=175, search=EncoderSearch(encoder_steps=88), max_restarts=0
    )
    for size, n_images in ((28, 200), (28, 1000), (64, 200), (64, 1000), (96, 200)):
        images = Images(n_images, (size, size))
        images = np.stack([images[i] for i in range(n_images)])
        seconds = {
            "Autoencoder": fit_seconds(AutoencoderDetector(), images),
            "GANomaly": fit_seconds(GANomalyDetector(), images),
            "AnoGAN": 4 * fit_seconds(quarter, images),
            "ImageDetector": image_detector_seconds(images),
        }
        figures = ", ".join(f"{name} {s:.0f} s" for name, s in seconds.items())
        print(f"{n_images} of {size} x {size}: {figures}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["detectors"]:
        compare_detectors()
    elif len(sys.argv) > 1:
        measure(SIZES[int(sys.argv[1])])
    else:
        # Each in a process of its own, as memory is what a process had at most.
        for number in range(len(SIZES)):
            subprocess.run([sys.executable, __file__, str(number)], check=True)
