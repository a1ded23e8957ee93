"""Training and scoring on a GPU, and on machines that have none."""

import gc
import os
import pickle
import subprocess
import sys
import warnings
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from recorder import careful

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly._training import _batches
from skganomaly._training._step import Run
from skganomaly.adversaries import Wasserstein
from skganomaly.cuda import graphs
from skganomaly.searches import GradientSearch, NearestSearch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="torch finds no CUDA device"
    ),
]
VARIANTS = [
    pytest.param(cls, params, id=f"{cls.__name__}-{name}")
    for cls in (GANomalyDetector, AutoencoderDetector)
    for name, params in {
        "local": {},
        "joint": {"score_type": "joint"},
        "reconstruction": {"score_type": "reconstruction"},
        "half": {"net_params": {"mixed_precision": "bfloat16"}},
        "conv": {"conv": True, "input_shape": (1, 2, 2)},
        "conv, 2 members": {"conv": True, "input_shape": (1, 4), "n_members": 2},
    }.items()
]
VARIANTS += [
    pytest.param(AnoGANDetector, params, id=f"AnoGANDetector-{name}")
    for name, params in {
        "encoder": {},
        "half": {"net_params": {"mixed_precision": "bfloat16"}},
        "nearest": {"search": NearestSearch(n_candidates=50, n_steps=5)},
        "gradient": {"search": GradientSearch(n_steps=5, n_starts=2)},
        "conv": {"conv": True, "input_shape": (1, 2, 2)},
    }.items()
]


def _on_cpu(detector):
    """The same detector on the CPU, by way of a pickle."""
    device = detector.device
    try:
        pickled = pickle.dumps(detector.set_params(device="cpu"))
    finally:
        detector.set_params(device=device)
    return pickle.loads(pickled)


def _share_close(found, expected, tolerance):
    """Share of rows that agree in all columns."""
    close = np.isclose(found, expected, rtol=tolerance, atol=tolerance)
    return close.reshape(len(close), -1).all(axis=1).mean()


@pytest.mark.parametrize("device", ["auto", "cuda", torch.device("cuda", 0)])
def test_device(small, device, table):
    """CUDA is taken when there is one, and when it is asked for."""
    detector = small(device=device).fit(table)
    assert detector.device_.type == "cuda"
    # Scaling and references stay where arrays are.
    for part in (detector.model_.method, detector.model_.score):
        assert {t.device.type for t in part.state_dict().values()} == {"cuda"}
    scores = detector.score_samples(table)
    assert isinstance(scores, np.ndarray) and scores.dtype == np.float64


def test_model_on_a_device(small, table, new_rows):
    """It takes rows and a state from wherever they are."""
    detector = small(device="cuda").fit(table)
    model, rows = detector.model_, torch.tensor(np.resize(new_rows, (256, 4)))
    scores = model(rows)
    assert_array_equal(model(rows.cuda()).cpu(), scores.cpu())
    model.load_state_dict({name: t.cpu() for name, t in model.state_dict().items()})
    assert_array_equal(model(rows).cpu(), scores.cpu())


def test_device_that_is_not_there(small, table):
    """A GPU beyond those there are is refused before training."""
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ValueError, match="finds no such device"):
        small(device=missing).fit(table)


@pytest.mark.parametrize(("cls", "params"), VARIANTS)
def test_agreement_with_the_cpu(small, cls, params, table, new_rows):
    """What was trained on CUDA scores the same on the CPU.

    To 1e-4; convolutions to 1e-2, which cuDNN computes in TF32 by default, and a search
    by gradient, whose steps add up what rounding does to each. Of two candidates that
    are equally near, rounding decides which is nearest, and that for few rows.
    """
    tolerance = 1e-2 if {"conv", "search"} & set(params) else 1e-4
    needed = 0.98 if isinstance(params.get("search"), NearestSearch) else 1.0
    detector = small(cls, device="cuda", max_steps=50, **params).fit(table)
    copied = _on_cpu(detector)
    assert copied.device_.type == "cpu"
    for X in (table, new_rows):
        expected = detector.score_samples(X)
        found = copied.score_samples(X)
        assert _share_close(found[:, None], expected[:, None], tolerance) >= needed
        for method in ("encode", "reconstruct"):
            expected = getattr(detector, method)(X)
            found = getattr(copied, method)(X)
            assert _share_close(found, expected, 1e-2) >= needed
    assert copied.offset_ == detector.offset_
    agreement = copied.predict(new_rows) == detector.predict(new_rows)
    assert agreement.mean() > 0.98


@pytest.mark.parametrize(("cls", "params"), VARIANTS)
def test_company_hardly_matters(small, cls, params, table):
    """On CUDA, too, a row's score is its own; here to 1e-4."""
    detector = small(cls, device="cuda", **params).fit(table)
    together = detector.score_samples(table)
    order = np.random.default_rng(0).permutation(300)
    shuffled = detector.score_samples(table[order])
    assert_allclose(shuffled, together[order], rtol=1e-4, atol=1e-4)
    alone = [detector.score_samples(row[None])[0] for row in table[:10]]
    assert_allclose(alone, together[:10], rtol=1e-4, atol=1e-4)
    if "n_members" not in params:
        flagged = (detector.predict(table) == -1).mean()
        assert 0 <= flagged < 0.15


