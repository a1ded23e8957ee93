"""CPU time and memory of a fit and of scoring, against rows in a memory-mapped file.

Run ``python docs/measurements/rows.py``; it writes a file of 4 GiB into the folder for
temporary files, removes it at the end, and takes half an hour on one core. Linux only,
as it reads how much memory is the process's own.
"""

import argparse
import multiprocessing
import tempfile
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from skganomaly import GANomalyDetector

N_COLUMNS = 30
N_TIMED = 20_000


def own_memory():
    """Memory that is no file's, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(s for s in lines if s.startswith("RssAnon")).split()[1]) / 1024


@contextmanager
def cost():
    """Fills in the CPU seconds of a block, and the most MiB that it added."""
    found, ended = {"added": 0.0}, threading.Event()
    before, start = own_memory(), time.process_time()

    def watch():
        while not ended.wait(0.02):
            found["added"] = max(found["added"], own_memory() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()
        found["seconds"] = time.process_time() - start


def write(path, n_rows):
    """Rows of a few hidden causes, a block at a time."""
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (n_rows, N_COLUMNS))
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(5, N_COLUMNS)).astype(np.float32)
    for start in range(0, n_rows, 2**20):
        block = rows[start : start + 2**20]
        causes = rng.standard_normal((len(block), 5), dtype=np.float32)
        block[:] = rng.standard_normal(block.shape, dtype=np.float32)
        block += 3 * causes @ mixing


def measure(path, n_rows, params, n_scored, queue):
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # What a first call loads is no cost of the rows.
    some = np.load(path, mmap_mode="r")[:500]
    GANomalyDetector(max_steps=2, **params).fit(some).anomaly_score(some)
    rows = np.load(path, mmap_mode="r")[:n_rows]
    detector = GANomalyDetector(random_state=0, **params)
    with cost() as fit:
        detector.fit(rows)
    with cost() as score:
        detector.anomaly_score(rows[:n_scored])
    queue.put((fit, score))


def show(path, n_rows, params, n_scored):
    """One line, from a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    args = (path, n_rows, params, n_scored, queue)
    process = context.Process(target=measure, args=args)
    process.start()
    fit, score = queue.get()
    process.join()
    n_scored = min(n_scored, n_rows)
    print(
        f"{n_rows:>12,}  fit {fit['seconds']:6.1f} CPU s, {fit['added']:5.0f} MiB"
        f"   score {score['seconds'] * 1e6 / n_scored:6.1f} us a row,"
        f" {score['added']:5.0f} MiB for {n_scored:,} rows",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=4.0)
    most = int(parser.parse_args().gib * 2**30 / 4 / N_COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write(path, most)
        print(f"rows of {N_COLUMNS} columns, single precision; defaults")
        for n_rows in [n for n in (10**4, 10**5, 10**6, 10**7) if n < most] + [most]:
            show(path, n_rows, {}, N_TIMED)
        print("n_members=1, score_type='latent'; all rows scored")
        show(path, most, {"n_members": 1, "score_type": "latent"}, most)


if __name__ == "__main__":
    main()
