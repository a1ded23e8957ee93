"""What AnoGAN's latent search costs: in a batch, alone, and beside other ways.

Run ``python docs/measurements/search.py``; it takes half a minute on one core. One
member, the networks of the defaults. What is timed is the search alone, on one batch of
256 rows or on single rows one after the other, and the encoder on the same batch. On
the table, PyOD's query loop runs beside it with networks of the same layers, if PyOD is
installed.
"""

import importlib.util
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from skganomaly import AnoGANDetector
from skganomaly._models._search import LatentSearch
from skganomaly.architectures import MLP, ConvNet
from skganomaly.searches import EncoderSearch, GradientSearch

N_BATCH = 256
N_ALONE = 8
LONG_SEARCH = 200


def measure(X, pyod_query=None, *, n_steps=25, n_repeats=5):
    """CPU microseconds per row and step, of the encoder per row, and their ratios."""
    architecture = MLP()
    if X.ndim > 2:
        architecture = ConvNet(discriminator_normalization=None)
    detector = AnoGANDetector(
        architecture=architecture,
        n_members=1,
        max_steps=20,
        search=EncoderSearch(encoder_steps=20),
        score_type="published",
        random_state=0,
    ).fit(X[:N_BATCH])
    method = detector.model_.method
    search = LatentSearch(GradientSearch(n_steps=n_steps))
    rows = detector.model_.scaling.transform(X[:N_BATCH].reshape(N_BATCH, -1))
    x = torch.from_numpy(rows)[None]
    starts = torch.zeros(1, N_BATCH, 1, detector.settings_.latent_dim)

    def find(part):
        search(method.generator, method.features, x[:, part], starts[:, part])

    def encode():
        with torch.inference_mode():
            method.encoder(x)

    def alone():
        for i in range(N_ALONE):
            find(slice(i, i + 1))

    tasks = {
        "batch_us": (lambda: find(slice(None)), N_BATCH * n_steps),
        "alone_us": (alone, N_ALONE * n_steps),
        "encoder_us": (lambda: [encode() for _ in range(20)], 20 * N_BATCH),
    }
    if pyod_query is not None:
        tasks["pyod_us"] = (lambda: pyod_query(N_ALONE, n_steps), N_ALONE * n_steps)
    seconds = {name: [] for name in tasks}
    # In turn, so that a change of the machine's speed meets all. The first round warms
    # up allocators and caches, and is not counted.
    for _ in range(n_repeats + 1):
        for name, (task, n_units) in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append((time.process_time() - start) / n_units)
    figures = {name: 1e6 * float(np.median(s[1:])) for name, s in seconds.items()}
    figures["alone / batch"] = figures["alone_us"] / figures["batch_us"]
    long_search = LONG_SEARCH * figures["batch_us"]
    figures[f"{LONG_SEARCH} steps / encoder"] = long_search / figures["encoder_us"]
    if pyod_query is not None:
        figures["pyod / batch"] = figures["pyod_us"] / figures["batch_us"]
    return figures


def pyod_loop(X):
    """PyOD's loop over rows, as a function of (number of rows, steps), or None."""
    if not importlib.util.find_spec("pyod"):
        return None
    from pyod.models.anogan import AnoGAN

    networks = MLP()

    def query(n_rows, n_steps):
        # No training, only the queries that its fit ends with.
        AnoGAN(
            G_layers=list(networks.hidden_layer_sizes[::-1]),
            D_layers=list(networks.discriminator_layer_sizes),
            latent_dim_G=X.shape[1],
            epochs=0,
            epochs_query=n_steps,
            verbose=0,
            device="cpu",
        ).fit(X[:n_rows])

    return query


def main():
    torch.set_num_threads(1)
    # So few steps are enough to measure, not to detect.
    warnings.simplefilter("ignore", ConvergenceWarning)
    rng = np.random.default_rng(0)
    table = rng.normal(size=(600, 30))
    images = rng.uniform(size=(300, 1, 28, 28))
    for name, rows, query in (
        ("table, 30 columns", table, pyod_loop(table)),
        ("images, 28 x 28", images, None),
    ):
        print(f"{name}:")
        for quantity, value in measure(rows, query).items():
            print(f"  {quantity:20} {value:10.1f}", flush=True)


if __name__ == "__main__":
    main()
