"""Steps that are recorded as CUDA graphs and replayed, on a stand-in for CUDA."""

import pickle
import warnings
from contextlib import nullcontext
from functools import partial
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from recorder import Recorder, careful
from skorch.callbacks import Callback, LRScheduler

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, _ranks
from skganomaly import cuda as module
from skganomaly._models._search import LatentSearch
from skganomaly._training import _batches
from skganomaly._training._step import Run
from skganomaly.adversaries import Wasserstein
from skganomaly.architectures import ConvNet
from skganomaly.cuda import graphs
from skganomaly.losses import squared_error
from skganomaly.searches import EncoderSearch, GradientSearch

CUDA = module._Cuda


@pytest.fixture(autouse=True)
def recorder(monkeypatch):
    """The stand-in, and learning rates that have no more digits than on a GPU."""

    class Counted(Recorder):
        n_recorded = n_replayed = 0

    def set_learning_rate(run, original=Run._set_learning_rate):
        original(run)
        for optimizer in run.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = float(np.float32(group["lr"]))

    monkeypatch.setattr(module, "_Cuda", Counted)
    monkeypatch.setattr(Run, "_set_learning_rate", set_learning_rate)
    return Counted


def learned(detector):
    return {name: t.numpy() for name, t in detector.model_.state_dict().items()}


def assert_same_fit(one, other):
    for name, expected in learned(one).items():
        assert_array_equal(learned(other)[name], expected, err_msg=name)
    losses = [
        [{k: v for k, v in row.items() if k != "dur"} for row in fit.history_]
        for fit in (one, other)
    ]
    assert losses[0] == losses[1]
    assert_array_equal(other.reference_scores_, one.reference_scores_)


WGAN = Wasserstein(n_critic=2, penalty_interval=3)
CONV = ConvNet(base_channels=2)
# With the steps of each phase: of its kind, and of the encoder.
VARIANTS = {
    "GANomaly": (GANomalyDetector, {}, [30]),
    "noise": (GANomalyDetector, {"input_noise": 0.1, "n_members": 2}, [30]),
    "images": (GANomalyDetector, {"architecture": CONV, "n_members": 2}, [30]),
    "published": (GANomalyDetector, {"architecture": "published"}, [30]),
    "autoencoder": (AutoencoderDetector, {"input_noise": 0.1}, [30]),
    "AnoGAN": (AnoGANDetector, {}, [30, 10]),
    "Wasserstein": (AnoGANDetector, {"adversary": WGAN}, [10, 10, 5, 5, 10]),
}


@pytest.mark.parametrize(("cls", "params", "phases"), VARIANTS.values(), ids=VARIANTS)
def test_same_fit(small, recorder, table, monkeypatch, cls, params, phases):
    """To the last bit, with every number that changes from step to step."""
    # So that losses are summed up over several steps.
    monkeypatch.setattr(_batches, "_MIN_EPOCHS", 5)
    X = table[:80]
    if params.get("architecture") == CONV:
        X = np.random.default_rng(0).normal(size=(20, 1, 8, 8))
    make = partial(small, cls, max_steps=30, batch_size=16, **params)
    expected = make().fit(X)
    with warnings.catch_warnings(), graphs():
        warnings.filterwarnings("error", message="graphs")
        found = make().fit(X)
    assert recorder.n_recorded == len(phases)
    assert recorder.n_replayed == sum(phases) - 3 * len(phases)
    assert_same_fit(expected, found)
    # Nothing of it is left.
    assert not found.net_.run_._moves
    assert all(
        isinstance(group["lr"], float) and not group["capturable"]
        for optimizer in found.net_.run_.optimizers.values()
        for group in optimizer.param_groups
    )
    assert_array_equal(
        pickle.loads(pickle.dumps(found)).score_samples(X), expected.score_samples(X)
    )


def test_python_is_not_replayed(small, table):
    """As on a GPU; so the stand-in would notice what :func:`graphs` forgets."""
    calls = []

    def growing(a, b):
        calls.append(None)
        return squared_error(a, b) * min(len(calls), 20)

    def fit():
        calls.clear()
        return small(AutoencoderDetector, reconstruction_loss=growing).fit(table)

    expected = fit()
    assert len(calls) == 10
    with graphs():
        found = fit()
    # Three as usual and one that is recorded.
    assert len(calls) == 4
    assert not np.array_equal(found.reference_scores_, expected.reference_scores_)


