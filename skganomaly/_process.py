"""Our own settings of torch and NumPy, whatever those of the user's process are.

Code around ours may have switched gradients off, entered inference mode or automatic
mixed precision, chosen another default dtype or device, or made NumPy raise where it
rounds. Any of these would end a training, or change scores without a word.
"""

from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

__all__ = ["own_settings"]

# What NumPy itself starts with.
_NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}

_DEVICE_TYPES = ("cpu", "cuda", "mps")

# What makes tensors of the default dtype unless told otherwise.
_FACTORIES = {
    torch.empty,
    torch.empty_strided,
    torch.eye,
    torch.linspace,
    torch.logspace,
    torch.ones,
    torch.rand,
    torch.randn,
    torch.scalar_tensor,
    torch.zeros,
}
# What does so only with the floats of Python.
_CONVERSIONS = {torch.arange, torch.as_tensor, torch.full, torch.tensor}


class _SinglePrecision(TorchFunctionMode):
    """Makes single precision the default dtype of one thread.

    torch's own default is of the process, and other threads would see it change.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        single = {**kwargs, "dtype": torch.float32}
        if kwargs.get("dtype") is None and kwargs.get("out") is None:
            if function in _FACTORIES:
                return function(*args, **single)
            if function in _CONVERSIONS:
                made = function(*args, **kwargs)
                given = args[0] if args else kwargs.get("data")
                typed = isinstance(given, torch.Tensor | np.ndarray | np.generic)
                double = made.dtype == torch.get_default_dtype() and not typed
                return function(*args, **single) if double else made
        return function(*args, **kwargs)


@contextmanager
def own_settings():
    """Run a block, or as a decorator a function, under settings of our own.

    Gradients are recorded, inference mode and automatic mixed precision are off, new
    tensors are on the CPU and in single precision unless told otherwise, and NumPy
    treats floating-point errors as it does by default. All of it holds for the current
    thread alone and is put back at the end.
    """
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(np.errstate(**_NUMPY_ERRORS))
        enter(torch.inference_mode(False))
        enter(torch.enable_grad())
        for kind in _DEVICE_TYPES:
            # Mixed precision that a machine cannot have is not to be switched off.
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(
                kind
            ):
                enter(torch.autocast(kind, enabled=False))
        # These two look at every call of torch, so they stay out of the way where
        # there is nothing to be done.
        if torch.empty(0).device.type != "cpu":
            enter(torch.device("cpu"))
        if torch.get_default_dtype() != torch.float32:
            enter(_SinglePrecision())
        yield
