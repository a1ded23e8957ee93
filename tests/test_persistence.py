"""Copies of all kinds score as the original does, on any machine."""

import copy
import io
import pickle
import pickletools
import threading
import warnings

import joblib
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._training._net import AdversarialNet
from skganomaly.searches import GradientSearch, NearestSearch

VARIANTS = [
    pytest.param(cls, params, id=f"{cls.__name__}-{name}")
    for cls in (GANomalyDetector, AutoencoderDetector)
    for name, params in {
        "local": {},
        "joint": {"score_type": "joint"},
        "reconstruction": {"score_type": "reconstruction", "n_members": 1},
        "held out": {"validation_fraction": 0.2, "threshold": "conformal"},
        "contamination": {"contamination": 0.1, "scaler": "standard"},
        "conv": {"conv": True, "input_shape": (1, 4)},
        "conv, 2 members": {"conv": True, "input_shape": (1, 2, 2), "n_members": 2},
    }.items()
] + [
    pytest.param(AnoGANDetector, params, id=f"AnoGANDetector-{name}")
    for name, params in {
        "encoder": {},
        "gradient": {"search": GradientSearch(n_steps=3, n_starts=2)},
        "nearest": {"search": NearestSearch(n_candidates=50, n_steps=3)},
        "published": {"score_type": "published", "feature_layer": 1},
        "conv": {"conv": True, "input_shape": (1, 2, 2), "n_members": 2},
    }.items()
]


def _through_joblib(detector, path):
    joblib.dump(detector, path / "detector.joblib", compress=3)
    return joblib.load(path / "detector.joblib")


def _through_joblib_mapped(detector, path):
    joblib.dump(detector, path / "detector.joblib")
    return joblib.load(path / "detector.joblib", mmap_mode="r")


COPIES = {
    "deepcopy": lambda detector, path: copy.deepcopy(detector),
    "pickle": lambda detector, path: pickle.loads(pickle.dumps(detector)),
    "pickle protocol 2": lambda detector, path: pickle.loads(
        pickle.dumps(detector, protocol=2)
    ),
    "pickle twice": lambda detector, path: pickle.loads(
        pickle.dumps(pickle.loads(pickle.dumps(detector)))
    ),
    "joblib": _through_joblib,
    "joblib, memory mapped": _through_joblib_mapped,
}


def _assert_same(copied, detector, X):
    """Assert that two fitted detectors are the same in all that they do."""
    for method in (
        "score_samples",
        "predict",
        "p_values",
        "encode",
        "reconstruct",
        "explain",
        "anomaly_map",
    ):
        expected = getattr(detector, method)(X)
        assert_array_equal(getattr(copied, method)(X), expected, err_msg=method)
    expected = detector.sample(7, random_state=0)
    assert_array_equal(copied.sample(7, random_state=0), expected)
    assert copied.training_report_ == detector.training_report_
    for part in detector.model_.method.part_names:
        expected = detector.anomaly_score(X, part=part)
        assert_array_equal(copied.anomaly_score(X, part=part), expected)
    for name in ("offset_", "threshold_", "n_iter_", "history_", "input_shape_"):
        assert getattr(copied, name) == getattr(detector, name), name
    assert copied.device_ == detector.device_
    assert repr(copied.settings_) == repr(detector.settings_)
    assert_array_equal(copied.reference_scores_, detector.reference_scores_)
    assert repr(copied) == repr(detector)


@pytest.mark.parametrize(
    ("cls", "params", "how"),
    [pytest.param(*v.values, "pickle", id=f"{v.id}-pickle") for v in VARIANTS]
    + [
        pytest.param(*v.values, how, id=f"{v.id}-{how}")
        for v in (VARIANTS[0], VARIANTS[-1])
        for how in COPIES
        if how != "pickle"
    ],
)
def test_copies(small, cls, params, how, table, new_rows, tmp_path):
    """Every kind of copy agrees with the original in every bit."""
    detector = small(cls, max_steps=3, **params).fit(table)
    copied = COPIES[how](detector, tmp_path)
    assert copied is not detector
    X = np.vstack([new_rows[:20], new_rows[-20:], table[:20]])
    _assert_same(copied, detector, X)
    # Copies are of one mind about themselves, and the original is still whole.
    _assert_same(copy.deepcopy(copied), detector, X[:5])


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "joblib"])
def test_copies_can_do_all(small, how, table, new_rows, tmp_path):
    """A copy can be re-cut, refitted and cloned; the original does not notice."""
    detector = small().fit(table)
    expected = detector.score_samples(new_rows)
    offset = detector.offset_
    copied = COPIES[how](detector, tmp_path)
    assert copied.set_threshold("max").threshold_ > detector.threshold_
    assert_array_equal(copied.fit(table).score_samples(new_rows), expected)
    copied.fit(new_rows)
    assert_array_equal(detector.score_samples(new_rows), expected)
    assert detector.offset_ == offset


