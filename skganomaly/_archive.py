"""Archives of skops: written, and looked at before skops reads them."""

from __future__ import annotations

import io
import json
import math
import re
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np

from ._left_out import Refused

__all__ = ["dumped", "names_of", "rebuilt"]

# What a file may name beside what skops trusts: estimators of scikit-learn, and types
# and functions of NumPy. Each of them only stores what it is handed, or looks at it
# before it reserves memory.
_OURS = {
    f"skganomaly.{name}"
    for name in """
        _anogan.AnoGANDetector _autoencoder.AutoencoderDetector
        _ganomaly.GANomalyDetector _left_out.LeftOut _settings.Settings
        _stream.Reservoir
        adversaries.Logistic adversaries.Wasserstein architectures.ConvNet
        architectures.MLP _training._checkpoint.FitCheckpoint
        _training._stopping.HeldOutStopping images._detector.ImageDetector
        images._drawing.DrawnDefects images._features.FeatureMemory
        images._features.FrozenFeatures images._methods.DefectDiscriminator
        images._segmenter.Segmenter losses.absolute_error losses.squared_error
        model_selection.InlierGroupKFold model_selection.InlierKFold
        model_selection._RecallAt model_selection.anomaly_average_precision
        model_selection.anomaly_f1 model_selection.anomaly_roc_auc
        model_selection.pseudo_anomaly_roc_auc pipelines.MissingCount
        reports.Finding reports.TrainingReport
        scores.JointScore scores.LocalScore scores.PartScore scores.WeightedScore
        searches.EncoderSearch searches.GradientSearch
        searches.NearestSearch thresholds.CallableThreshold
        thresholds.ConformalThreshold thresholds.FixedThreshold
        thresholds.MaxThreshold thresholds.QuantileThreshold thresholds.TailThreshold
        timeseries._adaptive.AdaptiveThreshold timeseries._detector.TimeSeriesDetector
        timeseries._windows.SlidingWindow
    """.split()
} | {"numpy.dtype", "torch.device"}

# What a fitted search of scikit-learn has, and is not an estimator that skops trusts.
# Distributions of SciPy are not: what they hold is run as code when they are rebuilt.
_OF_SEARCHES = {
    f"sklearn.{name}"
    for name in """
        metrics._scorer._PassthroughScorer metrics._scorer._Scorer
        metrics._classification.accuracy_score
        metrics._classification.balanced_accuracy_score
        metrics._classification.f1_score metrics._classification.fbeta_score
        metrics._classification.matthews_corrcoef
        metrics._classification.precision_score metrics._classification.recall_score
        metrics._ranking.average_precision_score metrics._ranking.roc_auc_score
        model_selection._search_successive_halving.HalvingGridSearchCV
        model_selection._search_successive_halving.HalvingRandomSearchCV
        model_selection._split.GroupKFold model_selection._split.GroupShuffleSplit
        model_selection._split.KFold model_selection._split.LeaveOneGroupOut
        model_selection._split.LeaveOneOut model_selection._split.LeavePGroupsOut
        model_selection._split.LeavePOut model_selection._split.PredefinedSplit
        model_selection._split.RepeatedKFold
        model_selection._split.RepeatedStratifiedKFold
        model_selection._split.ShuffleSplit model_selection._split.StratifiedGroupKFold
        model_selection._split.StratifiedKFold
        model_selection._split.StratifiedShuffleSplit
        model_selection._split.TimeSeriesSplit model_selection._split._CVIterableWrapper
    """.split()
}

# What skops may do on our behalf. Its other nodes call methods, or functions with
# arguments of the file.
_LOADERS = {
    *("ConstructorFromReduceNode", "DTypeNode", "DictNode", "FunctionNode"),
    *("JsonNode", "ListNode", "MaskedArrayNode", "NdArrayNode", "ObjectNode"),
    *("RandomStateNode", "SetNode", "SliceNode", "TupleNode", "TypeNode"),
}
_OLDEST_PROTOCOL = 2
# Others come back as something else: JSON has no keys but strings.
_KEYS = {"str", "int", "float"}

# What is larger is stored as it is. So no archive of ours is larger unpacked than both
# this and itself.
_MOST_UNPACKED = 2**20
_MEMBER = re.compile(r"schema\.json|\d+\.npy")


def names_of(things):
    """Dotted names of classes and functions."""
    things = [things] if isinstance(things, str) or callable(things) else things
    for thing in things:
        if not (isinstance(thing, str) or hasattr(thing, "__qualname__")):
            raise TypeError(
                f"trusted has {thing!r}. Name classes and functions, not objects: "
                f"{type(thing).__name__}."
            )
    return [
        thing if isinstance(thing, str) else f"{thing.__module__}.{thing.__qualname__}"
        for thing in things
    ]


