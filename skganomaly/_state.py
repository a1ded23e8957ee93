"""What of a detector is copied and stored: parameters and NumPy arrays."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._left_out import in_file, leave_out, loaded_device, take_in
from ._models._scaling import Scaling
from ._process import own_settings
from ._saving import SaveMixin
from ._training._callbacks import copy_callbacks, without_locks
from ._training._trainer import Builder, loaded_net
from ._version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StateMixin"]


class StateMixin(SaveMixin):
    """Clones, pickles and files of a detector.

    Nothing that is stored belongs to a device, so what was trained on a GPU loads where
    there is none.
    """

    def _twin(self, attributes: dict[str, Any] | None = None) -> Self:
        """Another detector with the same attributes and more, none of them copied."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self) | (attributes or {}))
        return twin

    def __sklearn_clone__(self) -> Self:
        """Clone as any estimator, but keep what callbacks write to."""
        twin = self._twin()
        twin.callbacks = None
        twin = super(StateMixin, twin).__sklearn_clone__()
        if self.callbacks is not None:
            twin.callbacks = copy_callbacks(self.callbacks)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and NumPy arrays only."""
        state = super().__getstate__().copy()
        state["callbacks"] = without_locks(self.callbacks, type(self).__name__)
        state["architecture"] = leave_out(self.architecture)
        if "offset_" in state:
            settings, model = self.settings_, state.pop("model_").state_dict()
            architecture = leave_out(settings.architecture)
            if architecture is not settings.architecture:
                state["settings_"] = replace(settings, architecture=architecture)
                state["_probed"] = self._probe()
            state["_model_state"] = {k: v.cpu().numpy() for k, v in model.items()}
            state["_saved_by"] = __version__
            del state["net_"]
        return state

    @own_settings()
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the model on the device of this machine."""
        # What came later than the version that stored it.
        state = {"trim": 0.0, "warm_start": False} | state
        arrays = state.pop("_model_state", None)
        probed = state.pop("_probed", None)
        saved_by = state.pop("_saved_by", __version__)
        if saved_by != __version__ and not in_file():
            warnings.warn(
                f"This {type(self).__name__} was saved by skganomaly {saved_by}, and "
                f"this is {__version__}. Check that its scores are the same, or fit it "
                "again.",
                UserWarning,
                stacklevel=3,
            )
        super().__setstate__(state)
        self.architecture = take_in(self.architecture)
        if arrays is None:
            return
        architecture = take_in(self.settings_.architecture)
        if architecture is not self.settings_.architecture:
            self.settings_ = replace(self.settings_, architecture=architecture)
        self.model_ = self._rebuild_model(self.settings_, arrays)
        self.model_.freeze().to(loaded_device(self))
        self.net_ = loaded_net(self.model_.method, self.n_iter_)
        if probed is not None and not np.allclose(self._probe(), probed, rtol=1e-2):
            raise ValueError(
                f"the architecture {architecture!r} gives other scores than the one "
                "that was fitted: its code has changed"
            )

    def _rebuild_model(self, settings, arrays):
        """A model with these arrays, which takes no more memory than they do."""
        shape = (math.prod(settings.input_shape),)
        if np.shape(arrays["scaling.center"]) != shape:
            raise ValueError(f"the scaling is not of rows of {settings.input_shape}")
        # Whatever weights are drawn here are overwritten at once.
        build = Builder(
            settings, torch.Generator().manual_seed(0), without_storage=True
        )
        scaling = Scaling(settings.scaler, settings.input_shape)
        model = self._new_model(settings, scaling, self._method(build, settings))
        for name, tensor in model.state_dict().items():
            if tensor.is_meta and tensor.shape != np.shape(arrays[name]):
                raise ValueError(
                    f"{name} has shape {np.shape(arrays[name])} and not "
                    f"{tuple(tensor.shape)}, which the settings ask for"
                )
        for module in model.modules():
            own = (*module.parameters(recurse=False), *module.buffers(recurse=False))
            if any(tensor.is_meta for tensor in own):
                module.to_empty(device="cpu", recurse=False)
        model.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        )
        return model

    def _probe(self):
        """Scores of the centre of the training rows and of two points beside it."""
        scaling = self.model_.scaling
        steps = torch.tensor([[0.0], [1.0], [-1.0]], dtype=torch.float64)
        with torch.inference_mode():
            return self.model_(scaling.center + steps * scaling.scale).cpu().numpy()
