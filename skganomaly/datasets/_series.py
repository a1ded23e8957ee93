"""Seeded metrics, such as those of a service, with anomalies that last for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from scipy.signal import lfilter
from sklearn.utils import Bunch, check_random_state, check_scalar

from ._generated import _check_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    _Floats: TypeAlias = NDArray[np.float64]
    _Steps: TypeAlias = NDArray[np.int64]

_MetricKind: TypeAlias = Literal["spike", "level_shift", "seasonality"]
METRIC_KINDS: tuple[_MetricKind, ...] = get_args(_MetricKind)

_N_HARMONICS = 3
# Standard deviations; that of the season is 1.
_NOISE = 0.15
_AMPLITUDE_WANDER = 0.1


def make_metric_anomalies(
    n_steps: int = 3000,
    n_metrics: int = 1,
    *,
    kind: _MetricKind | Literal["mixed"] = "mixed",
    n_anomalies: int = 9,
    first_anomaly: int = 0,
    period: int = 100,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw metrics with a season, of which some spans are anomalous.

    Parameters
    ----------
    n_steps : int, default=3000
        Length of the series.
    n_metrics : int, default=1
        Number of metrics, measured at the same times.
    kind : {"mixed", "spike", "level_shift", "seasonality"}, default="mixed"
        The anomaly, which is in one metric, drawn at random:

        - "spike": up or down by 4 to 7 standard deviations of the noise, for one to
          three steps;
        - "level_shift": up or down by 2 to 4 of them, for a quarter of a period to a
          whole one;
        - "seasonality": the season at twice its speed, for one period or two;
        - "mixed": these three in turn.

    n_anomalies : int, default=9
        Number of anomalous spans, at least a period apart; 0 for normal metrics.
    first_anomaly : int, default=0
        Step before which there is no anomaly, so that what comes before is for
        training.
    period : int, default=100
        Length of the season in steps, at least 8.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        - data : ndarray of shape (n_steps, n_metrics), the metrics;
        - originals : ndarray of the same shape, the same without anomalies;
        - target : ndarray of shape (n_steps,), -1 within a span and 1 elsewhere;
        - spans : ndarray of shape (n_anomalies, 2), first step of each and the step
          after its last;
        - kinds : ndarray of str of shape (n_anomalies,), what each span is.

    Notes
    -----
    Each metric has a season of its own, three harmonics with random phases, and an
    amplitude that varies from period to period by about 10 %. The noise is
    autoregressive, with correlation 0.5 from step to step, and half of its variance is
    common to all metrics. The three anomalies are a contextual point outlier, a
    subsequence off its level and a seasonal outlier in the terms of [1]_. Spikes and
    shifts mostly stay within the range of the season.

    References
    ----------
    .. [1] K.-H. Lai, D. Zha, J. Xu, Y. Zhao, G. Wang, X. Hu, "Revisiting Time Series
       Outlier Detection: Definitions and Benchmarks", NeurIPS 2021 Datasets and
       Benchmarks.

    Examples
    --------
    >>> from skganomaly.datasets import make_metric_anomalies
    >>> bunch = make_metric_anomalies(3000, 2, first_anomaly=1000, random_state=0)
    >>> bunch.data.shape, bunch.spans.shape, bool((bunch.target[:1000] == 1).all())
    ((3000, 2), (9, 2), True)
    """
    _check_option("kind", kind, (*METRIC_KINDS, "mixed"))
    for name, value, least in (
        ("n_steps", n_steps, 2),
        ("n_metrics", n_metrics, 1),
        ("n_anomalies", n_anomalies, 0),
        ("first_anomaly", first_anomaly, 0),
        ("period", period, 8),
    ):
        check_scalar(value, name, (int, np.integer), min_val=least)
    cycle = METRIC_KINDS if kind == "mixed" else (kind,)
    kinds = np.resize(np.array(cycle), n_anomalies)
    longest = {"spike": 3, "level_shift": period, "seasonality": 2 * period}
    needed = sum(longest[name] + period for name in kinds)
    if n_steps - first_anomaly < needed:
        raise ValueError(
            f"{n_anomalies} anomalies, a period of {period} steps apart, may take "
            f"{needed} steps, and there are {n_steps - first_anomaly} from "
            f"first_anomaly={first_anomaly} on. Raise n_steps, or ask for fewer."
        )
    rng = check_random_state(random_state)
    kinds = rng.permutation(kinds)
    lengths = np.array([_draw_length(name, period, rng) for name in kinds], dtype=int)
    starts = _place(lengths, first_anomaly, n_steps, period, rng)
    spans = np.column_stack([starts, starts + lengths])

    seasons = [_draw_season(period, rng) for _ in range(n_metrics)]
    amplitude = np.column_stack(
        [_draw_amplitude(n_steps, period, rng) for _ in range(n_metrics)]
    )
    common, own = _draw_noise(n_steps, 1, rng), _draw_noise(n_steps, n_metrics, rng)
    noise = (common + own) / np.sqrt(2)
    time = np.arange(n_steps)
    originals = np.column_stack([season(time) for season in seasons])
    originals = originals * amplitude + noise
    data = originals.copy()
    for name, (start, stop) in zip(kinds, spans, strict=True):
        metric = rng.randint(n_metrics)
        span = slice(start, stop)
        if name == "seasonality":
            # Whole periods, so that it ends where the usual season goes on.
            fast = seasons[metric](2 * time[span] - start)
            data[span, metric] = fast * amplitude[span, metric] + noise[span, metric]
        else:
            size = rng.uniform(4, 7) if name == "spike" else rng.uniform(2, 4)
            data[span, metric] += rng.choice([-1, 1]) * size * _NOISE
    target = np.ones(n_steps, dtype=int)
    for start, stop in spans:
        target[start:stop] = -1
    return Bunch(
        data=data, originals=originals, target=target, spans=spans, kinds=kinds
    )


