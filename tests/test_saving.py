"""Files without pickle: what comes back, what is refused, and in which words."""

import io
import json
import os
import pickle
import warnings
import zipfile

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from test_persistence import VARIANTS, _assert_same
from torch import nn

import skganomaly
from skganomaly import (
    AnoGANDetector,
    AutoencoderDetector,
    GANomalyDetector,
    _archive,
    _saving,
)
from skganomaly.callbacks import FitCheckpoint, HeldOutStopping
from skganomaly.images import DefectDiscriminator, FrozenFeatures, ImageDetector
from skganomaly.pipelines import through
from skganomaly.timeseries import AdaptiveThreshold, TimeSeriesDetector


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.skganomaly"


def again(estimator, path, **options):
    skganomaly.save(estimator, path)
    return skganomaly.load(path, **options)


class Net(BaseEstimator):
    """An architecture of a user."""

    def __init__(self, width=4, activation=nn.ReLU):
        self.width = width
        self.activation = activation

    def encoder(self, input_shape, latent_dim):
        first = nn.Linear(*input_shape, self.width)
        return nn.Sequential(
            first, self.activation(), nn.Linear(self.width, latent_dim)
        )

    def decoder(self, latent_dim, input_shape):
        return nn.Linear(latent_dim, *input_shape)


def my_error(a, b):
    return (a - b).abs().flatten(2).mean(2).mean(1)


# What comes back.


@pytest.mark.parametrize(("cls", "params"), VARIANTS)
def test_detectors(small, cls, params, table, new_rows, path):
    """What is loaded agrees with the original in every bit."""
    detector = small(cls, max_steps=3, device="cpu", **params).fit(table)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector.save(path)
        loaded = skganomaly.load(path)
    _assert_same(loaded, detector, np.vstack([new_rows[:20], table[:20]]))
    refitted = loaded.fit(table)
    assert_array_equal(
        refitted.anomaly_score(new_rows), detector.anomaly_score(new_rows)
    )


