"""What an approximate index would save: the search for the nearest of many references.

Run ``python docs/measurements/index.py`` after ``pip install faiss-cpu``; it takes some
minutes on one core. The vectors are those that the default score of GANomaly compares:
joined parts of one network's rows of 30 columns, whitened. Beside the exact search are
faiss' graph (HNSW, Malkov and Yashunin 2018, :arxiv:`1603.09320`) and inverted lists
(IVF), each with as much effort as finds 95 % of the 10 nearest, if any does.
"""

import argparse
import importlib
import time
from functools import partial

import numpy as np
import torch

from skganomaly import GANomalyDetector
from skganomaly._models._nearest import NearestVectors
from skganomaly.datasets import make_anomalies

N_NEIGHBORS = 10
WANTED = 0.95
N_QUERIES = 512
SIZES = 6_000, 30_000, 100_000, 300_000, 1_000_000
EFFORTS = 16, 32, 64, 128, 256, 512, 1024, 2048


def seconds(call):
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def joined_vectors(X):
    """What is compared, for every row."""
    detector = GANomalyDetector(n_members=1, random_state=0, device="cpu")
    model = detector.fit(X[:10_000]).model_
    score, vectors = model.score, []
    with torch.inference_mode():
        for _, x in model.chunks(X):
            joined = score._joined(model.parts(x, score.part_names))
            vectors.append(score.joined.transforms(joined)[0])
    return torch.cat(vectors)[: len(X)]


def approximate(index, set_effort, queries, nearest):
    """Microseconds a query and the share found, with the least effort that will do."""
    for effort in EFFORTS:
        set_effort(effort)
        (_, found), taken = seconds(lambda: index.search(queries, N_NEIGHBORS))
        share = np.mean(
            [len(np.intersect1d(*pair)) for pair in zip(found, nearest, strict=True)]
        )
        if share >= WANTED * N_NEIGHBORS:
            break
    return taken / len(queries) * 1e6, share / N_NEIGHBORS


def compare(faiss, queries, vectors):
    n, width = vectors.shape
    exact, build = seconds(lambda: NearestVectors(vectors[None]))
    exact.search(queries[None], N_NEIGHBORS)
    (_, nearest), taken = seconds(lambda: exact.search(queries[None], N_NEIGHBORS))
    per_query = taken / N_QUERIES * 1e6
    print(f"{n:9,} exact: build {build:.2f} s, {per_query:.0f} us", flush=True)
    graph = faiss.IndexHNSWFlat(width, 32)
    lists = faiss.IndexIVFFlat(faiss.IndexFlatL2(width), width, round(n**0.5))
    rows, nearest = vectors.numpy(), nearest[0].numpy()
    for name, index, efforts in (
        ("HNSW", graph, lambda effort: setattr(graph.hnsw, "efSearch", effort)),
        ("IVF", lists, lambda effort: setattr(lists, "nprobe", effort)),
    ):
        if not index.is_trained:
            index.train(rows)
        _, build = seconds(partial(index.add, rows))
        taken, share = approximate(index, efforts, queries.numpy(), nearest)
        print(
            f"{n:9,} {name}: build {build:.1f} s, {taken:.0f} us, finds {share:.0%}",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--most", type=int, default=100_000, help="references")
    most = parser.parse_args().most
    faiss = importlib.import_module("faiss")
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    X, y = make_anomalies(
        round(1.05 * most) + 20_000,
        30,
        contamination=0.01,
        kind="dependency",
        random_state=0,
    )
    vectors = joined_vectors(X[y == 1].astype(np.float32))
    queries, vectors = vectors[:N_QUERIES], vectors[N_QUERIES:]
    for n in [n for n in SIZES if n <= most]:
        compare(faiss, queries, vectors[:n].contiguous())


if __name__ == "__main__":
    main()
