"""One step of a training, and everything that the next step depends on."""

import copy
import math
from contextlib import ExitStack, contextmanager
from functools import partial

import torch

from .._ranks import current
from ..cuda import Recorded, recorded

__all__ = ["Run"]

# What a history records beside losses.
_ENTRIES = {"batches", "dur", "epoch", "n_steps", "train_batch_count"}
_ENTRIES |= {"train_batch_size", "train_loss"}

_WARM_UP = 0.02
_FINAL_RATE = 0.01


class Run:
    """The state of one training, and the step that changes it.

    Parameters
    ----------
    game : Game
        Players and losses.
    optimizers : dict of str to Optimizer
        For each player, one that holds its parameters alone.
    max_steps : int
        Steps of the whole training.
    schedule : {"cosine", "constant"}
        Learning rate over the steps: "cosine" warms up over the first 2 % of them and
        then falls to 1 % of its peak along half a cosine.
    noise : Tensor of shape (n_members, 1, ...) or None
        Standard deviation of the Gaussian noise on the rows to be encoded.
    average_decay : float or None
        Decay of a moving average of the first player's weights and running statistics,
        which :meth:`finish` puts in their place. None keeps the last ones.
    sources : dict of str to Generator or None
        Sources of random numbers on the device: "noise", and "losses" if these draw.
    orders : Orders or None
        What decides which rows come when, for the state's sake.
    on_gradient : callable or None, default=None
        Told of each player whose gradients are there, before anything moves.
    listened : bool, default=True
        Whether it has to be told in every step, if there is one.
    mixed_precision : {"bfloat16"} or None, default=None
        What the networks' products are computed in, if not in single precision.

    Attributes
    ----------
    n_steps : int
        Steps that were taken.
    average : list of Tensor or None
        The moving average.
    """

    def __init__(
        self,
        game,
        optimizers,
        *,
        max_steps,
        schedule,
        noise,
        average_decay,
        sources,
        orders=None,
        on_gradient=None,
        listened=True,
        mixed_precision=None,
    ):
        self.game = game
        self.players = game.players()
        self.optimizers = optimizers
        self.max_steps = max_steps
        self.schedule = schedule
        self.noise = noise
        self.average_decay = average_decay
        self.sources = sources
        self.orders = orders
        self.on_gradient = on_gradient
        self.listened = listened
        self.mixed_precision = mixed_precision
        self.averaged = next(iter(self.players))
        for player in self.players.values():
            # As an earlier run has left it.
            if not any(p.requires_grad for p in player.parameters()):
                player.requires_grad_(True)
        self.n_steps = 0
        self.average = None
        self._moves = {}

    def step(self, rows, phase):
        """Move the players of a phase once.

        Both gradients are taken before either player moves, each with respect to its
        own parameters alone.

        Parameters
        ----------
        rows : Tensor of shape (n_members, batch_size, *input_shape)
        phase : Phase

        Returns
        -------
        names : tuple of str
            Of the loss terms.
        values : Tensor of shape (n_terms, n_members)
            On the device; nothing waits for it here.
        """
        self._set_learning_rate()
        if phase not in self._moves:
            self._moves[phase] = recorded(
                partial(self._move, phase),
                [self.optimizers[player] for player in phase.players],
                rows.device,
                sources=self.sources,
                made_of=partial(self._made_of, phase),
                obstacle=self._obstacle(),
            )
        names, values = self._moves[phase](rows)
        self.n_steps += 1
        # The next step that is recorded writes to the same memory.
        return names, values.clone()

    def _move(self, phase, rows):
        """What is the same in each step of a phase."""
        ranks = current()
        random = ranks.own_source(self.sources.get("losses"), self.n_steps)
        noisy = self._with_noise(rows)
        with self._products(rows.device.type):
            losses = self.game.losses(rows, noisy, phase, random)
        _check_losses(self.game, losses, phase, len(rows))
        # The losses share a graph, which all but the last backward pass must leave.
        for player in reversed(phase.players):
            last = player == phase.players[0]
            self._backward(player, losses[player], rows, retain_graph=not last)
        # What batch normalisation keeps; backward passes needed it as it was.
        for module in self.players.values():
            ranks.average(b for b in module.buffers() if b.is_floating_point())
        for player in phase.players:
            self.optimizers[player].step()
            if player == self.averaged:
                self._update_average()
        terms = {}
        for player in phase.players:
            terms |= losses[player]
        return tuple(terms), torch.stack([term.detach() for term in terms.values()])

    def check_recorded(self):
        """Record anew what a callback, or a state that was loaded, has changed."""
        for move in self._moves.values():
            if isinstance(move, Recorded):
                move.check()

    def _made_of(self, phase):
        """All that may be exchanged between steps, of what a recorded one refers to."""
        players = self.players.values()
        tensors = [t for p in players for t in (*p.parameters(), *p.buffers())]
        flags = [tensor.requires_grad for tensor in tensors]
        options = []
        for player in phase.players:
            for group in self.optimizers[player].param_groups:
                kept = {k: v for k, v in group.items() if k not in ("lr", "params")}
                options.append(repr(kept))
            for state in self.optimizers[player].state.values():
                tensors += [v for v in state.values() if isinstance(v, torch.Tensor)]
        return [tensor.data_ptr() for tensor in tensors], flags, options

    def _obstacle(self):
        """Why steps cannot be recorded, or None."""
        if current().size > 1:
            return "several processes train together"
        if self.on_gradient is not None and self.listened:
            return "a callback asks for the gradients of each step"
        if any(p._compiled_call_impl is not None for p in self.players.values()):
            return "networks are compiled"
        return None

    @contextmanager
    def _products(self, device_type):
        """Have networks multiply in another precision, and return single precision."""
        if self.mixed_precision is None:
            yield
            return
        with ExitStack() as stack:
            # Older versions of torch keep weights that were cast without gradients, and
            # these do not learn.
            stack.enter_context(
                torch.autocast(device_type, dtype=torch.bfloat16, cache_enabled=False)
            )
            for player in self.players.values():
                stack.callback(player.register_forward_hook(_in_single).remove)
            yield

    def _backward(self, player, terms, rows, *, retain_graph):
        module = self.players[player]
        self.optimizers[player].zero_grad()
        learned = [p for p in module.parameters() if p.requires_grad]
        # A callback may have frozen all of them.
        if learned:
            # The sum over members gives each the gradient of its own loss.
            torch.stack(list(terms.values())).sum().backward(
                inputs=learned, retain_graph=retain_graph
            )
            current().average(p.grad for p in learned)
        if self.on_gradient is not None:
            self.on_gradient(module, rows)

    @torch.no_grad()
    def _update_average(self):
        if self.average_decay is None:
            return
        tensors = _averaged(self.players[self.averaged])
        if self.average is None:
            self.average = [tensor.clone() for tensor in tensors]
            return
        for mean, tensor in zip(self.average, tensors, strict=True):
            mean.lerp_(tensor, 1 - self.average_decay)

    def _with_noise(self, rows):
        if self.noise is None:
            return rows
        ranks, (n_members, n_rows, *shape) = current(), rows.shape
        noise = torch.randn(
            (n_members, ranks.size * n_rows, *shape),
            generator=self.sources["noise"],
            dtype=rows.dtype,
            device=rows.device,
        )
        return torch.addcmul(rows, ranks.share(noise, 1), self.noise)

    def _set_learning_rate(self):
        if self.schedule == "constant":
            return
        done = self.n_steps / self.max_steps
        factor = min(
            (self.n_steps + 1) / (_WARM_UP * self.max_steps),
            _FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * done)),
        )
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def finish(self):
        """Freeze the players for scoring, and let go of what only training needs."""
        if self.average is not None:
            with torch.no_grad():
                tensors = _averaged(self.players[self.averaged])
                for tensor, mean in zip(tensors, self.average, strict=True):
                    tensor.copy_(mean)
            self.average = None
        self._moves.clear()
        for player in self.players.values():
            player.eval().requires_grad_(False)
            player.zero_grad()
        for optimizer in self.optimizers.values():
            optimizer.state.clear()

    def finished_copy(self):
        """A copy of the game, as :meth:`finish` would leave it if called now."""
        twin = copy.copy(self)
        twin.game = copy.deepcopy(self.game)
        twin.players, twin.optimizers, twin._moves = twin.game.players(), {}, {}
        twin.finish()
        return twin.game

    # All that a run needs to go on as if it had never stopped.

    def state_dict(self):
        """Weights, optimisers, average, sources of random numbers, orders and steps."""
        return copy.deepcopy(
            {
                "players": {k: v.state_dict() for k, v in self.players.items()},
                "frozen": {k: _frozen(v) for k, v in self.players.items()},
                "optimizers": {k: v.state_dict() for k, v in self.optimizers.items()},
                "average": self.average,
                "sources": {k: v.get_state() for k, v in self._seeded()},
                "orders": self.orders and self.orders.state_dict(),
                "n_steps": self.n_steps,
            }
        )

    def load_state_dict(self, state):
        """Go on from where :meth:`state_dict` was taken."""
        state = copy.deepcopy(state)
        for name, player in self.players.items():
            player.load_state_dict(state["players"][name])
            for key, parameter in player.named_parameters():
                parameter.requires_grad_(key not in state["frozen"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, source in self._seeded():
            source.set_state(state["sources"][name])
        if self.orders is not None:
            self.orders.load_state_dict(state["orders"])
        self.average, self.n_steps = state["average"], state["n_steps"]
        if self.average is not None:
            now = _averaged(self.players[self.averaged])
            pairs = zip(self.average, now, strict=True)
            self.average = [mean.to(tensor.device) for mean, tensor in pairs]

    def _seeded(self):
        return [(k, v) for k, v in self.sources.items() if v is not None]


def _check_losses(game, losses, phase, n_members):
    """Refuse what a user's losses return in the place of a value for each member."""
    if not isinstance(losses, dict):
        raise ValueError(
            f"{type(game).__name__}.losses returned a {type(losses).__name__}. It has "
            "to be a dict with a dict of named terms for each player that moves."
        )
    for player in phase.players:
        if not isinstance(losses.get(player), dict):
            raise ValueError(
                f"{type(game).__name__}.losses returned no dict of terms for the "
                f"{player}, who moves."
            )
        for name, term in losses[player].items():
            shape = tuple(getattr(term, "shape", ()))
            if not isinstance(term, torch.Tensor) or shape != (n_members,):
                raise ValueError(
                    f"The loss {name!r} of {type(game).__name__} is a "
                    f"{type(term).__name__} of shape {shape}. It has to be a tensor "
                    f"with one value for each member, ({n_members},): the mean over "
                    "all other axes, as the functions of skganomaly.losses return it."
                )
    names = [name for player in phase.players for name in losses[player]]
    taken = _ENTRIES.intersection(names)
    if taken:
        raise ValueError(
            f"{type(game).__name__}.losses has terms called {sorted(taken)}, which are "
            "other entries of history_. Give them other names."
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(
            f"{type(game).__name__}.losses has {sorted(twice)} for two players. Terms "
            "are recorded by their names, so each needs one of its own."
        )


def _in_single(module, inputs, output):
    """A hook that returns what a network does, whatever holds it, for losses to sum."""
    again = partial(_in_single, module, inputs)
    if isinstance(output, dict):
        return {name: again(part) for name, part in output.items()}
    if isinstance(output, list | tuple):
        make = getattr(output, "_make", type(output))
        return make([again(part) for part in output])
    half = isinstance(output, torch.Tensor) and output.dtype == torch.bfloat16
    return output.float() if half else output


def _frozen(module):
    """Names of the parameters that a callback, or the module itself, holds still."""
    return [k for k, p in module.named_parameters() if not p.requires_grad]


def _averaged(module):
    """What of a module a moving average makes sense of."""
    tensors = [*module.parameters(), *module.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