def test_seed(small, table):
    """Two fits with one seed agree closely, two seeds do not."""
    scores = [
        small(device="cuda", random_state=s).fit(table).score_samples(table)
        for s in (0, 0, 1)
    ]
    assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-3)
    assert not np.allclose(scores[0], scores[2], rtol=1e-3, atol=1e-3)


def test_global_generator_of_cuda(small, table):
    """CUDA's process-wide generator is neither used nor seeded."""
    before = torch.cuda.get_rng_state()
    detector = small(device="cuda").fit(table)
    detector.explain(table)
    assert torch.equal(torch.cuda.get_rng_state(), before)


def test_explain_agrees_with_the_cpu(small, table, new_rows):
    """Attributions are computed on CUDA as well."""
    detector = small(device="cuda", max_steps=50).fit(table)
    expected = _on_cpu(detector).explain(new_rows)
    found = detector.explain(new_rows)
    # A neighbour may be another one here and there, where two are equally near.
    close = np.isclose(found, expected, rtol=1e-2, atol=1e-3).all(axis=1)
    assert close.mean() > 0.9


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_unpickle_with_cuda_hidden(small, device, table, new_rows, tmp_path):
    """A pickle from here scores where CUDA is hidden, as it does here on the CPU."""
    detector = small(device=device, max_steps=50).fit(table)
    expected = _on_cpu(detector).score_samples(new_rows)
    (tmp_path / "detector.pkl").write_bytes(pickle.dumps(detector))
    np.save(tmp_path / "X.npy", new_rows)
    code = (
        "import pickle, sys, warnings, numpy as np, torch\n"
        "assert not torch.cuda.is_available()\n"
        "torch.set_num_threads(1)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    detector = pickle.load(open('detector.pkl', 'rb'))\n"
        "assert detector.device_.type == 'cpu'\n"
        "np.save('scores.npy', detector.score_samples(np.load('X.npy')))\n"
        "print(*(str(w.message) for w in caught if w.category is UserWarning))\n"
    )
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(
            [str(Path(skganomaly.__file__).parents[1]), *sys.path]
        ),
    }
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert ("using the CPU" in result.stdout) == (device == "cuda")
    assert_array_equal(np.load(tmp_path / "scores.npy"), expected)


def test_memory_is_given_back(small):
    """After ``del`` the GPU is as empty as before, but for a small rest."""
    X = np.random.default_rng(0).normal(size=(20_000, 64))
    # The first use of cuBLAS and cuDNN leaves workspaces behind, once.
    small(device="cuda", architecture="mlp").fit(X).predict(X)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    detector = small(device="cuda", architecture="mlp").fit(X)
    detector.predict(X)
    held = torch.cuda.memory_allocated() - before
    # References and networks stay, the training rows (5 MB) and gradients do not.
    state = detector.model_.state_dict().values()
    owned = sum(tensor.nbytes for tensor in state if tensor.is_cuda)
    assert held < owned + 2**22
    del detector, state
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 2**20


def test_memory_after_a_failure(small, table):
    """A diverged training holds on to nothing."""
    small(device="cuda").fit(table)
    gc.collect()
    before = torch.cuda.memory_allocated()
    detector = small(device="cuda", learning_rate=1e20, max_steps=100)
    with pytest.raises(FloatingPointError, match="diverged"):
        detector.fit(table)
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 2**20


@pytest.mark.parametrize("conv", [False, True])
def test_streaming(small, conv, table, monkeypatch):
    """Rows that do not fit on the GPU are copied batch by batch, to the same end."""
    params = {"conv": True, "input_shape": (1, 4)} if conv else {}
    resident = small(device="cuda", **params).fit(table)
    asked = []
    monkeypatch.setattr(_batches, "_fits", lambda *args: asked.append(args))
    streamed = small(device="cuda", **params).fit(table)
    assert asked, "whether the rows fit was not asked"
    assert_allclose(
        streamed.score_samples(table),
        resident.score_samples(table),
        rtol=1e-3,
        atol=1e-3,
    )


def test_streaming_a_memory_map(small, table, tmp_path, monkeypatch):
    """A memory map is streamed from the disk."""
    np.save(tmp_path / "X.npy", table)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    monkeypatch.setattr(_batches, "_fits", lambda *args: False)
    detector = small(device="cuda").fit(mapped)
    assert np.isfinite(detector.score_samples(mapped)).all()


