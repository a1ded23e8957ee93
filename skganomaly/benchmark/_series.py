"""Detectors of windows on generated metrics: what they find, and what they promise."""

import time
import warnings

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import Bunch

from .. import AutoencoderDetector, GANomalyDetector
from ..datasets import make_metric_anomalies
from ..timeseries import (
    AdaptiveThreshold,
    SlidingWindow,
    TimeSeriesDetector,
    event_scores,
)
from ._baselines import KNNDistance

_N_TRAIN, _N_NEW = 2000, 4000
_PERIOD = 100
_WINDOW = 50
_RATE = 0.05


class SeasonalDistance(OutlierMixin, BaseEstimator):
    """Distance of a step to the mean of its phase, in standard deviations.

    It looks at no other step and is told the season, so it is what windows have to
    beat. Columns are the metrics and, last, the phase.
    """

    def fit(self, X, y=None):
        values, phase = X[:, :-1], X[:, -1].astype(int)
        self.means_ = np.array(
            [values[phase == p].mean(axis=0) for p in range(phase.max() + 1)]
        )
        self.scale_ = (values - self.means_[phase]).std(axis=0)
        return self

    def score_samples(self, X):
        distance = np.abs(X[:, :-1] - self.means_[X[:, -1].astype(int)]) / self.scale_
        return -distance.max(axis=1)


def _detectors(n_metrics, seed):
    """Detectors of windows, by name; `input_shape` is that of one window."""
    shape = (n_metrics, _WINDOW)
    return {
        "GANomaly, table": GANomalyDetector(random_state=seed),
        "GANomaly, convolutions": GANomalyDetector(
            input_shape=shape, random_state=seed
        ),
        "autoencoder, table": AutoencoderDetector(random_state=seed),
        "autoencoder, convolutions": AutoencoderDetector(
            input_shape=shape, random_state=seed
        ),
        "5 nearest windows": make_pipeline(MinMaxScaler(), KNNDistance()),
        "isolation forest": IsolationForest(random_state=seed),
    }


def _draw(seed, n_metrics=1, n_anomalies=12, kind="mixed"):
    return make_metric_anomalies(
        _N_TRAIN + _N_NEW,
        n_metrics,
        kind=kind,
        n_anomalies=n_anomalies,
        first_anomaly=_N_TRAIN,
        period=_PERIOD,
        random_state=seed,
    )


def measure_detection(seeds, *, n_metrics=1):
    """Yield what is found in 4000 steps with 12 anomalies, after 2000 normal ones.

    That is a dict for each seed and detector: ROC AUC and average precision by step;
    "normal flagged", the share of flagged steps in the same series without its
    anomalies; what :func:`event_scores` has for events; "spikes" found; CPU "seconds".
    """
    for seed in seeds:
        bunch = _draw(seed, n_metrics)
        models = {
            name: TimeSeriesDetector(detector, window_length=_WINDOW)
            for name, detector in _detectors(n_metrics, seed).items()
        }
        models["distance to the mean season"] = TimeSeriesDetector(
            SeasonalDistance(), window_length=1
        )
        for name, model in models.items():
            yield {"seed": seed, "detector": name, **_detection(model, bunch)}


def measure_windows(seeds, lengths=(10, 25, 50, 100)):
    """The same for windows of other lengths and other aggregations."""
    for seed in seeds:
        bunch = _draw(seed)
        for name, detector in _two_detectors(seed).items():
            for length in lengths:
                kind = {"seed": seed, "detector": name, "window_length": length}
                yield from _by_aggregation(detector, bunch, length, kind)


def measure_aggregation(seeds):
    """The same for each aggregation on series of different kinds."""
    for seed in seeds:
        for series, bunch in _kinds_of_series(seed).items():
            for name, detector in _two_detectors(seed).items():
                kind = {"seed": seed, "series": series, "detector": name}
                yield from _by_aggregation(detector, bunch, _WINDOW, kind)


def _two_detectors(seed):
    return {
        "GANomaly": GANomalyDetector(random_state=seed),
        "5 nearest windows": make_pipeline(MinMaxScaler(), KNNDistance()),
    }


def _by_aggregation(detector, bunch, length, kind):
    for aggregation in ("mean", "max", "min", "last"):
        model = TimeSeriesDetector(
            detector, window_length=length, aggregation=aggregation
        )
        yield {**kind, "aggregation": aggregation, **_detection(model, bunch)}


def _kinds_of_series(seed):
    """Series by name: one kind of anomaly each, and noise that is less well behaved."""
    bunches = {
        kind: _draw(seed, kind=kind) for kind in ("spike", "level_shift", "seasonality")
    }
    for name, change in (("bursts", _add_bursts), ("drift", _add_drift)):
        bunch = _draw(seed)
        noise = change(len(bunch.data), np.random.default_rng(seed))
        bunches[name] = {
            **bunch,
            "data": bunch.data + noise[:, None],
            "originals": bunch.originals + noise[:, None],
        }
    return {name: Bunch(**bunch) for name, bunch in bunches.items()}


