"""GANomaly: an encoder-decoder-encoder generator trained against a discriminator."""

from functools import partial
from numbers import Integral, Real

import torch
from torch import nn

from ._base import BaseGANDetector
from ._compat import Interval, StrOptions
from ._data import TensorBatches
from ._health import certainty, too_short
from ._losses import (
    absolute_error,
    discriminator_cross_entropy,
    generator_cross_entropy,
    squared_error,
)
from ._training import DiscriminatorRestart

__all__ = ["GANomalyDetector"]

# Steps that the published networks need to learn anything.
_ENOUGH_STEPS = 200


class EncoderDecoderEncoder(nn.Module):
    """GANomaly's generator: encode, decode, and encode the result again."""

    def __init__(self, encoder, decoder, second_encoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.second_encoder = second_encoder

    def forward(self, x):
        """Return the reconstruction of ``x``, its code, and the second code."""
        code = self.encoder(x)
        reconstruction = self.decoder(code)
        return reconstruction, code, self.second_encoder(reconstruction)


class GANomalyObjective:
    """GANomaly's losses; see :class:`GANomalyDetector` for the weights."""

    def __init__(
        self,
        *,
        reconstruction_loss,
        adversarial_loss,
        reconstruction_weight,
        latent_weight,
        adversarial_weight,
    ):
        self.reconstruction_loss = reconstruction_loss
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.adversarial_weight = adversarial_weight

    def __call__(self, generator, discriminator, x, noisy):
        """Return the named losses of the generator and of the discriminator."""
        reconstruction, code, second_code = generator(noisy)
        real_logits, real_features = discriminator(x)
        fake_logits, fake_features = discriminator(reconstruction)
        compare = absolute_error if self.reconstruction_loss == "l1" else squared_error
        if self.adversarial_loss == "feature_matching":
            adversarial = squared_error(fake_features, real_features.detach())
        else:
            adversarial = generator_cross_entropy(fake_logits)
        generator_terms = {
            "reconstruction": self.reconstruction_weight * compare(reconstruction, x),
            "latent": self.latent_weight * squared_error(second_code, code),
            "adversarial": self.adversarial_weight * adversarial,
        }
        discriminator_terms = {
            "discriminator": discriminator_cross_entropy(real_logits, fake_logits)
        }
        return generator_terms, discriminator_terms


_WEIGHT = [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})]


class GANomalyDetector(BaseGANDetector):
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
    reconstruction_loss : {"auto", "l1", "l2"}, default="auto"
        Absolute or squared error of the reconstruction. "auto" is "l2" for plain rows
        and "l1" otherwise.
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
    score_type : str, default="auto"
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

        "auto" is "local".
    max_restarts : int, default=2
        How often the discriminator is replaced by one from a new seed when it is never
        wrong in a whole epoch, and so has nothing left to teach.
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
        Number of optimiser steps. "auto" makes 20 passes over the rows (over one row of
        each group, if there are groups), but at least 50 steps, and at most 600 for
        plain rows and 300 otherwise. More steps on few rows make the networks
        memorise them.
    batch_size : int, default=64
        Rows of a mini-batch; all rows if there are fewer.
    learning_rate : float, default=1e-3
        Step size of Adam.
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
    AutoencoderDetector : The same without a discriminator and a second encoder.
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

    _part_names = ("latent", "reconstruction", "features", "code")
    _local_parts = {
        "rows": ("reconstruction", "latent", "code"),
        "maps": ("code",),
    }
    _defaults = {
        "rows": {
            **BaseGANDetector._defaults["rows"],
            "reconstruction_loss": "l2",
            "reconstruction_weight": 1.0,
            "latent_weight": 1.0,
            "adversarial_weight": 0.1,
        },
        "maps": {
            **BaseGANDetector._defaults["maps"],
            "reconstruction_loss": "l1",
            "reconstruction_weight": 50.0,
            "latent_weight": 1.0,
            "adversarial_weight": 1.0,
        },
    }

    _parameter_constraints = {
        **BaseGANDetector._parameter_constraints,
        "score_type": [
            StrOptions(
                {"auto", "local", "joint", "latent", "reconstruction", "features"}
            )
        ],
        "reconstruction_loss": [StrOptions({"auto", "l1", "l2"})],
        "adversarial_loss": [StrOptions({"feature_matching", "bce"})],
        "reconstruction_weight": _WEIGHT,
        "latent_weight": _WEIGHT,
        "adversarial_weight": _WEIGHT,
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
        reconstruction_loss="auto",
        adversarial_loss="feature_matching",
        reconstruction_weight="auto",
        latent_weight="auto",
        adversarial_weight="auto",
        score_type="auto",
        max_restarts=2,
        max_references=6000,
        contamination="auto",
        false_alarm_rate=0.05,
        threshold="auto",
        validation_fraction=0.0,
        max_steps="auto",
        batch_size=64,
        learning_rate=1e-3,
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
        self.reconstruction_loss = reconstruction_loss
        self.adversarial_loss = adversarial_loss
        self.reconstruction_weight = reconstruction_weight
        self.latent_weight = latent_weight
        self.adversarial_weight = adversarial_weight
        self.max_restarts = max_restarts

    @classmethod
    def from_paper(cls, *, n_samples=None, **overrides):
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
        published = {
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

    def _build_networks(self, build):
        generator = EncoderDecoderEncoder(
            build("encoder"), build("decoder"), build("encoder")
        )
        return {"generator": generator, "discriminator": build("discriminator")}

    def _objective(self):
        return GANomalyObjective(
            reconstruction_loss=self._auto("reconstruction_loss"),
            adversarial_loss=self.adversarial_loss,
            reconstruction_weight=self._auto("reconstruction_weight"),
            latent_weight=self._auto("latent_weight"),
            adversarial_weight=self._auto("adversarial_weight"),
        )

    def _own_callbacks(self, generator, n_rows):
        # A stream of its own, so that a restart changes nothing but the discriminator.
        build = self._builder(
            torch.Generator().manual_seed(generator.initial_seed() + 1)
        )
        draw = partial(build, "discriminator")

        def reason(losses):
            finding = certainty(losses)
            return None if finding is None else str(finding)

        interval = TensorBatches.steps_per_pass(n_rows, self.batch_size)
        return [DiscriminatorRestart(draw, reason, self.max_restarts, interval)]

    def _problems(self, report, record):
        problems = [*super()._problems(report, record), certainty(report.losses)]
        if self.architecture == "published":
            # Large networks whose codes say nothing at first; the published score,
            # their distance, can then be lower for anomalies.
            report.judged = self.n_iter_ >= _ENOUGH_STEPS
            problems.append(too_short(self.n_iter_, _ENOUGH_STEPS))
        return problems

    def _score_parts(self, networks, x, names):
        generator = networks["generator"]
        code = generator.encoder(x)
        parts = {"code": code, "row": x[:1].flatten(2)}
        if set(names) - {"code", "row"}:
            reconstruction = generator.decoder(code)
            parts["reconstruction"] = (x - reconstruction).flatten(2)
            parts["latent"] = code - generator.second_encoder(reconstruction)
        if "features" in names:
            features = [networks["discriminator"](v)[1] for v in (x, reconstruction)]
            parts["features"] = features[0] - features[1]
        return {name: parts[name] for name in names}

    def _decode(self, networks, codes):
        return networks["generator"].decoder(codes)

    def _encode(self, networks, x):
        return networks["generator"].encoder(x)

    def _reconstruct(self, networks, x):
        return networks["generator"](x)[0]
