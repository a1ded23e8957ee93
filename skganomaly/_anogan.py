"""AnoGAN as an estimator: a GAN, perhaps an encoder, and the search for codes."""

from __future__ import annotations

import math
from dataclasses import replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import torch
from sklearn.base import clone

from ._compat import HasMethods, Interval, StrOptions
from ._cut import is_auto
from ._fit import Trained
from ._health import generator_failure, never_wrong, not_judged, too_short
from ._models._anogan import AnoGAN, EncoderGame
from ._parameters import resolved
from ._ranks import current
from ._recipes import published_anogan
from ._sample_quality import N_SAMPLES, compare_samples, n_compared
from ._settings import steps_of_few_passes
from ._training._net import mean_losses
from ._training._trainer import Record
from .adversaries import Logistic, Wasserstein
from .architectures import ConvNet
from .base import BaseDetector
from .scores import LocalScore, WeightedScore
from .searches import EncoderSearch, GradientSearch, NearestSearch

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._parameters import Common

__all__ = ["AnoGANDetector"]

# Batches to be trained on before a collapse is one.
_MIN_STEPS = 200

# Images are halved until they are no larger than this. A generator that starts from
# fewer pixels takes far longer to train.
_SMALLEST_MAP = 8

# Steps of the generator and of the encoder of images and windows, by whether the score
# is "local". Others go by reconstructions, which take longer.
_STEPS = {True: (700, 350), False: (1000, 500)}

# The critic's step size, in the generator's.
_CRITIC_RATE = {"rows": 8, "maps": 1}

_ADVERSARIES = {"wgan-gp": Wasserstein, "logistic": Logistic}
_SEARCHES = {
    "encoder": EncoderSearch,
    "gradient": GradientSearch,
    "nearest": NearestSearch,
}


