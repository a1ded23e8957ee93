"""GANomaly as an estimator."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import torch

from ._compat import Interval, StrOptions
from ._fit import Trained
from ._health import never_wrong, too_short
from ._models._ganomaly import GANomaly
from ._training._net import DiscriminatorRestart, mean_losses
from ._training._trainer import Builder
from .base import BaseDetector

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from typing_extensions import Self, Unpack

    from ._parameters import Common

__all__ = ["GANomalyDetector"]

# Steps that the published networks need to learn anything.
_ENOUGH_STEPS = 200

_WEIGHT = [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})]


class GANomalyDetector(BaseDetector):
    r"""Anomaly detection with GANomaly's encoder-decoder-encoder GAN.

    A generator encodes a row to a code :math:`z`, decodes it to a reconstruction
    :math:`x'`, and encodes that to a second code :math:`z'`; a discriminator with
    features :math:`f` learns to tell rows from reconstructions [1]_. Trained on
    normal rows, the generator minimises

    .. math::

        w_r \lVert x - x' \rVert + w_l \lVert z - z' \rVert^2
        + w_a \lVert f(x) - f(x') \rVert^2

    (means over the entries), and what it has not learned to carry through shows in
    :math:`x - x'` and :math:`z - z'`.

    The defaults are not the published recipe but what works better; for that one see
    :meth:`from_paper`.

    **Scores.** The default, "local", compares a row with its nearest reference rows
    in the space of residuals and codes: how far away is it, given what is usual there?
    The :ref:`user guide <which-detector>` has the formula. The score of a row does not
    depend on the rows it is scored with. A row that is itself a reference row leaves
    itself and its group out of the search, so that it scores as if it were new.

    Parameters
    ----------
    reconstruction_loss : {"auto", "l1", "l2"} or callable, default="auto"
        Absolute or squared error of the reconstruction, or a function like those of
        :mod:`skganomaly.losses`. "auto" is "l2" for plain rows and "l1" otherwise.
    adversarial_loss : {"feature_matching", "bce"}, default="feature_matching"
        What the generator learns from the discriminator: to give reconstructions the
        features of their rows, or to pass for real. The discriminator itself always
        minimises a binary cross-entropy.
    reconstruction_weight : float or "auto", default="auto"
        Weight :math:`w_r`. "auto" is 1 for plain rows and the published 50 otherwise.
    latent_weight : float or "auto", default="auto"
        Weight :math:`w_l`. "auto" is 1.
    adversarial_weight : float or "auto", default="auto"
        Weight :math:`w_a`. "auto" is 0.1 for plain rows and the published 1
        otherwise.
    max_restarts : int, default=2
        How often the discriminator is replaced by one from a new seed when it is never
        wrong in a whole epoch, and so has nothing left to teach.
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
        What the score is made of.

        - "local": the distance to the nearest reference rows in the space of the
          residuals :math:`x - x'` and :math:`z - z'` and the code :math:`z` (of the
          code alone for images), relative to what is usual there; for plain rows,
          with the distance of the row itself beside it;
        - "joint": squared Mahalanobis distance of residuals, discriminator features
          and code together;
        - "latent": :math:`\lVert z - z' \rVert^2`, the published score;
        - "reconstruction": :math:`\lVert x - x' \rVert^2`;
        - "features": :math:`\lVert f(x) - f(x') \rVert^2`.

        "auto" is "local". An object of :mod:`skganomaly.scores` has options, as in
        ``LocalScore(exponent=1.0)``.
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
    trim : float in [0, 0.5), default=0.0
        Share of the training rows to leave out as the most anomalous, where some may be
        anomalies. A first detector is trained on all rows, and the one that is kept on
        those it finds most normal, at twice the cost; skorch's callbacks hear of both.
        The threshold counts the rows left out as well, so as not to flag many more than
        was promised where these are normal. See :ref:`dirty-rows`.
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
        "optimizer_d__<name>" for the discriminator or critic alone; "compile", as in
        :class:`skorch.NeuralNet <skorch.net.NeuralNet>`; and "mixed_precision", None or
        "bfloat16" (see :ref:`mixed-precision`). Other names are refused.
    device : str or torch.device, default="auto"
        Where to train and score. "auto" takes CUDA when there is one, then MPS, then
        the CPU.
    random_state : int, RandomState instance or None, default=None
        Decides the weights, the order of the rows, the noise, and which rows become
        reference rows. None takes a fresh seed from the operating system. The global
        generators of Python, NumPy and torch are neither used nor seeded. The same seed
        gives the same scores on the same machine with the same number of threads.
    warm_start : bool, default=False
        Whether another ``fit`` on the same rows goes on with the training of the one
        before, up to a larger ``max_steps``, which counts all steps; see
        :ref:`warm-start`. What it goes on from stays in the detector, at about three
        times the size of the networks.
    verbose : int, default=0
        Anything above 0 shows a progress bar of the training and the time it will take.

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
    trimmed_ : ndarray of shape (n_trimmed,), int
        Positions in `X` of the rows that ``trim`` left out, the most anomalous first;
        after ``partial_fit``, in ``reservoir_.rows``.
    reservoir_ : object
        Only after ``partial_fit``: ``rows``, the sample of all rows seen that is kept,
        which of them are ``held_out``, and how many were seen, ``n_seen``.
    settings_ : Settings
        The parameters of the fit, with a value in the place of every "auto"; for
        example ``settings_.latent_dim``.
    model_ : torch.nn.Module
        Everything that was learned except the threshold: scaling, networks, score and
        reference rows. Called with rows, a tensor of shape (n_rows, n_features), it
        returns their anomaly scores.
    history_ : list of dict
        For each epoch the mean losses, the duration, the optimiser steps done so far,
        and what callbacks recorded; at least 20 epochs if there are as many steps.
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

    See Also
    --------
    AutoencoderDetector : The same without a discriminator and a second encoder.
    skganomaly.images.ImageDetector : For defects of a few pixels, with maps that agree
        with the verdict.
    sklearn.ensemble.IsolationForest : Fast detection by random splits.

    References
    ----------
    .. [1] S. Akcay, A. Atapour-Abarghouei and T. P. Breckon, "GANomaly:
       Semi-supervised anomaly detection via adversarial training", ACCV 2018,
       :arxiv:`1805.06725`.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import GANomalyDetector
    >>> rng = np.random.default_rng(0)
    >>> detector = GANomalyDetector(max_steps=50, random_state=0)
    >>> detector.fit(rng.normal(size=(200, 3))).predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    _method = GANomaly
    _defaults = {
        "rows": {
            "reconstruction_loss": "l2",
            "reconstruction_weight": 1.0,
            "latent_weight": 1.0,
            "adversarial_weight": 0.1,
        },
        "maps": {
            "reconstruction_loss": "l1",
            "reconstruction_weight": 50.0,
            "latent_weight": 1.0,
            "adversarial_weight": 1.0,
        },
    }

    _parameter_constraints = {
        **BaseDetector._parameter_constraints,
        "reconstruction_loss": [StrOptions({"auto", "l1", "l2"}), callable],
        "adversarial_loss": [StrOptions({"feature_matching", "bce"})],
        "reconstruction_weight": _WEIGHT,
        "latent_weight": _WEIGHT,
        "adversarial_weight": _WEIGHT,
        "max_restarts": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        reconstruction_loss: Literal["auto", "l1", "l2"]
        | Callable[[Tensor, Tensor], Tensor] = "auto",
        adversarial_loss: Literal["feature_matching", "bce"] = "feature_matching",
        reconstruction_weight: float | Literal["auto"] = "auto",
        latent_weight: float | Literal["auto"] = "auto",
        adversarial_weight: float | Literal["auto"] = "auto",
        max_restarts: int = 2,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.reconstruction_loss = reconstruction_loss
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.adversarial_weight = adversarial_weight
        self.max_restarts = max_restarts

    @classmethod
    def from_paper(cls, *, n_samples: int | None = None, **overrides: Any) -> Self:
        r"""A detector set up as published, to be cited and compared with.

        One network in the DCGAN layout with 64 base channels (for plain rows, batch
        normalised fully connected layers in its place), a 100-dimensional code, rows
        scaled to [-1, 1], losses weighted 50 : 1 : 1, Adam with
        :math:`\beta_1 = 0.5` at the constant learning rate of the authors' code,
        and the squared distance of the two codes as the score.

        Parameters
        ----------
        n_samples : int or None, default=None
            Number of training rows, from which follows the number of steps of the
            published 15 epochs. None leaves ``max_steps="auto"``, which is far
            shorter. Below 200 steps, as with fewer than 854 rows, the fit warns: the
            score of such networks can even be lower for anomalies.
        **overrides
            Parameters that should differ from the published ones.

        Returns
        -------
        GANomalyDetector
            Unfitted.

        Examples
        --------
        >>> from skganomaly import GANomalyDetector
        >>> GANomalyDetector.from_paper(n_samples=6400).max_steps
        1500
        """
        published: dict[str, Any] = {
            "architecture": "published",
            "latent_dim": 100,
            "scaler": "channel",
            "n_members": 1,
            "input_noise": 0.0,
            "reconstruction_loss": "l1",
            "adversarial_loss": "feature_matching",
            "reconstruction_weight": 50.0,
            "latent_weight": 1.0,
            "adversarial_weight": 1.0,
            "score_type": "latent",
            "batch_size": 64,
            "learning_rate": 2e-4,
            "learning_rate_schedule": "constant",
            "beta_1": 0.5,
        }
        if n_samples is not None:
            published["max_steps"] = max(1, 15 * n_samples // 64)
        return cls(**published | overrides)

    def _train(self, trainer):
        method = trainer.build(self._method)
        # A stream of its own, so that a restart changes nothing but the discriminator.
        stream = torch.Generator().manual_seed(trainer.generator.initial_seed() + 1)
        restart = DiscriminatorRestart(
            partial(Builder(trainer.settings, stream), "discriminator"),
            lambda losses: _in_words(never_wrong(losses)),
            self.max_restarts,
            trainer.steps_per_pass(),
        )
        net = trainer.run(method, callbacks=[restart, *trainer.callbacks()])
        record = trainer.record
        problems = [never_wrong(mean_losses(record.history, record.loss_names))]
        if self.architecture != "published":
            return Trained(method, net, problems=problems)
        # Large networks whose codes say nothing at first; the published score, their
        # distance, can then be lower for anomalies.
        problems.append(too_short(record.n_steps, _ENOUGH_STEPS))
        judged = {"judged": record.n_steps >= _ENOUGH_STEPS}
        return Trained(method, net, report=judged, problems=problems)


def _in_words(finding):
    return None if finding is None else str(finding)