def _add_bursts(n_steps, rng):
    """Noise whose size comes and goes, with heavy tails, as of a busy service."""
    size = np.exp(np.cumsum(rng.normal(scale=0.1, size=n_steps)) * 0.2)
    size /= np.median(size)
    return 0.1 * np.clip(size, 0.2, 3) * rng.standard_t(4, size=n_steps)


def _add_drift(n_steps, rng):
    """A random walk that ends about one standard deviation of the season away."""
    return rng.normal(scale=1 / np.sqrt(n_steps), size=n_steps).cumsum()


def measure_drift(seeds):
    """Yield the share of normal steps flagged in a drifting series; 5 % is promised.

    A season of 288 steps and a random walk; 600 steps to learn from, 3400 new ones, of
    which the first 500 are a burn-in.
    """
    for seed in seeds:
        rng = np.random.default_rng(seed)
        season = np.sin(np.arange(4000) * 2 * np.pi / 288)
        X = season + 0.02 * rng.normal(size=4000).cumsum()
        detectors = _detectors(1, seed)
        detectors = {
            "5 nearest windows": detectors["5 nearest windows"],
            # Its scores are ratios, which grow many times over.
            "local outlier factor": LocalOutlierFactor(novelty=True),
            "isolation forest": detectors["isolation forest"],
        }
        for name, detector in detectors.items():
            model = TimeSeriesDetector(detector, window_length=60, aggregation="last")
            _fit(model, X[:600])
            scores = model.anomaly_score(X[600:])
            cuts = {"fixed": model.threshold_}
            for label, step in (("adaptive", 0.05), ("adaptive, step=0.2", 0.2)):
                follower = AdaptiveThreshold(step=step).fit(model.reference_scores_)
                cuts[label] = follower.update(scores)
            for threshold, cut in cuts.items():
                share = np.mean((scores > cut)[500:])
                yield {"detector": name, "threshold": threshold, "flagged": share}


def _fit(model, X):
    with warnings.catch_warnings():
        # What becomes of the promise is what is measured.
        warnings.filterwarnings("ignore", "The training steps are not alike")
        warnings.filterwarnings("ignore", "Training rows come in groups")
        return model.fit(X)


def _detection(model, bunch):
    def rows(metrics):
        if not isinstance(model.detector, SeasonalDistance):
            return metrics
        return np.column_stack([metrics, np.arange(len(metrics)) % _PERIOD])

    start = time.process_time()
    _fit(model, rows(bunch.data)[:_N_TRAIN])
    scores = model.anomaly_score(rows(bunch.data)[_N_TRAIN:])
    seconds = time.process_time() - start
    normal = model.anomaly_score(rows(bunch.originals)[_N_TRAIN:])
    anomalous, alarms = bunch.target[_N_TRAIN:] == -1, scores > model.threshold_
    events = event_scores(anomalous, alarms)
    spikes = bunch.spans[bunch.kinds == "spike"] - _N_TRAIN
    found = [alarms[first:stop].any() for first, stop in spikes]
    return {
        "ROC AUC": roc_auc_score(anomalous, scores),
        "AP": average_precision_score(anomalous, scores),
        "normal flagged": np.mean(normal > model.threshold_),
        "events": events["event_recall"],
        "spikes": np.mean(found) if found else np.nan,
        "false alarms": events["false_alarms"],
        "delay": events["delay"],
        "seconds": seconds,
    }


def measure_promise(seeds):
    """Yield the share of 4000 new normal steps flagged where 5 % is promised.

    Thresholds of :class:`TimeSeriesDetector`, and beside them those of a detector that
    is fitted on windows, all of them, every fifth, or such as do not overlap.
    """
    names = ("GANomaly, table", "5 nearest windows", "isolation forest")
    for seed in seeds:
        X = _draw(seed, n_anomalies=0).data
        past, new = X[:_N_TRAIN], X[_N_TRAIN:]
        windows = SlidingWindow(_WINDOW).fit(past).transform(new)
        for name in names:
            detector, flagged = _detectors(1, seed)[name], {}
            for stride, words in ((1, "all"), (5, "every fifth"), (_WINDOW, "no two")):
                rows = SlidingWindow(_WINDOW, stride=stride).fit_transform(past)
                if name == "isolation forest":
                    # Of its own it promises nothing.
                    detector.fit(rows)
                    cut = np.quantile(detector.score_samples(rows), _RATE)
                    alarms = detector.score_samples(windows) < cut
                else:
                    alarms = _fit(detector, rows).predict(windows) == -1
                flagged[f"the detector's, {words} windows"] = alarms.mean()
            for aggregation in ("last", "mean"):
                model = TimeSeriesDetector(
                    detector,
                    window_length=_WINDOW,
                    aggregation=aggregation,
                    false_alarm_rate=_RATE,
                )
                _fit(model, past)
                flagged[f'blocks in turn, "{aggregation}"'] = np.mean(
                    model.predict(new) == -1
                )
            for threshold, share in flagged.items():
                yield {"detector": name, "threshold": threshold, "flagged": share}