@pytest.mark.parametrize("recorded", [(0, 1), (1, 0), (1, 1)], ids=str)
def test_gone_on_with(small, table, recorded):
    """What is kept of a training says nothing of graphs."""

    def fit(*blocks):
        detector = small(AnoGANDetector, warm_start=True, input_noise=0.1)
        detector.set_params(search=EncoderSearch(encoder_steps=30))
        for max_steps, block in zip((10, 20), blocks, strict=True):
            with block:
                detector.set_params(max_steps=max_steps).fit(table)
        return detector

    expected = fit(nullcontext(), nullcontext())
    found = fit(*(graphs() if record else nullcontext() for record in recorded))
    assert_same_fit(expected, found)


class Meddling(Callback):
    """Changes something after one of 20 steps."""

    def __init__(self, change, step=8):
        self.change = change
        self.step = step

    def on_epoch_end(self, net, **kwargs):
        if net.n_steps_ == self.step and net.phase == "training":
            self.change(net)


def restart(net):
    net.optimizer_d_.state.clear()


def freeze(net):
    next(net.module_.parameters()).requires_grad_(False)


def set_beta(net):
    net.optimizer_.param_groups[0]["betas"] = (0.7, 0.999)


def set_rate(net):
    net.optimizer_.param_groups[0]["lr"] = 2.0**-12


def put_weights(net):
    for parameter in net.module_.parameters():
        parameter.data = parameter.data * 0.5


CHANGES = [restart, freeze, set_beta, set_rate, put_weights]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_callbacks_change(small, table, recorder, change):
    make = partial(
        small,
        max_steps=20,
        learning_rate_schedule="constant",
        callbacks=[Meddling(change)],
    )
    expected = make().fit(table)
    with graphs():
        found = make().fit(table)
    assert_same_fit(expected, found)
    # Begun anew for each change but that of a rate.
    assert recorder.n_recorded == (1 if change is set_rate else 2)


def test_change_before_the_recording(small, table):
    """An optimiser's state is never made in a recording, which would repeat that."""
    make = partial(
        small,
        AnoGANDetector,
        # The twelfth step would be the first with a penalty to be recorded.
        adversary=Wasserstein(penalty_interval=3),
        max_steps=20,
        callbacks=[Meddling(restart, step=11)],
    )
    expected = make().fit(table)
    with graphs():
        found = make().fit(table)
    assert_same_fit(expected, found)


def test_scheduler_of_torch(small, table):
    scheduler = LRScheduler("StepLR", step_size=1, gamma=0.5)
    make = partial(
        small,
        AutoencoderDetector,
        max_steps=20,
        learning_rate_schedule="constant",
        callbacks=[scheduler],
    )
    expected = make().fit(table)
    with graphs():
        found = make().fit(table)
    assert_same_fit(expected, found)


def test_progress_bar(small, table, capsys):
    with graphs():
        small(AutoencoderDetector, verbose=True, max_steps=50).fit(table)
    assert "50/50" in capsys.readouterr().err


# The search.


@pytest.mark.parametrize("weight", [0.0, 0.1])
def test_same_search(recorder, monkeypatch, weight):
    fused = torch.optim.Adam
    monkeypatch.setattr(
        torch.optim, "Adam", lambda *args, **options: fused(*args, fused=True)
    )
    generator = torch.Generator().manual_seed(0)
    options = GradientSearch(
        n_starts=2,
        n_steps=20,
        learning_rate=0.125,
        feature_weight=weight,
        prior_weight=0.1,
    )
    matrices = torch.randn(2, 3, 4, 4, generator=generator)
    networks = [lambda x, m=m: torch.tanh(x @ m) for m in matrices]
    x, codes = torch.randn(2, 3, 10, 4, generator=generator)
    starts = torch.stack([codes, -codes], dim=2)
    search = LatentSearch(options)
    with torch.inference_mode():
        expected = search(*networks, x, starts)
        with graphs():
            found = search(*networks, x, starts)
    assert recorder.n_recorded == 1 and recorder.n_replayed == 17
    assert_array_equal(found, expected)
    assert not np.array_equal(found, codes)