class AnoGANDetector(BaseDetector):
    r"""Anomaly detection by searching for the nearest row that a GAN can generate.

    A generator :math:`G` learns to turn random codes :math:`z` into rows like those of
    the training set, against a critic with features :math:`f`. A row is then compared
    with the nearest generated one: its code is found by an encoder [2]_, by gradient
    descent on the code [1]_, or both, and what remains shows in :math:`x - G(z)` and
    :math:`f(x) - f(G(z))`. The generator has learned normal rows only, so it has
    nothing like an anomaly to offer, and the residual says where that is.

    The defaults are what works best; for the published recipes see :meth:`from_paper`.

    **Scores.** The default, "local", compares a row with its nearest reference rows
    in the space of residuals and codes: how far away is it, given what is usual there?
    The :ref:`user guide <which-detector>` has the formula. The score of a row does not
    depend on the rows it is scored with. A row that is itself a reference row leaves
    itself and its group out of the search, so that it scores as if it were new.

    Parameters
    ----------
    adversary : {"wgan-gp", "logistic"} or object, default="wgan-gp"
        What generator and critic compete for: "wgan-gp" is the Wasserstein distance
        with a penalty on the critic's slope between real and generated rows [3]_, and
        "logistic" the classification of rows as real or generated, as in the first
        GANs. An object of :mod:`skganomaly.adversaries` has options, as in
        ``Wasserstein(n_critic=5)``, which trains the critic five times as often as the
        generator.
    average_decay : float in [0, 1), default=0.99
        The generator is a moving average, with this decay, of what it was after each
        of its steps, which is steadier than the last of them.
    search : {"encoder", "gradient", "nearest"} or object, default="encoder"
        How a row's code is found. An object of :mod:`skganomaly.searches` has options,
        as in ``GradientSearch(n_steps=500)``.

        - "encoder": by an encoder, trained after the GAN; no search is needed after
          it;
        - "gradient": by gradient descent from random codes, drawn once and the same
          for all rows [1]_;
        - "nearest": by gradient descent from those of many random codes that generate
          the most similar rows.
    feature_layer : int or None, default=None
        Hidden layer of the critic, from 1, whose units are the features. None is the
        last one.
    max_restarts : int, default=2
        How often to start again, from another seed, when the generator has collapsed
        or lost the data. It is not before 200 steps, when it may only have been too
        short.
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
          residual :math:`x - G(z)` and the code :math:`z` (of the code alone for
          images), relative to what is usual there; for plain rows, with the distance
          of the row itself beside it;
        - "joint": squared Mahalanobis distance of residual, feature differences and
          code together;
        - "published": what the search descends, without its prior: differences of
          rows and of features, as ``search`` weighs them;
        - "reconstruction": :math:`\lVert x - G(z) \rVert^2`;
        - "features": :math:`\lVert f(x) - f(G(z)) \rVert^2`.

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
        Batches that generator and critic are trained on. "auto" is 600 for plain rows
        and otherwise 700, or 1000 with a score that is not "local", however many there
        are: the generator never sees them, so it cannot learn them by heart.
    batch_size : int, default=64
        Rows of a mini-batch; all rows if there are fewer.
    learning_rate : float or "auto", default="auto"
        Step size of the generator. "auto" is 5e-4 for plain rows and 1e-3 otherwise.
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
    GANomalyDetector : Learns to carry normal rows through a code; no search.
    AutoencoderDetector : The same without an adversary.

    References
    ----------
    .. [1] T. Schlegl et al., "Unsupervised anomaly detection with generative
       adversarial networks to guide marker discovery", IPMI 2017, :arxiv:`1703.05921`.
    .. [2] T. Schlegl et al., "f-AnoGAN: Fast unsupervised anomaly detection with
       generative adversarial networks", Medical Image Analysis 54, 2019,
       :doi:`10.1016/j.media.2019.01.010`.
    .. [3] I. Gulrajani et al., "Improved training of Wasserstein GANs", NeurIPS 2017,
       :arxiv:`1704.00028`.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import AnoGANDetector
    >>> rng = np.random.default_rng(0)
    >>> detector = AnoGANDetector(n_members=1, max_steps=300, random_state=0)
    >>> detector.fit(rng.normal(size=(200, 3))).predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    _method = AnoGAN
    # The generator may be trained again, and the encoder is not always.
    _n_trainings = None
    _widest_code = {"rows": 256, "maps": 64}
    _defaults = {
        "rows": {"max_steps": 600, "learning_rate": 5e-4},
        "maps": {"max_steps": _STEPS[True][0], "learning_rate": 1e-3},
    }

    _parameter_constraints = {
        **BaseDetector._parameter_constraints,
        "adversary": [
            StrOptions(set(_ADVERSARIES)),
            HasMethods(["generator_loss", "critic_loss", "penalty_loss"]),
        ],
        "average_decay": [Interval(Real, 0, 1, closed="left")],
        "search": [StrOptions(set(_SEARCHES)), HasMethods(["starts"])],
        "feature_layer": [Interval(Integral, 1, None, closed="left"), None],
        "max_restarts": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        adversary: Literal["wgan-gp", "logistic"] | Any = "wgan-gp",
        average_decay: float = 0.99,
        search: Literal["encoder", "gradient", "nearest"] | Any = "encoder",
        feature_layer: int | None = None,
        max_restarts: int = 2,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(**common)
        self.adversary = adversary
        self.average_decay = average_decay
        self.search = search
        self.feature_layer = feature_layer
        self.max_restarts = max_restarts

    @classmethod
    def from_paper(
        cls,
        paper: Literal["f-anogan", "anogan"] = "f-anogan",
        *,
        n_samples: int | None = None,
        **overrides: Any,
    ) -> Self:
        r"""A detector set up as published, to be cited and compared with.

        One network in the DCGAN layout with 64 base channels (for plain rows, batch
        normalised fully connected layers in its place), rows scaled to [-1, 1], batches
        of 64, and the published search and score:

        - "anogan" [1]_: logistic loss, Adam at 2e-4 with :math:`\beta_1 = 0.5`, a
          100-dimensional code found by 500 steps from a random start, absolute
          differences, features weighted 0.1;
        - "f-anogan" [2]_: WGAN-GP with 5 critic steps for each of the generator, Adam
          at 1e-4 with :math:`\beta = (0, 0.9)`, a 128-dimensional code from an encoder
          trained with :math:`\kappa = 1` at 5e-5, squared differences, and features
          that weigh as much as rows. The residual networks of the authors' code are not
          reproduced.

        Parameters
        ----------
        paper : {"f-anogan", "anogan"}, default="f-anogan"
            Which one.
        n_samples : int or None, default=None
            Number of training rows, from which follow the steps of the published 20
            epochs of "anogan", and of the 7 epochs and 50,000 encoder steps of the
            authors' code of "f-anogan". None leaves them at "auto", which is far
            shorter. With few rows these are too few steps; the fit then warns.
        **overrides
            Parameters that should differ from the published ones, also of the objects
            among them, as in ``search__n_steps=100``.

        Returns
        -------
        AnoGANDetector
            Unfitted.

        References
        ----------
        .. [1] T. Schlegl et al., IPMI 2017, :arxiv:`1703.05921`.
        .. [2] T. Schlegl et al., Medical Image Analysis 54, 2019,
           :doi:`10.1016/j.media.2019.01.010`.

        Examples
        --------
        >>> from skganomaly import AnoGANDetector
        >>> AnoGANDetector.from_paper("anogan", n_samples=6400).max_steps
        2000
        """
        published = published_anogan(paper, n_samples)
        options = {name: overrides.pop(name) for name in [*overrides] if "__" in name}
        return cls(**published | overrides).set_params(**options)

    # Settings.

    def _complete_settings(self, values):
        kind, max_steps = values["kind"], values["max_steps"]
        if kind == "maps" and is_auto(self.max_steps):
            max_steps = _STEPS[_is_local(values["score_type"])][0]
        adversary = _object(values["adversary"], _ADVERSARIES, kind)
        if is_auto(adversary.learning_rate):
            rate = _CRITIC_RATE[kind] * values["learning_rate"]
            adversary = clone(adversary).set_params(learning_rate=rate)
        if adversary.n_critic > max_steps:
            raise ValueError(
                f"n_critic={adversary.n_critic!r} trains the generator on every "
                f"{adversary.n_critic}-th batch, and max_steps={max_steps} ends before "
                "the first of them, so it would never be trained. Raise max_steps to "
                "many times n_critic, or lower n_critic."
            )
        search = _object(values["search"], _SEARCHES, kind)
        n_codes = search.n_codes
        if n_codes and search.n_starts > n_codes:
            raise ValueError(
                f"n_starts={search.n_starts!r} is more than n_candidates="
                f"{n_codes!r}, of which the starts are chosen. Raise the second or "
                "lower the first."
            )
        return values | {
            "max_steps": max_steps,
            "adversary": adversary,
            "search": search,
        }

    def _named_architecture(self, name, values):
        architecture = super()._named_architecture(name, values)
        if isinstance(architecture, ConvNet) and values["adversary"].penalty:
            architecture.set_params(discriminator_normalization=None)
        if isinstance(architecture, ConvNet) and name == "conv":
            halvings = math.log2(max(values["input_shape"][1:]) / _SMALLEST_MAP)
            architecture.set_params(n_blocks=max(1, math.ceil(halvings)))
        return architecture

    def _settle_steps(self, settings, n_groups):
        search = settings.search
        if not (search.needs_encoder and is_auto(search.encoder_steps)):
            return settings
        steps = _STEPS[_is_local(settings.score_type)][1]
        if settings.kind == "rows":
            # The encoder of a table would learn the rows by heart.
            most = self._most_steps["rows"]
            steps = steps_of_few_passes(n_groups, settings.batch_size, most)
        if self.max_steps != "auto":
            steps = min(steps, self.max_steps)
        search = clone(search).set_params(encoder_steps=steps)
        return replace(settings, own=settings.own | {"search": search})

    def _chosen_steps(self):
        # The generator never sees a row, the encoder does.
        steps = getattr(self.search, "encoder_steps", 0)
        if self.search == "encoder" or is_auto(steps):
            return None
        return steps

    def _score_words(self):
        return [*super()._score_words(), "published"]

    def _named_score(self, word, settings):
        if word != "published":
            return super()._named_score(word, settings)
        search = settings.search
        weights = {
            "reconstruction": 1 - search.feature_weight,
            "features": search.feature_weight,
        }
        return WeightedScore(weights, order=search.residual_loss)

    # Training.

    def _train(self, trainer):
        settings, search = trainer.settings, trainer.settings.search
        method, net, samples, callbacks = self._train_gan(trainer)
        n_steps = net.n_steps_
        if search.needs_encoder:
            trainer.run(
                EncoderGame(method),
                max_steps=search.encoder_steps,
                learning_rate=search.encoder_learning_rate,
                callbacks=callbacks,
                phase="encoder",
                label="The encoder's training",
            )
        enough = n_steps >= _MIN_STEPS
        # Of samples, where the record has that of the nearest rows to the references.
        trained = Trained(method, net, n_steps, report={**samples, "judged": enough})
        if enough:
            trained.problems.append(generator_failure(**samples))
        else:
            short = too_short(n_steps, _MIN_STEPS, **samples)
            trained.problems.append(short)
            if short is None:
                trained.notes.append(not_judged(n_steps, _MIN_STEPS))
        if isinstance(settings.adversary, Logistic):
            record = trainer.record
            losses = mean_losses(record.history, record.loss_names)
            trained.problems.append(never_wrong(losses))
        return trained

    def _train_gan(self, trainer):
        """Train generator and critic, from new seeds if the generator collapses.

        Returns the method, its net, how its samples compare with the rows, and the
        callbacks of the last of these trainings.
        """
        settings, restarts = trainer.settings, []
        while True:
            trainer.record = Record()
            callbacks = trainer.callbacks()
            method = trainer.build(self._method)
            net = trainer.run(
                method,
                discriminator_learning_rate=settings.adversary.learning_rate,
                noise=False,
                callbacks=callbacks,
                average_decay=self.average_decay,
                # Without its encoder the detector is nothing to be kept.
                is_last=not settings.search.needs_encoder,
            )
            samples = self._compare_samples(method, trainer)
            # One that has hardly been trained cannot have collapsed.
            failure = None
            if net.n_steps_ >= _MIN_STEPS:
                failure = generator_failure(**samples)
            interrupted = net.n_steps_ < net.max_steps
            if failure is None or interrupted or len(restarts) == self.max_restarts:
                break
            restarts.append({"after_steps": net.n_steps_, "reason": str(failure)})
        trainer.record.restarts = restarts
        return method, net, samples, callbacks

    def _compare_samples(self, method, trainer):
        """How samples of each member compare with training rows."""
        X, settings, generator = trainer.X, trainer.settings, trainer.generator
        n_rows = n_compared(X.shape[1])
        rows = trainer.orders(n_rows).draw(1).flatten().sort().values
        data = torch.from_numpy(trainer.scaling.transform(X[rows.numpy()]))
        # So many whatever the width, as the generator has more to decide after it.
        shape = settings.n_members, N_SAMPLES, settings.latent_dim
        codes = torch.randn(shape, generator=generator, dtype=torch.float32)
        with torch.inference_mode():
            samples = method.decode(codes.to(trainer.device)[:, :n_rows]).cpu()
        return compare_samples(current().agreed(samples), data)


def _is_local(score_type):
    return score_type == "local" or isinstance(score_type, LocalScore)


def _object(value, words, kind):
    """The object that a word stands for, with what suits the rows."""
    if isinstance(value, str):
        value = words[value]()
    common = next(iter(words.values())).__base__
    public = (name for name in vars(common) if not name.startswith("_"))
    needed = sorted({*common._get_param_names(), *public})
    missing = [name for name in needed if not hasattr(value, name)]
    if missing:
        raise TypeError(
            f"{value!r} has no {', '.join(missing)}. Derive a class of your own from "
            f"one in {common.__module__}, which has all that is needed."
        )
    return resolved(value, None, kind)
