"""The workflow that all detectors share; nothing here is about any one model."""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.exceptions import ConvergenceWarning

from ._calibration import CalibrationMixin
from ._callbacks import copy_callbacks, storable_callbacks
from ._compat import (
    CallbackSupportMixin,
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
)
from ._cut import fit_threshold, is_auto
from ._data import FeatureScaler, draw_seed, resolve_device, resolve_input_shape
from ._decisions import forget
from ._fit_tasks import FitTasks
from ._groups import group_rows
from ._health import (
    constant_rows,
    dead_columns,
    divergence,
    falling_losses,
    hardly_trained,
    still_falling,
    too_few_references,
)
from ._inference import InferenceMixin
from ._near_copies import find_near_copies
from ._process import own_settings
from ._running import TrainingMixin
from ._training import AdversarialNet, mean_losses
from ._validation import validate_rows
from ._value_range import column_range, group_range
from ._version import __version__
from .architectures import MLP, ConvNet
from .reports import TrainingReport
from .thresholds import QuantileThreshold

__all__ = ["BaseGANDetector"]

# Steps that "auto" takes at least.
_FEWEST_STEPS = 50

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
    TrainingMixin,
    CalibrationMixin,
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

    # Learned without being shown; the last six only until the fit ends.
    _private_state = (
        "_scores",
        "_references",
        "_options",
        "_tasks",
        "_loss_names",
        "_restarts",
        "_samples",
        "_failure",
        "_not_held_out",
        "_interrupted",
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
        "callbacks": [list, tuple, None],
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

        ``build(name)`` builds the architecture's "encoder", "decoder" or
        "discriminator" once per member and stacks the results.
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
    def fit(self, X, y=None, *, groups=None):
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
        forget(self, self._private_state)
        try:
            with own_settings():
                self._fit(X, y, groups)
        except BaseException:
            forget(self, self._private_state)
            raise
        return self

    def _fit(self, X, y, named):
        given = X
        X = self._validate(X, reset=True)
        self.device_ = resolve_device(self.device)
        self._resolve_architecture()
        self._check_promise()
        generator = torch.Generator().manual_seed(draw_seed(self.random_state))

        groups = group_rows(X, named, one_unit=self._kind == "maps")
        self._not_held_out = self._interrupted = None
        seen, held_out = self._hold_out(groups, generator)
        X_train, X_held_out = X, None
        if len(held_out):
            X_train, X_held_out = X[seen], X[held_out]
        seen, held_out = groups.take(seen), groups.take(held_out)
        self.scaler_ = FeatureScaler(self._auto("scaler"), self.input_shape_)
        self.scaler_.fit(X_train)
        self._tasks = FitTasks(
            self,
            given,
            y,
            n_trainings=self._n_trainings,
            snapshot=partial(self._snapshot, X, X_train, seen, X_held_out, held_out),
        )
        columns = column_range(X_train)
        self.value_range_ = group_range(columns, self.input_shape_)
        self._train(X_train, seen, generator)
        record = self._fit_scores(X_train, seen, X_held_out, held_out, generator)
        n_dead = int((columns[0] == columns[1]).sum())
        self._report(record, seen.n_groups, n_dead)
        self._fit_threshold(X)
        self._tasks.end()
        del self._tasks

    def _validate(self, X, *, reset):
        """Check ``X`` and return it as one row of float64 or float32 per sample."""
        fitted_shape = None if reset else self.input_shape_
        X, shape = validate_rows(self, X, reset=reset, input_shape=fitted_shape)
        if reset:
            self.input_shape_ = resolve_input_shape(self.input_shape, shape)
        return X

    @property
    def _kind(self):
        return "rows" if len(self.input_shape_) == 1 else "maps"

    def _auto(self, name):
        """A parameter's value, with "auto" replaced by what suits the rows."""
        value = getattr(self, name)
        if is_auto(value):
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

    def _snapshot(self, X, X_train, seen, X_held_out, held_out, net):
        """Attributes of the detector as if its training ended now; None if unknown."""
        twin = _share(self)
        twin.n_iter_, twin.history_, twin._loss_names = 0, [], []
        twin.net_ = net.frozen_copy()
        twin._record(net)
        twin._fit_scores(
            X_train, seen, X_held_out, held_out, torch.Generator().manual_seed(0)
        )
        twin._fit_threshold(X)
        return {
            name: value
            for name, value in vars(twin).items()
            if name.endswith("_") or name in ("_scores", "_references")
        }

    def _report(self, record, n_rows, n_dead):
        """Say how the training went, and warn of what went wrong."""
        passes = self._n_scored_steps() * min(self.batch_size, n_rows) / n_rows
        # Not in the snapshots of callbacks, which have no use for it.
        near_copies = find_near_copies(torch.cat(record.vectors), record.labels)
        self.training_report_ = report = TrainingReport(
            losses=mean_losses(self.history_, self._loss_names),
            n_steps=self.n_iter_,
            n_passes=round(passes, 2),
            **record.report(),
            still_falling=falling_losses(self.history_),
            memorised=record.memorised,
            near_copies=0.0 if near_copies is None else near_copies.share,
            dead_columns=n_dead,
            restarts=self._restarts,
            problems=[],
            notes=[],
        )
        problems = self._problems(report, record)
        if near_copies is not None:
            problems.append(near_copies.finding)
        report.problems = list(filter(None, problems))
        if report.judged and report.n_steps < _FEWEST_STEPS:
            report.judged = False
            report.notes.append(hardly_trained(report.n_steps, _FEWEST_STEPS))
        # The steps of "auto" end early on purpose.
        if report.still_falling and self._chosen_steps() is not None:
            report.notes.append(still_falling(report.still_falling))
        # Pixels at an image's rim are often dead.
        if 0 < n_dead < self.n_features_in_ and self._kind == "rows":
            report.notes.append(dead_columns(n_dead, self.n_features_in_))
        for problem in report.problems:
            about_data = problem.name in ("constant", "near_copies", "too_few")
            category = UserWarning if about_data else ConvergenceWarning
            warnings.warn(str(problem), category, stacklevel=5)
        del self._restarts, self._not_held_out, self._interrupted, self._loss_names

    def _problems(self, report, record):
        """What went wrong with the training; None is nothing."""
        return [
            divergence(report.error, report.n_steps, self._auto("learning_rate")),
            constant_rows() if report.dead_columns == self.n_features_in_ else None,
            record.memorisation(by_share=self.contamination != "auto"),
            self._not_held_out,
            self._interrupted,
            self._promise_out_of_reach(record),
        ]

    def _promise_out_of_reach(self, record):
        if not (self.contamination == "auto" and is_auto(self.threshold)):
            return None
        return too_few_references(
            len(self.reference_scores_), self.false_alarm_rate, groups=record.grouped
        )

    def _n_scored_steps(self):
        """Steps of the networks that rows go through, which can memorise them."""
        return self.n_iter_

    def _chosen_steps(self):
        """The same as the user chose it before the fit, or None for "auto"."""
        return None if self.max_steps == "auto" else self.max_steps

    def _check_promise(self):
        """Refuse two promises at a time, before anything is trained."""
        if self.contamination != "auto" and not is_auto(self.threshold):
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
            rule = fit_threshold(
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

    def __sklearn_clone__(self):
        """Clone as any estimator, but keep what callbacks write to."""
        twin = _share(self)
        twin.callbacks = None
        twin = super(BaseGANDetector, twin).__sklearn_clone__()
        if self.callbacks is not None:
            twin.callbacks = copy_callbacks(self.callbacks)
        return twin

    def __getstate__(self):
        """Parameters and NumPy arrays only.

        Nothing in a pickle belongs to a device, so what was trained on a GPU loads
        where there is none.
        """
        state = super().__getstate__().copy()
        state.pop("_tasks", None)
        state["callbacks"] = self._stored_callbacks()
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

    def _stored_callbacks(self):
        """The callbacks without those that hold what belongs to this process."""
        if not self.callbacks:
            return self.callbacks
        stored, left = storable_callbacks(self.callbacks)
        if not left:
            return self.callbacks
        warnings.warn(
            f"The copy of this {type(self).__name__} has no {left!r} in its callbacks: "
            "they hold what cannot be copied, such as an open file or a lock. Set "
            "them again where they are needed.",
            UserWarning,
            stacklevel=4,
        )
        return stored

    @own_settings()
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
                stacklevel=3,
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


def _share(detector):
    """Another detector with the same attributes, none of them copied."""
    twin = object.__new__(type(detector))
    vars(twin).update(vars(detector))
    return twin