def test_pipeline(small, path):
    """Steps of scikit-learn, names of columns, and the labels that they lead to."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame["kind"] = rng.choice(["x", "y", "z"], 60)
    frame.loc[3, "a"] = np.nan
    numbers = make_pipeline(SimpleImputer(), FunctionTransformer(np.arctan))
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=2)
    pipeline = make_pipeline(
        make_column_transformer((numbers, ["a", "b"]), (encoder, ["kind"])),
        StandardScaler(),
        small(random_state=np.random.RandomState(3)),
    ).fit(frame)
    loaded = again(pipeline, path)
    assert_array_equal(loaded.score_samples(frame), pipeline.score_samples(frame))
    assert_array_equal(loaded.feature_names_in_, frame.columns)
    drawn = [p[-1].random_state.random_sample(5) for p in (pipeline, loaded)]
    assert_array_equal(*drawn)


def test_series(small, path):
    series = np.random.default_rng(0).normal(size=(80, 2))
    detector = TimeSeriesDetector(small(AutoencoderDetector), window_length=4)
    detector.fit(series).save(path)
    loaded = skganomaly.load(path)
    assert_array_equal(loaded.anomaly_score(series), detector.anomaly_score(series))
    cut = AdaptiveThreshold().fit(detector.reference_scores_)
    cut.update(series[:30, 0])
    loaded = again(cut, path)
    assert_array_equal(loaded.update(series[30:, 0]), cut.update(series[30:, 0]))
    assert vars(loaded) == vars(cut)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(30, 40, 52)).astype(np.float32)


def test_images(images, path):
    method = DefectDiscriminator(n_steps=2, batch_size=2)
    detector = ImageDetector(method=method, random_state=0, false_alarm_rate=0.2)
    detector.fit(images).save(path)
    loaded = skganomaly.load(path)
    for found, expected in zip(
        loaded.anomaly_map(images[:2]), detector.anomaly_map(images[:2]), strict=True
    ):
        assert_array_equal(found, expected)
    # Still to be saved, also what was loaded.
    assert again(loaded, path).threshold_ == detector.threshold_


def frozen(seed):
    torch_seeded = torch.Generator().manual_seed(seed)
    network = nn.Conv2d(3, 6, 5, stride=2)
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=torch_seeded)
    return network.train()


@pytest.mark.parametrize("memory", ["bank", "gaussian"])
def test_frozen_features(memory, images, path):
    """The network is handed over again, is not touched, and is the right one."""
    with torch.random.fork_rng():
        network, same, other = (frozen(seed) for seed in (0, 0, 1))
    method = FrozenFeatures(
        network, memory=memory, max_references=50, value_range=(-5, 5)
    )
    detector = ImageDetector(method=method, random_state=0, false_alarm_rate=0.2)
    detector.fit(images).save(path)
    assert path.stat().st_size < 20_000
    loaded = skganomaly.load(path, architecture=same)
    expected = detector.anomaly_score(images[:3])
    assert_array_equal(loaded.anomaly_score(images[:3]), expected)
    for each in (network, same):
        assert each.training and each.weight.requires_grad
    with pytest.raises(
        ValueError, match=r"fitted with Conv2d with weights .*, which is"
    ):
        skganomaly.load(path)
    with pytest.raises(ValueError, match=r"fitted with Conv2d with .*and architecture"):
        skganomaly.load(path, architecture=other)
    assert_array_equal(detector.anomaly_score(images[:3]), expected)


def test_both_methods_for_images(images, path):
    """What is measured of each is there, and the network is handed over."""
    with torch.random.fork_rng():
        network = frozen(0)
    methods = [
        DefectDiscriminator(n_steps=2, batch_size=2),
        FrozenFeatures(network, max_references=50, value_range=(-5, 5)),
    ]
    detector = ImageDetector(method=methods, random_state=0, false_alarm_rate=0.2)
    detector.fit(images).save(path)
    loaded = skganomaly.load(path, architecture=network)
    expected = detector.anomaly_score(images[:3])
    assert_array_equal(loaded.anomaly_score(images[:3]), expected)
    assert_array_equal(loaded.weights_, detector.weights_)


def test_our_callbacks(small, table, path, tmp_path):
    """What ends and keeps a fit is stored as it was set, and begins anew."""
    checkpoint = FitCheckpoint(tmp_path / "run.ckpt", every_n_steps=5)
    callbacks = [HeldOutStopping(patience=3), ("keep", checkpoint)]
    detector = small(AutoencoderDetector, callbacks=callbacks).fit(table)
    loaded = again(detector, path)
    stopping, (name, kept) = loaded.callbacks
    assert name == "keep" and vars(stopping) == vars(callbacks[0])
    assert kept.path == os.fspath(checkpoint.path)
    assert kept.every_n_steps == 5
    scores = loaded.fit(table).anomaly_score(table)
    assert_array_equal(scores, detector.anomaly_score(table))


@pytest.mark.parametrize("cls", [GANomalyDetector, AnoGANDetector])
def test_what_was_loaded_is_trained_further(small, cls, table, path):
    """As what was saved, with weights and a new seed, too."""
    detector = small(cls, warm_start=True, random_state=None)
    weights = np.arange(len(table))
    detector.fit(table, sample_weight=weights)
    found, expected = (
        each.set_params(max_steps=14).fit(table, sample_weight=weights)
        for each in (again(detector, path), detector)
    )
    assert_array_equal(found.anomaly_score(table), expected.anomaly_score(table))
    assert found.n_iter_ == expected.n_iter_


def test_architecture_of_a_user(small, table, new_rows, path):
    """It is not in the file; what is handed over has to be the same."""
    detector = small(AutoencoderDetector, architecture=Net(width=3)).fit(table)
    loaded = again(detector, path, architecture=Net(width=3))
    expected = detector.anomaly_score(new_rows)
    assert_array_equal(loaded.anomaly_score(new_rows), expected)
    assert loaded.architecture.width == loaded.settings_.architecture.width == 3
    assert b"Linear" not in path.read_bytes()
    with pytest.raises(
        ValueError, match=r"Net\(.*width=3\), which is yours and not in"
    ):
        skganomaly.load(path)
    with pytest.raises(ValueError, match=r"width=3\), and architecture is .*width=4\)"):
        skganomaly.load(path, architecture=Net(width=4))
    small(AutoencoderDetector).fit(table).save(path)
    with pytest.raises(ValueError, match=r"all that it needs\. Leave architecture out"):
        skganomaly.load(path, architecture=Net(width=3))


def test_code_of_an_architecture_has_changed(small, table, path, monkeypatch):
    """The same name, parameters and shapes, and other scores."""
    detector = small(AutoencoderDetector, architecture=Net(), max_steps=50).fit(table)
    detector.save(path)
    old = Net.encoder

    def new(self, input_shape, latent_dim):
        first, _, last = old(self, input_shape, latent_dim)
        return nn.Sequential(first, nn.Tanh(), last)

    monkeypatch.setattr(Net, "encoder", new)
    with pytest.raises(ValueError, match="its code has changed"):
        skganomaly.load(path, architecture=Net())


def test_two_architectures_of_a_user(small, table, path):
    nets = [AutoencoderDetector(architecture=Net(w), max_steps=2) for w in (2, 3)]
    pipeline = make_pipeline(StandardScaler(), nets[0].fit(table)).fit(table)
    pipeline.other_ = nets[1].fit(table)
    with pytest.raises(TypeError, match=r"two objects of yours, .*load can be handed"):
        skganomaly.save(pipeline, path)


# Devices and versions.


def test_device(small, table, new_rows, path):
    """It becomes the parameter, also where the file says another one."""
    detector = small(device="cpu").fit(table)
    expected = detector.score_samples(new_rows)
    detector.set_params(device="cuda:7").save(path)
    assert skganomaly.load(path, device="cpu").device == "cpu"
    with pytest.warns(UserWarning, match=r"device='cuda:7', and torch finds") as caught:
        loaded = skganomaly.load(path)
    assert caught[0].filename == __file__
    assert loaded.device == "cuda:7"
    assert_array_equal(loaded.score_samples(new_rows), expected)
    with pytest.raises(ValueError, match=r"device='gpu' is not a torch device"):
        skganomaly.load(path, device="gpu")
    loaded = again(detector.set_params(device=torch.device("cpu")), path)
    assert loaded.device == torch.device("cpu")


def test_other_versions_are_named(small, table, path, monkeypatch):
    """One warning in words, and none where torch alone is another."""
    detector = make_pipeline(StandardScaler(), small(max_steps=2)).fit(table)
    versions = _saving._versions()
    other = {**versions, "skganomaly": "0.0.7", "scikit-learn": "1.5.2"}
    monkeypatch.setattr(_saving, "_versions", lambda: other)
    skganomaly.save(detector, path)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match=r"was saved with") as caught:
        skganomaly.load(path)
    (warned,) = (str(each.message) for each in caught)
    assert (
        f"skganomaly 0.0.7 (here {skganomaly.__version__}) and scikit-learn" in warned
    )
    assert caught[0].filename == __file__
    monkeypatch.setattr(_saving, "_versions", lambda: {**versions, "torch": "2.0"})
    skganomaly.save(detector, path)
    monkeypatch.undo()
    skganomaly.load(path)


def test_head_can_be_read(small, table, path):
    """Two lines say what a file is, and tools of skops read it as well."""
    skops_io = pytest.importorskip("skops.io")
    detector = small().fit(table)
    detector.save(path)
    first, header = path.read_bytes().split(b"\n")[:2]
    assert first.startswith(b"skganomaly file 1 ")
    assert b"skganomaly._ganomaly.GANomalyDetector" in header and b"versions" in header
    names = skops_io.get_untrusted_types(file=path)
    loaded = skops_io.load(path, trusted=names)
    assert_array_equal(loaded.anomaly_score(table), detector.anomaly_score(table))


def test_what_is_trusted_is_ours():
    """Each name leads to a class, or a function, which is defined there."""
    names = _archive._OURS | _archive._OF_SEARCHES
    for name in names - {"numpy.dtype", "torch.device"}:
        module, _, attribute = name.rpartition(".")
        thing = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert f"{thing.__module__}.{thing.__qualname__}" == name


# What is not stored.


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"reconstruction_loss": my_error}, r"reconstruction_loss needs .*my_error"),
        ({"threshold": lambda scores: 1.0}, r"function, threshold needs .*<lambda>"),
        ({"threshold": np.median}, r"threshold needs numpy.median"),
    ],
)
def test_functions_are_refused(small, params, words, table, path):
    """In words that name the parameter, before anything is written."""
    detector = small(AutoencoderDetector, **params).fit(table)
    path.write_bytes(b"old")
    with pytest.raises(TypeError, match=words) as caught:
        detector.save(path)
    assert "trusted=[...]" in str(caught.value) and "joblib" in str(caught.value)
    assert path.read_bytes() == b"old" and len(os.listdir(path.parent)) == 1


def test_trusted(small, table, new_rows, path):
    """What the user names is stored by its name, and loaded by who names it too."""
    detector = small(AutoencoderDetector, reconstruction_loss=my_error).fit(table)
    detector.save(path, trusted=[my_error])
    with pytest.raises(
        ValueError, match=r"reconstruction_loss needs .*trusted=\[...\]"
    ):
        skganomaly.load(path)
    for trusted in (my_error, [f"{__name__}.my_error"]):
        loaded = skganomaly.load(path, trusted=trusted)
        assert loaded.reconstruction_loss is my_error
        expected = detector.anomaly_score(new_rows)
        assert_array_equal(loaded.anomaly_score(new_rows), expected)
    with pytest.raises(TypeError, match=r"trusted has 3. Name classes and functions"):
        skganomaly.load(path, trusted=[3])


def test_names_that_lead_nowhere_are_refused(small, table, path):
    """A lambda has no name to load it by, whoever trusts it."""
    name = f"{__name__}.<lambda>"
    detector = small(threshold=lambda scores: 1.0).fit(table)
    with pytest.raises(TypeError, match=r"cannot be stored.*<lambda>"):
        detector.save(path, trusted=[name])


def test_keys_that_would_come_back_wrong(small, table, path):
    """JSON has strings for keys, and bool('False') is true."""
    detector = small(max_steps=2).fit(table)
    detector.notes_ = {True: 1}
    with pytest.raises(TypeError, match=r"notes_ has keys of type \['bool'\]"):
        detector.save(path)


def test_what_is_no_detector(small, table, path):
    with pytest.raises(NotFittedError):
        small().save(path)
    with pytest.raises(NotFittedError):
        skganomaly.save(make_pipeline(StandardScaler(), small()), path)
    other = LogisticRegression().fit(table, np.arange(len(table)) % 2)
    pipeline = make_pipeline(StandardScaler(), small(max_steps=2)).fit(table)
    with pytest.raises(TypeError, match=r"A ThroughPipeline .*Save its estimator"):
        skganomaly.save(through(pipeline), path)
    with pytest.raises(TypeError, match=r"nothing of skganomaly in it; see skops"):
        skganomaly.save(other, path)
    with pytest.raises(ValueError, match=r"is a folder. Name a file"):
        small().fit(table).save(path.parent)
    assert not os.listdir(path.parent)


def test_links_and_missing_folders(small, table, path):
    """What a link leads to is replaced; a folder that is not there is not made."""
    detector = small(max_steps=2).fit(table)
    with pytest.raises(FileNotFoundError):
        detector.save(path / "no" / "model")
    target = path.with_name("target")
    try:
        path.symlink_to(target)
    except OSError:
        pytest.skip("no links here")
    detector.save(path)
    assert path.is_symlink() and target.is_file()
    assert len(os.listdir(path.parent)) == 2


# What is not loaded.


FOREIGN = {
    "empty": (b"", "an empty file"),
    "pickle": (pickle.dumps([1]), "a pickle, which joblib.load reads, and which can"),
    "checkpoint": (b"skganomaly checkpoint 1\n", "the file of a FitCheckpoint"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "it is something else"),
    "zeros": (bytes(1000), "it is something else"),
    "long line": (b"skganomaly file 1 " + b"a" * 10_000, "it is something else"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files(kind, path):
    content, words = FOREIGN[kind]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"is no file of skganomaly.save; .*{words}"):
        skganomaly.load(path)


def test_foreign_files_of_other_tools(path):
    joblib.dump({"a": 1}, path, compress=3)
    with pytest.raises(ValueError, match=r"perhaps compressed by joblib"):
        skganomaly.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "{}")
    with pytest.raises(ValueError, match=r"an archive, which perhaps skops.io.load"):
        skganomaly.load(path)
    with pytest.raises(ValueError, match=r"is a folder. Name a file"):
        skganomaly.load(path.parent)
    with pytest.raises(FileNotFoundError):
        skganomaly.load(path.with_name("other"))
    with pytest.raises(ValueError, match=r"/dev/null is a device or a pipe"):
        skganomaly.load(os.devnull)


def test_damaged_files(small, table, path):
    """Cut off, longer, changed, or newer: each in its own words."""
    small(max_steps=2).fit(table).save(path)
    whole = path.read_bytes()
    for content, words in [
        (whole[:-1], "is cut off"),
        (whole[:200], "is cut off"),
        (whole + b"\n", "is longer than it was written"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "is damaged: its content does not fit"),
        (whole.replace(b"file 1 ", b"file 7 ", 1), "has format 7, and this version"),
        (whole.replace(b"file 1 ", b"file 0 ", 1), "is damaged"),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            skganomaly.load(path)


# What someone has written who knows how to make a checksum.


def reseal(path, change):
    """Change the members of a file's archive, and its checksum."""
    head, _, content = path.read_bytes().partition(b"\n")[2].partition(b"\n")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    tree = json.loads(members["schema.json"])
    change(tree, members)
    members["schema.json"] = json.dumps(tree).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    rest = head + b"\n" + file.getvalue()
    path.write_bytes(_saving._first_line(b"1", rest) + rest)


