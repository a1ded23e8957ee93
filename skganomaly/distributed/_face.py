"""What is asked of rows in an engine: fit, sample, score."""

from __future__ import annotations

import importlib
import math
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from .._models._scaling import statistics_are_known
from .._seed import draw_seed
from .._training._progress import has_checkpoint
from .._validation import first_few, validate_rows
from ..base import BaseDetector
from ..pipelines import ThroughPipeline
from ..reports import Finding
from ..timeseries._series import SeriesEstimator
from ._draw import Draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Literal, NoReturn, TypeVar

    from numpy.typing import NDArray

    _Detector = TypeVar("_Detector", bound=BaseDetector)
    _Method = Literal[
        "anomaly_score", "p_values", "score_samples", "decision_function", "predict"
    ]

__all__ = ["fit", "sample", "score"]

# By the package of a source: the module that knows it, and which of its classes.
_ENGINES = {
    "dask": ("_dask", {"Array", "DataFrame"}),
    "pyspark": ("_spark", {"DataFrame"}),
    "ray": ("_ray", {"Dataset"}),
    "pyarrow": ("_arrow", {"Dataset"}),
}

_METHODS = {
    "anomaly_score": np.float64,
    "p_values": np.float64,
    "score_samples": np.float64,
    "decision_function": np.float64,
    "predict": np.int64,
}


def fit(
    detector: _Detector,
    source: Any,
    *,
    columns: Sequence[str] | None = None,
    n_rows: int | Literal["auto"] = "auto",
) -> _Detector:
    """Fit a detector on rows that lie in an engine, in one pass over them.

    The engine draws a uniform sample of the rows, which the detector is fitted on in
    this process. What its scaler needs is taken from all rows; a threshold by
    ``contamination`` or ``false_alarm_rate`` is one of the sample.

    Parameters
    ----------
    detector : detector of this package
        Fitted in place. Its ``random_state`` decides the sample, too: the same for the
        same rows in the same blocks.
    source : Dask array or frame, Spark frame, Ray or Arrow dataset
        Rows believed to be normal.
    columns : sequence of str or None, default=None
        Columns to take of a frame or a dataset. None takes all.
    n_rows : int or "auto", default="auto"
        Rows of the sample. "auto" is as many as a training reads: ``max_steps``
        batches, or ``max_references`` if they are more. If there are no more rows
        than that, the fit is an ordinary one on all of them.

    Returns
    -------
    detector : detector of this package
        The same object. If rows were left out, ``training_report_`` has a note named
        "sampled".

    Raises
    ------
    TypeError
        If `source` is something else, or `detector` is not of this package.
    ValueError
        If there are no such columns, no rows, or values that are missing, infinite or
        no numbers, whether or not they are in the sample; if ``random_state`` is None
        with ``warm_start`` or a :class:`~skganomaly.callbacks.FitCheckpoint`, which
        need the same sample again.

    See Also
    --------
    sample : Only the rows, for pipelines and detectors of others.

    Examples
    --------
    >>> import dask.array as da
    >>> from skganomaly import GANomalyDetector
    >>> from skganomaly.distributed import fit, score
    >>> X = da.random.default_rng(0).normal(size=(2000, 4), chunks=(500, 4))
    >>> detector = GANomalyDetector(n_members=1, max_steps=50, random_state=0)
    >>> score(fit(detector, X, n_rows=500), X).chunks
    ((500, 500, 500, 500),)
    """
    _refuse_series(detector)
    if not isinstance(detector, BaseDetector):
        raise TypeError(
            f"fit takes a detector of skganomaly for rows, and not a "
            f"{type(detector).__name__}. Fit that on a sample: "
            "estimator.fit(skganomaly.distributed.sample(source, n_rows))."
        )
    if isinstance(n_rows, str) and n_rows == "auto":
        n_rows = _rows_read(detector)
    check_scalar(n_rows, "n_rows", Integral, min_val=2)
    goes_on = "warm_start=True" if detector.warm_start else None
    if has_checkpoint(detector.callbacks):
        goes_on = "FitCheckpoint"
    if goes_on and detector.random_state is None:
        raise ValueError(
            "random_state=None draws other rows in each fit, and a training that "
            f"{goes_on} goes on with needs the same. Set random_state."
        )
    engine, columns = _opened(source, columns)
    seed = draw_seed(detector.random_state)
    drawn = engine.draw(source, columns, Draw(int(n_rows), seed, describe=True))
    rows, statistics = drawn.rows, drawn.statistics
    if not drawn.n_rows:
        raise ValueError(f"The {type(source).__name__} has no rows to fit on.")
    if statistics is None or not np.isfinite(statistics.mean).all():
        _refuse(detector, rows, columns, statistics)
    if drawn.n_rows <= n_rows:
        return detector.fit(rows)
    with statistics_are_known(statistics):
        detector.fit(rows)
    detector.training_report_.notes.append(
        Finding(
            "sampled",
            f"Trained on {len(rows):,} of {drawn.n_rows:,} rows, drawn at random; the "
            "scaling is that of all rows.",
            "Raise n_rows together with max_steps or max_references for more.",
        )
    )
    return detector


