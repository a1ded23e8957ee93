"""Words for memory that has run out, whoever noticed."""

from contextlib import contextmanager

import torch

__all__ = ["out_of_memory"]

# How torch says so on devices for which it has no class of errors.
_SIGNS = "DefaultCPUAllocator", "MPS backend out of memory"


@contextmanager
def out_of_memory(advice):
    """Run a block, or as a decorator a function, and say what to do without memory.

    Parameters
    ----------
    advice : callable
        Returns the words.

    Raises
    ------
    MemoryError
        If there was none left on the host.
    torch.OutOfMemoryError
        On a device.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        on_device = isinstance(error, torch.cuda.OutOfMemoryError)
        signed = any(sign in str(error) for sign in _SIGNS)
        if not (on_device or signed or isinstance(error, MemoryError)):
            raise
        kind = type(error) if on_device else MemoryError
        raise kind(f"Memory ran out. {advice()} ({error})") from error