def parameter(tree, name):
    """Node of a parameter, made an object of its own: small numbers are shared."""
    node = tree["content"]["content"][name]
    node["__id__"] = -1
    return node


def names_a_function(tree, members):
    parameter(tree, "verbose").update(
        __loader__="FunctionNode", __module__="os", __class__="system"
    )


def names_what_we_import(tree, members):
    parameter(tree, "verbose").update(
        __loader__="TypeNode", __module__="skganomaly._saving", __class__="os"
    )


def calls_a_method(tree, members):
    parameter(tree, "verbose")["__loader__"] = "MethodNode"


def leaves_the_archive(tree, members):
    members["../../evil.npy"] = b""


def is_a_bomb(tree, members):
    members["0.npy"] = bytes(10**8)


def has_an_array_of(descr, shape):
    def change(tree, members):
        name = next(name for name in members if name.endswith(".npy"))
        file = io.BytesIO()
        header = {"descr": descr, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        members[name] = file.getvalue() + bytes(64)

    return change


def arrays(tree):
    found = [node for node, _ in _archive._nodes(tree) if "file" in node]
    return [node for node in found if node["file"] != found[0]["file"]] + found[:1]


def repeats_an_array(tree, members):
    first, second = arrays(tree)[:2]
    second["file"] = first["file"]
    second["__id__"] = -1


def repeats_a_number(tree, members):
    """Sixty lists of two, each the next list: more ways through than can be gone."""
    verbose = parameter(tree, "verbose")
    inner = dict(verbose)
    for number in range(2, 62):
        node = {"__class__": "list", "__module__": "builtins", "__loader__": "ListNode"}
        again = dict(node, content=[], __id__=inner["__id__"])
        inner = dict(node, content=[inner, again], __id__=-number)
    verbose.clear()
    verbose.update(inner)


def is_old(tree, members):
    tree["protocol"] = 0


def is_of_another_class(tree, members):
    tree["__class__"], tree["__module__"] = "MLP", "skganomaly.architectures"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (names_a_function, r"verbose needs os.system, which is not among"),
        (names_what_we_import, r"verbose needs skganomaly._saving.os, which is"),
        (calls_a_method, r"verbose cannot be stored as data \(it needs a MethodNode"),
        (leaves_the_archive, r"archive has '../../evil.npy', which is never there"),
        (is_a_bomb, r"its \d+ bytes claim to be 100\d{6} once unpacked"),
        (has_an_array_of("<f8", (10**13,)), r"an array of shape \(1\d{13},\) and type"),
        (has_an_array_of("|O", (8,)), r"an array of shape \(8,\) and type object has"),
        (has_an_array_of("|V0", (10**18,)), r"an array of shape .* and type .V0 has"),
        (repeats_an_array, r"two objects have the array '\d+.npy'"),
        (repeats_a_number, r"two objects have the number -\d+"),
        (is_old, r"it has protocol 0, which is never there"),
        (is_of_another_class, r"said to hold a .*GANomalyDetector, and holds a .*MLP"),
    ],
)
def test_malice(change, words, small, table, path):
    """Nothing is built of a file that is not what we write, whatever its checksum."""
    small(max_steps=2).fit(table).save(path)
    reseal(path, change)
    with pytest.raises(ValueError, match=words) as caught:
        skganomaly.load(path)
    assert str(caught.value).startswith(f"{path} is not loaded: ")


def test_settings_that_ask_for_terabytes(small, table, path):
    """They are compared with the arrays that are there, in no time."""

    def change(tree, members):
        settings = parameter(tree, "settings_")["content"]["content"]
        settings["latent_dim"].update(content=str(10**12), __id__=-2)

    small(max_steps=2).fit(table).save(path)
    reseal(path, change)
    with pytest.raises(
        ValueError, match=r"cannot be rebuilt here \(ValueError: .*shape"
    ):
        skganomaly.load(path)