@pytest.mark.parametrize("how", COPIES)
def test_unfitted_copies(small, how, table, tmp_path):
    """Unfitted detectors are copied unfitted, parameters and all."""
    detector = small(contamination=0.2, random_state=3)
    copied = COPIES[how](detector, tmp_path)
    assert repr(copied) == repr(detector)
    with pytest.raises(NotFittedError):
        copied.predict(table)
    expected = detector.fit(table).score_samples(table)
    assert_array_equal(copied.fit(table).score_samples(table), expected)


def test_clone(small, table, new_rows):
    """A clone of a fitted detector is unfitted and its fit the same."""
    detector = small(GANomalyDetector, latent_dim=2).fit(table)
    cloned = clone(detector)
    assert set(vars(cloned)) == set(detector.get_params(deep=False))
    assert cloned.architecture is not detector.architecture
    cloned.fit(table)
    _assert_same(cloned.fit(table), _without_durations(cloned, detector), new_rows)


def _without_durations(cloned, detector):
    """The detector, with the one thing in it that is about the clock made alike."""
    for row, other in zip(detector.history_, cloned.history_, strict=True):
        row["dur"] = other["dur"]
    return detector


def _score(detector, X):
    return detector.score_samples(X)


def _fit_and_score(detector, X):
    return clone(detector).fit(X).score_samples(X)


@pytest.mark.parametrize("function", [_score, _fit_and_score])
@pytest.mark.parametrize("conv", [False, True])
def test_threads_of_joblib(small, function, conv, table):
    """Joblib's threading backend gives the same scores."""
    params = {"conv": True, "input_shape": (1, 4)} if conv else {}
    detector = small(max_steps=3, **params).fit(table)
    expected = detector.score_samples(table)
    results = joblib.Parallel(n_jobs=2, backend="threading")(
        joblib.delayed(function)(detector, table) for _ in range(4)
    )
    for scores in results:
        assert_array_equal(scores, expected)


def test_processes_of_joblib(small, table):
    """Joblib's processes give the same scores, from a copy and from a fit."""
    detectors = [
        small(max_steps=3).fit(table),
        small(max_steps=3, conv=True, input_shape=(1, 4)).fit(table),
    ]
    with joblib.parallel_config("loky", n_jobs=2, inner_max_num_threads=1):
        # Bound methods, as workers cannot import this file.
        scored = joblib.Parallel()(
            joblib.delayed(detector.score_samples)(table) for detector in detectors
        )
        fitted = joblib.Parallel()(
            joblib.delayed(clone(detector).fit)(table) for detector in detectors
        )
    for detector, scores, other in zip(detectors, scored, fitted, strict=True):
        expected = detector.score_samples(table)
        assert_array_equal(scores, expected)
        assert_array_equal(other.score_samples(table), expected)


