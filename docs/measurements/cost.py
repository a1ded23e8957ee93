"""CPU time and peak memory where a table is wide, mapped from a file, or of images.

Run ``python docs/measurements/cost.py``; it takes a minute on one core. Linux only,
as it reads how much memory is the process's own.
"""

import multiprocessing
import resource
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

from skganomaly import AutoencoderDetector, GANomalyDetector
from skganomaly._models._scaling import fit_scaling
from skganomaly._sample_quality import N_SAMPLES, compare_samples, n_compared
from skganomaly._training._batches import RowDataset


def own_memory():
    """Memory that is no file's, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(s for s in lines if s.startswith("RssAnon")).split()[1]) / 1024


def wide(cls):
    """Fifty rows of 20,000 columns, fitted and scored with the defaults."""
    rows = np.random.default_rng(0).normal(size=(50, 20_000))
    start = time.process_time()
    cls(random_state=0).fit(rows).anomaly_score(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{cls.__name__}, 50 x 20,000: {time.process_time() - start:.1f} CPU s,", end=""
    )
    print(f" peak {peak:.2f} GiB", flush=True)


def mapped():
    """A memory map of 256 MiB; what is added when its rows are made ready to train."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        rows = np.lib.format.open_memmap(path, "w+", np.float32, (2**20, 64))
        rows[:] = np.random.default_rng(0).normal(size=(1, 64))
        rows[::2] += 1
        scaling = fit_scaling("minmax", (64,), rows)
        before = own_memory()
        dataset = RowDataset(rows, scaling, torch.device("cpu"))
        print(f"memory map of 256 MiB: {own_memory() - before:.0f} MiB", end="")
        print(f" for {len(dataset):,} rows in single precision", flush=True)


def compared():
    """What AnoGAN compares its samples with the rows by, at 3 x 96 x 128."""
    n_rows = n_compared(3 * 96 * 128)
    rows = torch.rand(n_rows, 3, 96, 128)
    samples = torch.rand(2, n_rows, 3, 96, 128)
    start = time.process_time()
    compare_samples(samples, rows)
    seconds = time.process_time() - start
    print(f"samples, 3 x 96 x 128: {seconds:.2f} CPU s for {n_rows} of {N_SAMPLES}")


def run(call, *args):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    call(*args)


def main():
    # Each in a process of its own, as a peak is that of the whole process.
    context = multiprocessing.get_context("spawn")
    for call in ((wide, GANomalyDetector), (wide, AutoencoderDetector), (mapped,)):
        process = context.Process(target=run, args=call)
        process.start()
        process.join()
    run(compared)


if __name__ == "__main__":
    main()
