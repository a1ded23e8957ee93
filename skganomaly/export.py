"""Fitted detectors as ONNX graphs, which are served without scikit-learn and torch.

A graph does to rows what ``model_`` does to new ones, and has the cut: raw values in,
label, anomaly score and p-value out. The steps before a detector are converted by
skl2onnx, which learns of our detectors here.
"""

from __future__ import annotations

import copy
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ._anogan import AnoGANDetector
from ._autoencoder import AutoencoderDetector
from ._directions import steps_inside, transform_by
from ._ganomaly import GANomalyDetector
from ._process import own_settings
from ._version import __version__
from .base import BaseDetector
from .pipelines import ThroughPipeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx
    from numpy.typing import NDArray

__all__ = ["register_converters", "to_onnx"]

# The first of ONNX's sets of operators that torch writes.
_FIRST_OPSET = 18

_OUTPUTS = "label", "anomaly_score", "p_value"

# Rows that a graph is tried on, and how far its scores may be from the model's. Those
# of an input in single precision are rounded before any step.
_N_TRIED = 100
_TOLERANCE = 1e-3


def to_onnx(
    model: Any, X: Any = None, *, target_opset: int | None = None
) -> onnx.ModelProto:
    """Convert a fitted detector, or a pipeline that ends in one, to ONNX.

    Needs the packages of the extra ``onnx``; to run the graph takes onnxruntime alone.

    Parameters
    ----------
    model : object
        A fitted detector, or a fitted :class:`~sklearn.pipeline.Pipeline` or search
        that ends in one and whose other steps skl2onnx can convert.
    X : array-like or DataFrame, default=None
        Rows as ``model`` takes them, by which the inputs are named and typed, and the
        first 100 of which the graph is tried on. An array is one input "X" of its dtype
        and shape. Of a frame each column is an input, of shape (n, 1), by its name:
        numbers in float64, all else as text. None, for a detector alone, is a
        float64 array of shape ``(n, *input_shape_)``.
    target_opset : int or None, default=None
        Version of ONNX's set of operators, from 18 on. None is the latest that skl2onnx
        was tested with.

    Returns
    -------
    onnx.ModelProto
        For any number of rows. Its outputs, each of shape (n,), are "label" (1 for
        normal rows, -1 for anomalies), "anomaly_score" and "p_value". Its
        ``metadata_props`` have the "detector", its "threshold" and "false_alarm_rate"
        as text, and "input_shape", "feature_names", if there are any, and "versions"
        as JSON.

    Raises
    ------
    TypeError
        If what is at the end is no detector of tables, images or windows.
    ValueError
        If codes are searched for by gradients, as AnoGAN does unless its ``search`` is
        "encoder"; if ``X`` is needed; if ``target_opset`` is too old; if the networks
        do what a graph cannot hold, or a step is not converted to what it does.
    ImportError
        If a package is missing.

    Notes
    -----
    A graph takes every row for new. ``anomaly_score`` knows its reference rows and
    leaves them, and the rows of their groups, out of the search for neighbours; in a
    graph a reference row meets itself, and scores lower. Of all other rows, scores are
    equal up to rounding.

    A row with NaN or an infinite value, which the detector refuses, has the label -1
    and NaN for score and p-value, unless a step before the detector fills it.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.export import to_onnx
    >>> X = np.random.default_rng(0).normal(size=(200, 5))
    >>> detector = AutoencoderDetector(max_steps=20, random_state=0).fit(X)
    >>> graph = to_onnx(detector)
    >>> [output.name for output in graph.graph.output]
    ['label', 'anomaly_score', 'p_value']
    """
    onnx, skl2onnx = _packages()
    steps, detector = steps_inside(model)
    _check(detector)
    if X is None and steps:
        raise ValueError(
            "A pipeline does not know the columns that it takes: pass some rows as X."
        )
    rows = np.zeros((1, *detector.input_shape_)) if X is None else X[:_N_TRIED]
    expected = None if X is None else _scores(rows, steps, detector)
    inputs = _inputs(rows)
    register_converters()
    graph = skl2onnx.convert_sklearn(
        make_pipeline(*steps, detector),
        f"skganomaly {type(detector).__name__}",
        [(name, _type_of(values)) for name, values in inputs.items()],
        target_opset=target_opset,
        custom_conversion_functions={SimpleImputer: _convert_imputer},
    )
    onnx.helper.set_model_props(graph, dict(_metadata(model, detector)))
    if expected is not None:
        _compare(graph, inputs, expected, [*steps, detector])
    return graph