def sample(
    source: Any,
    n_rows: int,
    *,
    columns: Sequence[str] | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Any:
    """Draw rows uniformly, without replacement, in one pass of the engine.

    For what is fitted on a sample as a whole, such as a Pipeline with steps of its own,
    and for ``fit(..., groups=...)`` with one of the columns.

    Parameters
    ----------
    source : Dask array or frame, Spark frame, Ray or Arrow dataset
    n_rows : int
        Rows to draw; all of them come if there are fewer.
    columns : sequence of str or None, default=None
        Columns to take of a frame or a dataset. None takes all.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw. None draws other rows each time.

    Returns
    -------
    ndarray or DataFrame
        An array of what is an array or a tensor column there, otherwise a frame of
        pandas. Values are of any type, and may be missing.

    Raises
    ------
    TypeError
        If `source` is something else.
    ValueError
        If there are no such columns.

    Examples
    --------
    >>> import dask.array as da
    >>> from skganomaly.distributed import sample
    >>> sample(da.ones((100, 3), chunks=(30, 3)), 20, random_state=0).shape
    (20, 3)
    """
    check_scalar(n_rows, "n_rows", Integral, min_val=1)
    engine, columns = _opened(source, columns)
    draw = Draw(int(n_rows), draw_seed(random_state), describe=False)
    return engine.draw(source, columns, draw).rows


def score(
    detector: Any,
    source: Any,
    *,
    columns: Sequence[str] | None = None,
    method: _Method = "anomaly_score",
) -> Any:
    """Score rows where they lie.

    Each block is scored as ``detector.anomaly_score`` would in this process, and equal
    to the last bit on processors of one kind, since the score of a row depends on that
    row alone. Nothing is computed before the engine is asked to.

    Parameters
    ----------
    detector : fitted estimator
        A detector, or a Pipeline whose last step is one; with what
        :func:`~skganomaly.pipelines.through` makes of that, by all methods below.
    source : Dask array or frame, Spark frame, Ray or Arrow dataset
    columns : sequence of str or None, default=None
        Columns to score by. None takes those that the detector was fitted on, if they
        had names, and otherwise all.
    method : str, default="anomaly_score"
        Which method of the detector is called: "anomaly_score", "p_values",
        "score_samples", "decision_function" or "predict".

    Returns
    -------
    array, frame, dataset or reader
        Of a Dask array, an array of shape (n_rows,). Otherwise what came, with one more
        column of the name `method`; of an Arrow dataset, a ``RecordBatchReader`` over
        that, which can be written or read once.

    Raises
    ------
    TypeError
        If `source` is something else, or `detector` one of series.
    ValueError
        If there are no such columns, or one has the name of the new column; if there is
        no such method.
    NotFittedError
        If the detector is not fitted.

    Examples
    --------
    See :func:`fit`.
    """
    if method not in _METHODS:
        raise ValueError(f"method={method!r} must be one of {list(_METHODS)}.")
    # A view of a pipeline is no estimator.
    estimator = (
        detector.estimator if isinstance(detector, ThroughPipeline) else detector
    )
    _refuse_series(estimator)
    if not hasattr(detector, method):
        raise ValueError(
            f"{type(detector).__name__} has no method {method}. Ask for another one "
            "of its methods, such as method='decision_function'; a fitted pipeline has "
            "all of them by way of skganomaly.pipelines.through."
        )
    check_is_fitted(estimator)
    names = getattr(estimator, "feature_names_in_", None)
    engine, columns = _opened(source, columns, names)
    if columns is not None and method in engine.columns_of(source):
        raise ValueError(
            f"The {type(source).__name__} has a column {method!r} already, and scores "
            "would replace it. Rename or drop that one first."
        )
    function = partial(_scores, detector, method, names is not None)
    return engine.add_scores(source, columns, function, method, _METHODS[method])


def _refuse_series(estimator: Any) -> None:
    """Refuse what looks at neighbours, as blocks of rows have others."""
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if isinstance(last, SeriesEstimator):
        raise TypeError(
            f"{type(last).__name__} scores a step by those around it, and an engine "
            "hands over blocks of rows, in no order. Bring one series at a time into "
            "memory."
        )


def _scores(detector: Any, method: str, named: bool, rows: Any) -> NDArray[Any]:
    """Scores of the rows of one block, of which there may be none."""
    if not len(rows):
        return np.empty(0, _METHODS[method])
    if not named and not isinstance(rows, np.ndarray):
        rows = rows.to_numpy()
    return getattr(detector, method)(rows)


def _opened(
    source: Any, columns: Sequence[str] | None, wanted: Any = None
) -> tuple[ModuleType, list[str] | None]:
    """Return the module that knows the engine, and the columns to take."""
    package = type(source).__module__.partition(".")[0]
    module, kinds = _ENGINES.get(package, (None, frozenset()))
    if not kinds & {cls.__name__ for cls in type(source).__mro__}:
        raise TypeError(
            f"source is a {type(source).__name__} of {package}. Pass a Dask array or "
            "frame, a Spark frame, a Ray dataset or a pyarrow.dataset.Dataset; what is "
            "in memory, or a memory map, goes to the methods of the detector itself."
        )
    engine = importlib.import_module(f".{module}", __package__)
    present = engine.columns_of(source)
    if present is None:
        if columns is not None:
            raise ValueError(
                f"columns={columns!r}, but an array has no names of columns. Pass "
                "source[:, places] instead."
            )
        return engine, None
    if columns is None:
        columns = present if wanted is None else wanted
    if isinstance(columns, str):
        raise ValueError(f"columns={columns!r} must be a list of names.")
    columns = list(columns)
    missing = [repr(name) for name in columns if name not in present]
    if missing or not columns:
        raise ValueError(
            f"The {type(source).__name__} has no column {first_few(missing) or 'asked'}"
            f". It has {first_few([repr(name) for name in present])}."
        )
    return engine, columns


def _rows_read(detector: Any) -> int:
    """The most rows that a training of a detector looks at."""
    steps = [
        detector.max_steps,
        getattr(getattr(detector, "search", None), "encoder_steps", "auto"),
        *detector._most_steps.values(),
    ]
    steps = max(n for n in steps if not isinstance(n, str))
    most = max(steps * detector.batch_size, detector.max_references)
    return math.ceil(most / (1 - detector.validation_fraction))


def _refuse(
    detector: Any, rows: Any, columns: list[str] | None, statistics: Any
) -> NoReturn:
    """Say which values cannot be trained on."""
    # In detail, where the sample has one.
    validate_rows(clone(detector), rows, reset=True)
    found = "Some of the rows"
    if statistics is not None:
        bad = np.flatnonzero(~np.isfinite(statistics.mean))
        names = bad if columns is None else [repr(columns[i]) for i in bad]
        found = f"Rows of column {first_few([str(name) for name in names])}"
    raise ValueError(
        f"{found} have values that are missing, infinite or no numbers; none of them "
        f"is in the sample. {type(detector).__name__} takes finite numbers only: "
        "leave out these rows, or fill them, before they come here."
    )
