"""AnoGAN: a generator of normal rows, and the search for the nearest of them."""

import math
from numbers import Integral, Real

import torch

from ._base import BaseGANDetector
from ._callbacks import copy_to_fit
from ._compat import Interval, StrOptions
from ._health import certainty, generator_failure, not_judged, too_short
from ._latent_search import CandidateCodes, LatentSearch
from ._local_score import LocalScore
from ._losses import (
    discriminator_cross_entropy,
    generator_cross_entropy,
    gradient_norm_penalty,
    squared_error,
    wasserstein_estimate,
)
from ._networks import _BATCH_NORMS
from ._sample_quality import N_SAMPLES, compare_samples, n_compared
from ._scoring import WeightedScore
from .architectures import ConvNet

__all__ = ["AnoGANDetector"]

_TINY = 1e-12

# Batches to be trained on before a collapse is one.
_MIN_STEPS = 200

# Images are halved until they are no larger than this. A generator that starts from
# fewer pixels takes far longer to train.
_SMALLEST_MAP = 8

# Steps of the encoder of images and windows.
_ENCODER_STEPS = 500

# Keeps the encoder's codes where the generator has been trained (Schlegl et al. leave
# it out, and find codes that no draw from the prior would give).
_ENCODER_PRIOR_WEIGHT = 0.01


class AnoGANObjective:
    """Losses of a generator of rows from random codes, and of its critic.

    Parameters
    ----------
    loss : {"wgan-gp", "logistic"}
        See :class:`AnoGANDetector`, as for the others.
    latent_dim, n_critic, gradient_penalty, penalty_interval
    random : torch.Generator
        Source of codes, on the training device.
    """

    def __init__(
        self, *, loss, latent_dim, n_critic, gradient_penalty, penalty_interval, random
    ):
        self.loss = loss
        self.latent_dim = latent_dim
        self.n_critic = n_critic
        self.gradient_penalty = gradient_penalty
        self.penalty_interval = penalty_interval
        self.random = random
        self._n_calls = 0

    def __call__(self, generator, discriminator, x, noisy):
        """Return the named losses of the generator and of the critic."""
        self._n_calls += 1
        generator_turn = self._n_calls % self.n_critic == 0
        z = self._draw(torch.randn, x, self.latent_dim)
        with torch.set_grad_enabled(generator_turn):
            fake = generator(z)
        real_values, _ = discriminator(x)
        fake_values, _ = discriminator(fake)
        if self.loss == "wgan-gp":
            generator_loss = -fake_values.mean(1)
            critic_loss = -wasserstein_estimate(real_values, fake_values)
        else:
            generator_loss = generator_cross_entropy(fake_values)
            critic_loss = discriminator_cross_entropy(real_values, fake_values)
        critic_terms = {"discriminator": critic_loss}
        if self.gradient_penalty and self._n_calls % self.penalty_interval == 0:
            # Coming less often, it counts for more each time.
            weight = self.gradient_penalty * self.penalty_interval
            critic_terms["penalty"] = weight * self._penalty(discriminator, x, fake)
        return {"generator": generator_loss} if generator_turn else {}, critic_terms

    def _penalty(self, discriminator, x, fake):
        def critic(rows):
            return discriminator(rows)[0]

        if self.loss == "logistic":
            return 0.5 * gradient_norm_penalty(critic, x, target=0.0)
        share = self._draw(torch.rand, x, *[1] * (x.ndim - 2))
        between = torch.lerp(fake.detach(), x, share)
        return gradient_norm_penalty(critic, between, target=1.0)

    def _draw(self, function, x, *shape):
        return function(
            *x.shape[:2],
            *shape,
            generator=self.random,
            dtype=x.dtype,
            device=x.device,
        )


