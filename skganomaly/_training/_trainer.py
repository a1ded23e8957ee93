"""From settings and rows to trained networks, and the record of how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from skorch.exceptions import SkorchException

from .._health import interrupted
from .._interruption import fitted_at_prompt
from .._models._networks import build_members, shapes_of_members
from .._models._scaling import row_blocks
from .._ranks import current
from .._threads import threads_for
from ..architectures import MLP, ConvNet, check_network
from ._batches import Orders, RowDataset, TensorBatches
from ._callbacks import callbacks_for, check_callbacks, copy_to_fit, unnamed
from ._net import AdversarialNet, DiscriminatorRestart, ProgressBar
from ._net_params import check_net_params
from ._progress import position
from ._stopping import HeldOutStopping, Stopper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from torch import nn

    from .._models._method import Game, Method
    from .._models._scaling import Scaling
    from .._settings import Settings
    from ..reports import Finding
    from ._fit_tasks import FitTasks
    from ._progress import Progress

__all__ = ["Builder", "Record", "Trainer", "loaded_net"]


class Builder:
    """Builds networks of an architecture for all members, and draws their codes.

    Parameters
    ----------
    settings : Settings
    generator : torch.Generator
        Decides all weights and codes.
    without_storage : bool, default=False
        Whether networks of our architectures, and codes, are only told their shapes, as
        others are put in their place.
    """

    def __init__(
        self,
        settings: Settings,
        generator: torch.Generator,
        *,
        without_storage: bool = False,
    ) -> None:
        self.settings = settings
        self.generator = generator
        self.without_storage = without_storage

    def __call__(
        self,
        name: str,
        *,
        input_shape: tuple[int, ...] | None = None,
        latent_dim: int | None = None,
        architecture: Any = None,
    ) -> nn.Module:
        """Build an "encoder", a "decoder" or a "discriminator".

        Parameters
        ----------
        name : str
        input_shape : tuple of int or None, default=None
            Shape of a row for this network, if it is another.
        latent_dim : int or None, default=None
            Width of a code for this network, if it is another.
        architecture : object or None, default=None
            What builds it, if not the architecture of the detector.
        """
        shape = input_shape or self.settings.input_shape
        if architecture is None:
            architecture = self.settings.architecture
        latent_dim = latent_dim or self.settings.latent_dim
        sizes = {
            "encoder": (shape, latent_dim),
            "decoder": (latent_dim, shape),
            "discriminator": (shape,),
        }
        factory = getattr(architecture, name, None)
        if factory is None:
            raise ValueError(
                f"architecture={architecture!r} has no method {name}, which this "
                "detector needs. See skganomaly.architectures for what it must return."
            )
        build, ours = (
            partial(factory, *sizes[name]),
            type(architecture) in (MLP, ConvNet),
        )
        if ours and self.without_storage:
            return shapes_of_members(build, self.settings.n_members)
        check = partial(check_network, name, shape, latent_dim)
        return self.members(
            build,
            getattr(architecture, "initialize", None),
            # Ours are right for any shape, and can be large.
            None if ours else check,
        )

    def members(
        self,
        factory: Callable[[], nn.Module],
        initialize: Callable[[nn.Module, torch.Generator], None] | None = None,
        check: Callable[[nn.Module], None] | None = None,
    ) -> nn.Module:
        """Build a network of any kind for all members.

        Parameters
        ----------
        factory : callable
            Returns a new network of one member, which maps tensors (n_rows, ...) to
            tensors (n_rows, ...).
        initialize : callable or None, default=None
            ``initialize(network, generator)`` draws the weights. None leaves them as
            torch draws them, from a global generator that is seeded for that and put
            back.
        check : callable or None, default=None
            Raises if a network is not what it should be.

        Returns
        -------
        nn.Module
            Maps tensors (n_members, n_rows, ...) to tensors (n_members, n_rows, ...).
        """
        return build_members(
            factory, self.settings.n_members, self.generator, initialize, check
        )

    def codes(self, n_codes: int) -> torch.Tensor:
        """Draw codes, (n_members, n_codes, latent_dim)."""
        shape = self.settings.n_members, n_codes, self.settings.latent_dim
        if self.without_storage:
            return torch.empty(shape, dtype=torch.float32, device="meta")
        return torch.randn(shape, generator=self.generator, dtype=torch.float32)


@dataclass
class Record:
    """How the trainings of a fit went.

    Attributes
    ----------
    history : list of dict
        Epochs of all trainings, one after the other.
    n_steps : int
        Steps of all of them.
    loss_names : list of str
    restarts : list of dict
    interrupted : Finding or None
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    n_steps: int = 0
    loss_names: list[str] = field(default_factory=list)
    restarts: list[dict[str, Any]] = field(default_factory=list)
    interrupted: Finding | None = None

    def add(self, net: AdversarialNet) -> None:
        """Take in what a net did."""
        for row in net.history:
            kept = {
                k: v
                for k, v in row.items()
                if k not in ("batches", "train_batch_count")
            }
            kept["epoch"] = len(self.history) + 1
            kept["n_steps"] += self.n_steps
            self.history.append(kept)
        self.loss_names += net.loss_names_
        self.n_steps += net.n_steps_
        for _, callback in net.callbacks_:
            if isinstance(callback, DiscriminatorRestart):
                self.restarts += callback.restarts_