def register_converters() -> None:
    """Make skl2onnx know our detectors, and yours.

    For those who call ``skl2onnx.to_onnx`` or ``skl2onnx.convert_sklearn`` themselves;
    :func:`to_onnx` does it. Yours are those that derive from
    :class:`~skganomaly.base.BaseDetector` and have been defined by then.

    Raises
    ------
    ImportError
        If a package is missing.
    """
    _, skl2onnx = _packages()
    for cls in {AnoGANDetector, AutoencoderDetector, GANomalyDetector, *_derived()}:
        skl2onnx.update_registered_converter(
            cls,
            f"{cls.__module__}.{cls.__qualname__}",
            _set_shapes,
            _convert,
            parser=_parse,
        )


def _derived(cls: type[Any] = BaseDetector) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _derived(child)


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
        import skl2onnx
    except ImportError as error:
        raise ImportError(
            f"{error.name} is not installed, which graphs are made with. Install the "
            'extra "onnx", as in pip install "skganomaly[onnx]".'
        ) from error
    return onnx, skl2onnx


def _check(detector: Any) -> None:
    """Refuse what there can be no graph of."""
    if not isinstance(detector, BaseDetector):
        words = ""
        if isinstance(detector, ThroughPipeline):
            words = " Convert its estimator, the pipeline."
        elif hasattr(detector, "detector_"):
            words = " Convert its detector_, which takes rows or windows."
        raise TypeError(
            "There are graphs of detectors of tables, images and windows, and of "
            f"pipelines that end in one; got {type(detector).__name__}.{words}"
        )
    check_is_fitted(detector)
    search = getattr(detector.model_.method, "search", None)
    if getattr(search, "n_steps", 0):
        raise ValueError(
            f"search={detector.search!r} finds codes by steps of gradient descent, "
            "which a graph does not have. Fit with search='encoder', which takes none."
        )


def _inputs(X: Any) -> dict[str, NDArray[Any]]:
    """The arrays that a graph is fed with for some rows."""
    if not hasattr(X, "columns"):
        return {"X": np.asarray(X)}
    # One dtype for all numbers, as skl2onnx takes columns that go into one step for
    # being of the type of the first.
    return {
        name: np.asarray(
            X[name],
            dtype=np.float64 if getattr(dtype, "kind", "O") in "biuf" else object,
        )[:, np.newaxis]
        for name, dtype in zip(X.columns, X.dtypes, strict=True)
    }


def _type_of(values: NDArray[Any]) -> Any:
    from skl2onnx.common.data_types import guess_data_type

    ((_, kind),) = guess_data_type(values)
    kind.shape = [None, *values.shape[1:]]
    return kind


def _metadata(model: Any, detector: BaseDetector) -> Iterator[tuple[str, str]]:
    """Names and texts that go with a graph."""
    yield "detector", type(detector).__name__
    yield "threshold", repr(float(detector.threshold_))
    yield "false_alarm_rate", repr(detector.false_alarm_rate)
    yield "input_shape", json.dumps(detector.input_shape_)
    names = getattr(model, "feature_names_in_", None)
    if names is not None:
        yield "feature_names", json.dumps(list(names))
    versions = {name: version(name) for name in ("scikit-learn", "torch", "skl2onnx")}
    yield "versions", json.dumps({"skganomaly": __version__, **versions})


@own_settings()
def _scores(X, steps, detector):
    """Scores of rows, each taken for new."""
    rows = torch.tensor(detector._validate(transform_by(steps, X)))
    with torch.inference_mode():
        return detector.model_(rows).double().cpu().numpy()


