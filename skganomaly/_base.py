"""The workflow that all detectors share; nothing here is about any one model."""

import copy
import math
import warnings
from abc import ABCMeta, abstractmethod
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data

from ._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
)
from ._data import (
    FeatureScaler,
    RowDataset,
    RowIndex,
    TensorBatches,
    draw_seed,
    resolve_device,
    resolve_input_shape,
    row_keys,
    to_single,
)
from ._decisions import forget
from ._fit_tasks import FitTasks
from ._health import (
    HealthRecord,
    constant_rows,
    dead_columns,
    divergence,
    falling_losses,
    last_losses,
    near_copies,
    still_falling,
)
from ._inference import InferenceMixin
from ._memorisation import held_out_by_itself, not_held_out
from ._networks import build_members
from ._scoring import (
    CodeDistribution,
    JointScore,
    LocalScore,
    PartScore,
    part_magnitudes,
)
from ._training import AdversarialNet, DiscriminatorRestart, ProgressBar
from ._value_range import column_range, group_range
from ._version import __version__
from .architectures import MLP, ConvNet
from .reports import TrainingReport
from .thresholds import QuantileThreshold, _fit_threshold

__all__ = ["BaseGANDetector"]

_ARCHITECTURES = {
    "mlp": {"rows": MLP, "maps": MLP},
    "conv": {"maps": ConvNet},
    # The sizes of the published networks; fully connected ones of the same style
    # stand in where there is nothing to convolve.
    "published": {
        "rows": partial(MLP, normalization="batch", output_activation="tanh"),
        "maps": partial(ConvNet, base_channels=64),
    },
}