def test_unpickled_detector_in_threads(small, table, new_rows):
    """An unpickled detector is whole at once: threads may use it first."""
    detector = small().fit(table)
    expected = detector.score_samples(new_rows)
    copied = pickle.loads(pickle.dumps(detector))
    start, results = threading.Barrier(4), [None] * 4

    def score(i):
        start.wait()
        results[i] = copied.score_samples(new_rows)

    threads = [threading.Thread(target=score, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scores in results:
        assert_array_equal(scores, expected)


def _modules_named(pickled):
    """Names of all modules that a pickle asks for when it is read."""
    modules, strings = set(), []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            modules.add(argument.split()[0])
        elif opcode.name == "STACK_GLOBAL":
            # The module and the name are the last strings but for memoisations; any
            # string that was pushed before may be meant, so all are looked at.
            modules.update(strings)
        elif isinstance(argument, str):
            strings.append(argument)
    return modules


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
@pytest.mark.parametrize(("cls", "params"), VARIANTS)
def test_pickles_name_nothing_from_torch(small, cls, params, protocol, table):
    """What is pickled is plain: nothing of torch, skorch or a device."""
    detector = small(cls, max_steps=2, verbose=1, **params).fit(table)
    modules = _modules_named(pickle.dumps(detector, protocol=protocol))
    assert any(name.startswith("skganomaly") for name in modules)
    allowed = {"skganomaly", "numpy", "copyreg", "copy_reg", "__builtin__", "_codecs"}
    if protocol == 2:
        # Protocol 2 names modules only where they are meant.
        assert {name.split(".")[0] for name in modules} <= allowed
    for name in modules:
        assert name.split(".")[0] not in ("torch", "skorch", "tqdm"), name
    assert b"cuda" not in pickle.dumps(detector, protocol=protocol)


def test_pickles_stay_small(small, table):
    """A pickle does not grow with the length of the training."""
    sizes = [
        len(pickle.dumps(small(max_steps=steps, batch_size=300).fit(table)))
        for steps in (25, 500)
    ]
    # Twenty epochs instead of one, each a handful of numbers.
    assert sizes[1] - sizes[0] < 20 * 500


def test_state_is_read_back_whole(small, table):
    """Unpickling needs no training code: the weights are those that were stored."""
    detector = small().fit(table)
    copied = pickle.loads(pickle.dumps(detector))
    ours, theirs = detector.model_.state_dict(), copied.model_.state_dict()
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert torch.equal(values, theirs[name])
        assert values.dtype == theirs[name].dtype
    assert not any(module.training for module in copied.model_.modules())
    assert not any(p.requires_grad for p in copied.model_.parameters())
    assert isinstance(copied.net_, AdversarialNet)


def test_net_of_a_copy_has_the_documented_networks(small, table):
    """``net_.module_`` and ``net_.discriminator_`` are there after unpickling too."""
    detector = small().fit(table)
    copied = pickle.loads(pickle.dumps(detector))
    for fitted in (detector, copied):
        assert fitted.net_.module_ is fitted.model_.method.generator
        assert fitted.net_.discriminator_ is fitted.model_.method.discriminator


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="the point is a machine without CUDA"
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_pickle_from_a_machine_with_cuda(small, device, table, new_rows):
    """A detector that asks for CUDA scores on the CPU where there is none, warning."""
    detector = small().fit(table)
    expected = detector.score_samples(new_rows)
    pickled = pickle.dumps(detector.set_params(device=device))
    with pytest.warns(UserWarning, match="no such device; using the CPU") as caught:
        copied = pickle.loads(pickled)
    assert caught[0].filename == __file__
    assert copied.device_ == torch.device("cpu")
    assert copied.device == device
    assert_array_equal(copied.score_samples(new_rows), expected)
    with pytest.raises(ValueError, match=r"finds no such device.*device='auto'"):
        copied.fit(table)


def test_unpickling_warns_of_nothing(small, table):
    """An ordinary pickle is read in silence."""
    pickled = pickle.dumps(small().fit(table))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.load(io.BytesIO(pickled))


def test_another_version_is_named(small, table, monkeypatch):
    """Who loads what another version saved is told which two they are."""
    monkeypatch.setattr("skganomaly._state.__version__", "0.0.7")
    data = pickle.dumps(small(max_steps=2).fit(table))
    monkeypatch.undo()
    with pytest.warns(
        UserWarning, match=rf"0\.0\.7.*{skganomaly.__version__}"
    ) as caught:
        detector = pickle.loads(data)
    assert caught[0].filename == __file__
    assert np.isfinite(detector.score_samples(table)).all()


def test_parameters_changed_after_fit(small, table, new_rows):
    """A pickle is of what was fitted, whatever parameters were set since."""
    detector = small().fit(table)
    expected = detector.score_samples(new_rows)
    detector.set_params(
        n_members=1,
        latent_dim=7,
        score_type="latent",
        architecture="mlp",
        scaler=None,
        input_shape=(2, 2),
    )
    copied = pickle.loads(pickle.dumps(detector))
    assert_array_equal(copied.score_samples(new_rows), expected)
