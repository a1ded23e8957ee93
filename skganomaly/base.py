"""What all detectors have in common, and what one of your own derives from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from sklearn.base import OutlierMixin

from ._all_or_nothing import all_or_nothing
from ._compat import CallbackSupportMixin, _fit_context
from ._cut import is_auto
from ._decisions import CutMixin
from ._fit import Trained, go_on, learn
from ._inference import InferenceMixin
from ._memory import out_of_memory
from ._models._fitted import FittedModel
from ._models._method import Game, Method, Phase
from ._models._scaling import Scaling
from ._parameters import CommonParameters
from ._process import own_settings
from ._settings import DEFAULTS, Settings, named_architecture, steps_of_few_passes
from ._state import StateMixin
from ._training._trainer import Trainer
from .scores import check_scoring, named_score, score_words

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from typing_extensions import Self

    from ._stream import Reservoir
    from .reports import TrainingReport

__all__ = ["BaseDetector", "Game", "Method", "Phase", "Settings", "Trained", "Trainer"]


class BaseDetector(
    StateMixin,
    InferenceMixin,
    CutMixin,
    CallbackSupportMixin,
    OutlierMixin,
    CommonParameters,
):
    """A detector of anomalies around a :class:`~skganomaly.base.Method`.

    For a detector of your own, derive from it and set ``_method`` to the class of the
    method; see :ref:`own-detector`. All that does not depend on the method is here:
    rows are validated and scaled, networks are trained, scores and a threshold found.

    Parameters and fitted attributes are those of
    :class:`~skganomaly.AutoencoderDetector`, but for its ``reconstruction_loss``.
    """

    _method: ClassVar[type[Method]] = Method

    # How many trainings a fit has; None if that is not known beforehand.
    _n_trainings: ClassVar[int | None] = 1

    # What "auto" stands for, by whether rows are plain or have axes of their own. In a
    # subclass, where that differs.
    _defaults: ClassVar[dict[str, dict[str, Any]]] = DEFAULTS
    _most_steps: ClassVar[dict[str, int]] = {"rows": 600, "maps": 300}
    _widest_code: ClassVar[dict[str, int]] = {"rows": 256, "maps": 100}

    model_: FittedModel
    settings_: Settings
    n_held_out_: int
    trimmed_: NDArray[np.int64]
    reservoir_: Reservoir
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
        if not is_auto(settings.max_steps):
            return settings
        most = self._most_steps[settings.kind]
        return replace(
            settings, max_steps=steps_of_few_passes(n_groups, settings.batch_size, most)
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
        self,
        X: ArrayLike,
        y: Any = None,
        *,
        groups: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
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
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many rows each counts for, at least 0, such as 2 for a row that stands
            for two; only ratios matter. A row of weight 0 is left out. The others
            come into batches as often as their weights say, and weigh as much in the
            scaling, in the threshold and in the share ``contamination``; see
            :ref:`the user guide <sample-weight>`.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If ``X`` has missing or infinite values, fewer than two rows, or a shape
            that contradicts ``input_shape``; if ``groups`` does not fit ``X`` or has
            only one; if ``sample_weight`` does not fit ``X``, has negative or missing
            values, or leaves fewer than two rows; if there are too few rows for the
            threshold rule, or if parameters contradict each other.
        FloatingPointError
            If training diverged. The detector is then left unfitted.
        KeyboardInterrupt
            On Ctrl-C, which ends whatever the fit is a part of. The detector is then
            left unfitted.
        MemoryError or torch.OutOfMemoryError
            If there is not enough memory on the host, or on a device. The message says
            which parameters need less. The detector is then left unfitted.

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
        with own_settings(), out_of_memory(self._less_memory):
            learn(self, X, y, groups, sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Go on with rows that have arrived since, believed to be normal as well.

        A uniform sample of all rows seen is kept, at most ``max_references`` of them,
        and as many more of a share ``validation_fraction`` that is never trained on.
        The networks are trained further on it, for as many steps as the new rows are
        worth, and score and threshold are found anew. The scaling stays that of the
        first call. Callbacks of skorch are called each time, those of scikit-learn in
        :meth:`fit` alone. See :ref:`streams`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            The new rows, as in :meth:`fit`; in the first call at least two.
        y : None
            Ignored; present for API consistency.

        Returns
        -------
        self : object
            The detector, fitted to all rows seen; if anything fails, as it was before.

        Raises
        ------
        ValueError
            As :meth:`fit` does; after a :meth:`fit`, which keeps no rows to go on from;
            if ``callbacks`` has a :class:`~skganomaly.callbacks.FitCheckpoint`; if
            parameters of the networks, of the scaling or of the kept rows have changed.

        Warns
        -----
        UserWarning
            If in some column more than 5 % of the new rows lie outside of
            ``value_range_``, that of the rows which the scaling was learned from.
        """
        with own_settings(), out_of_memory(self._less_memory):
            go_on(self, X)
        return self

    def _less_memory(self) -> str:
        return (
            f"Training needs less with a lower batch_size (it is {self.batch_size}), "
            f"fewer n_members ({self.n_members}) or smaller networks (architecture), "
            f"and scores with fewer max_references ({self.max_references})."
        )

    def _new_model(
        self, settings: Settings, scaling: Scaling, method: Method
    ) -> FittedModel:
        """A model around a method, whose score is not yet fitted."""
        score = settings.score_type
        if isinstance(score, str):
            score = self._named_score(score, settings)
        score = check_scoring(score.make(method, settings.kind), method)
        return FittedModel(scaling, method, score, settings.n_members)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")
