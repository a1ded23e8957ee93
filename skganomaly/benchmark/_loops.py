"""The training of a fitted GANomaly, written out in the ways of others.

Each loop takes a fitted detector for its networks, losses and settings, its scaled
training rows and a number of steps, and returns the CPU seconds of the steps.
"""

import copy
from functools import partial

import torch
from skorch import NeuralNet
from torch import nn
from torch.nn import functional as F

from .._models._ganomaly import EncoderDecoderEncoder
from ._floor import seconds_of

__all__ = ["BareStep", "OriginalStep", "bare_loop", "original_loop", "stock_loop"]


def bare_loop(detector, rows, n_steps):
    """The same steps with nothing around them; batches are slices of a permutation."""
    return _seconds(BareStep(detector.model_.method), detector, rows, n_steps)


def original_loop(detector, rows, n_steps):
    """The same updates in the manner of the publication's code."""
    return _seconds(OriginalStep(detector.model_.method), detector, rows, n_steps)


def _seconds(step, detector, rows, n_steps):
    settings, noise = detector.settings_, detector.net_.noise
    generator = torch.Generator().manual_seed(0)

    def train():
        batches = _batches(rows, settings.batch_size, settings.n_members, generator)
        for _ in range(n_steps):
            x = next(batches)
            step(x, _noisy(x, noise, generator))

    return seconds_of(train)


def _noisy(x, noise, generator=None):
    if noise is None:
        return x
    return x + noise * torch.randn(x.shape, generator=generator)


def _batches(rows, batch_size, n_members, generator):
    """Batches without end, shape (n_members, batch_size, ...)."""
    while True:
        orders = torch.stack(
            [torch.randperm(len(rows), generator=generator) for _ in range(n_members)]
        )
        for order in orders.split(batch_size, dim=1):
            if order.shape[1] == min(batch_size, len(rows)):
                yield rows[order]


def _trainable(method):
    """A copy of a method as it is while it is trained, and its players."""
    method = copy.deepcopy(method)
    players = method.players()
    for network in players.values():
        network.train().requires_grad_(True)
    return method, players


def _adam(settings):
    betas = settings.beta_1, 0.999
    return partial(torch.optim.Adam, lr=settings.learning_rate, betas=betas)


class BareStep:
    """One step of all members at once, from one graph.

    Parameters
    ----------
    method : GANomaly
        Is copied.
    """

    def __init__(self, method):
        self.method, self.players = _trainable(method)
        self.optimizers = {
            name: _adam(method.settings)(network.parameters(), fused=True)
            for name, network in self.players.items()
        }

    def __call__(self, x, noisy):
        """Move both players."""
        losses = self.method.losses(x, noisy, self.method.phase(0), None)
        for name in ("discriminator", "generator"):
            self.optimizers[name].zero_grad()
            torch.stack(list(losses[name].values())).sum().backward(
                inputs=list(self.players[name].parameters()),
                retain_graph=name == "discriminator",
            )
        for optimizer in self.optimizers.values():
            optimizer.step()


class OriginalStep:
    """A step of one member after the other, with graphs of its own for each player.

    The discriminator looks at rows and reconstructions twice: at detached ones for its
    own loss, and again for the generator's, whose backward pass goes through all
    weights. Both gradients are those of the weights before the step, so updates are
    those of :class:`BareStep`.

    Parameters
    ----------
    method : GANomaly
        Is copied.
    """

    def __init__(self, method):
        self.method, n_members = method, method.settings.n_members
        # Weights that torch draws are replaced.
        with torch.random.fork_rng(devices=[]):
            self.members = [_ordinary_networks(method, k) for k in range(n_members)]
        adam = _adam(method.settings)
        self.optimizers = [
            [adam(network.parameters()) for network in networks]
            for networks in self.members
        ]

    def __call__(self, x, noisy):
        """Move both players of each member."""
        for place, of_member in enumerate(zip(x, noisy, strict=True)):
            self._move(*of_member, *self.members[place], *self.optimizers[place])

    def _move(self, x, noisy, generator, discriminator, optimizer, optimizer_d):
        method, weights = self.method, self.method.weights
        reconstruction, code, second_code = generator(noisy)
        real_logits, _ = discriminator(x)
        fake_logits, _ = discriminator(reconstruction.detach())
        loss_d = 0.5 * (
            F.binary_cross_entropy_with_logits(
                real_logits, torch.ones_like(real_logits)
            )
            + F.binary_cross_entropy_with_logits(
                fake_logits, torch.zeros_like(fake_logits)
            )
        )
        _, real_features = discriminator(x)
        fake_logits, fake_features = discriminator(reconstruction)
        if method.adversarial_loss == "feature_matching":
            adversarial = F.mse_loss(fake_features, real_features)
        else:
            adversarial = F.softplus(-fake_logits).mean()
        loss_g = (
            weights["reconstruction"] * method.compare(reconstruction[None], x[None])[0]
            + weights["latent"] * F.mse_loss(second_code, code)
            + weights["adversarial"] * adversarial
        )
        optimizer.zero_grad()
        loss_g.backward()
        optimizer.step()
        optimizer_d.zero_grad()
        loss_d.backward()
        optimizer_d.step()


