"""What a computation costs at least on this machine."""

import time

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Floor", "Machine", "seconds_of"]

_ATEN = torch.ops.aten
_PRODUCTS = {
    _ATEN.addmm,
    _ATEN.baddbmm,
    _ATEN.bmm,
    _ATEN.convolution,
    _ATEN.convolution_backward,
    _ATEN.mm,
}

_SIZE = 1024
_N_TRIES = 7


def seconds_of(function, *args):
    """CPU seconds of a call, all threads together."""
    start = time.process_time()
    function(*args)
    return time.process_time() - start


def _least_seconds(function, n_times):
    """The least that a call took, of some tries of ``n_times`` calls each."""

    def calls():
        for _ in range(n_times):
            function()

    return min(seconds_of(calls) for _ in range(_N_TRIES)) / n_times


class Machine:
    """The rates of a processor at their best: of large products, and of copies.

    Attributes
    ----------
    operations : dict of dtype to float
        Additions and multiplications a second of a large square product.
    """

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        square = torch.rand(_SIZE, _SIZE, generator=generator)
        self.operations = {}
        for dtype in (torch.float32, torch.bfloat16):
            factor, product = square.to(dtype), square.to(dtype)
            seconds = _least_seconds(
                lambda f=factor, p=product: torch.mm(f, f, out=p), 1
            )
            self.operations[dtype] = 2 * _SIZE**3 / seconds

    def bytes_per_second(self, n_bytes):
        """Bytes read and written a second where ``n_bytes`` are copied in turn.

        So few as stay in a cache are faster than those of a large copy.
        """
        source = np.ones(max(1, int(n_bytes) // 8), dtype=np.float32)
        copied = np.ones_like(source)
        n_times = max(1, 2**24 // source.nbytes)
        seconds = _least_seconds(lambda: np.copyto(copied, source), n_times)
        return 2 * source.nbytes / seconds


class Floor:
    """Operations and bytes of a computation, and the seconds these take at least.

    Parameters
    ----------
    machine : Machine
    function : callable
        The computation, with torch on the CPU.
    n_bytes : int
        What it has to read and to write at least once.

    Attributes
    ----------
    operations : int
        Additions and multiplications of its products and convolutions.
    n_bytes : int
    products : float
        CPU seconds of the same products, of the same shapes, with nothing around them.
    seconds : float
        CPU seconds at the rates of the machine, by operations or by bytes, whichever
        takes longer.
    """

    def __init__(self, machine, function, n_bytes):
        with _Recorder() as recorder:
            function()
        calls = {dtype: [] for dtype in machine.operations}
        for dtype, *call in recorder.calls:
            calls[dtype].append(call)
        counts = {dtype: _count(calls[dtype]) for dtype in calls}
        self.operations, self.n_bytes = sum(counts.values()), n_bytes
        self.products = _least_seconds(lambda: [_replay(c) for c in calls.values()], 1)
        self.seconds = max(
            sum(counts[dtype] / machine.operations[dtype] for dtype in counts),
            n_bytes / machine.bytes_per_second(n_bytes),
        )


class _Recorder(TorchDispatchMode):
    """Records products as they are computed."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function._overloadpacket in _PRODUCTS:
            self.calls.append((args[0].dtype, function, args, kwargs))
        return result


# Whichever mode their tensors come from.
@torch.inference_mode()
def _replay(calls):
    for function, args, kwargs in calls:
        function(*args, **kwargs)


def _count(calls):
    with FlopCounterMode(display=False) as counter:
        _replay(calls)
    return counter.get_total_flops()
