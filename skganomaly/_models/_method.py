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
    """What happens in one step of training, known before the step.

    Parameters
    ----------
    players : tuple of str
        Names of the players that move.
    penalty : bool, default=False
        Whether a loss term is due that does not come in every step.
    """

    players: tuple[str, ...]
    penalty: bool = False


class Game:
    """A training: its players, and the losses that each of them descends."""

    draws: ClassVar[bool] = True
    """Whether losses draw random numbers. If not, they are handed no source of them."""

    rated: ClassVar[bool] = True
    """Whether parts of rows mean something while this is trained."""

    def players(self) -> dict[str, nn.Module]:
        """Return the networks that are trained, by name.

        Each has an optimiser of its own, which descends the player's own losses.

        Returns
        -------
        dict of str to Module
            One, such as the "generator", and perhaps the "discriminator".
        """
        raise NotImplementedError(f"{type(self).__name__} has no players().")

    def phase(self, step: int) -> Phase:
        """Return what happens in a step: by default all players move.

        Parameters
        ----------
        step : int
            Counted from 0.

        Returns
        -------
        Phase
        """
        return Phase(tuple(self.players()))

    def losses(
        self, x: Tensor, noisy: Tensor, phase: Phase, random: torch.Generator | None
    ) -> dict[str, dict[str, Tensor]]:
        """Return the loss terms of each player that moves.

        Parameters
        ----------
        x : Tensor of shape ``(n_members, batch_size, *input_shape)``
            Scaled rows.
        noisy : Tensor of the same shape
            The same rows with the noise that ``input_noise`` asks for.
        phase : Phase
            What :meth:`phase` said of this step.
        random : torch.Generator or None
            The source of all random numbers, on the device of ``x``; None if ``draws``
            is False. Pass it to whatever draws: without it torch uses its global
            generator, and the fit cannot be reproduced.

        Returns
        -------
        dict of str to dict of str to Tensor of shape (n_members,)
            For each player its terms by name, already weighted; the player descends
            their sum.
        """
        raise NotImplementedError(f"{type(self).__name__} has no losses().")


class Method(Game, nn.Module):
    """The networks of a detector, how they are trained, and what they say of a row.

    A subclass builds its networks in the constructor and has :meth:`losses` and
    :meth:`parts`. Where the method has codes or reconstructions, it also has
    ``encode(x)``, which returns codes of shape (n_members, n_rows, latent_dim),
    ``decode(codes)``, which returns rows shaped like ``x``, or ``reconstruct(x)``,
    which returns rows too; the first two make the third superfluous. The detector has
    the methods that these allow.

    Parameters
    ----------
    build : callable
        ``build("encoder")``, ``build("decoder")`` and ``build("discriminator")`` return
        such a network of the detector's architecture, for all members at once; with
        ``input_shape``, ``latent_dim`` or ``architecture``, one of other sizes or of
        another architecture. ``build.members(factory)`` does so with any network
        that ``factory()`` returns for one member, and ``build.codes(n)`` returns random
        codes of shape (n_members, n, latent_dim).
    settings : Settings
        The parameters of the detector, with a value in the place of every "auto"; kept
        as ``settings``.
    """

    part_names: ClassVar[tuple[str, ...]] = ()
    """Names of the parts. By convention "reconstruction" is a row less its
    reconstruction, and "code" its code."""

    local_parts: ClassVar[dict[str, tuple[str, ...]]] = {}
    """The parts that the score "local" compares, of plain "rows" and of "maps", which
    are images and windows; all parts where one of these is missing."""

    has_prior: ClassVar[bool] = False
    """Whether ``decode`` turns any standard normal code into a row like those of the
    training, so that codes of samples are drawn from that distribution."""

    row_by_row: ClassVar[bool] = False
    """Whether :meth:`parts` makes nothing of rows but sums, differences and what its
    networks say, so that it may be handed more than a block of them."""

    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, build: Callable[[str], nn.Module], settings: Any) -> None:
        super().__init__()
        self.settings = settings

    @property
    def searches_codes(self) -> bool:
        """Whether codes are searched for, which takes long and has no gradient."""
        return False

    def players(self) -> dict[str, nn.Module]:
        """Return the submodules ``generator`` and, if there is one, ``discriminator``.

        Returns
        -------
        dict of str to Module
        """
        names = "generator", "discriminator"
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def parts(self, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Return what the networks say of rows, as vectors that scores are made of.

        Parameters
        ----------
        x : Tensor of shape ``(n_members, n_rows, *input_shape)``
            Scaled rows.
        names : collection of str
            The parts that are asked for, of ``part_names``. Others may be returned too.

        Returns
        -------
        dict of str to Tensor of shape (n_members, n_rows, width)
            Widths may differ between parts.
        """
        raise NotImplementedError(f"{type(self).__name__} has no parts().")

    @classmethod
    def can(cls, name: str) -> bool:
        """Whether the method can do something.

        Parameters
        ----------
        name : {"encode", "decode", "reconstruct"}
            What is asked for.

        Returns
        -------
        bool
        """
        if name == "reconstruct" and cls.can("encode") and cls.can("decode"):
            return True
        return hasattr(cls, name)
