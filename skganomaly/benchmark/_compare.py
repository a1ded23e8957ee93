"""Run detectors on data sets and collect one row of figures for each run."""

from __future__ import annotations

import contextlib
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import joblib
import numpy as np
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from sklearn.utils import check_scalar
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from ..datasets import AnomalyDataset, LazyDatasets
from ._detector import Detector
from ._optional import import_optional
from ._protocols import PROTOCOLS, iterate_splits

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from pandas import DataFrame

COLUMNS = (
    "detector",
    "dataset",
    "class",
    "protocol",
    "contamination",
    "seed",
    "n_train",
    "n_test",
    "n_features",
    "roc_auc",
    "average_precision",
    "f1",
    "false_alarms",
    "fit_seconds",
    "score_seconds",
    "score_seconds_per_1000",
    "wall_seconds",
    "device",
    "error",
)


def compare(
    detectors: Mapping[str, Any],
    datasets: (
        Mapping[str, AnomalyDataset | tuple[Any, ArrayLike]]
        | Iterable[AnomalyDataset]
        | AnomalyDataset
    ),
    seeds: Iterable[int] = (0, 1, 2),
    *,
    protocol: Literal["one-class", "leave-one-class-out", "contaminated"] = "one-class",
    contamination: float = 0.0,
    max_train: int = 10_000,
    max_test: int = 10_000,
    n_jobs: int = 1,
    n_threads: int = 1,
    verbose: int = 0,
) -> DataFrame:
    """Fit every detector on every data set with every seed.

    Parameters
    ----------
    detectors : dict of str to estimator or Detector
        Unfitted detectors of scikit-learn's or PyOD's convention, or pipelines that end
        in one. Where the direction of the scores cannot be known from the class, wrap
        the estimator in :class:`Detector`. Scaling is the detector's own business.
    datasets : dict, LazyDatasets, AnomalyDataset or iterable of AnomalyDataset
        The data: :class:`~skganomaly.datasets.AnomalyDataset` objects; in a dict also
        pairs ``(X, y)`` with y 1 for normal and -1 for anomalous rows. X may be a
        pandas data frame with text, dates and missing values: its rows are divided
        and passed on as they are, so that a Pipeline learns how to encode them from
        training rows alone.
    seeds : iterable of int, default=(0, 1, 2)
        Each seed draws the split and is set as every `random_state` of the detector.
    protocol : {"one-class", "leave-one-class-out", "contaminated"}, default="one-class"
        - "one-class": train on a random half of the normal rows, test on the other
          normal rows and all anomalies. In data with classes each class in turn is the
          only normal one; where test rows were set aside, these are the test rows.
        - "leave-one-class-out": each class in turn is the anomaly; train on 80 % of
          the other rows, test on the rest and on all of that class.
        - "contaminated": train on a random half of all rows, anomalies included, test
          on the other half. In data with classes each class in turn is the anomaly.

    contamination : float in [0, 0.5), default=0.0
        Share of the training rows of "one-class" that is replaced by anomalies, which
        are then no test rows; at most half of the anomalies there are.
    max_train : int, default=10000
        Maximum number of training rows, at least 2; which ones are left out is random.
    max_test : int, default=10000
        Maximum number of test rows, at least 2; which ones are left out is random,
        except that one normal and one anomalous row stay.
    n_jobs : int, default=1
        Number of processes; -1 for all cores.
    n_threads : int, default=1
        Threads of NumPy, scikit-learn and torch inside each process.
    verbose : int, default=0
        Above 0 a progress bar on standard error says what is running.

    Returns
    -------
    results : DataFrame
        One row for each detector, data set, seed and, where classes take turns, class:

        - detector, dataset, class (empty where anomalies are fixed), protocol,
          contamination, seed;
        - n_train, n_test, n_features;
        - roc_auc, average_precision: with the anomaly as the positive class;
        - f1: of the anomalies, at the detector's own default threshold;
        - false_alarms: share of the normal test rows that `predict` flags;
        - fit_seconds, score_seconds, score_seconds_per_1000 (rows): CPU time of the
          process, all threads together; work done by a GPU is not in it;
        - wall_seconds: duration of fit and scoring, the waiting included;
        - device: the detector's `device_`, where it has one;
        - error: empty, or why figures are NaN.

    Raises
    ------
    ValueError
        If the direction of a detector's scores cannot be known, an option is unknown or
        a data set's arrays are wrong.
    ImportError
        If pandas is missing.

    Warns
    -----
    RuntimeWarning
        If any run failed; its row is in the results all the same.

    Examples
    --------
    >>> from sklearn.ensemble import IsolationForest
    >>> from skganomaly.benchmark import compare
    >>> from skganomaly.datasets import make_anomalies
    >>> data = {"local": make_anomalies(200, kind="local", random_state=0)}
    >>> results = compare({"forest": IsolationForest()}, data, seeds=(0, 1))
    >>> results[["detector", "dataset", "seed", "n_train", "n_test"]]
      detector dataset  seed  n_train  n_test
    0   forest   local     0       90     110
    1   forest   local     1       90     110
    """
    pandas = import_optional("pandas")
    runs = iterate_comparison(
        detectors,
        datasets,
        seeds,
        protocol=protocol,
        contamination=contamination,
        max_train=max_train,
        max_test=max_test,
        n_jobs=n_jobs,
        n_threads=n_threads,
        verbose=verbose,
    )
    results = pandas.DataFrame(list(runs), columns=list(COLUMNS))
    warn_of_failures(results)
    return results