def dumped(estimator):
    """Archive of an estimator."""
    import skops.io

    try:
        content = skops.io.dumps(estimator)
    except RecursionError:
        raise Refused(
            "something in it leads back to itself, as distributions of SciPy do"
        ) from None
    if len(content) > _MOST_UNPACKED:
        return content
    return skops.io.dumps(estimator, compression=ZIP_DEFLATED)


def rebuilt(content, exchange, trusted):
    """What an archive holds, once it is known to be harmless."""
    import skops.io

    with ZipFile(io.BytesIO(content)) as archive:
        schema = _schema(archive, len(content))
    named = set(skops.io.get_untrusted_types(data=content))
    if not named & _OURS:
        raise Refused("there is nothing of skganomaly in it; see skops.io.dump")
    unknown = named - _OURS - _OF_SEARCHES - set(trusted)
    if unknown:
        places = {
            place
            for node, place in _nodes(schema)
            if f"{node['__module__']}.{node['__class__']}" in unknown
        }
        raise Refused(
            f"{', '.join(sorted(places))} needs {', '.join(sorted(unknown))}, which is "
            "not among the classes of skganomaly and scikit-learn that any file may "
            "name. If you trust it, name it to save and to load: trusted=[...]"
        )
    with exchange.begun():
        return skops.io.loads(content, trusted=sorted(named))


def _schema(archive, n_bytes):
    """The tree of an archive, if it is one that skops can be handed.

    skops sees to names. What it takes on trust are sizes, how often something is
    referred to, and that there are not too many ways through the tree.
    """
    members = archive.infolist()
    for member in members:
        if not _MEMBER.fullmatch(member.filename):
            raise Refused(f"its archive has {member.filename!r}, which is never there")
    unpacked = sum(member.file_size for member in members)
    if unpacked > max(n_bytes, _MOST_UNPACKED):
        raise Refused(f"its {n_bytes} bytes claim to be {unpacked} once unpacked")
    for member in members:
        if member.filename.endswith(".npy"):
            _check_array(archive, member)
    # Of bytes json would guess the encoding, and import a module for it.
    schema = json.loads(archive.read("schema.json").decode())
    if schema["protocol"] < _OLDEST_PROTOCOL:
        raise Refused(f"it has protocol {schema['protocol']}, which is never there")
    _count(schema, {})
    arrays = {}
    for node, place in _nodes(schema):
        loader, number = node["__loader__"], node["__id__"]
        if loader not in _LOADERS:
            raise Refused(f"{place} cannot be stored as data (it needs a {loader})")
        if arrays.setdefault(node.get("file", number), number) != number:
            raise Refused(f"two objects have the array {node['file']!r}")
        if loader == "DictNode":
            keys = {key["__class__"] for key in node["key_types"]["content"]}
            if not keys <= _KEYS:
                raise Refused(f"{place} has keys of type {sorted(keys - _KEYS)}")
    return schema


def _nodes(schema):
    """Each node of a tree, and the name of the attribute that it is in."""
    stack = [(schema, "it")]
    while stack:
        item, place = stack.pop()
        if isinstance(item, list):
            stack += [(each, place) for each in item]
        elif isinstance(item, dict):
            node = "__loader__" in item
            if node:
                yield item, place
            stack += [
                (each, place if node else key)
                for key, each in item.items()
                if isinstance(each, list | dict)
            ]


def _count(item, counts):
    """Nodes of a tree.

    skops takes nodes of one number for one object and looks at it whenever it meets it.
    If they are equally many inside, it has no more to look at than is written.
    """
    if not isinstance(item, list | dict):
        return 0
    inside = item if isinstance(item, list) else item.values()
    n_nodes = sum(_count(each, counts) for each in inside)
    if "__loader__" not in item:
        return n_nodes
    n_nodes += 1
    if counts.setdefault(item["__id__"], n_nodes) != n_nodes:
        raise Refused(f"two objects have the number {item['__id__']}")
    return n_nodes


def _check_array(archive, member):
    """Refuse an array that claims another size than it has, or holds objects."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(file)
        n_entries, n_bytes = math.prod(shape), member.file_size - file.tell()
    claimed = n_entries * dtype.itemsize
    if dtype.hasobject or claimed != n_bytes or (n_entries and not claimed):
        raise Refused(f"an array of shape {shape} and type {dtype} has {n_bytes} bytes")