class Trainer:
    """Trains games on the rows of one fit.

    Parameters
    ----------
    detector : BaseDetector
        Whose fit it is; its callbacks, ``net_params`` and ``verbose`` are used.
    settings : Settings
    X : ndarray of shape (n_rows, n_features)
    scaling : Scaling
    device : torch.device
    generator : torch.Generator
        Decides everything that is drawn.
    tasks : FitTasks
    progress : Progress
    aside : ndarray of shape (n_rows, n_features) or None, default=None
        Rows that :class:`~skganomaly.callbacks.HeldOutStopping` looks at.
    weights : ndarray of shape (n_rows,) or None, default=None
        How many rows each counts for; None if all count alike.

    Attributes
    ----------
    record : Record
        Of all trainings until now. A method that starts again begins a new one.
    start : Method or None
        Trained networks that the first method built goes on with.
    """

    def __init__(
        self,
        detector: Any,
        settings: Settings,
        X: np.ndarray,
        scaling: Scaling,
        device: torch.device,
        generator: torch.Generator,
        tasks: FitTasks,
        progress: Progress,
        aside: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> None:
        self.detector = detector
        self.settings = settings
        self.X = X
        self.scaling = scaling
        self.device = device
        self.generator = generator
        self.tasks = tasks
        self.progress = progress
        self.aside = aside
        self.weights = weights
        self.record = Record()
        self.start: Method | None = None
        self._rows: RowDataset | None = None

    def build(self, method: type[Method]) -> Method:
        """A method with freshly drawn networks, on the device.

        Parameters
        ----------
        method : class derived from Method

        Returns
        -------
        Method
        """
        if self.start is not None:
            built, self.start = self.start, None
            return built.to(self.device)
        builder = Builder(self.settings, self.generator)
        built = method(builder, self.settings).to(self.device)
        # A score that there are no parts for is refused now, not after the training.
        self.detector._new_model(self.settings, self.scaling, built)
        return built

    def rows(self) -> Iterator[torch.Tensor]:
        """The scaled training rows in order, in blocks.

        Yields
        ------
        Tensor of shape (n_rows, ...)
            On the training device.
        """
        for block in row_blocks(*self.X.shape):
            yield torch.from_numpy(self.scaling.transform(self.X[block])).to(
                self.device
            )

    def orders(
        self, batch_size: int, n_members: int = 1, max_batches: int | None = None
    ) -> Orders:
        """What decides which rows come when, more often those of more weight.

        Parameters
        ----------
        batch_size : int
        n_members : int, default=1
        max_batches : int or None, default=None
            How many will be drawn, if that is known.
        """
        return Orders(
            len(self.X),
            batch_size,
            n_members,
            self.generator,
            self.weights,
            max_batches,
        )

    def callbacks(self) -> list[Any]:
        """Copies of the user's callbacks, to listen to one training or more."""
        callbacks = copy_to_fit(self.detector.callbacks)
        if self.aside is None:
            return callbacks
        rows = torch.from_numpy(self.scaling.transform(self.aside)).to(self.device)
        return [
            Stopper(unnamed(c), rows) if isinstance(unnamed(c), HeldOutStopping) else c
            for c in callbacks
        ]

    def steps_per_pass(self) -> int:
        """Steps of one pass over the rows, but at least so many as make an epoch."""
        return TensorBatches.steps_per_pass(len(self.X), self.settings.batch_size)

    def run(
        self,
        game: Game,
        *,
        max_steps: int | None = None,
        learning_rate: float | None = None,
        discriminator_learning_rate: float | None = None,
        noise: bool = True,
        average_decay: float | None = None,
        callbacks: Sequence[Any] | None = None,
        phase: str = "training",
        label: str = "Training",
        is_last: bool = True,
    ) -> AdversarialNet:
        """Train a game, add to the record, and freeze its players.

        Parameters
        ----------
        game : Game
            What is trained, such as a method.
        max_steps, learning_rate : default=None
            None are those of the settings.
        discriminator_learning_rate : float or None, default=None
            None is the same as of the generator.
        noise : bool, default=True
            Whether rows to be encoded get the noise of the settings.
        average_decay : float or None, default=None
            Of a moving average of the generator's weights, which takes their place.
        callbacks : sequence or None, default=None
            None are copies of the user's.
        phase : str, default="training"
            Which training of the detector it is, for callbacks.
        label : str, default="Training"
            Its name in messages.
        is_last : bool, default=True
            Whether the detector is whole after it.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, unless this is the last training of a fit at the prompt, and some
            of it was done.
        """
        settings = self.settings
        options = {
            "average_decay": average_decay,
            "lr": settings.learning_rate if learning_rate is None else learning_rate,
            "noise": self._noise_scale() if noise else None,
        }
        if discriminator_learning_rate is not None:
            options["optimizer_d__lr"] = discriminator_learning_rate
        max_steps = settings.max_steps if max_steps is None else max_steps
        state, over = self.progress.begin(phase, max_steps)
        net = self._new_net(
            game,
            max_steps,
            self.callbacks() if callbacks is None else callbacks,
            phase,
            options,
            position(state),
        )
        keeper = self.progress.keeper(state, over=over)
        current().equalise(game.players().values())

        def train():
            if over:
                net.on_train_begin(net)
                keeper.restore(net)
            else:
                # Already initialised, so that the networks keep their seeded weights.
                net.partial_fit(self._dataset())

        try:
            net.callbacks_.append(("keeper", keeper))
            keeper.prepare(net)
            with self._threads(game):
                self.tasks.run(net, label, train)
        except (KeyError, SkorchException) as error:
            _raise_unknown_name(net, error)
        finally:
            net.callbacks_.pop()
            # skorch tells its callbacks nothing of a training that failed.
            for _, callback in net.callbacks_:
                if isinstance(callback, ProgressBar):
                    callback.close()
        self.record.add(net)
        if not net.n_steps_:
            raise KeyboardInterrupt
        if net.interrupted_:
            if not (is_last and fitted_at_prompt(self.detector)):
                raise KeyboardInterrupt
            finding = interrupted(label, net.n_steps_, net.max_steps)
            self.record.interrupted = finding
        self.progress.end(net)
        net.finish()
        current().equalise(game.players().values())
        return net

    def _threads(self, game):
        n_rows = min(self.settings.batch_size, len(self.X)) // current().size
        n_values = self.settings.n_members * n_rows * self.X.shape[1]
        parameters = chain.from_iterable(
            p.parameters() for p in game.players().values()
        )
        n_parameters = sum(p.numel() for p in parameters)
        return threads_for(n_rows, n_values, n_parameters, heavy=True)

    def _dataset(self):
        if self._rows is None:
            self._rows = RowDataset(self.X, self.scaling, self.device)
        return self._rows

    def _new_net(self, game, max_steps, callbacks, phase, options, position):
        """The skorch net around a game, initialised and not yet trained."""
        settings, detector = self.settings, self.detector
        if not game.players():
            raise ValueError(
                f"{type(game).__name__} has no players. Give it a submodule generator, "
                "and discriminator if there is one, or override players()."
            )
        averaged = options["average_decay"] is not None
        check_callbacks(
            callbacks, schedule=settings.learning_rate_schedule, averaged=averaged
        )
        callbacks = callbacks_for(phase, callbacks)
        if detector.verbose and not current().rank:
            what = "" if phase == "training" else f", {phase}"
            callbacks.append(ProgressBar(f"{type(detector).__name__}{what}"))
        n_rows = len(self.X)
        batch_size = min(settings.batch_size, n_rows)
        current().check_batch(batch_size)
        losses = self.device_generator() if game.draws else None
        sources = {"noise": self.device_generator(), "losses": losses}
        # A training that may be gone on with needs all of its last pass.
        most = None if detector.warm_start else max_steps
        orders = self.orders(batch_size, settings.n_members, most)
        options = {
            "batch_size": batch_size,
            "max_epochs": len(
                TensorBatches.epoch_lengths(n_rows, batch_size, max_steps, position)
            ),
            "callbacks": callbacks,
            "device": str(self.device),
            "verbose": 0,
            "phase": phase,
            "schedule": settings.learning_rate_schedule,
            "sources": sources,
            "orders": orders,
            "iterator_train": TensorBatches,
            "iterator_train__max_steps": max_steps,
            "iterator_train__orders": orders,
            "iterator_train__position": position,
            **options,
        }
        net_params = detector.net_params or {}
        if phase != "training":
            # What is for the critic has been checked, and used, in the first phase.
            net_params = {
                name: value
                for name, value in net_params.items()
                if not name.startswith("optimizer_d__")
            }
        check_net_params(
            net_params,
            parameters=detector.get_params(deep=False),
            adversarial="discriminator" in game.players(),
            device=self.device,
        )
        if "optimizer" not in net_params:
            options["optimizer__betas"] = (settings.beta_1, 0.999)
            options["optimizer__fused"] = self.device.type in ("cpu", "cuda")
        net = AdversarialNet(game, max_steps=max_steps, **options | net_params)
        return net.initialize()

    def device_generator(self) -> torch.Generator:
        """A source of random numbers on the device, seeded by the one of the fit."""
        seed = int(torch.randint(2**62, (), generator=self.generator))
        return torch.Generator(self.device).manual_seed(seed)

    def _noise_scale(self):
        """Standard deviation of each member's input noise, or None for no noise."""
        levels = torch.tensor(self.settings.input_noise, dtype=torch.float64)
        if not levels.any():
            return None
        shape = -1, 1, *[1] * len(self.settings.input_shape)
        return levels.float().view(shape).to(self.device)


def loaded_net(method: Method, n_steps: int) -> AdversarialNet:
    """The net of a method that was trained in another process."""
    device = next(method.parameters()).device
    net = AdversarialNet(method, max_steps=n_steps, device=str(device), verbose=0)
    return net.initialize()


def _raise_unknown_name(net, error):
    """Pass an error on, with the names there are if a callback wants another."""
    if "not found in history" not in str(error):
        raise error
    names = [name for name in net.history[-1] if name != "batches"]
    raise ValueError(
        f"A callback watches a name that is not recorded: {error.args[0]} There "
        f"are {names}."
    ) from error
