"""Fits of two processes together, by assertions in each of them.

Run by ``python -m torch.distributed.run --standalone --nproc-per-node=2
tests/ranks.py``.
"""

import io
import os
import tempfile
from contextlib import redirect_stderr
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, GradientNormClipping

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly.architectures import MLP, ConvNet
from skganomaly.callbacks import FitCheckpoint, HeldOutStopping
from skganomaly.distributed import data_parallel
from skganomaly.images import DefectDiscriminator, ImageDetector
from skganomaly.searches import EncoderSearch

RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 4)) @ RNG.normal(size=(4, 4))
IMAGES = RNG.uniform(size=(64, 16, 16))
IMAGES[:, 4:8] += 2
PICTURES = RNG.integers(0, 255, size=(24, 40, 52)).astype(np.uint8)
NETS = {
    "architecture": MLP(hidden_layer_sizes=(16,), discriminator_layer_sizes=(16,)),
    "max_steps": 12,
    "max_references": 100,
    "random_state": 0,
}
MAPS = NETS | {"architecture": ConvNet(base_channels=2)}


def together(detector, rows, **options):
    with data_parallel():
        return detector.fit(rows, **options)


def state(detector):
    """All numbers that were learned."""
    if isinstance(detector, ImageDetector):
        modules = detector.methods_
    else:
        modules = [detector.model_]
    return [v.numpy() for module in modules for v in module.state_dict().values()]


def from_all(value):
    """What a value is in each process."""
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def assert_one_detector(detector, rows):
    """Weights, scores and threshold are the same in all processes, to the last bit."""
    first, *others = from_all([*state(detector), detector.anomaly_score(rows)])
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert_array_equal(a, b)
    assert len(set(from_all(detector.threshold_))) == 1


def check_it_is_the_fit_of_one_process():
    """Up to rounding, where no network looks at other rows of a batch."""
    clipping = [GradientNormClipping(gradient_clip_value=1.0)]
    plain = ConvNet(
        base_channels=2, normalization=None, discriminator_normalization=None
    )
    for rows, detector in (
        (X, AutoencoderDetector(**NETS)),
        (X, GANomalyDetector(**NETS, callbacks=clipping)),
        (IMAGES, GANomalyDetector(**MAPS | {"architecture": plain})),
    ):
        scores = together(detector, rows).anomaly_score(rows)
        assert_one_detector(detector, rows)
        weights = np.concatenate([v.ravel() for v in state(detector)])
        history = [epoch["train_loss"] for epoch in detector.history_]
        alone = detector.fit(rows)
        assert_allclose(history, [e["train_loss"] for e in alone.history_], rtol=1e-4)
        expected = np.concatenate([v.ravel() for v in state(alone)])
        assert_allclose(weights, expected, rtol=1e-3, atol=1e-4)
        assert_allclose(scores, alone.anomaly_score(rows), rtol=1e-3)


def check_statistics_and_draws():
    """Batch normalisation, and codes that each process draws for its own rows."""
    gan = {"search": EncoderSearch(encoder_steps=10)}
    for rows, detector in (
        (IMAGES, AutoencoderDetector(**MAPS)),
        (IMAGES, GANomalyDetector(**MAPS)),
        (IMAGES, AnoGANDetector(**MAPS | {"architecture": "conv"}, **gan)),
        (X, AnoGANDetector(**NETS, **gan)),
    ):
        assert_one_detector(together(detector, rows), rows)


def check_images():
    method = DefectDiscriminator(n_steps=3, batch_size=4)
    detector = together(ImageDetector(method=method), PICTURES)
    assert_one_detector(detector, PICTURES[:2])
    # Also what is not a parameter.
    means = [v for m in detector.methods_ for v in m.network.encoder[0][0][1].buffers()]
    assert means[0].abs().sum() > 0


def check_only_the_first_shows_a_bar():
    method = DefectDiscriminator(n_steps=1, batch_size=4)
    detectors = (
        (AutoencoderDetector(**NETS, verbose=1), X),
        (ImageDetector(method=method, verbose=1), PICTURES),
    )
    for detector, rows in detectors:
        with redirect_stderr(io.StringIO()) as shown:
            together(detector, rows)
        assert (type(detector).__name__ in shown.getvalue()) == (not dist.get_rank())


def check_seeds_are_agreed():
    """Without one each process would draw its own."""
    detector = GANomalyDetector(**NETS | {"random_state": None})
    with data_parallel(dist.new_group([0, 1])):
        detector.fit(X)
    assert_one_detector(detector, X)


