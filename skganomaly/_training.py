"""Adversarial training in skorch: two networks, two optimisers, one step."""

import copy
import math
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer
from torch import nn
from tqdm import tqdm

from ._interruption import pressed_by_user

__all__ = ["AdversarialNet", "DiscriminatorRestart", "ProgressBar", "mean_losses"]

_WARM_UP = 0.02
_FINAL_RATE = 0.01


class AdversarialNet(NeuralNet):
    """A generator and an optional discriminator trained against each other.

    A :class:`skorch.NeuralNet` whose training step updates each network once. Both
    losses come from one pass of the generator and two of the discriminator; each is
    then differentiated with respect to its own network's parameters alone, so that
    neither update moves the other network.

    What skorch takes for a batch is a chunk of mini-batches (see
    :class:`TensorBatches`), and an entry of the history is the mean over a chunk.

    Parameters
    ----------
    networks : dict of str to nn.Module
        "generator" and, for adversarial training, "discriminator", whose inputs
        carry a leading member axis. They become ``module_`` and ``discriminator_``,
        with the optimisers ``optimizer_`` and ``optimizer_d_``.
    objective : callable
        ``objective(generator, discriminator, x, noisy)``, called once a step, returns
        two dicts of named loss terms, each a tensor of shape (n_members,): those that
        the generator descends and those that the discriminator does. A network
        without terms stays as it is in that step.
    max_steps : int
        Optimiser steps of the whole training.
    noise : Tensor of shape (n_members, 1, ...) or None, default=None
        Standard deviation of the Gaussian noise on the generator's input.
    noise_generator : torch.Generator or None, default=None
        Source of that noise, on the training device.
    schedule : {"cosine", "constant"}, default="cosine"
        Learning rate over the steps: "cosine" warms up over the first 2 % of them and
        then falls to 1 % of its peak along half a cosine.
    average_decay : float or None, default=None
        Decay of a moving average of the generator's weights and running statistics,
        which :meth:`finish` puts in their place. None keeps the last ones.
    phase : str, default="training"
        Which training of a detector this is, for its callbacks.
    **options
        Passed to :class:`skorch.NeuralNet`.

    Attributes
    ----------
    n_steps_ : int
        Optimiser steps taken.
    loss_names_ : list of str
        Names of all loss terms there were.
    stopped_by_callback_ : bool
        Whether a callback ended the training early.
    interrupted_ : bool
        Whether Ctrl-C did.
    """

    _average = None
    n_steps_ = 0

    def __init__(
        self,
        networks,
        objective,
        *,
        max_steps,
        noise=None,
        noise_generator=None,
        schedule="cosine",
        average_decay=None,
        phase="training",
        optimizer=torch.optim.Adam,
        **options,
    ):
        # skorch asks for a module class and a criterion; here the networks are built
        # already, and the losses need both of them, so they live in the objective.
        super().__init__(
            nn.Identity,
            criterion=nn.Identity,
            optimizer=optimizer,
            train_split=None,
            **options,
        )
        self.networks = networks
        self.objective = objective
        self.max_steps = max_steps
        self.noise = noise
        self.noise_generator = noise_generator
        self.schedule = schedule
        self.average_decay = average_decay
        self.phase = phase

    def __repr__(self):
        # skorch's would list every layer, in notebooks too.
        sizes = ", ".join(
            f"{name}: {sum(p.numel() for p in network.parameters()):,} parameters"
            for name, network in self.networks.items()
        )
        return f"<{type(self).__name__} of {self.max_steps} steps; {sizes}>"

    @property
    def _default_callbacks(self):
        return [("epoch_timer", EpochTimer()), ("epoch_record", _EpochRecord())]

    def initialize_module(self):
        """Register the networks, so that skorch tracks them and sets their mode."""
        self.module_ = self.networks["generator"]
        if "discriminator" in self.networks:
            self.discriminator_ = self.networks["discriminator"]
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Give each network an optimiser that holds its parameters alone.

        ``optimizer__<option>`` is for both, ``optimizer_d__<option>`` overrides it
        for the discriminator.
        """
        self.optimizer_ = self._new_optimizer(self.module_)
        if "discriminator" in self.networks:
            self.optimizer_d_ = self._new_optimizer(
                self.discriminator_, **self.get_params_for("optimizer_d")
            )
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
        """Start counting the optimiser steps."""
        super().on_train_begin(net, X, y, **kwargs)
        self.n_steps_ = 0
        self.loss_names_ = []
        self.stopped_by_callback_ = self.interrupted_ = False
        self._average = None

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
        """Update the networks once for every mini-batch of a chunk.

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
        # By the names of the terms, as some terms come only every few steps.
        totals, counts = {}, Counter()
        for rows in batch:
            names, values = self._update(rows)
            totals[names] = totals[names] + values if names in totals else values
            counts.update(names)
        # The one transfer from the device in a chunk.
        sums = torch.cat(list(totals.values())).cpu().double().numpy()
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
        """Freeze the networks for scoring, and let go of what only training needs."""
        if self._average is not None:
            with torch.no_grad():
                for tensor, mean in zip(
                    _averaged(self.module_), self._average, strict=True
                ):
                    tensor.copy_(mean)
            self._average = None
        for network in self.networks.values():
            network.eval().requires_grad_(False)
            network.zero_grad()
        for name in self._optimizers:
            getattr(self, name + "_").state.clear()
        for epoch in self.history:
            epoch["batches"].clear()

    def frozen_copy(self):
        """Return a net as :meth:`finish` would leave this one if it were called now."""
        net = AdversarialNet(
            copy.deepcopy(self.networks),
            self.objective,
            max_steps=self.max_steps,
            device=self.device,
            verbose=0,
        ).initialize()
        net.n_steps_, net._average = self.n_steps_, self._average
        net.finish()
        return net

    def _update(self, rows):
        """One step of both networks; returns the names and values of all losses."""
        self._set_learning_rate()
        discriminator = getattr(self, "discriminator_", None)
        generator_terms, discriminator_terms = self.objective(
            self.module_, discriminator, rows, self._with_noise(rows)
        )
        # Both gradients are taken before either network moves. The losses share the
        # generator's graph, so the first backward pass must not free it.
        if discriminator_terms:
            self._backward(
                discriminator, self.optimizer_d_, discriminator_terms, rows, True
            )
        if generator_terms:
            self._backward(self.module_, self.optimizer_, generator_terms, rows, False)
        if discriminator_terms:
            self.optimizer_d_.step()
        if generator_terms:
            self.optimizer_.step()
            self._update_average()
        self.n_steps_ += 1
        terms = generator_terms | discriminator_terms
        return tuple(terms), torch.stack([term.detach() for term in terms.values()])

    def _backward(self, module, optimizer, terms, rows, retain_graph):
        optimizer.zero_grad()
        learned = [p for p in module.parameters() if p.requires_grad]
        # A callback may have frozen all of them.
        if learned:
            # The sum over members gives each the gradient of its own loss.
            torch.stack(list(terms.values())).sum().backward(
                inputs=learned, retain_graph=retain_graph
            )
        self.notify(
            "on_grad_computed",
            named_parameters=list(module.named_parameters()),
            batch=rows,
            training=True,
        )

    @torch.no_grad()
    def _update_average(self):
        if self.average_decay is None:
            return
        tensors = _averaged(self.module_)
        if self._average is None:
            self._average = [tensor.clone() for tensor in tensors]
            return
        for mean, tensor in zip(self._average, tensors, strict=True):
            mean.lerp_(tensor, 1 - self.average_decay)

    def _with_noise(self, rows):
        if self.noise is None:
            return rows
        noise = torch.randn(
            rows.shape,
            generator=self.noise_generator,
            dtype=rows.dtype,
            device=rows.device,
        )
        return torch.addcmul(rows, noise, self.noise)

    def _set_learning_rate(self):
        if self.schedule == "constant":
            return
        done = self.n_steps_ / self.max_steps
        factor = min(
            (self.n_steps_ + 1) / (_WARM_UP * self.max_steps),
            _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)),
        )
        for name in self._optimizers:
            for group in getattr(self, name + "_").param_groups:
                group["lr"] = group["initial_lr"] * factor

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


def _averaged(module):
    """What of a module a moving average makes sense of."""
    tensors = chain(module.parameters(), module.buffers())
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


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

    def on_train_end(self, net, **kwargs):
        """Close it where the training ended."""
        self.on_grad_computed(net)
        self.close()

    def close(self):
        """Close the bar, if it was opened."""
        if hasattr(self, "bar_"):
            self.bar_.close()
