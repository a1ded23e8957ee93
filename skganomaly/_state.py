"""What of a detector is copied and stored: parameters and NumPy arrays."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._device import resolve_device
from ._models._scaling import Scaling
from ._process import own_settings
from ._training._callbacks import copy_callbacks, without_locks
from ._training._trainer import Builder, loaded_net
from ._version import __version__

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["StateMixin"]


class StateMixin:
    """Clones and pickles of a detector.

    Nothing in a pickle belongs to a device, so what was trained on a GPU loads where
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
        if "offset_" in state:
            model = state.pop("model_").state_dict()
            state["_model_state"] = {k: v.cpu().numpy() for k, v in model.items()}
            state["_saved_by"] = __version__
            del state["net_"]
        return state

    @own_settings()
    def __setstate__(self, state: dict[str, Any]) -> None:
        """Rebuild the model on the device of this machine."""
        # What came later than the version that stored it.
        state = {"trim": 0.0} | state
        arrays = state.pop("_model_state", None)
        saved_by = state.pop("_saved_by", __version__)
        if saved_by != __version__:
            warnings.warn(
                f"This {type(self).__name__} was saved by skganomaly {saved_by}, and "
                f"this is {__version__}. Check that its scores are the same, or fit it "
                "again.",
                UserWarning,
                stacklevel=3,
            )
        super().__setstate__(state)
        if arrays is None:
            return
        settings = self.settings_
        # The weights drawn here are overwritten at once.
        build = Builder(settings, torch.Generator().manual_seed(0))
        scaling = Scaling(settings.scaler, settings.input_shape)
        model = self._new_model(settings, scaling, self._method(build, settings))
        model.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
        )
        self.model_ = model.freeze().to(resolve_device(self.device, fallback=True))
        self.net_ = loaded_net(self.model_.method, self.n_iter_)
