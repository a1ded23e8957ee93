"""Memory that runs out: words, and a detector that is whole or unfitted."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector
from skganomaly import _fit as fit_module
from skganomaly._models._fitted import FittedModel
from skganomaly._training._step import Run


def of_numpy():
    np.empty(2**62, dtype=np.uint8)


def of_torch():
    torch.empty(2**60, device="cpu")


def of_a_device():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")


ERRORS = {
    of_numpy: (MemoryError, "Unable to allocate"),
    of_torch: (MemoryError, "tried to allocate"),
    of_a_device: (torch.cuda.OutOfMemoryError, "CUDA out of memory"),
}
every_error = pytest.mark.parametrize("allocate", ERRORS)


@every_error
@pytest.mark.parametrize(
    "owner, where", [(Run, "step"), (fit_module, "fit_score"), (fit_module, "Trainer")]
)
@pytest.mark.parametrize("warm_start", [False, True])
def test_fit(allocate, owner, where, warm_start, small, table, monkeypatch):
    """It is unfitted, or as the fit before left it if that is to be gone on with."""
    detector = small(warm_start=warm_start).fit(table)
    scores = detector.anomaly_score(table)
    with monkeypatch.context() as patch:
        patch.setattr(owner, where, lambda *args, **kwargs: allocate())
        kind, words = ERRORS[allocate]
        advice = r"Memory ran out\. Training needs less with a lower batch_size \(it is"
        with pytest.raises(kind, match=rf"(?s){advice} 64\).*max_references.*{words}"):
            detector.set_params(max_steps=20).fit(table)
    if warm_start:
        assert_array_equal(detector.anomaly_score(table), scores)
    else:
        with pytest.raises(NotFittedError):
            check_is_fitted(detector)
    detector.fit(table)


@every_error
@pytest.mark.parametrize("cls", [GANomalyDetector, AutoencoderDetector, AnoGANDetector])
def test_scores(allocate, cls, small, table, monkeypatch):
    """The detector goes on as if nothing had been."""
    detector = small(cls).fit(table)
    scores = detector.anomaly_score(table)
    kind, words = ERRORS[allocate]
    methods = detector.anomaly_score, detector.encode, detector.explain
    with monkeypatch.context() as patch:
        patch.setattr(FittedModel, "chunks", lambda *args: allocate())
        for method in methods:
            with pytest.raises(kind, match=rf"(?s)Memory ran out\. .*chunks.*{words}"):
                method(table)
    assert_array_equal(detector.anomaly_score(table), scores)


def test_other_errors_pass(small, table, monkeypatch):
    """With their own words."""

    def fails(*args):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Run, "step", fails)
    with pytest.raises(RuntimeError, match="mat1"):
        small().fit(table)