class BaseGANDetector(
    InferenceMixin,
    CallbackSupportMixin,
    OutlierMixin,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Validation, scaling, training, scoring, threshold and state of a detector.

    A subclass supplies what makes it the method it is: its networks
    (``_build_networks``), their losses (``_objective``), the residual vectors a score
    is made of (``_score_parts``, ``_part_names``, ``_local_parts``), its codes and
    reconstructions (``_encode``, ``_reconstruct``), and what "auto" stands for in
    parameters of its own (``_defaults``).
    """

    # Learned without being shown; the last five only until the fit ends.
    _private_state = (
        "_scores",
        "_references",
        "_options",
        "_tasks",
        "_restarts",
        "_samples",
        "_failure",
        "_not_held_out",
    )

    # How many trainings a fit has; None if that is not known beforehand.
    _n_trainings = 1

    # Names of all score parts, and of those that the local score looks at.
    _part_names = ()
    _local_parts = {}

    # What "auto" stands for, by whether rows are plain or have axes of their own.
    # Chosen by the protocols on the accuracy page of the documentation.
    _defaults = {
        "rows": {
            "architecture": "mlp",
            "scaler": "minmax",
            "n_members": 4,
            "input_noise": (0.1, 0.3, 0.6, 1.0),
            "score_type": "local",
            "learning_rate_schedule": "cosine",
            "beta_1": 0.9,
        },
        "maps": {
            "architecture": "conv",
            "scaler": "channel",
            "n_members": 2,
            "input_noise": 0.0,
            "score_type": "local",
            "learning_rate_schedule": "constant",
            "beta_1": 0.5,
        },
    }
    _max_steps = {"rows": 600, "maps": 300}
    _latent_dims = {"rows": 256, "maps": 100}
    _local_options = {
        "rows": {
            "row_weight": 0.5,
            "whiten": True,
            "use_nearest": True,
            "n_scale_neighbors": 10,
            "exponent": 0.5,
        },
        "maps": {
            "row_weight": 0.0,
            "whiten": False,
            "use_nearest": False,
            "n_scale_neighbors": 50,
            "exponent": 0.85,
        },
    }
    _parameter_constraints = {
        "architecture": [
            StrOptions({"auto", "mlp", "conv", "published"}),
            HasMethods(["encoder", "decoder"]),
        ],
        "input_shape": ["array-like", None],
        "latent_dim": [
            Interval(Integral, 1, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "scaler": [StrOptions({"auto", "minmax", "standard", "channel"}), None],
        "n_members": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "input_noise": [
            Interval(Real, 0, None, closed="left"),
            "array-like",
            StrOptions({"auto"}),
        ],
        "max_references": [Interval(Integral, 2, None, closed="left")],
        "contamination": [
            StrOptions({"auto"}),
            Interval(Real, 0, 0.5, closed="right"),
        ],
        "false_alarm_rate": [Interval(Real, 0, 1, closed="neither")],
        "threshold": [
            StrOptions({"auto", "max", "tail", "conformal"}),
            Real,
            callable,
            HasMethods(["fit"]),
        ],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "max_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "learning_rate_schedule": [StrOptions({"auto", "cosine", "constant"})],
        "beta_1": [Interval(Real, 0, 1, closed="left"), StrOptions({"auto"})],
        "callbacks": ["array-like", None],
        "net_params": [dict, None],
        "device": [str, torch.device],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        architecture,
        input_shape,
        latent_dim,
        scaler,
        n_members,
        input_noise,
        score_type,
        max_references,
        contamination,
        false_alarm_rate,
        threshold,
        validation_fraction,
        max_steps,
        batch_size,
        learning_rate,
        learning_rate_schedule,
        beta_1,
        callbacks,
        net_params,
        device,
        random_state,
        verbose,
    ):
        self.architecture = architecture
        self.input_shape = input_shape
        self.latent_dim = latent_dim
        self.scaler = scaler
        self.n_members = n_members
        self.input_noise = input_noise
        self.score_type = score_type
        self.max_references = max_references
        self.contamination = contamination
        self.false_alarm_rate = false_alarm_rate
        self.threshold = threshold
        self.validation_fraction = validation_fraction
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_schedule = learning_rate_schedule
        self.beta_1 = beta_1
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    # What a subclass supplies.

    @abstractmethod
    def _build_networks(self, build):
        """Return "generator" and, if adversarial, "discriminator" as modules.

        ``build(factory)`` calls ``factory`` once per member and stacks the results.
        """

    @abstractmethod
    def _objective(self):
        """Return the losses; see :class:`AdversarialNet`."""

    @abstractmethod
    def _score_parts(self, networks, x, names):
        """Return the parts ``names`` of rows ``x``, each (n_members, n, width).

        The part "row" is the rows themselves, which all members share: (1, n, width).
        """

    @abstractmethod
    def _decode(self, networks, codes):
        """Return what the generator makes of codes, (n_members, n, *input_shape)."""

    @abstractmethod
    def _encode(self, networks, x):
        """Return the codes of rows ``x``, (n_members, n, latent_dim)."""

    @abstractmethod
    def _reconstruct(self, networks, x):
        """Return what the generator makes of rows ``x``, shaped like them."""

    # Fitting.

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None):
        """Train on rows believed to be normal, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or (n_samples, ...)
            Training rows: (n, n_features); (n, height, width) or (n, channels, height,
            width); with ``input_shape`` also (n, channels, length), and images or
            windows as flat rows.
        y : None
            Ignored; present for API consistency.

        Returns
        -------
        self : object
            The fitted detector.

        Raises
        ------
        ValueError
            If ``X`` has missing or infinite values, fewer than two rows, or a shape
            that contradicts ``input_shape``; if there are too few rows for the
            threshold rule, or if parameters contradict each other.
        FloatingPointError
            If training diverged. The detector is then left unfitted.

        Warns
        -----
        ConvergenceWarning
            If training was interrupted from the keyboard. The detector is then
            fitted on the steps that were done. Also if the training went wrong; what
            was seen is in the ``problems`` of ``training_report_``.
        UserWarning
            If the rows themselves are a problem, as when all of them are equal.
        """
        forget(self, self._private_state)
        try:
            self._fit(X, y)
        except BaseException:
            forget(self, self._private_state)
            raise
        return self

    def _fit(self, X, y):
        given = X
        X = self._validate(X, reset=True)
        self.device_ = resolve_device(self.device)
        self._resolve_architecture()
        self._check_promise()
        generator = torch.Generator().manual_seed(draw_seed(self.random_state))

        self._not_held_out = None
        X_train, X_held_out = self._hold_out(X, generator)
        self.scaler_ = FeatureScaler(self._auto("scaler"), self.input_shape_)
        self.scaler_.fit(X_train)
        self._tasks = FitTasks(
            self,
            given,
            y,
            n_trainings=self._n_trainings,
            snapshot=partial(self._snapshot, X, X_train, X_held_out),
        )
        columns = column_range(X_train)
        self.value_range_ = group_range(columns, self.input_shape_)
        self._train(X_train, generator)
        record = self._fit_scores(X_train, X_held_out, generator)
        n_dead = int((columns[0] == columns[1]).sum())
        self._report(record, len(X_train), n_dead)
        self._fit_threshold(X)
        self._tasks.end()
        del self._tasks

    def _validate(self, X, *, reset):
        """Check ``X`` and return it as one row of float64 or float32 per sample."""
        shape = np.shape(X) if isinstance(X, list | tuple) else getattr(X, "shape", ())
        if len(shape) > 4:
            raise ValueError(
                f"X has {len(shape)} dimensions, of shape {tuple(shape)}. Pass rows "
                "(n, n_features), windows (n, channels, length), or images (n, height, "
                "width) or (n, channels, height, width)."
            )
        if len(shape) > 2:
            X = np.asarray(X)
            row_shape = tuple(shape[1:])
            if not reset:
                expected = self.input_shape_
                if row_shape != expected and (1, *row_shape) != expected:
                    raise ValueError(
                        f"X has shape {tuple(shape)}, but {type(self).__name__} was "
                        f"fitted on rows of shape {expected}. Pass (n, "
                        f"{', '.join(map(str, expected))}) or flat rows of "
                        f"{self.n_features_in_} values."
                    )
            X = X.reshape(len(X), math.prod(row_shape))
        dtype = getattr(X, "dtype", None)
        # The bytes of images, for one, are eight times as large in double precision.
        single = isinstance(dtype, np.dtype) and np.can_cast(dtype, np.float32)
        X = validate_data(
            self,
            X,
            reset=reset,
            dtype=np.float32 if single else [np.float64, np.float32],
            ensure_min_samples=2 if reset else 1,
        )
        if reset:
            array_shape = shape if len(shape) > 2 else X.shape
            self.input_shape_ = resolve_input_shape(self.input_shape, array_shape)
        return X

    @property
    def _kind(self):
        return "rows" if len(self.input_shape_) == 1 else "maps"

    def _auto(self, name):
        """A parameter's value, with "auto" replaced by what suits the rows."""
        value = getattr(self, name)
        if isinstance(value, str) and value == "auto":
            value = self._defaults[self._kind][name]
        return value

    def _resolve_architecture(self):
        architecture = self._auto("architecture")
        if architecture == "conv" and self._kind == "rows":
            raise ValueError(
                "architecture='conv' needs rows with a shape, and X has plain rows of "
                f"{self.n_features_in_} values. Pass input_shape=(channels, height, "
                "width) or (channels, length)."
            )
        if isinstance(architecture, str):
            self.architecture_ = self._named_architecture(architecture)
        else:
            self.architecture_ = copy.deepcopy(architecture)
        self.latent_dim_ = self.latent_dim
        if self.latent_dim == "auto":
            widest = self._latent_dims[self._kind]
            plain = self._kind == "rows"
            self.latent_dim_ = min(self.n_features_in_, widest) if plain else widest
        self.n_members_ = self._auto("n_members")

    def _named_architecture(self, name):
        return _ARCHITECTURES[name][self._kind]()

    def _resolve_max_steps(self, n_rows):
        return self._few_passes(n_rows) if self.max_steps == "auto" else self.max_steps

    def _few_passes(self, n_rows):
        """So many steps that networks do not learn the rows by heart."""
        twenty_passes = round(20 * n_rows / min(self.batch_size, n_rows))
        return int(np.clip(twenty_passes, 50, self._max_steps[self._kind]))

    def _fraction_by_itself(self, n_rows):
        """Share of the rows to hold out although nobody asked for it."""
        steps = self._chosen_steps()
        # contamination is about the training rows, which may be known by heart.
        if steps is None or self.contamination != "auto":
            return 0.0
        n_passes = steps * min(self.batch_size, n_rows) / n_rows
        fraction = held_out_by_itself(
            n_passes,
            n_rows,
            kind=self._kind,
            score_type=self._auto("score_type"),
            rate=self.false_alarm_rate,
        )
        if fraction is None:
            self._not_held_out = not_held_out(n_passes, n_rows)
        return fraction or 0.0

    def _hold_out(self, X, generator):
        """Training rows and, if any are asked for, held-out rows."""
        self.n_held_out_ = 0
        fraction = self.validation_fraction or self._fraction_by_itself(len(X))
        if not fraction:
            self._check_held_out(self.threshold)
            return X, None
        n_held_out = max(1, round(fraction * len(X)))
        if len(X) - n_held_out < 2:
            raise ValueError(
                f"validation_fraction={fraction:g} of {len(X)} rows "
                f"leaves {len(X) - n_held_out} for training, and at least 2 are "
                "needed. Lower it or pass more rows."
            )
        self.n_held_out_ = n_held_out
        order = torch.randperm(len(X), generator=generator).numpy()
        # Sorted, so that rows of a memory map are read in one sweep.
        return X[np.sort(order[n_held_out:])], X[np.sort(order[:n_held_out])]

    def _new_networks(self, generator):
        """Networks of all members with freshly drawn weights, on the device."""
        networks = self._build_networks(self._builder(generator))
        return {name: network.to(self.device_) for name, network in networks.items()}

    def _builder(self, generator):
        """What calls a factory once per member and stacks the networks it returns."""
        initialize = getattr(self.architecture_, "initialize", None)
        return lambda factory: build_members(
            factory, self.n_members_, generator, initialize
        )

    def _new_net(
        self, networks, objective, n_rows, max_steps, generator, callbacks=(), **options
    ):
        """The skorch net around the networks, initialised and not yet trained."""
        callbacks = list(callbacks)
        if self.verbose:
            callbacks.append(ProgressBar(type(self).__name__))
        batch_size = min(self.batch_size, n_rows)
        per_epoch = TensorBatches.steps_per_epoch(n_rows, batch_size)
        options = {
            "batch_size": batch_size,
            "max_epochs": -(-max_steps // per_epoch),
            "callbacks": callbacks,
            "device": str(self.device_),
            "verbose": 0,
            "schedule": self._auto("learning_rate_schedule"),
            "noise_generator": self._device_generator(generator),
            "iterator_train": TensorBatches,
            "iterator_train__n_members": self.n_members_,
            "iterator_train__max_steps": max_steps,
            "iterator_train__generator": generator,
            **options,
        }
        net_params = {
            name: value
            for name, value in (self.net_params or {}).items()
            if "discriminator" in networks or not name.startswith("optimizer_d")
        }
        if "optimizer" not in net_params:
            options["optimizer__betas"] = (self._auto("beta_1"), 0.999)
            options["optimizer__fused"] = self.device_.type in ("cpu", "cuda")
        net = AdversarialNet(
            networks, objective, max_steps=max_steps, **options | net_params
        )
        return net.initialize()

    def _device_generator(self, generator):
        """A generator of random numbers on the device, seeded by the one given."""
        seed = int(torch.randint(2**62, (), generator=generator))
        return torch.Generator(self.device_).manual_seed(seed)

    def _noise_scale(self):
        """Standard deviation of each member's input noise, or None for no noise."""
        levels = np.atleast_1d(np.asarray(self._auto("input_noise"), dtype=float))
        if levels.ndim != 1 or not np.isfinite(levels).all() or (levels < 0).any():
            raise ValueError(
                f"input_noise={self.input_noise!r} must be one non-negative number or "
                "a list of them, one per member."
            )
        if not levels.any():
            return None
        # Members beyond the list start over.
        scale = torch.from_numpy(np.resize(levels, self.n_members_)).float()
        return scale.view(-1, 1, *[1] * len(self.input_shape_)).to(self.device_)

    def _train(self, X, generator):
        """Build the networks and train them."""
        self.n_iter_, self.history_, self._restarts = 0, [], []
        self.net_ = self._new_net(
            self._new_networks(generator),
            self._objective(),
            len(X),
            self._resolve_max_steps(len(X)),
            generator,
            lr=self.learning_rate,
            noise=self._noise_scale(),
            callbacks=[*self._own_callbacks(generator), *self._user_callbacks()],
        )
        self._run(self.net_, X)

    def _own_callbacks(self, generator):
        """Callbacks that the method itself needs."""
        return []

    def _user_callbacks(self):
        return [_copy_callback(callback) for callback in self.callbacks or ()]

    def _run(self, net, X, label="Training"):
        """Train an initialised net, record how it went, and freeze its networks."""
        # Already initialised, so that the networks keep their seeded weights.
        try:
            rows = RowDataset(X, self.scaler_, self.device_)
            self._tasks.run(net, label, lambda: net.partial_fit(rows))
        finally:
            # skorch tells its callbacks nothing of a training that failed.
            for _, callback in net.callbacks_:
                if isinstance(callback, ProgressBar):
                    callback.close()
        steps, asked = net.n_steps_, net.max_steps
        self._record(net)
        for _, callback in net.callbacks_:
            if isinstance(callback, DiscriminatorRestart):
                self._restarts += callback.restarts_
        if steps < asked and not net.stopped_by_callback_:
            if not steps:
                raise KeyboardInterrupt
            warnings.warn(
                f"{label} was interrupted after {steps} of {asked} steps; the "
                "detector is fitted on what was done. Fit again for the whole "
                "training.",
                ConvergenceWarning,
                stacklevel=5,
            )
        net.finish()

    def _record(self, net):
        """Add what a net did to the history."""
        for row in net.history:
            kept = {
                k: v
                for k, v in row.items()
                if k not in ("batches", "train_batch_count")
            }
            kept["epoch"] = len(self.history_) + 1
            kept["n_steps"] += self.n_iter_
            self.history_.append(kept)
        self.n_iter_ += net.n_steps_

    def _snapshot(self, X, X_train, X_held_out, net):
        """Attributes of the detector as if its training ended now; None if unknown."""
        twin = copy.copy(self)
        twin.n_iter_, twin.history_ = 0, []
        twin.net_ = net.frozen_copy()
        twin._record(net)
        twin._fit_scores(X_train, X_held_out, torch.Generator().manual_seed(0))
        twin._fit_threshold(X)
        return {
            name: value
            for name, value in vars(twin).items()
            if name.endswith("_") or name in ("_scores", "_references")
        }

    def _fit_scores(self, X_train, X_held_out, generator):
        """Fit the scores on reference rows, then score rows new to them.

        Returns what was seen of the networks on the way.
        """
        n_rows = len(X_train)
        if n_rows > self.max_references:
            chosen = torch.randperm(n_rows, generator=generator)[: self.max_references]
            X_train = X_train[np.sort(chosen.numpy())]
        self.score_type_ = self._auto("score_type")
        self._scores = self._new_scores()
        score, record = self._scores["score"], HealthRecord()
        keys, chunks, magnitudes = [], [], []
        rounded = None
        if X_train.dtype == np.float64:
            # So that they are recognised in single precision, too.
            rounded = row_keys(self.scaler_.transform(to_single(X_train)))
        for rows, x in self._with_progress(X_train):
            padded = self._parts(x, {*self._part_names, *score.part_names, "row"})
            chunk = {name: part[:, : len(rows)].cpu() for name, part in padded.items()}
            keys.append(row_keys(rows))
            chunks.append({name: padded[name].cpu() for name in score.part_names})
            magnitudes.append(
                {name: part_magnitudes(chunk[name]) for name in self._part_names}
            )
            record.update(chunk["row"][0], chunk["reconstruction"], chunk["code"])
        magnitudes = _join_chunks(magnitudes, keys)
        if not all(torch.isfinite(m).all() for m in magnitudes.values()):
            raise FloatingPointError(
                "Training diverged: the trained networks give values that are not "
                f"finite. Lower learning_rate, which is "
                f"{self._auto('learning_rate')!r}."
            )
        for name, magnitude in magnitudes.items():
            self._scores[name].fit_magnitudes(magnitude)
        parts = _join_chunks(chunks, keys)
        score.fit(parts)
        self._scores["codes"].fit(*record.code_moments())
        self._references = RowIndex(np.concatenate(keys), rounded)
        reference_scores = score.reference_scores(parts)
        self._scores.to(self.device_)
        if reference_scores is None:
            reference_scores = self._score_chunks(chunks, keys)
        if X_held_out is not None:
            trained = np.asarray(reference_scores, dtype=np.float64)
            reference_scores = self._anomaly_scores(X_held_out)
            record.compare(trained, reference_scores)
        self.reference_scores_ = np.sort(np.asarray(reference_scores, dtype=np.float64))
        return record

    def _score_chunks(self, chunks, keys):
        """Scores of the reference rows from their parts, as :meth:`predict` has them.

        Their parts are at hand, and finding them again may take a search.
        """
        scores = []
        for padded, own_keys in zip(chunks, keys, strict=True):
            parts = {name: part.to(self.device_) for name, part in padded.items()}
            own = self._own_references(own_keys, next(iter(parts.values())).shape[1])
            with torch.inference_mode():
                values = self._scores["score"](parts, own)
            scores.append(values[: len(own_keys)].cpu().numpy())
        return np.concatenate(scores)

    def _report(self, record, n_rows, n_dead):
        """Say how the training went, and warn of what went wrong."""
        passes = self._n_scored_steps() * min(self.batch_size, n_rows) / n_rows
        self.training_report_ = report = TrainingReport(
            losses=last_losses(self.history_),
            n_steps=self.n_iter_,
            n_passes=round(passes, 2),
            **record.report(),
            still_falling=falling_losses(self.history_),
            memorised=record.memorised,
            near_copies=record.near_copies,
            dead_columns=n_dead,
            restarts=self._restarts,
            problems=[],
            notes=[],
        )
        report.problems = list(filter(None, self._problems(report, record)))
        # The steps of "auto" end early on purpose.
        if report.still_falling and self._chosen_steps() is not None:
            report.notes.append(still_falling(report.still_falling))
        # Pixels at an image's rim are often dead.
        if 0 < n_dead < self.n_features_in_ and self._kind == "rows":
            report.notes.append(dead_columns(n_dead, self.n_features_in_))
        for problem in report.problems:
            about_data = problem.name in ("constant", "near_copies")
            category = UserWarning if about_data else ConvergenceWarning
            warnings.warn(str(problem), category, stacklevel=5)
        del self._restarts, self._not_held_out

    def _problems(self, report, record):
        """What went wrong with the training; None is nothing."""
        return [
            divergence(report.error, self._auto("learning_rate")),
            constant_rows() if report.dead_columns == self.n_features_in_ else None,
            near_copies(record.near_copies) if record.near_copies else None,
            record.memorisation(),
            self._not_held_out,
        ]

    def _n_scored_steps(self):
        """Steps of the networks that rows go through, which can memorise them."""
        return self.n_iter_

    def _chosen_steps(self):
        """The same as the user chose it before the fit, or None for "auto"."""
        return None if self.max_steps == "auto" else self.max_steps

    def _new_scores(self):
        """The unfitted score and, for each part, its score alone."""
        scores = {name: PartScore(name) for name in self._part_names}
        scores["score"] = self._new_score()
        scores["codes"] = CodeDistribution()
        return torch.nn.ModuleDict(scores)

    def _new_score(self):
        if self.score_type_ == "local":
            return LocalScore(
                self._local_parts[self._kind], **self._local_options[self._kind]
            )
        if self.score_type_ == "joint":
            return JointScore(self._part_names)
        return PartScore(self.score_type_)

    def _check_promise(self):
        """Refuse two promises at a time, before anything is trained."""
        by_rule = not (isinstance(self.threshold, str) and self.threshold == "auto")
        if self.contamination != "auto" and by_rule:
            raise ValueError(
                f"contamination={self.contamination!r} flags that share of the "
                f"training rows, and threshold={self.threshold!r} finds the cut in "
                "another way. Leave one of them at 'auto'; after the fit, "
                "set_threshold takes any rule."
            )

    def _fit_threshold(self, X):
        # What set_threshold goes back to, whatever is set in the meantime.
        self._rate_, self._contamination_rule_ = self.false_alarm_rate, None
        if self.contamination == "auto":
            rule = _fit_threshold(
                self.threshold, self.reference_scores_, rate=self.false_alarm_rate
            )
        else:
            # A promise about the training rows themselves, so it is their own scores
            # that count.
            rule = QuantileThreshold(rate=self.contamination, method="linear")
            rule.fit(self._anomaly_scores(X))
            self._contamination_rule_ = rule
        self.threshold_rule_ = rule
        self.offset_ = -float(rule.threshold_)

    # State.

    def __sklearn_is_fitted__(self):
        return hasattr(self, "offset_")

    def __getstate__(self):
        """Parameters and NumPy arrays only.

        Nothing in a pickle belongs to a device, so what was trained on a GPU loads
        where there is none.
        """
        state = super().__getstate__().copy()
        state.pop("_tasks", None)
        if "offset_" not in state:
            return state
        networks = state.pop("net_").networks
        state["_weights"] = {
            name: {k: v.cpu().numpy() for k, v in network.state_dict().items()}
            for name, network in networks.items()
        }
        scores = state.pop("_scores")
        state["_score_state"] = {name: s.get_state() for name, s in scores.items()}
        del state["device_"]
        state["_saved_by"] = __version__
        return state

    def __setstate__(self, state):
        """Rebuild networks and scores on the device of this machine."""
        state = state.copy()
        weights = state.pop("_weights", None)
        score_state = state.pop("_score_state", None)
        saved_by = state.pop("_saved_by", __version__)
        if saved_by != __version__:
            warnings.warn(
                f"This {type(self).__name__} was saved by skganomaly {saved_by}, and "
                f"this is {__version__}. Check that its scores are the same, or fit it "
                "again.",
                UserWarning,
                stacklevel=2,
            )
        super().__setstate__(state)
        if weights is None:
            return
        self.device_ = resolve_device(self.device, fallback=True)
        self._scores = self._new_scores()
        for name, arrays in score_state.items():
            self._scores[name].set_state(arrays)
        self._scores.to(self.device_)
        # The weights drawn here are overwritten at once.
        networks = self._new_networks(torch.Generator().manual_seed(0))
        for name, arrays in weights.items():
            tensors = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}
            networks[name].load_state_dict(tensors)
        options = {"max_steps": self.n_iter_, "device": str(self.device_), "verbose": 0}
        self.net_ = AdversarialNet(networks, self._objective(), **options).initialize()
        self.net_.finish()


def _copy_callback(callback):
    """Copy a callback, which will hold what it learns of one training."""
    try:
        return copy.deepcopy(callback)
    except TypeError:
        # It writes somewhere, and what it writes with cannot be copied. Two copies of
        # a writer would not be wanted either.
        if isinstance(callback, tuple):
            name, callback = callback
            return name, copy.copy(callback)
        return copy.copy(callback)


def _join_chunks(chunks, keys):
    """Join dicts of tensors along their row axis, without what pads them."""
    return {
        name: torch.cat(
            [c[name][:, : len(k)] for c, k in zip(chunks, keys, strict=True)], dim=1
        )
        for name in chunks[0]
    }