# What is not recorded.


def fit_with_warning(make, X, message):
    with pytest.warns(UserWarning, match=message) as caught, graphs():
        found = make().fit(X)
    assert sum("graphs()" in str(warning.message) for warning in caught) == 1
    assert_same_fit(make().fit(X), found)


def test_other_device(small, table, recorder, monkeypatch):
    monkeypatch.setattr(recorder, "device_type", "cuda")
    make = partial(small, AnoGANDetector)
    fit_with_warning(make, table, "the device is 'cpu', and only CUDA has graphs")


class Watching(Callback):
    n_told = 0

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.n_told += 1


def test_callback_that_asks_for_gradients(small, table, recorder):
    make = partial(small, callbacks=[Watching()])
    fit_with_warning(make, table, "a callback asks for the gradients of each step")
    with pytest.warns(UserWarning, match="graphs"), graphs():
        detector = make().fit(table)
    callbacks = [c for _, c in detector.net_.callbacks_ if isinstance(c, Watching)]
    assert [c.n_told for c in callbacks] == [20]
    assert not recorder.n_recorded


@pytest.mark.parametrize("params", [{"optimizer": torch.optim.AdamW}, {"fused": False}])
def test_optimizer_that_is_not_fused(small, table, params):
    if "fused" in params:
        params = {"optimizer__fused": False}
    make = partial(small, net_params=params)
    fit_with_warning(make, table, "an optimizer without optimizer__fused=True")


def test_other_optimizer(small, table, recorder):
    params = {"optimizer": torch.optim.AdamW, "optimizer__fused": True}
    expected = small(net_params=params).fit(table)
    with graphs():
        assert_same_fit(expected, small(net_params=params).fit(table))
    assert recorder.n_recorded == 1


def test_loss_that_looks_at_values(small, table, recorder):
    """It is found when it is recorded, and noise goes on as it would have been."""
    make = partial(
        small,
        AutoencoderDetector,
        reconstruction_loss=careful,
        input_noise=0.1,
        max_steps=20,
    )
    fit_with_warning(make, table, r"cannot be recorded \(operation not permitted")
    assert not recorder.n_replayed


def test_steps_of_several_processes_or_compiled(small, table):
    run = small().fit(table).net_.run_
    assert run._obstacle() is None
    token = _ranks._CURRENT.set(_ranks.Ranks(size=2))
    assert run._obstacle() == "several processes train together"
    _ranks._CURRENT.reset(token)
    # As torch.compile leaves it.
    run.players["discriminator"]._compiled_call_impl = len
    assert run._obstacle() == "networks are compiled"


def test_batches_of_several_sizes(recorder):
    with pytest.warns(UserWarning, match="batches have several sizes"), graphs():
        double = module.recorded(lambda x: 2 * x, [], torch.device("cpu"))
        for n_rows in (3, 3, 3, 3, 3, 2, 3):
            x = torch.arange(n_rows)
            assert_array_equal(double(x), 2 * x)
    assert recorder.n_replayed == 2


def test_without_the_block(recorder, small, table):
    with graphs():
        pass
    small().fit(table)
    assert module.recorded(len, [], torch.device("cpu")) is len
    assert not recorder.n_recorded


# What is asked of CUDA.


def test_calls_of_cuda(monkeypatch):
    """Torch has them; whether they do what they should, only a GPU would say."""
    for name in ("Stream", "current_stream", "stream", "graph"):
        double = mock.create_autospec(getattr(torch.cuda, name))
        monkeypatch.setattr(torch.cuda, name, double)
    graph = mock.Mock(spec_set=["register_generator_state", "replay"])
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: graph)
    torch.cuda.stream.side_effect = nullcontext
    torch.cuda.graph.side_effect = lambda *args, **options: nullcontext()
    recorder = CUDA(torch.device("cuda", 0))
    assert recorder.aside(lambda: 3) == 3
    recorder.stream.wait_stream.assert_called_once()
    source = torch.Generator()
    replay, made = recorder.record(lambda: 5, [source])
    assert made == 5
    graph.register_generator_state.assert_called_once_with(source)
    replay()
    graph.replay.assert_called_once_with()
