"""Tests of where a detector computes."""

import pytest
import torch

from skganomaly._device import resolve_device

CPU = torch.device("cpu")


def no_accelerator(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def one_cuda_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)


def test_auto_takes_cuda_then_mps_then_cpu(monkeypatch):
    """The best device that there is, with its index where it has one."""
    no_accelerator(monkeypatch)
    assert resolve_device("auto") == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device("mps")
    one_cuda_device(monkeypatch)
    assert resolve_device("auto") == torch.device("cuda", 0)


@pytest.mark.parametrize("device", ["cpu", CPU, "cpu:0"])
def test_present_device_is_taken_as_it_is(device):
    """Names and objects are both accepted."""
    assert resolve_device(device).type == "cpu"


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", "CPU"])
def test_unknown_device_raises(device):
    """What torch cannot parse is named, with what it could."""
    with pytest.raises(ValueError, match=f"device={device!r} is not a torch device"):
        resolve_device(device)
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda'"):
        resolve_device(device, fallback=True)


@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda", 2), "mps"])
def test_missing_device_raises_or_falls_back(monkeypatch, device):
    """Refused when asked for, replaced with a warning when only remembered."""
    no_accelerator(monkeypatch)
    with pytest.raises(ValueError, match=f"{device}.*Use device='auto'"):
        resolve_device(device)
    with pytest.warns(UserWarning, match=f"{device}.*using the CPU"):
        assert resolve_device(device, fallback=True) == CPU


def test_cuda_index_must_exist(monkeypatch):
    """One device is number 0, and there is no number 1."""
    one_cuda_device(monkeypatch)
    assert resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(ValueError, match="cuda:1"):
        resolve_device("cuda:1")
