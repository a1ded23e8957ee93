"""From a detector's parameters to trained networks, and the record of how it went."""

from functools import partial

import numpy as np
import torch
from skorch.exceptions import SkorchException

from ._callbacks import callbacks_for, check_callbacks, copy_to_fit
from ._data import RowDataset, TensorBatches
from ._health import interrupted
from ._interruption import fitted_at_prompt
from ._net_params import check_net_params
from ._networks import build_members
from ._training import AdversarialNet, DiscriminatorRestart, ProgressBar
from .architectures import MLP, ConvNet, _check_network

__all__ = ["TrainingMixin"]


class TrainingMixin:
    """Builds networks around the hooks of a detector, and runs its trainings."""

    def _new_networks(self, generator):
        """Networks of all members with freshly drawn weights, on the device."""
        networks = self._build_networks(self._builder(generator))
        return {name: network.to(self.device_) for name, network in networks.items()}

    def _builder(self, generator):
        """What builds a network of the architecture, for all members, by its name."""
        architecture, shape = self.architecture_, self.input_shape_
        sizes = {
            "encoder": (shape, self.latent_dim_),
            "decoder": (self.latent_dim_, shape),
            "discriminator": (shape,),
        }

        def build(name):
            factory = getattr(architecture, name, None)
            if factory is None:
                raise ValueError(
                    f"architecture={architecture!r} has no method {name}, which "
                    f"{type(self).__name__} needs. See skganomaly.architectures for "
                    "what it must return."
                )
            check = partial(_check_network, name, shape, self.latent_dim_)
            return build_members(
                lambda: factory(*sizes[name]),
                self.n_members_,
                generator,
                getattr(architecture, "initialize", None),
                # Ours are right for any shape, and can be large.
                None if type(architecture) in (MLP, ConvNet) else check,
            )

        return build

    def _new_net(
        self,
        networks,
        objective,
        n_rows,
        max_steps,
        generator,
        callbacks=(),
        phase="training",
        **options,
    ):
        """The skorch net around the networks, initialised and not yet trained."""
        schedule = self._auto("learning_rate_schedule")
        averaged = options.get("average_decay") is not None
        check_callbacks(callbacks, schedule=schedule, averaged=averaged)
        callbacks = callbacks_for(phase, callbacks)
        if self.verbose:
            callbacks.append(ProgressBar(type(self).__name__))
        batch_size = min(self.batch_size, n_rows)
        epochs = TensorBatches.epoch_lengths(n_rows, batch_size, max_steps)
        options = {
            "batch_size": batch_size,
            "max_epochs": len(epochs),
            "callbacks": callbacks,
            "device": str(self.device_),
            "verbose": 0,
            "phase": phase,
            "schedule": schedule,
            "noise_generator": self._device_generator(generator),
            "iterator_train": TensorBatches,
            "iterator_train__n_members": self.n_members_,
            "iterator_train__max_steps": max_steps,
            "iterator_train__generator": generator,
            **options,
        }
        net_params = self.net_params or {}
        adversarial = "discriminator" in networks
        if phase == "encoder":
            # What is for the critic has been checked, and used, in the first phase.
            net_params = {
                name: value
                for name, value in net_params.items()
                if not name.startswith("optimizer_d__")
            }
        check_net_params(
            net_params,
            parameters=self.get_params(deep=False),
            adversarial=adversarial,
        )
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

    def _resolve_max_steps(self, n_rows):
        return self._few_passes(n_rows) if self.max_steps == "auto" else self.max_steps

    def _few_passes(self, n_rows):
        """So many steps that networks do not learn the rows by heart."""
        twenty_passes = round(20 * n_rows / min(self.batch_size, n_rows))
        return int(np.clip(twenty_passes, 50, self._max_steps[self._kind]))

    def _train(self, X, groups, generator):
        """Build the networks and train them."""
        self.n_iter_, self.history_, self._restarts = 0, [], []
        self._loss_names = []
        self.net_ = self._new_net(
            self._new_networks(generator),
            self._objective(),
            len(X),
            self._resolve_max_steps(groups.n_groups),
            generator,
            lr=self.learning_rate,
            noise=self._noise_scale(),
            callbacks=[
                *self._own_callbacks(generator, len(X)),
                *copy_to_fit(self.callbacks),
            ],
        )
        self._run(self.net_, X)

    def _own_callbacks(self, generator, n_rows):
        """Callbacks that the method itself needs."""
        return []

    def _run(self, net, X, label="Training", *, is_last=True):
        """Train an initialised net, record how it went, and freeze its networks.

        Raises
        ------
        KeyboardInterrupt
            On Ctrl-C, unless this is the last training of a fit at the prompt, and some
            of it was done.
        """
        try:
            # Already initialised, so that the networks keep their seeded weights.
            rows = RowDataset(X, self.scaler_, self.device_)
            self._tasks.run(net, label, lambda: net.partial_fit(rows))
        except (KeyError, SkorchException) as error:
            self._raise_unknown_name(net, error)
        finally:
            # skorch tells its callbacks nothing of a training that failed.
            for _, callback in net.callbacks_:
                if isinstance(callback, ProgressBar):
                    callback.close()
        self._record(net)
        for _, callback in net.callbacks_:
            if isinstance(callback, DiscriminatorRestart):
                self._restarts += callback.restarts_
        steps, asked = net.n_steps_, net.max_steps
        if not steps:
            raise KeyboardInterrupt
        if net.interrupted_:
            if not (is_last and fitted_at_prompt(self)):
                raise KeyboardInterrupt
            self._interrupted = interrupted(label, steps, asked)
        net.finish()

    def _raise_unknown_name(self, net, error):
        """Pass an error on, with the names there are if a callback wants another."""
        if "not found in history" not in str(error):
            raise error
        names = [name for name in net.history[-1] if name != "batches"]
        raise ValueError(
            f"A callback watches a name that is not recorded: {error.args[0]} There "
            f"are {names}."
        ) from error

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
        self._loss_names += net.loss_names_
        self.n_iter_ += net.n_steps_
