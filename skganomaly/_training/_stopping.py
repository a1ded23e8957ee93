"""An end of the training once rows that it has not seen are no better off."""

from __future__ import annotations

import copy
from numbers import Integral, Real

import torch
from skorch.callbacks import Callback

from .._ranks import current

__all__ = ["HeldOutStopping", "Stopper"]

_BLOCK = 256


class HeldOutStopping(Callback):
    """End a training when normal rows that were kept out of it score no lower.

    Some of the training rows are set aside. After each epoch the networks that there
    are reconstruct them, and when the mean squared residual, in scaled units, has not
    fallen for a while the training ends, and the weights with the lowest one are put
    back. So ``max_steps`` can be large without networks that know their rows by heart.

    The rows that are set aside are neither trained on nor reference rows, nor are they
    those of ``validation_fraction``, as rows that have chosen the networks would make
    the threshold too low.

    :class:`~skganomaly.AnoGANDetector` has its encoder's training ended; its generator
    never sees a row.

    Parameters
    ----------
    fraction : float in (0, 1), default=0.1
        Share of the training rows, or of their groups, that is set aside; at most 1000.
    patience : int, default=10
        Epochs without a lower residual after which the training ends. An epoch is a
        pass over the rows, or 25 steps where a pass is shorter, or a part of these
        where there would be fewer than 20.
    tolerance : float, default=1e-3
        Share by which a residual has to be lower than the lowest before to count.

    Notes
    -----
    ``history_`` has the residual of each epoch as "held_out".

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.callbacks import HeldOutStopping
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = AutoencoderDetector(
    ...     max_steps=3000, n_members=1, callbacks=[HeldOutStopping()], random_state=0
    ... ).fit(X)
    >>> detector.n_iter_ < 3000
    True
    """

    def __init__(
        self, *, fraction: float = 0.1, patience: int = 10, tolerance: float = 1e-3
    ) -> None:
        self.fraction = fraction
        self.patience = patience
        self.tolerance = tolerance

    def _check(self):
        if not (isinstance(self.fraction, Real) and 0 < self.fraction < 1):
            raise ValueError(f"fraction={self.fraction!r} must be between 0 and 1.")
        if not (isinstance(self.patience, Integral) and self.patience >= 1):
            raise ValueError(f"patience={self.patience!r} must be a positive int.")
        if not (isinstance(self.tolerance, Real) and 0 <= self.tolerance < 1):
            raise ValueError(f"tolerance={self.tolerance!r} must be in [0, 1).")


class Stopper(Callback):
    """What a :class:`HeldOutStopping` does in one fit.

    Parameters
    ----------
    options : HeldOutStopping
    rows : Tensor of shape (n_rows, *input_shape)
        Scaled, on the device.
    """

    def __init__(self, options, rows):
        self.options = options
        self.rows = rows

    def state_dict(self):
        """What was seen until now, and the best weights."""
        return {k: v for k, v in vars(self).items() if k.endswith("_")}

    def load_state_dict(self, state):
        """Go on from there."""
        vars(self).update(state)

    def on_train_begin(self, net, **kwargs):
        """Begin anew, if there will be something to look at."""
        method = getattr(net.game, "method", net.game)
        if "reconstruction" not in method.part_names or method.searches_codes:
            raise ValueError(
                "HeldOutStopping goes by residuals that networks make in one pass, and "
                f"this {type(method).__name__} has none: it searches for codes, or has "
                "no part 'reconstruction'. Use another detector, or search='encoder'."
            )
        self.lowest_, self.misses_, self.weights_ = float("inf"), 0, None

    def on_epoch_end(self, net, **kwargs):
        """Look at the rows, and end the training if it is time."""
        if not net.game.rated:
            return
        residual = self._residual(getattr(net.game, "method", net.game))
        residual = current().agreed(residual)
        net.history.record("held_out", residual)
        if residual < self.lowest_ * (1 - self.options.tolerance):
            self.lowest_, self.misses_ = residual, 0
            self.weights_ = {
                name: copy.deepcopy(player.state_dict())
                for name, player in net.game.players().items()
            }
            return
        self.misses_ += 1
        if self.misses_ >= self.options.patience:
            raise KeyboardInterrupt

    def on_train_end(self, net, **kwargs):
        """Put the best weights back."""
        if self.weights_ is not None:
            for name, player in net.game.players().items():
                player.load_state_dict(self.weights_[name])
            # A moving average has gone on beyond them.
            self.weights_ = net.run_.average = None

    @torch.no_grad()
    def _residual(self, method):
        # The next step brings those that are trained back into training mode.
        method.eval()
        total = 0.0
        for block in self.rows.split(_BLOCK):
            x = block.expand(method.settings.n_members, *block.shape)
            residual = method.parts(x, {"reconstruction"})["reconstruction"]
            total += float(residual.double().square().sum())
        return total / (self.rows.numel() * method.settings.n_members)
