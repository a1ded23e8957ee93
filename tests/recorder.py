"""A stand-in for CUDA that records operations on the processor, as a CUDA graph does.

What is recorded is each operation of torch with the tensors, in the memory they have
then, and the numbers of Python, as they are then. To record does nothing; to replay
does it all again, in the same memory, without any Python of the work.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skganomaly.losses import squared_error

WAITING = torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default


def careful(a, b):
    """A loss that looks at values, and so cannot be recorded."""
    error = squared_error(a, b)
    return error * 2 if error.max() > 1e9 else error


def tensors_of(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def place(tensor):
    return tensor.untyped_storage().data_ptr()


class _Tape(TorchDispatchMode):
    """Notes each operation, and what all memory that was there before contained."""

    def __init__(self):
        super().__init__()
        self.operations, self.made, self.before = [], set(), {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in WAITING:
            raise RuntimeError("operation not permitted when stream is capturing")
        given = tensors_of((args, kwargs))
        for tensor in given:
            if place(tensor) not in self.made | set(self.before):
                storage = tensor.untyped_storage()
                self.before[place(tensor)] = storage, storage.clone()
        result = function(*args, **kwargs)
        inputs = {place(tensor) for tensor in given}
        # Views, and what was written to, are in memory that is known.
        new = [place(tensor) not in inputs for tensor in tensors_of(result)]
        self.made |= {
            place(t)
            for t, is_new in zip(tensors_of(result), new, strict=True)
            if is_new
        }
        self.operations.append((function, args, kwargs, tensors_of(result), new))
        return result

    def restore(self):
        for storage, content in self.before.values():
            storage.copy_(content)

    def replay(self):
        with torch.no_grad():
            for function, args, kwargs, made, new in self.operations:
                again = tensors_of(function(*args, **kwargs))
                for tensor, value, is_new in zip(made, again, new, strict=True):
                    if is_new:
                        tensor.copy_(value)


class Recorder:
    """In the place of ``skganomaly.cuda._Cuda``."""

    device_type = "cpu"
    n_recorded = n_replayed = 0

    def __init__(self, device):
        assert device.type == "cpu"

    def aside(self, work):
        return work()

    def record(self, work, generators):
        generators = list(generators)
        states = [generator.get_state() for generator in generators]
        tape = _Tape()
        try:
            with tape:
                made = work()
        except RuntimeError:
            # CUDA leaves them as if the recording went on.
            states = [generator.manual_seed(0).get_state() for generator in generators]
            raise
        finally:
            tape.restore()
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)
        type(self).n_recorded += 1

        def replay():
            type(self).n_replayed += 1
            tape.replay()

        return replay, made