def iterate_comparison(
    detectors,
    datasets,
    seeds,
    *,
    protocol,
    max_train,
    max_test,
    n_jobs,
    n_threads,
    verbose,
    contamination=0.0,
):
    """Check the arguments of :func:`compare`, then yield its rows as they come."""
    if not isinstance(detectors, Mapping) or not detectors:
        raise ValueError(
            "detectors must be a non-empty dict from name to estimator, got "
            f"{type(detectors).__name__}."
        )
    wrapped = {}
    for name, detector in detectors.items():
        try:
            wrapped[name] = (
                detector if isinstance(detector, Detector) else Detector(detector)
            )
        except ValueError as error:
            raise ValueError(f"Detector {name!r}: {error}") from error
    datasets = _check_datasets(datasets)
    seeds = [int(seed) for seed in seeds]
    if not seeds or min(seeds) < 0:
        raise ValueError(f"seeds must hold integers of at least 0, got {seeds}.")
    if protocol not in PROTOCOLS:
        raise ValueError(
            f"protocol must be one of {list(PROTOCOLS)}, got {protocol!r}."
        )
    check_scalar(
        contamination,
        "contamination",
        Real,
        min_val=0,
        max_val=0.5,
        include_boundaries="left",
    )
    if contamination and protocol != "one-class":
        raise ValueError(
            f"contamination={contamination:g} puts anomalies among the training rows "
            f"of protocol 'one-class', and protocol is {protocol!r}. Leave out one."
        )
    check_scalar(max_train, "max_train", (int, np.integer), min_val=2)
    check_scalar(max_test, "max_test", (int, np.integer), min_val=2)
    check_scalar(n_threads, "n_threads", (int, np.integer), min_val=1)
    limits = {
        "max_train": max_train,
        "max_test": max_test,
        "contamination": contamination,
    }
    progress = tqdm(
        total=len(datasets) * len(seeds) * len(wrapped),
        disable=not verbose,
        unit="run",
        dynamic_ncols=True,
    )
    return _iterate(
        wrapped, datasets, seeds, protocol, limits, n_jobs, n_threads, progress
    )


def warn_of_failures(results):
    """Warn once of all runs with an error."""
    failed = results[results["error"] != ""]
    if len(failed):
        first = failed.iloc[0]
        warnings.warn(
            f"{len(failed)} of {len(results)} runs failed, see the column 'error'; "
            f"first {first['detector']} on {first['dataset']}: {first['error']}",
            RuntimeWarning,
            stacklevel=3,
        )


def _check_datasets(datasets):
    if isinstance(datasets, LazyDatasets):
        return datasets
    if isinstance(datasets, AnomalyDataset):
        datasets = [datasets]
    if isinstance(datasets, Mapping):
        checked = {
            name: data if isinstance(data, AnomalyDataset) else _from_pair(name, data)
            for name, data in datasets.items()
        }
    else:
        datasets = list(datasets)
        checked = {getattr(data, "name", None): data for data in datasets}
        if None in checked or len(checked) < len(datasets):
            raise ValueError(
                "Without a dict, datasets must be AnomalyDataset objects with "
                "different names."
            )
    if not checked:
        raise ValueError("There are no data sets to compare on.")
    return checked


def _from_pair(name, pair):
    try:
        X, y = pair
    except (TypeError, ValueError):
        raise ValueError(
            f"Data set {name!r} must be an AnomalyDataset or a pair (X, y)."
        ) from None
    return AnomalyDataset(name, X, y)