def _compare(graph, inputs, expected, steps):
    """Refuse a graph whose scores are not those of the model."""
    import onnxruntime

    names = ", ".join(type(step).__name__ for step in steps)
    advice = "Convert the steps one by one to find the one at fault, and replace it."
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        _, scores, _ = session.run(None, inputs)
    except Exception as error:
        raise ValueError(
            f"What skl2onnx makes of {names} does not run; the error above says why. "
            f"{advice}"
        ) from error
    # A row that meets itself is at a distance of what rounding makes of zero.
    itself = np.maximum(scores, expected) < steps[-1].reference_scores_[0]
    alike = np.isclose(scores, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
    wrong = ~(alike | itself)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise ValueError(
            f"What skl2onnx makes of {names} is not what they do: it gives row {i} of "
            f"X the score {scores[i]:g}, and they {expected[i]:g}. {advice}"
        )


# What skl2onnx calls.


def _parse(scope, model, inputs, custom_parsers=None):
    """Declare what a detector returns."""
    from skl2onnx import get_model_alias
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType

    operator = scope.declare_local_operator(get_model_alias(type(model)), model)
    operator.inputs = inputs
    kinds = Int64TensorType, DoubleTensorType, DoubleTensorType
    for name, kind in zip(_OUTPUTS, kinds, strict=True):
        operator.outputs.append(scope.declare_local_variable(name, kind()))
    return operator.outputs


def _set_shapes(operator):
    for output in operator.outputs:
        output.type.shape = [operator.inputs[0].get_first_dimension()]


def _convert(scope, operator, container):
    """Join the columns, and put the graph of a detector behind them."""
    import onnx

    detector = operator.raw_operator
    _check(detector)
    opset = container.target_opset_any_domain("")
    prefix = scope.get_unique_operator_name("detector")
    graph = onnx.compose.add_prefix(_write(detector, opset), f"{prefix}/").graph
    joined = _join(scope, operator, container)
    shape = scope.get_unique_variable_name("shape")
    # Zero leaves the number of rows as it is.
    flat = [0, detector.n_features_in_]
    container.add_initializer(shape, onnx.TensorProto.INT64, [2], flat)
    container.add_node("Reshape", [joined, shape], graph.input[0].name)
    container.initializers.extend(graph.initializer)
    container.nodes.extend(graph.node)
    container.node_domain_version_pair_sets.add(("", opset))
    for inner, outer in zip(graph.output, operator.outputs, strict=True):
        container.add_node("Identity", inner.name, outer.full_name)


def _convert_imputer(scope, operator, container):
    """Fill numbers in double precision, for which onnxruntime has no Imputer."""
    import onnx
    from skl2onnx.common._registration import get_converter
    from skl2onnx.common.data_types import DoubleTensorType

    imputer = operator.raw_operator
    double = isinstance(operator.outputs[0].type, DoubleTensorType)
    if not double or imputer.missing_values is not np.nan:
        get_converter("SklearnSimpleImputer")(scope, operator, container)
        return
    joined = _join(scope, operator, container)
    missing, fill = map(scope.get_unique_variable_name, ("missing", "fill"))
    values = imputer.statistics_
    container.add_initializer(fill, onnx.TensorProto.DOUBLE, values.shape, values)
    container.add_node("IsNaN", joined, missing)
    output = operator.outputs[0].full_name
    container.add_node("Where", [missing, fill, joined], output)


def _join(scope, operator, container):
    """All inputs of an operator side by side, in double precision."""
    import onnx

    columns = []
    for variable in operator.inputs:
        columns.append(scope.get_unique_variable_name("double"))
        container.add_node(
            "Cast", variable.full_name, columns[-1], to=onnx.TensorProto.DOUBLE
        )
    joined = scope.get_unique_variable_name("joined")
    container.add_node("Concat", columns, joined, axis=1)
    return joined


@own_settings()
def _write(detector, opset):
    """The graph of flat rows in double precision, as torch writes it."""
    if opset < _FIRST_OPSET:
        raise ValueError(
            f"target_opset={opset} is too old: torch writes graphs from "
            f"{_FIRST_OPSET} on."
        )
    verdict = _Verdict(detector).eval()
    # One row would be taken for all that there ever is.
    rows = verdict.model.scaling.center.expand(3, -1)
    try:
        with torch.no_grad():
            return torch.onnx.export(
                verdict,
                (rows,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("n")},),
                opset_version=opset,
                output_names=list(_OUTPUTS),
                verbose=False,
            ).model_proto
    except Exception as error:
        raise ValueError(
            f"torch.onnx cannot write {type(detector).__name__} as a graph; the error "
            "above says what it stopped at. Networks and scores have to be made of "
            "torch's operations alone, without branches by values or by the number of "
            "rows."
        ) from error


class _Verdict(nn.Module):
    """From flat rows in double precision to label, score and p-value."""

    def __init__(self, detector):
        super().__init__()
        self.model = copy.deepcopy(detector.model_).cpu()
        self.threshold = float(detector.threshold_)
        scores = torch.tensor(detector.reference_scores_)
        self.n_references = len(scores)
        # Filled up to a power of two, for a search by bisection.
        filled = scores.new_full((2 ** len(scores).bit_length(),), torch.inf)
        filled[: len(scores)] = scores
        self.register_buffer("reference_scores", filled)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = self.model(rows).double()
        # The model clips what is infinite.
        scores = torch.where(rows.isfinite().all(1), scores, torch.nan)
        labels = torch.where(scores <= self.threshold, 1, -1)
        as_high = (1 + self.n_references - self._n_below(scores)).double()
        p_values = as_high / (1 + self.n_references)
        return labels, scores, torch.where(scores.isnan(), scores, p_values)

    def _n_below(self, scores):
        """How many reference scores are below each score.

        torch.onnx has no searchsorted, and comparing all scores with all references
        takes memory for each pair.
        """
        found = torch.zeros_like(scores, dtype=torch.int64)
        step = len(self.reference_scores) // 2
        while step:
            below = self.reference_scores[found + step - 1] < scores
            found = found + step * below
            step //= 2
        return found
