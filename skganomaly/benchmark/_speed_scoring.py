"""What fitting and scoring cost, beside detectors of others."""

import importlib.util
import warnings
from functools import partial

import torch
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from .. import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from ._floor import Floor, seconds_of
from ._speed import compared, take_turns

__all__ = ["measure_growth", "measure_pyod_anogan", "measure_scoring"]

_REFERENCE = "nearest neighbours, brute"

# Of PyOD's AnoGAN, which searches for the code of each row that it is fitted with.
_FEW_ROWS = 64


def _ours(cls, max_steps, **params):
    detector = cls(device="cpu", random_state=0, **params)
    if max_steps is not None:
        detector.set_params(max_steps=max_steps)
    return detector, detector.score_samples


def _neighbors(algorithm):
    search = NearestNeighbors(n_neighbors=5, algorithm=algorithm)
    return search, search.kneighbors


def _forest():
    forest = IsolationForest(random_state=0)
    return forest, forest.score_samples


def _autoencoder_of_pyod(quick):
    from pyod.models.auto_encoder import AutoEncoder

    options = {"epoch_num": 1} if quick else {}
    detector = AutoEncoder(verbose=0, **options)
    return detector, detector.decision_function


def _detectors(max_steps):
    """What makes each detector, and the method that scores rows."""
    ganomaly = partial(_ours, GANomalyDetector, max_steps)
    detectors = {
        "GANomaly": ganomaly,
        "GANomaly, joint": partial(ganomaly, score_type="joint"),
        "GANomaly, latent": partial(ganomaly, score_type="latent"),
        "GANomaly, max_references=2000": partial(ganomaly, max_references=2000),
        "GANomaly, n_members=1": partial(ganomaly, n_members=1),
        "Autoencoder": partial(_ours, AutoencoderDetector, max_steps),
        "AnoGAN": partial(_ours, AnoGANDetector, max_steps),
        _REFERENCE: partial(_neighbors, "brute"),
        "nearest neighbours, tree": partial(_neighbors, "kd_tree"),
        "IsolationForest": _forest,
    }
    if importlib.util.find_spec("pyod"):
        detectors["PyOD AutoEncoder"] = partial(
            _autoencoder_of_pyod, max_steps is not None
        )
    return detectors


def _fitted(make, X):
    """A scoring method, and the CPU seconds of the fit."""
    detector, score = make()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # Of few steps, and of what others deprecate.
        warnings.simplefilter("ignore")
        seconds = seconds_of(detector.fit, X)
    return detector, score, seconds


def measure_scoring(X, X_new, *, sizes, n_repeats, machine, max_steps=None):
    """Compare fit and scoring of ours, with defaults, and of others.

    Parameters
    ----------
    X, X_new : ndarray of shape (n_rows, n_columns)
        Rows of the fit, and at least as many to score as the largest of ``sizes``.
    sizes : sequence of int
        Numbers of rows that are scored at once.
    n_repeats : int
        Turns of scoring; each is fitted once.
    machine : Machine
    max_steps : int or None, default=None
        Fewer steps than the default.

    Returns
    -------
    floors : dict of int to Floor
        Of GANomaly's scoring, for each of ``sizes``.
    fits : list of dict
        "what" and "fit", CPU seconds.
    rows : dict of int to list of dict
        For each of ``sizes``, see :func:`compared`; ratios to nearest neighbours.
    """
    scores, fits = {}, []
    for name, make in _detectors(max_steps).items():
        detector, scores[name], seconds = _fitted(make, X)
        fits.append({"what": name, "fit": seconds})
        if name == "GANomaly":
            model = detector.model_
    n_known = sum(tensor.nbytes for tensor in model.state_dict().values())
    floors = {
        n: Floor(
            machine,
            lambda n=n: scores["GANomaly"](X_new[:n]),
            n_known + X_new[:n].nbytes,
        )
        for n in sizes
    }
    return floors, fits, {n: _compare(scores, X_new, n, n_repeats) for n in sizes}


def _compare(scores, X_new, n, n_repeats):
    # Some calls of few rows make a turn, as one is over too soon to be timed.
    n_calls = min(max(1, 1024 // n), 16)

    def turn(score):
        for start in range(n_calls):
            score(X_new[start : start + n])

    seconds = take_turns(
        {name: partial(seconds_of, turn, score) for name, score in scores.items()},
        n_repeats,
    )
    return compared(seconds, _REFERENCE, n_calls * n, "us")


def measure_growth(X, X_new, *, sizes, n_repeats, max_steps=None):
    """Compare scoring by the default with searches of all training rows.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
    X_new : ndarray of shape (n_new, n_columns)
        All scored at once.
    sizes : sequence of int
        Numbers of training rows, from the first on.
    n_repeats : int
    max_steps : int or None, default=None

    Returns
    -------
    dict of int to list of dict
        For each of ``sizes``, see :func:`compared`; ratios to GANomaly.
    """
    chosen = ("GANomaly", _REFERENCE, "nearest neighbours, tree", "IsolationForest")
    makers, found = _detectors(max_steps), {}
    for n in sizes:
        scores = {name: _fitted(makers[name], X[:n])[1] for name in chosen}
        seconds = take_turns(
            {name: partial(seconds_of, f, X_new) for name, f in scores.items()},
            n_repeats,
        )
        found[n] = compared(seconds, "GANomaly", len(X_new), "us")
    return found


def measure_pyod_anogan(X):
    """CPU milliseconds of PyOD's AnoGAN: of a training step, and of scoring a row.

    Its fit with defaults is 500 passes over the rows, and then scores each of them.
    """
    from pyod.models.anogan import AnoGAN

    X = X[:_FEW_ROWS]

    def fit(epochs):
        detector = AnoGAN(epochs=epochs, batch_size=32, device="cpu")
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")
            return detector, seconds_of(detector.fit, X)

    # What a first call loads is no cost of it.
    fit(1)
    detector, short = fit(1)
    _, long = fit(101)
    n_steps = 100 * -(-len(X) // 32)
    scoring = seconds_of(detector.decision_function, X)
    return 1e3 * (long - short) / n_steps, 1e3 * scoring / len(X)
