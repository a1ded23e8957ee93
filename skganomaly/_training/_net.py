"""skorch's loop around the step: history, callbacks, epochs."""

from collections import Counter
from itertools import chain, pairwise

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer
from torch import nn
from tqdm import tqdm

from .._interruption import pressed_by_user
from .._ranks import current
from ._step import Run

__all__ = ["AdversarialNet", "DiscriminatorRestart", "ProgressBar", "mean_losses"]


def _names(player):
    """What a player's module and its optimiser are to skorch."""
    if player == "discriminator":
        return "discriminator_", "optimizer_d_"
    return "module_", "optimizer_"


class AdversarialNet(NeuralNet):
    """A game trained by skorch: players, an optimiser for each, one step.

    What skorch takes for a batch is a chunk of mini-batches (see
    :class:`TensorBatches`), and an entry of the history is the mean over a chunk.

    Parameters
    ----------
    game : Game
        Its "discriminator", if there is one, becomes ``discriminator_`` with the
        optimiser ``optimizer_d_``, the other player ``module_`` with ``optimizer_``.
    max_steps : int
        Optimiser steps of the whole training.
    schedule, noise, average_decay, sources, orders, mixed_precision
        See :class:`Run`.
    phase : str, default="training"
        Which training of a detector this is, for its callbacks.
    **options
        Passed to :class:`skorch.NeuralNet`.

    Attributes
    ----------
    run_ : Run
        The state of the training.
    n_steps_ : int
        Optimiser steps taken.
    loss_names_ : list of str
        Names of all loss terms there were.
    stopped_by_callback_ : bool
        Whether a callback ended the training early.
    interrupted_ : bool
        Whether Ctrl-C did.
    """

    def __init__(
        self,
        game,
        *,
        max_steps,
        schedule="cosine",
        noise=None,
        average_decay=None,
        sources=None,
        orders=None,
        mixed_precision=None,
        phase="training",
        optimizer=torch.optim.Adam,
        **options,
    ):
        # skorch asks for a module class and a criterion; here the networks are built
        # already, and losses need both of them, so they live in the game.
        super().__init__(
            nn.Identity,
            criterion=nn.Identity,
            optimizer=optimizer,
            train_split=None,
            **options,
        )
        # skorch would take a module for one that it is to initialise.
        vars(self)["game"] = game
        self.max_steps = max_steps
        self.schedule = schedule
        self.noise = noise
        self.average_decay = average_decay
        self.sources = sources
        self.orders = orders
        self.mixed_precision = mixed_precision
        self.phase = phase

    def __repr__(self):
        # skorch's would list every layer, in notebooks too.
        sizes = ", ".join(
            f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters"
            for name, network in self.game.players().items()
        )
        return f"<{type(self).__name__} of {self.max_steps} steps; {sizes}>"

    @property
    def n_steps_(self):
        """Optimiser steps taken."""
        return self.run_.n_steps if hasattr(self, "run_") else 0

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer()), ("epoch_record", _EpochRecord())]

    def initialize_module(self):
        """Register the players, so that skorch tracks them and sets their mode."""
        for name, player in self.game.players().items():
            setattr(self, _names(name)[0], player)
        return self

    def torch_compile(self, module, name):
        """Compile a player in place, as it is the game that calls it."""
        if self.compile:
            module.compile(**self.get_params_for("compile"))
        return module

    def initialize_optimizer(self, triggered_directly=None):
        """Give each player an optimiser that holds its parameters alone.

        ``optimizer__<option>`` is for both, ``optimizer_d__<option>`` overrides it
        for the discriminator.
        """
        for name, player in self.game.players().items():
            overrides = {}
            if name == "discriminator":
                overrides = self.get_params_for("optimizer_d")
            setattr(self, _names(name)[1], self._new_optimizer(player, **overrides))
        return self

    def _new_optimizer(self, module, **overrides):
        args, options = self.get_params_for_optimizer(
            "optimizer", list(module.named_parameters())
        )
        optimizer = self.optimizer(*args, **options | overrides)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        return optimizer

    def on_train_begin(self, net, X=None, y=None, **kwargs):
        """Start a new run."""
        super().on_train_begin(net, X, y, **kwargs)
        hook, listeners = "on_grad_computed", []
        for _, callback in self.callbacks_:
            method = getattr(callback, hook)
            if getattr(method, "__func__", None) is not getattr(Callback, hook):
                listeners.append(callback)
        self.loss_names_ = []
        self.stopped_by_callback_ = self.interrupted_ = False
        self.run_ = Run(
            self.game,
            {name: getattr(self, _names(name)[1]) for name in self.game.players()},
            max_steps=self.max_steps,
            schedule=self.schedule,
            noise=self.noise,
            average_decay=self.average_decay,
            sources=self.sources or {},
            orders=self.orders,
            on_gradient=self._tell_of_gradients if listeners else None,
            # A bar may as well go on from chunk to chunk.
            listened=any(not isinstance(c, ProgressBar) for c in listeners),
            mixed_precision=self.mixed_precision,
        )

    def _tell_of_gradients(self, module, rows):
        self.notify(
            "on_grad_computed",
            named_parameters=list(module.named_parameters()),
            batch=rows,
            training=True,
        )

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks, noting whether one of them ends the training."""
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt as error:
            # skorch's way to stop early, and how Ctrl-C shows as well.
            self.stopped_by_callback_ = not pressed_by_user(error)
            raise

    def fit_loop(self, *args, **kwargs):
        """Train, noting an interruption, which skorch swallows."""
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:
            self.interrupted_ = not self.stopped_by_callback_
            raise

    def train_step(self, batch, **fit_params):
        """Take a step for every mini-batch of a chunk.

        Parameters
        ----------
        batch : iterable of Tensor of shape (n_members, batch_size, *input_shape)

        Returns
        -------
        dict
            ``loss``, the mean over the chunk of all terms together.

        Raises
        ------
        FloatingPointError
            If a loss is not finite.
        """
        self._set_training(True)
        run, game = self.run_, self.game
        run.check_recorded()
        # By the names of the terms, as some terms come only every few steps.
        totals, counts = {}, Counter()
        for rows in batch:
            names, values = run.step(rows, game.phase(run.n_steps))
            totals[names] = totals[names] + values if names in totals else values
            counts.update(names)
        sums = torch.cat(list(totals.values()))
        current().average([sums])
        # The one transfer from the device in a chunk.
        sums = sums.cpu().double().numpy()
        losses = dict.fromkeys(counts, 0.0)
        with np.errstate(invalid="ignore"):
            for name, members in zip(chain(*totals), sums, strict=True):
                losses[name] += float(members.mean() / counts[name])
        if not np.isfinite(sums).all():
            self._raise_diverged(losses)
        for name, value in losses.items():
            self.history.record_batch(name, value)
            if name not in self.loss_names_:
                self.loss_names_.append(name)
        total = torch.tensor(sum(losses.values()), dtype=torch.float32, device="cpu")
        return {"loss": total}

    def finish(self):
        """Freeze the players for scoring, and let go of what only training needs."""
        self.run_.finish()
        for player in self.game.players().values():
            # Scores must not depend on how a training was sped up.
            player._compiled_call_impl = None
        for epoch in self.history:
            epoch["batches"].clear()

    def _raise_diverged(self, losses):
        values = ", ".join(f"{name}={value:.3g}" for name, value in losses.items())
        rate = self.optimizer_.param_groups[0]["initial_lr"]
        raise FloatingPointError(
            f"Training diverged in epoch {len(self.history)}, after {self.n_steps_} "
            f"of {self.max_steps} steps ({values}). Lower learning_rate, which is "
            f"{rate:g}, for example to {rate / 10:g}; check that the rows are scaled "
            "(scaler='auto'); or clip the gradients with skorch's "
            "GradientNormClipping in callbacks."
        )


class _EpochRecord(Callback):
    """Average the losses of an epoch's chunks, and keep only the average.

    Records of single chunks would make the history, and every pickle of it, grow
    with the length of the training. Those of the last epoch stay until the next
    begins, as other callbacks read them when theirs is over.
    """

    def on_epoch_begin(self, net, **kwargs):
        """Let go of the chunks of the epoch before."""
        if len(net.history) > 1:
            net.history[-2]["batches"].clear()

    def on_epoch_end(self, net, **kwargs):
        """Record the means over the chunks that were finished."""
        batches = net.history[-1]["batches"]
        chunks = [chunk for chunk in batches if "train_batch_size" in chunk]
        for name in dict.fromkeys(chain(*chunks)):
            if name != "train_batch_size":
                values, weights = zip(
                    *((c[name], c["train_batch_size"]) for c in chunks if name in c),
                    strict=True,
                )
                net.history.record(name, float(np.average(values, weights=weights)))
        net.history.record("n_steps", net.n_steps_)

    def on_train_end(self, net, **kwargs):
        """Close the record of an epoch that was interrupted."""
        if net.history and "n_steps" not in net.history[-1]:
            self.on_epoch_end(net)


class DiscriminatorRestart(Callback):
    """Replace a discriminator that has won by a new one.

    A discriminator that is never wrong has gradients of next to nothing, and its
    generator nothing to learn from.

    Parameters
    ----------
    draw : callable
        Returns a new discriminator.
    reason : callable
        Takes mean losses and returns words for why to restart, or None.
    max_restarts : int
    interval : int
        Steps from one look at the losses to the next; epochs end there.
    """

    def __init__(self, draw, reason, max_restarts, interval):
        self.draw = draw
        self.reason = reason
        self.max_restarts = max_restarts
        self.interval = interval

    def on_train_begin(self, net, **kwargs):
        """Start a new record."""
        self.restarts_ = []

    def state_dict(self):
        """What was done until now."""
        return {"restarts": self.restarts_}

    def load_state_dict(self, state):
        """Have the next discriminator be the one that would have been the next."""
        self.restarts_ = [*state["restarts"]]
        for _ in self.restarts_:
            self.draw()

    def on_epoch_end(self, net, **kwargs):
        """Look at the losses since the last look."""
        # A new one at the end would stay untrained.
        over = net.n_steps_ >= net.max_steps
        spent = len(self.restarts_) == self.max_restarts
        if over or spent or net.n_steps_ % self.interval:
            return
        reason = self.reason(mean_losses(net.history, net.loss_names_, self.interval))
        if reason is None:
            return
        net.discriminator_.load_state_dict(self.draw().state_dict())
        net.optimizer_d_.state.clear()
        self.restarts_.append({"after_steps": net.n_steps_, "reason": reason})


def mean_losses(history, names, n_steps=25):
    """Means of losses over the last epochs of a history.

    Parameters
    ----------
    history : list of dict
        With "n_steps", the steps done by the end of each epoch.
    names : iterable of str
        Losses; each is looked for where it was recorded last.
    n_steps : int, default=25
        So many steps are averaged over, to the beginning of an epoch.

    Returns
    -------
    dict of str to float
        Of the losses that are in the history.
    """
    ends = [epoch["n_steps"] for epoch in history]
    lengths = [end - start for start, end in pairwise([0, *ends])]
    means = {}
    for name in names:
        recorded = [i for i, epoch in enumerate(history) if name in epoch]
        if recorded:
            since = ends[recorded[-1]] - n_steps
            last = [i for i in recorded if ends[i] > since]
            values = [history[i][name] for i in last]
            weights = [lengths[i] for i in last]
            means[name] = float(np.average(values, weights=weights))
    return means


class ProgressBar(Callback):
    """A bar over the optimiser steps, on standard error."""

    def __init__(self, label):
        self.label = label

    def on_train_begin(self, net, **kwargs):
        """Open the bar."""
        self.bar_ = tqdm(total=net.max_steps, desc=self.label, unit="step")

    def on_grad_computed(self, net, **kwargs):
        """Advance it by the steps that are done."""
        self.bar_.update(net.n_steps_ - self.bar_.n)

    on_batch_end = on_grad_computed

    def on_train_end(self, net, **kwargs):
        """Close it where the training ended."""
        self.on_grad_computed(net)
        self.close()

    def close(self):
        """Close the bar, if it was opened."""
        if hasattr(self, "bar_"):
            self.bar_.close()
