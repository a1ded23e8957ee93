"""Small work takes one thread, in our calls and nowhere else."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Thread

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback
from torch import nn

import skganomaly
from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector, _threads
from skganomaly._threads import threads_for
from skganomaly.architectures import MLP

SMALL, LARGE = (64, 64 * 30, 10**5), (64, 64 * 30, 2**20)


def counts(info=None):
    """Threads of the calling thread: torch's, and those of its products."""
    info = info or torch.__config__.parallel_info()
    names = "at::get_num_threads", "mkl_get_max_threads"
    found = [re.search(rf"{name}\(\) : (\d+)", info) for name in names]
    return {int(match[1]) for match in found if match}


@pytest.fixture(autouse=True)
def two(one_thread):
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(40, 3))


class Heard(Callback):
    """Keeps the threads of a training, and ends it with an error if told to."""

    def __init__(self, fails=False):
        self.fails = fails
        self.found = []

    def on_train_begin(self, net, **kwargs):
        self.found.append(counts())
        if self.fails:
            raise RuntimeError("told to")

    def on_grad_computed(self, net, **kwargs):
        self.found.append(counts())

    def __deepcopy__(self, memo):
        return self


class Listening(nn.Linear):
    """A network that keeps the threads that it is called with."""

    found = []

    def forward(self, x):
        self.found.append(counts())
        return super().forward(x)


class Architecture:
    def encoder(self, input_shape, latent_dim):
        return Listening(input_shape[0], latent_dim)

    def decoder(self, latent_dim, input_shape):
        return Listening(latent_dim, input_shape[0])


def test_small_work_takes_one_and_large_what_the_user_allows():
    with threads_for(*SMALL, heavy=True):
        assert counts() == {1}
        with threads_for(*SMALL):
            assert counts() == {1}
        assert counts() == {1}
    assert counts() == {2}
    for large in (LARGE, (64, 2 * 64 * 28 * 28, 10**5), (4096, 4096 * 30, 10**5)):
        with threads_for(*large, heavy=True):
            assert counts() == {2}
        # A score has a small part of the work of a step, and waits as often.
        with threads_for(*large):
            assert counts() == {1}
    with threads_for(64, 64 * 1555, 2**24):
        assert counts() == {2}


def test_never_more_than_the_user_allows():
    torch.set_num_threads(1)
    for work in (SMALL, LARGE):
        with threads_for(*work, heavy=True):
            assert counts() == {1}
        assert counts() == {1}


def test_default_of_torch():
    """As above where nobody has set a number, and products have none of their own."""
    code = (
        "import torch\n"
        "from skganomaly._threads import threads_for\n"
        "print(torch.__config__.parallel_info())\n"
        f"with threads_for(*{SMALL}):\n"
        "    print(torch.__config__.parallel_info())\n"
        "print(torch.__config__.parallel_info())"
    )
    unset = "OMP_NUM_THREADS", "MKL_NUM_THREADS"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={k: v for k, v in os.environ.items() if k not in unset},
        cwd=Path(skganomaly.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    before, inside, after = result.stdout.split("ATen/Parallel:")[1:]
    assert counts(inside) == {1}
    assert counts(before) == counts(after)


@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_fits_of_tables(small, cls, rows):
    heard = Heard()
    detector = small(cls, max_steps=2, callbacks=[heard]).fit(rows)
    assert len(heard.found) > 2
    assert set.union(*heard.found) == {1}
    assert counts() == {2}
    heard.found.clear()
    small(cls, max_steps=2, callbacks=[heard]).partial_fit(rows).partial_fit(rows)
    assert set.union(*heard.found) == {1}
    assert counts() == {2}
    detector.anomaly_score(rows)
    assert counts() == {2}


def test_failed_fits(small, rows):
    """The setting is back; images of 28 x 28 have kept it."""
    images = np.random.default_rng(0).normal(size=(64, 28, 28))
    for X, conv, expected in ((rows, False, [{1}]), (images, True, [{2}])):
        heard = Heard(fails=True)
        with pytest.raises(RuntimeError, match="told to"):
            small(conv=conv, callbacks=[heard]).fit(X)
        assert heard.found == expected
        assert counts() == {2}


def test_whatever_a_fitted_detector_is_asked(rows):
    detector = AutoencoderDetector(
        architecture=Architecture(), latent_dim=2, max_steps=2, random_state=0
    )
    found = Listening.found
    for call in (
        detector.fit,
        detector.predict,
        detector.encode,
        detector.reconstruct,
        lambda X: detector.sample(3),
        detector.anomaly_map,
        lambda X: detector.explain(X[:2], n_steps=2),
    ):
        found.clear()
        call(rows)
        # What the networks return for one row is looked at before any of it.
        assert set.union(*found[-3:]) == {1}
        assert counts() == {2}


def test_scoring_fails(small, rows, monkeypatch):
    detector = small().fit(rows)

    def fail(*args):
        assert counts() == {1}
        raise RuntimeError("told to")

    monkeypatch.setattr(detector.model_.method, "parts", fail)
    with pytest.raises(RuntimeError, match="told to"):
        detector.predict(rows)
    assert counts() == {2}


def test_interrupted_before_it_begins(monkeypatch):
    """What had been limited by then is limited no longer."""

    def interrupted(number):
        raise KeyboardInterrupt

    swaps = [*_threads._swaps(), interrupted]
    monkeypatch.setattr(_threads, "_swaps", lambda: swaps)
    with pytest.raises(KeyboardInterrupt), threads_for(*SMALL):
        raise AssertionError
    assert counts() == {2}


def test_scoring_goes_by_the_block(small, monkeypatch):
    """One row of a large kind takes what a thousand take."""
    monkeypatch.setattr(_threads, "_WORTH_IN_SCORING", 2**25)
    torch.set_num_threads(1)
    images = np.random.default_rng(0).normal(size=(64, 28, 28))
    detector = small(AutoencoderDetector, conv=True, max_steps=1).fit(images)
    torch.set_num_threads(2)
    with detector.model_.threads():
        assert counts() == {2}


def test_several_threads_at_once(small, rows):
    """Each has its own number before, in and after a fit that others overlap with."""
    n_threads = 4
    begun = Barrier(n_threads)

    class Meeting(Heard):
        def on_train_begin(self, net, **kwargs):
            begun.wait(timeout=60)
            super().on_train_begin(net, **kwargs)

    def fit(seed):
        heard = Meeting()
        before = counts()
        small(max_steps=3, random_state=seed, callbacks=[heard]).fit(rows)
        return before, set.union(*heard.found), counts()

    with ThreadPoolExecutor(n_threads) as pool:
        assert [*pool.map(fit, range(n_threads))] == [({2}, {1}, {2})] * n_threads
    assert counts() == {2}


def test_threads_that_begin_in_a_block():
    """Others than those that call us are not limited, then or later."""
    found = []
    with threads_for(*SMALL):
        other = Thread(target=lambda: found.append(counts()))
        other.start()
        other.join()
    assert found == [{2}]


def test_tables_are_the_same_with_any_number_of_threads():
    """To the last bit, for networks whose sums threads would divide differently too."""
    X = np.random.default_rng(0).normal(size=(600, 30))
    scores = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        detector = AutoencoderDetector(
            architecture=MLP(normalization="batch"),
            batch_size=512,
            n_members=1,
            max_steps=3,
            random_state=0,
        )
        scores.append(detector.fit(X).anomaly_score(X))
    assert_array_equal(*scores)
