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
from ._fit import Trained, learn
from ._inference import InferenceMixin
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

    **Scores.** The default, "local", compares a row with its nearest reference rows
    in the space of residuals and codes: how far away is it, given what is usual there?
    The :ref:`user guide <which-detector>` has the formula. The score of a row does not
    depend on the rows it is scored with. A row that is itself a reference row leaves
    itself and its group out of the search, so that it scores as if it were new.

    Parameters
    ----------
    architecture : {"auto", "mlp", "conv", "published"} or object, default="auto"
        What builds the networks. "mlp" is :class:`~skganomaly.architectures.MLP`,
        "conv" is :class:`~skganomaly.architectures.ConvNet`; "auto" takes the first for
        plain rows and the second for images and windows. "published" is ``ConvNet``
        with 64 base channels, or for plain rows ``MLP`` with batch normalisation and a
        tanh output. (AnoGAN's critic has no normalisation if there is a gradient
        penalty, and its "conv" stops halving axes at eight entries.) For networks of
        your own, pass an object with the methods described in
        :mod:`skganomaly.architectures`.
    input_shape : tuple of int or None, default=None
        Shape of one row, channels first: (n_features,), (channels, length) or
        (channels, height, width). With it, flat rows are taken as images or windows, so
        that pipelines made for tables can carry them. None takes the shape of `X`;
        three-dimensional `X` is then read as grey images (n, height, width).
    latent_dim : int or "auto", default="auto"
        Width of the latent code. "auto" is the number of features, at most 256, for
        plain rows, and 100 (AnoGAN: 64) for images and windows.
    scaler : {"auto", "minmax", "standard", "channel"} or None, default="auto"
        Scaling learned from the training rows. "minmax" divides each column by its
        range, then all columns by one factor; "standard" divides each by its standard
        deviation; "channel" maps each channel (of plain rows, each column) to
        [-1, 1]; None leaves the values as they are. "auto" is "minmax" for plain rows
        and "channel" otherwise. Scaled values are clipped at 1e5, with None at 1e15.
    n_members : int or "auto", default="auto"
        Number of networks, trained side by side as one batched network. Their scores
        are averaged, so that less hangs on the luck of one seed. "auto" is 4 for plain
        rows and 2 otherwise.
    input_noise : float, list of float or "auto", default="auto"
        Standard deviation of Gaussian noise on the rows to be encoded during training,
        in scaled units. The values of a list go to the members in turn. "auto" is (0.1,
        0.3, 0.6, 1.0) for plain rows and 0 otherwise.
    score_type : str or object, default="auto"
        What the score is made of: "local" compares a row with its nearest reference
        rows, "joint" is a squared Mahalanobis distance of all parts, and the name of a
        part stands for its mean square. "auto" is "local". An object of
        :mod:`skganomaly.scores` has options, as in ``LocalScore(exponent=1.0)``.
    max_references : int, default=6000
        Largest number of reference rows, the training rows that scores are relative to.
        Of more training rows, that many are drawn at random. This bounds the time to
        score a row and the memory that "local" needs: about ``4 * (n_features +
        n_members * width)`` bytes for each reference row, where `width` is
        ``latent_dim`` for images and windows, and for plain rows ``n_features +
        latent_dim`` (GANomaly: ``n_features + 2 * latent_dim``).
    contamination : "auto" or float in (0, 0.5], default="auto"
        A number is the share of the *training* rows believed to be anomalies: that
        share of them is flagged, or less where scores tie; ``threshold`` must then be
        "auto". With "auto" the training rows are believed to be normal, and
        ``false_alarm_rate`` sets the cut instead.
    false_alarm_rate : float in (0, 1), default=0.05
        Share of *unseen normal* rows that the threshold may flag. It is estimated
        from the scores that the reference rows would have if they were new, or from
        the scores of held-out rows if ``validation_fraction`` is set.
    threshold : str, float, callable or object, default="auto"
        How the cut is found from the reference scores:

        - "auto": their quantile at ``false_alarm_rate``;
        - "max": the highest of them;
        - "tail": a generalised Pareto tail, for rates below what their number can
          resolve;
        - "conformal": an order statistic of held-out rows, which guarantees the rate
          (needs ``validation_fraction``);
        - a number: the cut itself, in the units of ``anomaly_score``;
        - a callable that takes the scores and returns the cut;
        - an object with ``fit(scores)`` and ``threshold_``, such as those in
          :mod:`skganomaly.thresholds`, or a thresholder of PyThresh.
    validation_fraction : float in [0, 1), default=0.0
        Share of the training rows, or of their groups, that is held out of training and
        sets the threshold. With 0 none are held out, unless ``max_steps`` (AnoGAN: the
        ``encoder_steps`` of its search) asks for so many passes over the rows that the
        networks may memorise them: more than 80 over plain rows with the score "local",
        more than 25 with any other score. Then a fifth is held out, or, if the rows are
        too few for that, a warning says so.
    max_steps : int or "auto", default="auto"
        Number of optimiser steps. "auto" makes 20 passes over the rows (over one row of
        each group, if there are groups), but at least 50 steps, and at most 600 for
        plain rows and 300 otherwise. More steps on few rows make the networks
        memorise them.
    batch_size : int, default=64
        Rows of a mini-batch; all rows if there are fewer.
    learning_rate : float or "auto", default="auto"
        Step size of Adam. "auto" is 1e-3.
    learning_rate_schedule : {"auto", "cosine", "constant"}, default="auto"
        "cosine" warms up over the first 2 % of the steps and decays to 1 % along half
        a cosine. "auto" is "cosine" for plain rows and "constant" otherwise.
    beta_1 : float in [0, 1) or "auto", default="auto"
        Adam's first decay rate. "auto" is 0.9 for plain rows and 0.5 otherwise.
    callbacks : list of skorch callbacks or None, default=None
        Called during training, as copies, which ``net_.callbacks_`` keeps. The page on
        :ref:`callbacks <callbacks>` says which of skorch's work here.
    net_params : dict or None, default=None
        What this constructor has no parameter for: "optimizer" (Adam if not given), as
        in ``{"optimizer": torch.optim.RMSprop}``, its options "optimizer__<name>", and
        "optimizer_d__<name>" for the discriminator or critic alone; and "compile", as
        in :class:`skorch.NeuralNet <skorch.net.NeuralNet>`. Other names are refused.
    device : str or torch.device, default="auto"
        Where to train and score. "auto" takes CUDA when there is one, then MPS, then
        the CPU.
    random_state : int, RandomState instance or None, default=None
        Decides the weights, the order of the rows, the noise, and which rows become
        reference rows. None takes a fresh seed from the operating system. The global
        generators of Python, NumPy and torch are neither used nor seeded. The same seed
        gives the same scores on the same machine with the same number of threads.
    verbose : int, default=0
        Anything above 0 shows a progress bar of the training.

    Attributes
    ----------
    offset_ : float
        The cut in the units of ``score_samples``:
        ``decision_function(X) = score_samples(X) - offset_``.
    threshold_ : float
        The same cut in the units of ``anomaly_score``, ``-offset_``.
    threshold_rule_ : object
        The fitted threshold rule.
    reference_scores_ : ndarray of shape (n_references,)
        Sorted anomaly scores that the threshold is found from: those of the reference
        rows as if they and their groups were new, or of held-out rows. There is one for
        each group, and they are distributed like those of the rows.
    n_held_out_ : int
        Number of rows held out of training; if there are any, the reference scores are
        theirs.
    settings_ : Settings
        The parameters of the fit, with a value in the place of every "auto"; for
        example ``settings_.latent_dim``.
    model_ : torch.nn.Module
        Everything that was learned except the threshold: scaling, networks, score and
        reference rows. Called with rows, a tensor of shape (n_rows, n_features), it
        returns their anomaly scores.
    history_ : list of dict
        For each epoch the mean losses, the duration, the optimiser steps done so far,
        and what callbacks recorded. There are at least 20 epochs, if there are as many
        steps.
    n_iter_ : int
        Number of optimiser steps taken.
    training_report_ : :class:`~skganomaly.reports.TrainingReport`
        How the training went: losses and other figures, and ``problems``, a list of
        named findings that is empty if all went well.
    value_range_ : ndarray of shape (2, n_features) or (2, n_channels)
        Smallest and largest value of each column (each channel, for images and windows)
        in the training rows. Scoring warns if rows seem to be in other units.
    input_shape_ : tuple of int
        Shape of one row as the networks see it.
    net_ : skorch.NeuralNet
        The trained networks, `module_` and `discriminator_`. For advanced use.
    device_ : torch.device
        Where the networks are.
    n_features_in_ : int
        Number of values in one row.
    feature_names_in_ : ndarray of shape (n_features,)
        Column names, if `X` had any.
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
        score = check_scoring(score.make(method, settings.kind), method)
        return FittedModel(scaling, method, score, settings.n_members)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "offset_")