def _ordinary_networks(method, member):
    """Generator and discriminator of one member, in layers of torch."""
    settings = method.settings
    shape, n_codes, build = (
        settings.input_shape,
        settings.latent_dim,
        settings.architecture,
    )
    networks = (
        EncoderDecoderEncoder(
            build.encoder(shape, n_codes),
            build.decoder(n_codes, shape),
            build.encoder(shape, n_codes),
        ),
        build.discriminator(shape),
    )
    for stacked, network in zip(method.players().values(), networks, strict=True):
        state = stacked.state_dict().values(), network.state_dict().items()
        with torch.no_grad():
            network.load_state_dict(
                {
                    name: _of_member(ours, theirs, member, settings.n_members)
                    for ours, (name, theirs) in zip(*state, strict=True)
                }
            )
        network.train().to(next(stacked.parameters()).dtype)
    return networks


def _of_member(stacked, like, member, n_members):
    """One member's part of a stacked tensor; matrices are stacked as transposes."""
    if not like.ndim:
        return stacked
    part = stacked.reshape(n_members, -1)[member]
    return part.view(like.shape[::-1]).T if like.ndim == 2 else part.view(like.shape)


def stock_loop(detector, rows, n_steps):
    """The same steps in skorch's loop as it comes: a DataLoader, a record a batch.

    All members get the same batch, as a DataLoader knows none.
    """
    settings = detector.settings_
    places = torch.arange(n_steps * settings.batch_size) % len(rows)
    net = _StockNet(
        detector.model_.method,
        criterion=nn.Identity,
        optimizer=_adam(settings),
        train_split=None,
        max_epochs=1,
        batch_size=settings.batch_size,
        iterator_train__shuffle=True,
        verbose=0,
    )
    net.noise = detector.net_.noise
    with torch.random.fork_rng(devices=[]):
        return seconds_of(net.fit, rows[places].numpy())


class _StockNet(NeuralNet):
    """Both players in a ``train_step`` of one's own, as skorch asks for."""

    def initialize_module(self):
        self.module_, self.players = _trainable(self.module)
        return self

    def initialize_optimizer(self, triggered_directly=None):
        self.optimizer_, self.optimizer_d_ = (
            self.optimizer(self.players[name].parameters())
            for name in ("generator", "discriminator")
        )
        return self

    def train_step(self, batch, **fit_params):
        self._set_training(True)
        method, n_members = self.module_, self.module_.settings.n_members
        x = batch[0].expand(n_members, *batch[0].shape)
        losses = method.losses(x, _noisy(x, self.noise), method.phase(0), None)
        totals = {name: sum(terms.values()).sum() for name, terms in losses.items()}
        for name, optimizer in (
            ("discriminator", self.optimizer_d_),
            ("generator", self.optimizer_),
        ):
            optimizer.zero_grad()
            totals[name].backward(
                inputs=list(self.players[name].parameters()),
                retain_graph=name == "discriminator",
            )
        self.optimizer_.step()
        self.optimizer_d_.step()
        return {"loss": totals["generator"].detach()}