def _draw_length(kind: str, period: int, rng: np.random.RandomState) -> int:
    if kind == "spike":
        return rng.randint(1, 4)
    if kind == "level_shift":
        return rng.randint(period // 4, period + 1)
    return period * rng.randint(1, 3)


def _place(
    lengths: _Steps, first: int, n_steps: int, gap: int, rng: np.random.RandomState
) -> _Steps:
    """Return first steps of spans in their order, each `gap` after the one before."""
    free = n_steps - first - np.sum(lengths + gap)
    delays = np.sort(rng.randint(free + 1, size=len(lengths)))
    ends = np.cumsum(lengths + gap)
    return first + delays + ends - lengths


def _draw_season(
    period: int, rng: np.random.RandomState
) -> Callable[[_Steps], _Floats]:
    """Return a periodic function of the step, with a standard deviation of 1."""
    orders = np.arange(1, _N_HARMONICS + 1)
    weights = np.sqrt(2) * (1 / orders) / np.linalg.norm(1 / orders)
    phases = rng.uniform(0, 2 * np.pi, size=_N_HARMONICS)

    def season(time: _Steps) -> _Floats:
        angles = 2 * np.pi * np.multiply.outer(time % period, orders) / period
        return np.sin(angles + phases) @ weights

    return season


def _draw_amplitude(n_steps: int, period: int, rng: np.random.RandomState) -> _Floats:
    knots = np.arange(0, n_steps + period, period)
    factors = 1 + _AMPLITUDE_WANDER * rng.standard_normal(len(knots))
    return np.interp(np.arange(n_steps), knots, factors)


def _draw_noise(
    n_steps: int,
    n_columns: int,
    rng: np.random.RandomState,
    correlation: float = 0.5,
) -> _Floats:
    # What comes before the first step lets the filter forget that it began at zero.
    shocks = rng.standard_normal((n_steps + 50, n_columns))
    shocks *= _NOISE * np.sqrt(1 - correlation**2)
    return lfilter([1.0], [1.0, -correlation], shocks, axis=0)[50:]