def check_nothing_is_shared_outside():
    """Nor does anything wait for the others, whoever has a process group."""
    rank = dist.get_rank()
    if rank:
        detector = GANomalyDetector(**NETS | {"random_state": rank}).fit(X)
        assert np.isfinite(detector.anomaly_score(X)).all()


def check_different_things_are_refused():
    """In every process, with what differs."""
    rank = dist.get_rank()
    with pytest.raises(ValueError) as caught:
        together(
            GANomalyDetector(**NETS, batch_size=[64, 32][rank]), X[: len(X) - rank]
        )
    words = str(caught.value)
    assert "batch_size is 64 in process 0 and 32 in process 1" in words
    assert "X is '(300, 4) " in words and "and '(299, 4) " in words
    assert "groups is" in words and "random_state" not in words
    detector = GANomalyDetector(**NETS)
    with pytest.raises(ValueError, match=r"X is .* in process 0 and .* in process 1"):
        together(detector, X + rank)
    weights = np.ones(len(X))
    weights[3 + rank] = 2
    with pytest.raises(ValueError, match="sample_weight is"):
        together(detector, X, sample_weight=weights)
    with pytest.raises(ValueError, match="image 22 is"):
        together(ImageDetector(), PICTURES + np.uint8(rank))


def check_batches_that_cannot_be_shared():
    for detector, rows in (
        (GANomalyDetector(**NETS, batch_size=33), X),
        (GANomalyDetector(**NETS), X[:51]),
        (ImageDetector(method=DefectDiscriminator(batch_size=2)), PICTURES),
    ):
        words = "cannot be shared by 2 processes.* multiple of 2 that is 4 or more"
        with pytest.raises(ValueError, match=words):
            together(detector, rows)
        assert not hasattr(detector, "offset_")


class Killed(Callback):
    """Ends a fit in the middle, as a kill would, but for the process."""

    after = 50

    def on_batch_end(self, net, **kwargs):
        if net.n_steps_ >= self.after:
            raise ZeroDivisionError


def check_a_fit_that_is_gone_on_with():
    """From the file that the first process has written, equal to the last bit."""
    params = NETS | {"max_steps": 100}
    for cls, options in (
        (GANomalyDetector, {}),
        (AnoGANDetector, {"search": EncoderSearch(encoder_steps=10)}),
    ):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(from_all(folder)[0], "run.ckpt")
            kept = [Killed(), FitCheckpoint(path, every_n_steps=25)]
            detector = cls(**params, **options, callbacks=kept)
            Killed.after = 50
            with pytest.raises(ZeroDivisionError):
                together(detector, X)
            dist.barrier()
            assert path.exists()
            Killed.after = np.inf
            together(detector, X)
            dist.barrier()
        whole = together(cls(**params, **options), X)
        assert_one_detector(detector, X)
        for a, b in zip(state(detector), state(whole), strict=True):
            assert_array_equal(a, b)


def check_stopping_and_trimming():
    params = NETS | {"max_steps": 300, "trim": 0.1, "learning_rate": 0.01}
    detector = AutoencoderDetector(**params, callbacks=[HeldOutStopping(patience=2)])
    assert_one_detector(together(detector, X), X)
    assert len(set(from_all(detector.n_iter_))) == 1
    assert detector.n_iter_ < 300


def check_longer_trainings():
    """With ``warm_start`` two short trainings are a long one."""
    params = NETS | {"warm_start": True, "learning_rate_schedule": "constant"}
    detector = together(GANomalyDetector(**params), X)
    together(detector.set_params(max_steps=24), X)
    assert_one_detector(detector, X)
    once = together(GANomalyDetector(**params | {"max_steps": 24}), X)
    for a, b in zip(state(detector), state(once), strict=True):
        assert_array_equal(a, b)


def check_divergence():
    detector = AutoencoderDetector(**NETS | {"learning_rate": 1e30})
    with pytest.raises(FloatingPointError, match="Training diverged"):
        together(detector, X)


def check_a_process_that_ends():
    """The other is told, and does not wait."""
    if dist.get_rank():
        return
    with pytest.raises(RuntimeError, match=r"(?i)connection"):
        together(GANomalyDetector(**NETS), X)


def main():
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(minutes=5))
    for name, check in list(globals().items()):
        if name.startswith("check_"):
            check()
            if not dist.get_rank():
                print(name, flush=True)
    # Threads of a group that was broken, as in the last check, may be aborted later.
    os._exit(0)


if __name__ == "__main__":
    main()