def _iterate(detectors, datasets, seeds, protocol, limits, n_jobs, n_threads, progress):
    def tasks():
        # Consumed piece by piece, so that few data sets are in memory at a time.
        for name in datasets:
            same = {"dataset": name, "protocol": protocol}
            same["contamination"] = limits["contamination"]
            try:
                data = datasets[name]
                turns = len(data.classes or (None,))
            except (ValueError, OSError) as error:
                # One broken file must not cost the runs on all others.
                for seed in seeds:
                    for detector in detectors:
                        row = {**same, "detector": detector, "seed": seed}
                        yield joblib.delayed(_failed_row)(row, error)
                continue
            progress.total += len(seeds) * len(detectors) * (turns - 1)
            for seed in seeds:
                yield from runs(same, data, seed)

    def runs(same, data, seed):
        try:
            splits = list(iterate_splits(data, protocol, seed, **limits))
        except ValueError as error:
            for detector in detectors:
                row = {**same, "detector": detector, "seed": seed}
                yield joblib.delayed(_failed_row)(row, error)
            return
        for split in splits:
            # Processes get only the rows of a split, whatever the size of the data.
            X_train, X_test = data.rows(split.train), data.rows(split.test)
            special = "" if split.special is None else split.special
            for name, detector in detectors.items():
                progress.set_description_str(f"{name} on {same['dataset']} {special}")
                row = {**same, "detector": name, "seed": seed, "class": special}
                yield joblib.delayed(_run)(
                    row,
                    detector,
                    X_train,
                    X_test,
                    split.anomalous,
                    data.input_shape,
                    n_threads,
                )

    with progress:
        if joblib.effective_n_jobs(n_jobs) == 1:
            finished = (function(*args) for function, args, _ in tasks())
        else:
            config = joblib.parallel_config("loky", inner_max_num_threads=n_threads)
            with config:
                # No memory maps: they are read-only, and detectors may write.
                pool = joblib.Parallel(n_jobs, return_as="generator", max_nbytes=None)
                finished = pool(tasks())
        for row in finished:
            progress.update()
            yield row


def _failed_row(row, error):
    filled = {
        name: np.nan if name in _NUMBERS else 0 if name in _COUNTS else ""
        for name in COLUMNS
    }
    text = " ".join(f"{type(error).__name__}: {error}".split()) if error else ""
    return filled | row | {"error": text[:300]}


_COUNTS = frozenset({"n_train", "n_test", "n_features"})
_NUMBERS = frozenset(COLUMNS[COLUMNS.index("roc_auc") : COLUMNS.index("device")])


def _run(row, detector, X_train, X_test, anomalous, input_shape, n_threads):
    """Fit and score once; whatever goes wrong becomes the row's error."""
    row = _failed_row(row, None)
    row["n_train"], row["n_features"] = X_train.shape
    row["n_test"] = len(X_test)
    try:
        with limit_threads(n_threads):
            _measure(row, detector, X_train, X_test, anomalous, input_shape)
    except Exception as error:  # Any error of a stranger's detector is a result.
        row = _failed_row(row, error)
    return row


def _measure(row, detector, X_train, X_test, anomalous, input_shape):
    estimator = detector.prepare(row["seed"], input_shape)
    wall, start = time.perf_counter(), time.process_time()
    # PyOD's networks return None from fit.
    estimator.fit(X_train)
    fitted = time.process_time()
    scores = detector.anomaly_score(estimator, X_test)
    scored = time.process_time()
    row["wall_seconds"] = time.perf_counter() - wall
    row["fit_seconds"] = fitted - start
    row["score_seconds"] = scored - fitted
    row["score_seconds_per_1000"] = 1000 * (scored - fitted) / len(X_test)
    last = getattr(estimator, "_final_estimator", estimator)
    row["device"] = str(getattr(last, "device_", ""))
    if not np.isfinite(scores).all():
        n_bad = int(np.sum(~np.isfinite(scores)))
        raise ValueError(f"{n_bad} of {len(scores)} scores are not finite.")
    if anomalous.all() or not anomalous.any():
        raise ValueError("The test rows are all of one kind.")
    row["roc_auc"] = roc_auc_score(anomalous, scores)
    row["average_precision"] = average_precision_score(anomalous, scores)
    flags = detector.flags(estimator, X_test)
    if flags is not None:
        row["f1"] = f1_score(anomalous, flags, zero_division=0.0)
        row["false_alarms"] = float(np.mean(flags[~anomalous]))


@contextlib.contextmanager
def limit_threads(n_threads):
    """Limit the threads of numeric libraries inside a with block."""
    # Torch keeps a count of its own beside those of the libraries below it.
    torch = sys.modules.get("torch")
    before = torch.get_num_threads() if torch else None
    try:
        with threadpool_limits(limits=n_threads):
            if torch:
                torch.set_num_threads(n_threads)
            yield
    finally:
        if torch:
            torch.set_num_threads(before)