class EncoderObjective:
    """Losses of f-AnoGAN's encoder, trained behind a finished generator and critic.

    Parameters
    ----------
    generator, features : callable
        The networks, frozen and in evaluation mode.
    feature_weight : float
        Weight of the features' reconstruction beside that of the rows.
    """

    def __init__(self, generator, features, feature_weight):
        self.generator = generator
        self.features = features
        self.feature_weight = feature_weight

    def __call__(self, encoder, discriminator, x, noisy):
        """Return the named losses of the encoder."""
        code = encoder(noisy)
        generated = self.generator(code)
        terms = {"encoder_reconstruction": squared_error(generated, x)}
        if self.feature_weight:
            with torch.no_grad():
                target = self.features(x)
            terms["encoder_features"] = self.feature_weight * squared_error(
                self.features(generated), target
            )
        terms["encoder_prior"] = _ENCODER_PRIOR_WEIGHT * code.square().flatten(1).mean(
            1
        )
        return terms, {}


_WEIGHT = [Interval(Real, 0, None, closed="left")]
_COUNT = [Interval(Integral, 1, None, closed="left")]


class AnoGANDetector(BaseGANDetector):
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
    loss : {"auto", "wgan-gp", "logistic"}, default="auto"
        What generator and critic play for: the Wasserstein distance with a penalty on
        the critic's slope between real and generated rows [3]_, or to classify them
        (the non-saturating loss of the first GANs). "auto" is "wgan-gp".
    n_critic : int, default=1
        Steps of the critic for each step of the generator. Both are trained on
        ``max_steps`` batches, the generator on every ``n_critic``-th of them, so it
        must be at most ``max_steps``.
    gradient_penalty : float or "auto", default="auto"
        Weight of the penalty on the critic's slope: with "wgan-gp" for slopes other
        than 1 between real and generated rows, with "logistic" half of it for slopes
        other than 0 on real rows (R1). "auto" is 10 with "wgan-gp" and 0 with
        "logistic".
    penalty_interval : int or "auto", default="auto"
        The penalty is computed on every so many batches, and weighs as many times
        more. "auto" is 1 for plain rows and 4 otherwise.
    average_decay : float in [0, 1), default=0.99
        The generator is a moving average, with this decay, of what it was after each
        of its steps, which is steadier than the last of them.
    critic_learning_rate : float or "auto", default="auto"
        Step size of the critic. "auto" is 8 times ``learning_rate`` for plain rows,
        where a critic that learns faster keeps the generator from circling around the
        data [4]_, and the same otherwise.
    encoder_learning_rate : float, default=1e-3
        Step size of the encoder. Not used unless ``search="encoder"``, as for
        ``encoder_steps`` and ``encoder_feature_weight``.
    encoder_steps : int or "auto", default="auto"
        Optimiser steps of the encoder, trained after the GAN. "auto" is 20 passes over
        plain rows, but at least 50 steps and at most 600, and 500 steps otherwise; and
        never more than a ``max_steps`` that is a number.
    encoder_feature_weight : float, default=1.0
        Weight, in the encoder's training, of the reconstruction of the critic's
        features beside that of the row (:math:`\kappa` of [2]_).
    search : {"encoder", "gradient", "nearest"}, default="encoder"
        Where the search for a row's code starts.

        - "encoder": the code that the encoder gives; no search is needed after it;
        - "gradient": random codes, drawn once and the same for all rows [1]_;
        - "nearest": of ``n_candidates`` random codes, those that generate the most
          similar rows.
    n_search_steps : int or "auto", default="auto"
        Steps of gradient descent from there. "auto" is 0 for "encoder", 200 for
        "gradient" and 25 for "nearest". A long search finds anomalies as well.
    search_learning_rate : float, default=0.1
        Step size of Adam in the search.
    n_starts : int, default=1
        Starts of each row's search with "gradient" and "nearest"; the best end counts.
    n_candidates : int, default=1024
        Random codes that "nearest" chooses from.
    residual_loss : {"l1", "l2"}, default="l1"
        Absolute or squared differences, in the search and in the score "published".
    feature_weight : float in [0, 1], default=0.1
        Weight of the features' difference, against that of the rows, in the search
        and in the score "published" (:math:`\lambda` of [1]_).
    feature_layer : int or None, default=None
        Hidden layer of the critic, from 1, whose units are the features. None is the
        last one.
    prior_weight : float, default=0.0
        Weight, in the search, of the mean square of a code, which keeps it where the
        generator was trained.
    score_type : str, default="auto"
        What the score is made of.

        - "local": the distance to the nearest reference rows in the space of the
          residual :math:`x - G(z)` and the code :math:`z` (of the code alone for
          images), relative to what is usual there; for plain rows, with the distance
          of the row itself beside it;
        - "joint": squared Mahalanobis distance of residual, feature differences and
          code together;
        - "published": what the search descends, without its prior;
        - "reconstruction": :math:`\lVert x - G(z) \rVert^2`;
        - "features": :math:`\lVert f(x) - f(G(z)) \rVert^2`.

        "auto" is "local".
    max_restarts : int, default=2
        How often to start again, from another seed, when the generator has collapsed
        or lost the data. It is not before 200 steps, when it may only have been too
        short.
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
        sets the threshold. With 0 none are held out, unless ``max_steps`` (AnoGAN:
        ``encoder_steps``) asks for so many passes over the rows that the networks may
        memorise them: more than 80 over plain rows with the score "local", more than 25
        with any other score. Then a fifth is held out, or, if the rows are too few for
        that, a warning says so.
    max_steps : int or "auto", default="auto"
        Batches that generator and critic are trained on. "auto" is 600 for plain rows
        and 1000 otherwise, however many there are: the generator never sees them, so
        it cannot learn them by heart.
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
    score_type_ : str
        The score in use.
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
    latent_dim_, n_members_ : int
        Width of the latent code and number of networks.
    architecture_ : object
        What built the networks.
    scaler_ : object
        The fitted scaling.
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
    .. [4] M. Heusel et al., "GANs trained by a two time-scale update rule converge to
       a local Nash equilibrium", NeurIPS 2017, :arxiv:`1706.08500`.

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import AnoGANDetector
    >>> rng = np.random.default_rng(0)
    >>> detector = AnoGANDetector(n_members=1, max_steps=300, random_state=0)
    >>> detector.fit(rng.normal(size=(200, 3))).predict([[0, 0, 0], [9, -9, 9]])
    array([ 1, -1])
    """

    _part_names = ("reconstruction", "features", "code")
    _local_parts = {"rows": ("reconstruction", "code"), "maps": ("code",)}
    # The generator may be trained again, and the encoder is not always.
    _n_trainings = None
    _latent_dims = {"rows": 256, "maps": 64}
    _defaults = {
        "rows": {
            **BaseGANDetector._defaults["rows"],
            "loss": "wgan-gp",
            "penalty_interval": 1,
            "max_steps": 600,
            "learning_rate": 5e-4,
            "critic_rate": 8,
        },
        "maps": {
            **BaseGANDetector._defaults["maps"],
            "loss": "wgan-gp",
            "penalty_interval": 4,
            "max_steps": 1000,
            "learning_rate": 1e-3,
            "critic_rate": 1,
        },
    }

    _parameter_constraints = {
        **BaseGANDetector._parameter_constraints,
        "loss": [StrOptions({"auto", "wgan-gp", "logistic"})],
        "n_critic": _COUNT,
        "gradient_penalty": [*_WEIGHT, StrOptions({"auto"})],
        "penalty_interval": [*_COUNT, StrOptions({"auto"})],
        "learning_rate": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "critic_learning_rate": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"auto"}),
        ],
        "encoder_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "average_decay": [Interval(Real, 0, 1, closed="left")],
        "encoder_steps": [*_COUNT, StrOptions({"auto"})],
        "encoder_feature_weight": _WEIGHT,
        "search": [StrOptions({"encoder", "gradient", "nearest"})],
        "n_search_steps": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "search_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "n_starts": _COUNT,
        "n_candidates": _COUNT,
        "residual_loss": [StrOptions({"l1", "l2"})],
        "feature_weight": [Interval(Real, 0, 1, closed="both")],
        "feature_layer": [*_COUNT, None],
        "prior_weight": _WEIGHT,
        "score_type": [
            StrOptions(
                {"auto", "local", "joint", "published", "reconstruction", "features"}
            )
        ],
        "max_restarts": [Interval(Integral, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        architecture="auto",
        input_shape=None,
        latent_dim="auto",
        scaler="auto",
        n_members="auto",
        input_noise="auto",
        loss="auto",
        n_critic=1,
        gradient_penalty="auto",
        penalty_interval="auto",
        average_decay=0.99,
        critic_learning_rate="auto",
        encoder_learning_rate=1e-3,
        encoder_steps="auto",
        encoder_feature_weight=1.0,
        search="encoder",
        n_search_steps="auto",
        search_learning_rate=0.1,
        n_starts=1,
        n_candidates=1024,
        residual_loss="l1",
        feature_weight=0.1,
        feature_layer=None,
        prior_weight=0.0,
        score_type="auto",
        max_restarts=2,
        max_references=6000,
        contamination="auto",
        false_alarm_rate=0.05,
        threshold="auto",
        validation_fraction=0.0,
        max_steps="auto",
        batch_size=64,
        learning_rate="auto",
        learning_rate_schedule="auto",
        beta_1="auto",
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        verbose=0,
    ):
        super().__init__(
            architecture=architecture,
            input_shape=input_shape,
            latent_dim=latent_dim,
            scaler=scaler,
            n_members=n_members,
            input_noise=input_noise,
            score_type=score_type,
            max_references=max_references,
            contamination=contamination,
            false_alarm_rate=false_alarm_rate,
            threshold=threshold,
            validation_fraction=validation_fraction,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_schedule=learning_rate_schedule,
            beta_1=beta_1,
            callbacks=callbacks,
            net_params=net_params,
            device=device,
            random_state=random_state,
            verbose=verbose,
        )
        self.loss = loss
        self.n_critic = n_critic
        self.gradient_penalty = gradient_penalty
        self.penalty_interval = penalty_interval
        self.average_decay = average_decay
        self.critic_learning_rate = critic_learning_rate
        self.encoder_learning_rate = encoder_learning_rate
        self.encoder_steps = encoder_steps
        self.encoder_feature_weight = encoder_feature_weight
        self.search = search
        self.n_search_steps = n_search_steps
        self.search_learning_rate = search_learning_rate
        self.n_starts = n_starts
        self.n_candidates = n_candidates
        self.residual_loss = residual_loss
        self.feature_weight = feature_weight
        self.feature_layer = feature_layer
        self.prior_weight = prior_weight
        self.max_restarts = max_restarts

    @classmethod
    def from_paper(cls, paper="f-anogan", *, n_samples=None, **overrides):
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
            Parameters that should differ from the published ones.

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
        published = {
            "architecture": "published",
            "scaler": "channel",
            "n_members": 1,
            "input_noise": 0.0,
            "average_decay": 0.0,
            "score_type": "published",
            "batch_size": 64,
            "learning_rate_schedule": "constant",
        }
        if paper == "anogan":
            published |= {
                "latent_dim": 100,
                "loss": "logistic",
                "search": "gradient",
                "n_search_steps": 500,
                "residual_loss": "l1",
                "feature_weight": 0.1,
                "learning_rate": 2e-4,
                "critic_learning_rate": 2e-4,
                "beta_1": 0.5,
            }
        elif paper == "f-anogan":
            published |= {
                "latent_dim": 128,
                "loss": "wgan-gp",
                "n_critic": 5,
                "penalty_interval": 1,
                "search": "encoder",
                "residual_loss": "l2",
                "feature_weight": 0.5,
                "learning_rate": 1e-4,
                "critic_learning_rate": 1e-4,
                "encoder_learning_rate": 5e-5,
                "beta_1": 0.0,
                "net_params": {"optimizer__betas": (0.0, 0.9)},
            }
        else:
            raise ValueError(f"paper must be 'f-anogan' or 'anogan', got {paper!r}.")
        if n_samples is not None and paper == "anogan":
            published["max_steps"] = max(1, 20 * n_samples // 64)
        elif n_samples is not None:
            published["max_steps"] = max(1, 5 * 7 * n_samples // 64)
            published["encoder_steps"] = 50_000
        return cls(**published | overrides)

    # Building.

    def _named_architecture(self, name):
        architecture = super()._named_architecture(name)
        if isinstance(architecture, ConvNet) and self._penalty_weight:
            architecture.set_params(discriminator_normalization=None)
        if isinstance(architecture, ConvNet) and name == "conv":
            halvings = math.log2(max(self.input_shape_[1:]) / _SMALLEST_MAP)
            architecture.set_params(n_blocks=max(1, math.ceil(halvings)))
        return architecture

    @property
    def _penalty_weight(self):
        if self.gradient_penalty != "auto":
            return self.gradient_penalty
        return 10.0 if self._auto("loss") == "wgan-gp" else 0.0

    def _build_networks(self, build):
        networks = {
            "generator": build("decoder"),
            "discriminator": build("discriminator"),
        }
        if self._options["search"] == "encoder":
            networks["encoder"] = build("encoder")
        return networks

    def _check_critic(self, critic):
        if self._penalty_weight and any(
            isinstance(layer, _BATCH_NORMS) for layer in critic.modules()
        ):
            raise ValueError(
                "The gradient penalty is a property of single rows, and the critic's "
                "batch normalisation mixes them. Build the critic without it, as "
                "ConvNet(discriminator_normalization=None) does, or pass "
                "loss='logistic' with gradient_penalty=0."
            )
        if self.feature_layer is None:
            return
        n_layers = getattr(critic, "n_hidden_layers", 0)
        if self.feature_layer > n_layers:
            raise ValueError(
                f"feature_layer={self.feature_layer!r}, but this critic has {n_layers} "
                "hidden layers to choose from. Pass one of these, or None for the "
                "features that the architecture itself provides."
            )

    def _new_networks(self, generator):
        networks, options = super()._new_networks(generator), self._options
        if options["search"] != "encoder":
            fixed = "n_starts" if options["search"] == "gradient" else "n_candidates"
            n_codes = options[fixed]
            codes = torch.randn(
                self.n_members_,
                n_codes,
                self.latent_dim_,
                generator=generator,
                dtype=torch.float32,
            )
            networks["candidates"] = CandidateCodes(codes).to(self.device_)
        return networks

    def _objective(self, random=None):
        return AnoGANObjective(
            loss=self._auto("loss"),
            latent_dim=self.latent_dim_,
            n_critic=self.n_critic,
            gradient_penalty=self._penalty_weight,
            penalty_interval=self._auto("penalty_interval"),
            random=random,
        )

    # Training.

    def _train(self, X, groups, generator):
        if self.search == "nearest" and self.n_starts > self.n_candidates:
            raise ValueError(
                f"n_starts={self.n_starts!r} is more than n_candidates="
                f"{self.n_candidates!r}, of which the starts are chosen. Raise the "
                "second or lower the first."
            )
        max_steps = self._auto("max_steps")
        if self.n_critic > max_steps:
            raise ValueError(
                f"n_critic={self.n_critic!r} trains the generator on every "
                f"{self.n_critic}-th batch, and max_steps={max_steps} ends before the "
                "first of them, so it would never be trained. Raise max_steps to many "
                "times n_critic, or lower n_critic."
            )
        # Scores must not change with a parameter that is set after fitting.
        self._options = {
            "search": self.search,
            "n_steps": self._default_search_steps()
            if self.n_search_steps == "auto"
            else self.n_search_steps,
            "learning_rate": self.search_learning_rate,
            "n_starts": self.n_starts,
            "n_candidates": self.n_candidates,
            "residual_loss": self.residual_loss,
            "feature_weight": self.feature_weight,
            "feature_layer": self.feature_layer,
            "prior_weight": self.prior_weight,
        }
        callbacks = self._train_gan(X, generator)
        if self.search == "encoder":
            self._train_encoder(X, groups, generator, callbacks)

    def _default_search_steps(self):
        return {"encoder": 0, "gradient": 200, "nearest": 25}[self.search]

    def _snapshot(self, *rows_and_net):
        # Before the last training there are networks that have not been trained.
        return None

    def _train_gan(self, X, generator):
        """Train generator and critic, from new seeds if the generator collapses.

        Returns the callbacks of the last of these trainings.
        """
        restarts = []
        while True:
            self.n_iter_, self.history_, self._restarts = 0, [], []
            self._loss_names = []
            callbacks = copy_to_fit(self.callbacks)
            networks = self._new_networks(generator)
            self._check_critic(networks["discriminator"])
            self.net_ = self._new_net(
                networks,
                self._objective(self._device_generator(generator)),
                len(X),
                self._auto("max_steps"),
                generator,
                lr=self._auto("learning_rate"),
                optimizer_d__lr=self._critic_rate(),
                callbacks=callbacks,
                average_decay=self.average_decay,
            )
            # Without its encoder the detector is nothing to be kept.
            self._run(self.net_, X, is_last=self.search != "encoder")
            self._samples = self._compare_samples(X, generator)
            # One that has hardly been trained cannot have collapsed.
            self._failure = None
            if self.n_iter_ >= _MIN_STEPS:
                self._failure = generator_failure(**self._samples)
            interrupted = self.n_iter_ < self.net_.max_steps
            spent = len(restarts) == self.max_restarts
            if self._failure is None or interrupted or spent:
                break
            reason = str(self._failure)
            restarts.append({"after_steps": self.n_iter_, "reason": reason})
        self._restarts = restarts
        return callbacks

    def _critic_rate(self):
        if self.critic_learning_rate != "auto":
            return self.critic_learning_rate
        return self._defaults[self._kind]["critic_rate"] * self._auto("learning_rate")

    def _compare_samples(self, X, generator):
        """How samples of each member compare with training rows."""
        n_rows = n_compared(X.shape[1])
        rows = torch.randperm(len(X), generator=generator)[:n_rows].sort().values
        data = torch.from_numpy(self.scaler_.transform(X[rows.numpy()]))
        # So many whatever the width, as the generator has more to decide after it.
        codes = self._draw_codes(N_SAMPLES, generator)[:, :n_rows]
        with torch.inference_mode():
            samples = self._decode(self.net_.networks, codes).cpu()
        return compare_samples(samples, data)

    def _problems(self, report, record):
        # Of samples, where the record has that of the nearest rows to the references.
        report.diversity = self._samples["diversity"]
        report.distance = self._samples["distance"]
        problems = [*super()._problems(report, record), self._failure]
        n_steps = self.net_.n_steps_
        report.judged = n_steps >= _MIN_STEPS
        if not report.judged:
            short = too_short(n_steps, _MIN_STEPS, **self._samples)
            problems.append(short)
            if short is None:
                report.notes.append(not_judged(n_steps, _MIN_STEPS))
        if self._auto("loss") == "logistic":
            problems.append(certainty(report.losses))
        del self._samples, self._failure
        return problems

    def _n_scored_steps(self):
        # The generator never sees a row, the encoder does.
        return self.n_iter_ - self.net_.n_steps_

    def _chosen_steps(self):
        if self.search != "encoder":
            return 0
        return None if self.encoder_steps == "auto" else self.encoder_steps

    def _train_encoder(self, X, groups, generator, callbacks):
        networks = self.net_.networks
        networks["encoder"].requires_grad_(True)
        net = self._new_net(
            {"generator": networks["encoder"]},
            EncoderObjective(
                networks["generator"],
                self._features(networks),
                self.encoder_feature_weight,
            ),
            len(X),
            self._resolve_encoder_steps(groups.n_groups),
            generator,
            callbacks=callbacks,
            phase="encoder",
            lr=self.encoder_learning_rate,
            noise=self._noise_scale(),
        )
        self._run(net, X, "The encoder's training")

    def _resolve_encoder_steps(self, n_rows):
        if self.encoder_steps != "auto":
            return self.encoder_steps
        # The encoder of a table would learn the rows by heart.
        steps = self._few_passes(n_rows) if self._kind == "rows" else _ENCODER_STEPS
        return steps if self.max_steps == "auto" else min(steps, self.max_steps)

    def _features(self, networks):
        """The critic's features as a function of rows."""
        critic, layer = networks["discriminator"], self._options["feature_layer"]
        if layer is None:
            return lambda x: critic(x)[1]
        return lambda x: critic.hidden(x, layer)

    # Scoring.

    @property
    def _searches(self):
        """Whether codes are more than what the encoder says."""
        return self._options["search"] != "encoder" or self._options["n_steps"] > 0

    def _find(self, networks, x):
        """Codes of the nearest normal rows, (n_members, n_rows, latent_dim)."""
        generator, options = networks["generator"], self._options
        if options["search"] == "encoder":
            starts = networks["encoder"](x)[:, :, None]
        elif options["search"] == "gradient":
            starts = networks["candidates"].same_for_all(x.shape[1])
        else:
            starts = networks["candidates"].nearest(generator, x, options["n_starts"])
        if not self._searches:
            return starts[:, :, 0]
        search = LatentSearch(
            n_steps=options["n_steps"],
            learning_rate=options["learning_rate"],
            residual_loss=options["residual_loss"],
            feature_weight=options["feature_weight"],
            prior_weight=options["prior_weight"],
        )
        return search(generator, self._features(networks), x, starts)

    def _score_parts(self, networks, x, names):
        code = self._find(networks, x)
        parts = {"code": code, "row": x[:1].flatten(2)}
        if set(names) - {"code", "row"}:
            generated = networks["generator"](code)
            parts["reconstruction"] = (x - generated).flatten(2)
        if "features" in names:
            features = self._features(networks)
            parts["features"] = (features(x) - features(generated)).flatten(2)
        return {name: parts[name] for name in names}

    def _new_score(self):
        if self.score_type_ != "published":
            return super()._new_score()
        share = self._options["feature_weight"]
        weights = {"reconstruction": 1 - share, "features": share}
        return WeightedScore(weights, self._options["residual_loss"])

    def _draw_codes(self, n_samples, generator):
        shape = self.n_members_, n_samples, self.latent_dim_
        codes = torch.randn(shape, generator=generator, dtype=torch.float32)
        return codes.to(self.device_)

    def _decode(self, networks, codes):
        return networks["generator"](codes)

    def _encode(self, networks, x):
        return self._find(networks, x)

    def _reconstruct(self, networks, x):
        return networks["generator"](self._find(networks, x))

    def _counterpart(self, x, own):
        networks, score = self.net_.networks, self._scores["score"]
        codes = self._find(networks, x)
        if isinstance(score, LocalScore) and self._kind == "maps":
            # The code of a defective image carries some of the defect; those of the
            # normal images most like it do not.
            codes = score.nearest_vectors({"code": codes}, own)
        return self._decode(networks, codes).mean(0)

    def explain(self, X, *, n_steps=16):
        """Contribution of each feature or pixel to the score.

        If codes come from the encoder alone, integrated gradients [1]_ of the score
        along the straight line from a normal counterpart of the row to the row, and
        what they miss of the change of the score in proportion to them. Codes that were
        searched for have no gradients; then the score less that of the counterpart is
        divided in proportion to the squared differences of the two. The counterpart is
        the row's :meth:`reconstruct`; for images and windows with the score "local", it
        is generated from the mean code of the most similar reference rows.

        Parameters
        ----------
        X : array-like of the shape that ``fit`` saw
            Rows to explain.
        n_steps : int, default=16
            Points on the line at which the gradient is taken. Not used after a search.

        Returns
        -------
        ndarray of the shape of ``X``
            Contributions that add up to the score of the row less that of its
            counterpart, up to rounding.

        References
        ----------
        .. [1] M. Sundararajan, A. Taly and Q. Yan, "Axiomatic attribution for deep
           networks", ICML 2017, :arxiv:`1703.01365`.
        """
        return super().explain(X, n_steps=n_steps)

    def _contributions(self, x, counterpart, own, n_steps):
        if not self._searches:
            return super()._contributions(x, counterpart, own, n_steps)
        other = counterpart.expand(x.shape)
        with torch.no_grad():
            gain = self._score_tensor(x, own) - self._score_tensor(other, own)
            squares = (x[0] - counterpart).square()
            shares = (
                squares.flatten(1) / squares.flatten(1).sum(1).clamp_min(_TINY)[:, None]
            )
            return shares.view_as(squares) * gain.view(-1, *[1] * (x.ndim - 2))
