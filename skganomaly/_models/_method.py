"""What a method of anomaly detection is: players, losses, parts of a score, codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch
    from torch import Tensor

__all__ = ["Game", "Method", "Phase"]


class Phase(NamedTuple):
    """What happens in one step of a training, known before the step.

    Parameters
    ----------
    players : tuple of str
        Who moves.
    penalty : bool, default=False
        Whether a term is due that comes in some steps only.
    """

    players: tuple[str, ...]
    penalty: bool = False


class Game:
    """What one training trains: its players, and what each of them descends."""

    draws: ClassVar[bool] = True
    """Whether losses draw random numbers; without, they are handed no source."""

    def players(self) -> dict[str, nn.Module]:
        """Networks by name, "generator" and perhaps "discriminator".

        Each is moved by an optimiser of its own, down the gradient of its own losses.
        """
        raise NotImplementedError

    def phase(self, step: int) -> Phase:
        """Return what happens in a step, which are counted from 0."""
        return Phase(tuple(self.players()))

    def losses(
        self, x: Tensor, noisy: Tensor, phase: Phase, random: torch.Generator | None
    ) -> dict[str, dict[str, Tensor]]:
        """Return, for each player that moves, its weighted loss terms by name.

        Parameters
        ----------
        x : Tensor of shape (n_members, batch_size, *input_shape)
            Scaled rows.
        noisy : Tensor of the same shape
            Rows with the noise that ``input_noise`` asks for.
        phase : Phase
            What :meth:`phase` said of the step.
        random : torch.Generator or None
            The source of all random numbers, on the device of ``x``. Without it torch
            draws from its global generator.

        Returns
        -------
        dict of str to dict of str to Tensor of shape (n_members,)
        """
        raise NotImplementedError


class Method(Game, nn.Module):
    """The networks of a detector, what they are trained for, and what they tell.

    A subclass builds its networks in the constructor, gives losses and parts, and
    ``encode``, ``decode`` or ``reconstruct`` where the method has such a thing:
    ``encode(x)`` returns codes, (n_members, n_rows, latent_dim), ``decode(codes)``
    rows, (n_members, n_rows, *input_shape), and ``reconstruct(x)`` rows; a method with
    the first two need not write the third.

    Parameters
    ----------
    build : callable
        ``build("encoder")``, ``build("decoder")`` and ``build("discriminator")`` build
        such a network of the detector's architecture, for all members.
        ``build.codes(n)`` draws codes, (n_members, n, latent_dim), that stay the same.
    settings : Settings
        Parameters of the detector, each "auto" resolved.
    """

    part_names: ClassVar[tuple[str, ...]] = ()
    """Names of what :meth:`parts` can tell. By convention "reconstruction" is a row
    less what is made of it, and "code" the row's code."""

    local_parts: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The parts that the score "local" compares, of "rows" and of "maps"; of what is
    left out, all."""

    has_prior: ClassVar[bool] = False
    """Whether ``decode`` makes a row of any standard normal code."""

    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, build: Callable[[str], nn.Module], settings: Any) -> None:
        super().__init__()

    @property
    def searches(self) -> bool:
        """Whether codes are searched for, which takes long and has no gradient."""
        return False

    def players(self) -> dict[str, nn.Module]:
        """The submodules ``generator`` and, if there is one, ``discriminator``."""
        names = "generator", "discriminator"
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def parts(self, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the parts asked for, each (n_members, n_rows, width).

        Parameters
        ----------
        x : Tensor of shape (n_members, n_rows, *input_shape)
        names : collection of str
            Of ``part_names``; others may be left out.
        """
        raise NotImplementedError

    @classmethod
    def can(cls, name: str) -> bool:
        """Whether the method has "encode", "decode" or "reconstruct"."""
        if name == "reconstruct" and cls.can("encode") and cls.can("decode"):
            return True
        return hasattr(cls, name)
