"""What the detector of images costs: a training step, an image, and memory.

Run ``python docs/measurements/images.py``; it takes two minutes on one core. The method
is "defects" with defaults; images are noise, whose content changes nothing of the cost.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import torch

from skganomaly.images import DefectDiscriminator

SIZES = [(1, 160, 140), (1, 320, 320), (1, 1024, 1024), (3, 1024, 1024)]
N_STEPS = 30


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
    """CPU milliseconds of a step and of an image, and the peak memory in MiB."""
    torch.set_num_threads(1)
    images = Images(100, shape)
    method = DefectDiscriminator(n_steps=N_STEPS)
    start = time.process_time()
    fitted = method.fit_maps(images, None, seed=0, device=torch.device("cpu"))
    step = (time.process_time() - start) / N_STEPS
    picture = images[0]
    fitted.map(picture)
    start = time.process_time()
    for _ in range(5):
        fitted.map(picture)
    image = (time.process_time() - start) / 5
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = " x ".join(map(str, shape))
    print(f"{name:18} step {1e3 * step:.0f} ms, image {1e3 * image:.0f} ms, ", end="")
    print(f"peak {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(SIZES[int(sys.argv[1])])
    else:
        # Each in a process of its own, as memory is what a process had at most.
        for number in range(len(SIZES)):
            subprocess.run([sys.executable, __file__, str(number)], check=True)
