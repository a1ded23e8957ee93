"""What AnoGAN's latent search costs: in a batch, alone, and beside other ways."""

import importlib.util
import time

import numpy as np
import torch

from .. import AnoGANDetector
from .._latent_search import LatentSearch
from ..architectures import MLP, ConvNet

_N_BATCH = 256
_N_ALONE = 8
_LONG_SEARCH = 200


def measure_search_cost(*, n_steps=25, n_repeats=5):
    """Time the search for codes on a table and on images, row by row and in a batch.

    One member, the networks of the defaults. What is timed is the search alone, on one
    batch of 256 rows or on single rows one after the other, and the encoder on the same
    batch. On the table, PyOD's query loop runs beside it with networks of the same
    layers, if PyOD is installed. All are timed in turn, so that a change of the
    machine's speed meets all.

    Parameters
    ----------
    n_steps : int, default=25
        Steps of a search. Its cost is linear in them.
    n_repeats : int, default=5
        Rounds, of which medians are taken.

    Returns
    -------
    dict of str to dict
        For "table" (30 columns) and "images" (28 x 28 pixels): CPU microseconds per row
        and step "batch_us", "alone_us" and on the table "pyod_us"; per row
        "encoder_us"; and the ratios "alone / batch", "pyod / batch" and
        "200 steps / encoder".
    """
    rng = np.random.default_rng(0)
    table = rng.normal(size=(600, 30))
    images = rng.uniform(size=(300, 1, 28, 28))
    return {
        "table": _measure(table, n_steps, n_repeats, _pyod_query(table)),
        "images": _measure(images, n_steps, n_repeats, None),
    }


def _measure(X, n_steps, n_repeats, pyod_query):
    architecture = MLP()
    if X.ndim > 2:
        architecture = ConvNet(discriminator_normalization=None)
    detector = AnoGANDetector(
        architecture=architecture,
        n_members=1,
        max_steps=20,
        encoder_steps=20,
        score_type="published",
        random_state=0,
    ).fit(X[:_N_BATCH])
    networks = detector.net_.networks
    search = LatentSearch(
        n_steps=n_steps,
        learning_rate=0.1,
        residual_loss="l1",
        feature_weight=0.1,
        prior_weight=0.0,
    )
    rows = detector.scaler_.transform(X[:_N_BATCH].reshape(_N_BATCH, -1))
    x = torch.from_numpy(rows)[None]
    starts = torch.zeros(1, _N_BATCH, 1, detector.latent_dim_)

    def find(part):
        features = detector._features(networks)
        search(networks["generator"], features, x[:, part], starts[:, part])

    def encode():
        with torch.inference_mode():
            networks["encoder"](x)

    def alone():
        for i in range(_N_ALONE):
            find(slice(i, i + 1))

    tasks = {
        "batch_us": (lambda: find(slice(None)), _N_BATCH * n_steps),
        "alone_us": (alone, _N_ALONE * n_steps),
        "encoder_us": (lambda: [encode() for _ in range(20)], 20 * _N_BATCH),
    }
    if pyod_query is not None:
        tasks["pyod_us"] = (lambda: pyod_query(_N_ALONE, n_steps), _N_ALONE * n_steps)
    seconds = {name: [] for name in tasks}
    # The first round warms up allocators and caches, and is not counted.
    for _ in range(n_repeats + 1):
        for name, (task, n_units) in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append((time.process_time() - start) / n_units)
    figures = {name: 1e6 * float(np.median(s[1:])) for name, s in seconds.items()}
    figures["alone / batch"] = figures["alone_us"] / figures["batch_us"]
    long_search = _LONG_SEARCH * figures["batch_us"]
    figures[f"{_LONG_SEARCH} steps / encoder"] = long_search / figures["encoder_us"]
    if pyod_query is not None:
        figures["pyod / batch"] = figures["pyod_us"] / figures["batch_us"]
    return figures


def _pyod_query(X):
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