def test_half_of_the_work_on_each(small, table, new_rows):
    """A detector trained on the CPU moves to CUDA by a pickle."""
    detector = small(device="cpu", max_steps=50).fit(table)
    expected = detector.score_samples(new_rows)
    copied = pickle.loads(pickle.dumps(detector.set_params(device="cuda")))
    assert copied.device_.type == "cuda"
    assert_allclose(copied.score_samples(new_rows), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "setting",
    [
        lambda: torch.autocast("cuda"),
        lambda: torch.device("cuda"),
        torch.inference_mode,
    ],
    ids=["autocast", "default device", "inference_mode"],
)
def test_settings_of_the_process_change_nothing(small, setting, device, table):
    """Mixed precision and a default device around a detector do not reach it."""
    detector = small(device=device).fit(table)
    expected = detector.score_samples(table), detector.explain(table)
    with setting():
        detector.fit(table)
        found = detector.score_samples(table), detector.explain(table)
    for one, other in zip(found, expected, strict=True):
        assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_file_from_cuda(small, table, new_rows, tmp_path):
    """What was trained here is loaded on the CPU, or here again."""
    detector = small(device="cuda").fit(table)
    detector.save(tmp_path / "model.skganomaly")
    loaded = skganomaly.load(tmp_path / "model.skganomaly", device="cpu")
    assert loaded.device_.type == loaded.device == "cpu"
    expected = _on_cpu(detector).score_samples(new_rows)
    assert_array_equal(loaded.score_samples(new_rows), expected)
    assert skganomaly.load(tmp_path / "model.skganomaly").device_.type == "cuda"


def _with_graphs(detector, X):
    """Fit with graphs, all of which are recorded."""
    with warnings.catch_warnings(), graphs():
        warnings.filterwarnings("error", message="graphs")
        return detector.fit(X)


GRAPHED = [
    pytest.param(cls, params, id=f"{cls.__name__}-{name}")
    for name, cls, params in [
        ("rows", GANomalyDetector, {"input_noise": 0.1, "n_members": 2}),
        ("images", GANomalyDetector, {"conv": True, "input_shape": (1, 2, 2)}),
        ("published", GANomalyDetector, {"architecture": "published"}),
        ("rows", AutoencoderDetector, {"input_noise": 0.1}),
        ("rows", AnoGANDetector, {"adversary": Wasserstein(n_critic=2)}),
        ("search", AnoGANDetector, {"search": GradientSearch(n_steps=20)}),
    ]
]


@pytest.mark.parametrize(("cls", "params"), GRAPHED)
def test_graphs(small, cls, params, table):
    """A fit of recorded steps ends near one of steps as usual, and far from none.

    As near as two fits as usual; a learning rate is in single precision in a graph.
    """
    make = partial(small, cls, device="cuda", max_steps=40, **params)
    expected = make().fit(table).score_samples(table)
    with_graphs = _with_graphs(make(), table)
    assert np.corrcoef(with_graphs.score_samples(table), expected)[0, 1] > 0.99
    copied = _on_cpu(with_graphs).score_samples(table)
    assert np.corrcoef(copied, expected)[0, 1] > 0.95


def test_losses_of_graphs(small, table):
    """Every loss of every epoch: a step that is left out or done twice would show."""
    make = partial(small, AnoGANDetector, device="cuda", max_steps=60, input_noise=0.1)
    expected, found = make().fit(table), _with_graphs(make(), table)
    names = {k for row in expected.history_ for k in row} - {"dur"}
    for one, other in zip(expected.history_, found.history_, strict=True):
        for name in names & {*one}:
            assert_allclose(other[name], one[name], rtol=0.02, atol=0.02)


def test_graph_that_cannot_be_recorded(small, table):
    """The fit goes on as usual from there, with the noise it would have had."""
    make = partial(
        small,
        AutoencoderDetector,
        device="cuda",
        input_noise=0.1,
        reconstruction_loss=careful,
    )
    expected = make().fit(table).score_samples(table)
    with pytest.warns(UserWarning, match="cannot be recorded"), graphs():
        found = make().fit(table).score_samples(table)
    assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    # CUDA is as it was.
    assert_allclose(make().fit(table).score_samples(table), expected, rtol=1e-3)


def test_memory_of_graphs(small, table):
    """They are gone when the fit is over."""
    make = partial(small, AnoGANDetector, device="cuda", max_steps=40)
    _with_graphs(make(), table).predict(table)
    gc.collect()
    before = torch.cuda.memory_allocated()
    detector = _with_graphs(make(), table)
    gc.collect()
    owned = sum(t.nbytes for t in detector.model_.state_dict().values() if t.is_cuda)
    assert torch.cuda.memory_allocated() - before < owned + 2**20
    del detector
    gc.collect()
    assert torch.cuda.memory_allocated() - before < 2**16


@pytest.mark.parametrize("graphed", [False, True])
@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_steps_never_wait(small, table, monkeypatch, cls, graphed):
    """CUDA itself refuses whatever would make the processor wait in a step.

    But for recordings, before which torch waits.
    """
    settled = []

    def step(run, rows, phase, original=Run.step):
        settled.append((id(run), phase))
        # Steps as usual, and the recording, are done.
        strict = not graphed or settled.count(settled[-1]) > 4
        torch.cuda.set_sync_debug_mode("error" if strict else "default")
        try:
            return original(run, rows, phase)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Run, "step", step)
    with graphs() if graphed else nullcontext():
        small(cls, device="cuda", max_steps=40, input_noise=0.1).fit(table)
    assert len(settled) >= 40
