"""The face of all detectors: parameters, fit, decisions and state."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.base import OutlierMixin

from ._all_or_nothing import all_or_nothing
from ._compat import CallbackSupportMixin, _fit_context
from ._decisions import CutMixin
from ._device import resolve_device
from ._fit import Trained, learn
from ._inference import InferenceMixin
from ._models._fitted import FittedModel
from ._models._method import Method
from ._models._scaling import Scaling
from ._parameters import CommonParameters
from ._process import own_settings
from ._settings import few_passes, named_architecture
from ._training._callbacks import copy_callbacks, without_locks
from ._training._trainer import Builder, loaded_net
from ._version import __version__
from .scores import named_score, score_words

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._settings import Settings
    from ._training._trainer import Trainer
    from .reports import TrainingReport

__all__ = ["BaseDetector"]


class BaseDetector(
    InferenceMixin,
    CutMixin,
    CallbackSupportMixin,
    OutlierMixin,
    CommonParameters,
):
    """A detector of anomalies around a :class:`~skganomaly.base.Method`.

    Derive from it and set ``_method`` for a detector of your own; see
    :ref:`own-detector`. It takes any rows, scales them, trains the networks of the
    method, and finds scores and a threshold as the other detectors do.

    Parameters
    ----------
    {{common}}

    Attributes
    ----------
    {{attributes}}
    """

    _method: ClassVar[type[Method]]

    # How many trainings a fit has; None if that is not known beforehand.
    _n_trainings: ClassVar[int | None] = 1

    # What "auto" stands for, by whether rows are plain or have axes of their own.
    # Chosen by the protocols on the accuracy page of the documentation.
    _defaults: ClassVar[dict[str, dict[str, Any]]] = {
        "rows": {
            "architecture": "mlp",
            "scaler": "minmax",
            "n_members": 4,
            "input_noise": (0.1, 0.3, 0.6, 1.0),
            "score_type": "local",
            "learning_rate": 1e-3,
            "learning_rate_schedule": "cosine",
            "beta_1": 0.9,
        },
        "maps": {
            "architecture": "conv",
            "scaler": "channel",
            "n_members": 2,
            "input_noise": 0.0,
            "score_type": "local",
            "learning_rate": 1e-3,
            "learning_rate_schedule": "constant",
            "beta_1": 0.5,
        },
    }
    _most_steps: ClassVar[dict[str, int]] = {"rows": 600, "maps": 300}
    _widest_code: ClassVar[dict[str, int]] = {"rows": 256, "maps": 100}

    model_: FittedModel
    settings_: Settings
    n_held_out_: int
    history_: list[dict[str, Any]]
    n_iter_: int
    training_report_: TrainingReport
    value_range_: NDArray[np.float64]
    net_: Any
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    @property
    def input_shape_(self) -> tuple[int, ...]:
        """Shape of one row as the networks see it."""
        return self.settings_.input_shape

    @property
    def device_(self) -> torch.device:
        """Where the networks are."""
        return self.model_.device

    # What a detector with ways of its own may replace.

    def _complete_settings(self, values: dict[str, Any]) -> dict[str, Any]:
        """Settings by name, with what depends on more than the kind of the rows."""
        return values

    def _named_architecture(self, name: str, values: dict[str, Any]) -> Any:
        """The architecture that a word stands for."""
        return named_architecture(name, values["kind"])

    def _settle_steps(self, settings: Settings, n_groups: int) -> Settings:
        """Settings with the steps that "auto" stands for, for so many groups."""
        if settings.max_steps != "auto":
            return settings
        most = self._most_steps[settings.kind]
        return replace(
            settings, max_steps=few_passes(n_groups, settings.batch_size, most)
        )

    def _chosen_steps(self) -> int | None:
        """Steps of networks that rows go through, or None if they are "auto"."""
        return None if self.max_steps == "auto" else self.max_steps

    def _train(self, trainer: Trainer) -> Trained:
        """Build the method's networks and train them."""
        method = trainer.build(self._method)
        return Trained(method, trainer.run(method))

    def _score_words(self) -> list[str]:
        """What ``score_type`` may be as a word, but for "auto"."""
        return score_words(self._method)

    def _named_score(self, word: str, settings: Settings) -> Any:
        """The score that a word stands for."""
        return named_score(word)

    # Fitting.

    @_fit_context(prefer_skip_nested_validation=False)
    @all_or_nothing
    def fit(
        self, X: ArrayLike, y: Any = None, *, groups: ArrayLike | None = None
    ) -> Self:
        """Train on rows believed to be normal, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows: (n, n_features); (n, height, width) or (n, channels, height,
            width); with ``input_shape`` also (n, channels, length), and images or
            windows as flat rows.
        y : None
            Ignored; present for API consistency.
        groups : array-like of shape (n_samples,) or None, default=None
            Which rows belong together, such as shots of one part or visits of one
            patient, as numbers or names. New rows are of groups that are not here, so
            a row is scored without the rows of its group, groups are held out whole,
            and the threshold counts groups. Copies of a row are one group without
            being named; see :ref:`the user guide <repeated-rows>` for where equal rows
            are not copies.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If ``X`` has missing or infinite values, fewer than two rows, or a shape
            that contradicts ``input_shape``; if ``groups`` does not fit ``X`` or has
            only one; if there are too few rows for the threshold rule, or if parameters
            contradict each other.
        FloatingPointError
            If training diverged. The detector is then left unfitted.
        KeyboardInterrupt
            On Ctrl-C, which ends whatever the fit is a part of. The detector is then
            left unfitted.

        Warns
        -----
        ConvergenceWarning
            If Ctrl-C met the training of a fit that is a statement of its own at a
            prompt or in a notebook, so that nothing goes on by itself. The detector is
            then fitted on the steps that were done. Also if the training went wrong;
            what was seen is in the ``problems`` of ``training_report_``.
        UserWarning
            If the rows themselves are a problem: if all of them are equal, or if they
            are nearer to each other than independent ones are, so that more new rows
            will be flagged than promised; pass ``groups`` then.
        """
        with own_settings():
            learn(self, X, y, groups)
        return self

    def _new_model(
        self, settings: Settings, scaling: Scaling, method: Method
    ) -> FittedModel:
        """A model around a method, whose score is not yet fitted."""
        score = settings.score_type
        if isinstance(score, str):
            score = self._named_score(score, settings)
        score = score.make(method, settings.kind)
        return FittedModel(scaling, method, score, settings.n_members)

    def _check_held_out(self, threshold: Any) -> None:
        """Refuse a rule that needs held-out rows where there are none."""
        if isinstance(threshold, str) and threshold == "conformal":
            raise ValueError(
                "threshold='conformal' needs rows that training does not see, and "
                "none are held out. Fit with validation_fraction=0.2, for example."
            )

    def _twin(self, attributes: dict[str, Any] | None = None) -> Self:
        """Another detector with the same attributes and more, none of them copied."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self) | (attributes or {}))
        return twin

    # State.

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")

    def __sklearn_clone__(self) -> Self:
        """Clone as any estimator, but keep what callbacks write to."""
        twin = self._twin()
        twin.callbacks = None
        twin = super(BaseDetector, twin).__sklearn_clone__()
        if self.callbacks is not None:
            twin.callbacks = copy_callbacks(self.callbacks)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and NumPy arrays only.

        Nothing in a pickle belongs to a device, so what was trained on a GPU loads
        where there is none.
        """
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
        state = state.copy()
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
