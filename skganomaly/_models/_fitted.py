"""The owner of everything that a fit learns: rows in, scores out."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import nn

from .._threads import threads_for
from ._explain import integrated_gradients, shares_of_squares
from ._networks import keeps_blocks
from ._products import PRODUCT_ROWS, is_traced
from ._references import References, row_keys
from ._scoring import PartScoring
from ._whitening import CodeDistribution

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    import numpy as np
    from torch import Tensor

    from ._method import Method
    from ._scaling import Scaling
    from ._scoring import Scoring

__all__ = ["FittedModel"]

# Rows that networks see at once, as far as they have no more values than this, beside
# those of a product: if codes are searched for, by hundreds of calls; where a call
# costs more than arithmetic; and maps, whose convolutions round differently in smaller
# numbers.
_SEARCHED_ROWS = 256
_DEVICE_ROWS = 2048
_DEVICE_MAPS = 512
_FEWEST_ROWS = 16
_MAPS = 64
_MOST_VALUES = 2**20

# Blocks of rows that are scored at once.
_MOST_BLOCKS = 8


class FittedModel(nn.Module):
    """Scaling, networks, score and references of a fitted detector, as one module.

    Calling it with rows in the user's units gives their anomaly scores. Its
    ``state_dict`` is all that was learned.

    Parameters
    ----------
    scaling : Scaling
    method : Method
        The networks and what they tell.
    score : Scoring
    n_members : int
        Networks that are trained side by side.

    Attributes
    ----------
    part_scores : ModuleDict
        For each part, its score alone.
    codes : CodeDistribution or None
        A Gaussian for the codes of a method without a prior for them.
    references : References
        Finds the reference rows among others.
    """

    def __init__(
        self, scaling: Scaling, method: Method, score: Scoring, n_members: int
    ) -> None:
        super().__init__()
        self.n_members = n_members
        self.scaling = scaling
        self.method = method
        self.score = score
        self.part_scores = nn.ModuleDict(
            {name: PartScoring(name) for name in method.part_names}
        )
        has_codes = method.can("decode") and "code" in method.part_names
        self.codes = CodeDistribution() if has_codes and not method.has_prior else None
        self.references = References()

    def __repr__(self) -> str:
        # torch's would list every layer, in notebooks too.
        name, shape = type(self.method).__name__, self.input_shape
        return f"<{type(self).__name__} of {name}; rows of shape {shape}>"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row, channels first."""
        return self.scaling.input_shape

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.method.parameters()).device

    @property
    def block_size(self) -> int:
        """Rows that networks see at once: always as many, padded if there are fewer.

        With one shape, what they say of a row does not depend on how many came with it.
        """
        affordable = _MOST_VALUES // math.prod(self.input_shape)
        elsewhere = self.device.type != "cpu"
        if len(self.input_shape) > 1:
            return min(_DEVICE_MAPS, max(_MAPS, affordable)) if elsewhere else _MAPS
        affordable = max(_FEWEST_ROWS, affordable)
        if elsewhere:
            return min(_DEVICE_ROWS, affordable)
        searches = self.method.searches_codes
        return min(_SEARCHED_ROWS if searches else PRODUCT_ROWS, affordable)

    @property
    def chunk_size(self) -> int:
        """Rows that are scored at once, if there are so many: some blocks."""
        size = self.block_size
        if size != PRODUCT_ROWS or len(self.input_shape) > 1:
            return size
        affordable = _MOST_VALUES // (size * self.input_shape[0])
        return size * min(_MOST_BLOCKS, max(1, affordable))

    @cached_property
    def _sizes(self):
        n_rows = self.block_size
        n_values = self.n_members * n_rows * math.prod(self.input_shape)
        return n_rows, n_values, sum(p.numel() for p in self.method.parameters())

    def threads(self, *, fits: bool = False) -> AbstractContextManager[None]:
        """As many threads as a block is worth, whatever the number of rows.

        The fit of a score is worth more of them, as its matrices may be large.
        """
        heavy = fits or self.method.searches_codes
        return threads_for(*self._sizes, heavy=heavy)

    def forward(self, rows: Tensor, own_groups: Tensor | None = None) -> Tensor:
        """Anomaly scores of rows.

        Equal to the last bit to those of the detector if the number of rows is a
        multiple of ``block_size``, as matrix products round differently for others.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            In the user's units.
        own_groups : Tensor of shape (n_rows,), int, or None, default=None
            The group of reference rows that each row is of, or -1. None takes all rows
            for new.

        Returns
        -------
        Tensor of shape (n_rows,)
        """
        return self.scores(self._for_members(self.scaling(rows)), own_groups)

    def _for_members(self, x):
        x = x.to(self.device)
        return x.expand(self.n_members, *x.shape)

    def chunks(
        self, X: np.ndarray, size: int | None = None
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Scaled rows, and the same for all members, padded to whole blocks.

        ``size`` of them come at once, by default ``chunk_size``.
        """
        size, block = size or self.chunk_size, self.block_size
        for start in range(0, len(X), size):
            rows = self.scaling.transform(X[start : start + size])
            n_padded = -(-len(rows) // block) * block
            # Allocated by torch, whose memory always has the same alignment.
            x = torch.zeros(
                n_padded, *self.input_shape, dtype=torch.float32, device="cpu"
            )
            x[: len(rows)] = torch.from_numpy(rows)
            yield rows, self._for_members(x)

    def own_groups(
        self, rows: np.ndarray, n_padded: int, score: Scoring | None = None
    ) -> Tensor:
        """For each scaled row of a chunk, the group of references it is of, or -1.

        Rows that only fill up, to ``n_padded``, are of none.
        """
        score = self.score if score is None else score
        groups = torch.full((n_padded,), -1, dtype=torch.int64, device="cpu")
        if score.uses_references:
            groups[: len(rows)] = torch.from_numpy(self.references.find(row_keys(rows)))
        return groups.to(self.device)

    def parts(self, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Parts of scaled rows, (n_members, n_rows, *input_shape).

        The part "row" is the rows themselves, (1, n_rows, n_features).
        """
        asked = set(names)
        parts = self._of_blocks(x, asked - {"row"}) if asked - {"row"} else {}
        if "row" in asked:
            parts["row"] = x[:1].flatten(2)
        return parts

    def _of_blocks(self, x, names):
        size, n_rows = self.block_size, x.shape[1]
        whole = is_traced() or n_rows % size or n_rows == size or self._takes_chunks
        blocks = []
        for block in [x] if whole else x.split(size, dim=1):
            parts = self.method.parts(block, names)
            for name in names:
                _check_part(type(self.method).__name__, name, parts, block)
            blocks.append(parts)
        return {name: torch.cat([part[name] for part in blocks], 1) for name in names}

    @property
    def _takes_chunks(self):
        """Whether networks round rows of many blocks as they do those of one."""
        rows = len(self.input_shape) == 1 and self.block_size == PRODUCT_ROWS
        return rows and self.method.row_by_row and keeps_blocks(self.method)

    def scores(
        self, x: Tensor, own_groups: Tensor | None = None, score: Scoring | None = None
    ) -> Tensor:
        """Scores of scaled rows, by the model's score or by another one."""
        score = self.score if score is None else score
        return self.score_parts(self.parts(x, score.part_names), own_groups, score)

    def scored_at_once(self, score: Scoring | None = None) -> int:
        """Rows that a score is handed at once."""
        score = self.score if score is None else score
        return self.chunk_size if score.row_by_row else self.block_size

    def score_parts(
        self,
        parts: dict[str, Tensor],
        own_groups: Tensor | None,
        score: Scoring | None = None,
    ) -> Tensor:
        """Scores of rows whose parts are at hand."""
        score = self.score if score is None else score
        n_rows = next(iter(parts.values())).shape[1]
        scores = score(parts, own_groups)
        shape = tuple(getattr(scores, "shape", ()))
        if not isinstance(scores, torch.Tensor) or shape != (n_rows,):
            raise ValueError(
                f"{type(score).__name__} returned a {type(scores).__name__} of shape "
                f"{shape}. It has to be a tensor of one score a row, ({n_rows},)."
            )
        return scores

    def encode(self, x: Tensor) -> Tensor:
        """Codes of scaled rows, (n_members, n_rows, latent_dim)."""
        return self.method.encode(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        """What the method makes of scaled rows, shaped like them."""
        if hasattr(self.method, "reconstruct"):
            return self.method.reconstruct(x)
        return self.method.decode(self.method.encode(x))

    def decode(self, codes: Tensor) -> Tensor:
        """Scaled rows of codes."""
        return self.method.decode(codes)

    def draw_codes(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """Codes of new rows, (n_members, n_samples, latent_dim)."""
        shape = self.n_members, n_samples, self.method.settings.latent_dim
        draws = torch.randn(shape, generator=generator, dtype=torch.float32)
        draws = draws.to(self.device)
        return draws if self.codes is None else self.codes(draws)

    @torch.inference_mode()
    def sample(self, n_samples: int, generator: torch.Generator) -> Tensor:
        """New scaled rows, each by a member at random, (n_samples, *input_shape)."""
        rows = []
        with self.threads():
            for start in range(0, n_samples, self.chunk_size):
                n_drawn = min(self.chunk_size, n_samples - start)
                codes = self.draw_codes(n_drawn, generator)
                member = torch.randint(self.n_members, (n_drawn,), generator=generator)
                rows.append(self.decode(codes)[member, torch.arange(n_drawn)].cpu())
        return torch.cat(rows)

    def normal_counterpart(self, x: Tensor, own_groups: Tensor | None) -> Tensor:
        """A normal row to compare each scaled row with, (n_rows, *input_shape).

        Of maps, whose scores go by codes, it is what the most similar references have
        in common; otherwise, and of plain rows, what the method makes of the row.
        """
        if len(self.input_shape) > 1 and self.score.stores_rows:
            if self.method.has_prior and self.score.stores_codes:
                # The code of a defective image carries some of the defect; those of
                # the normal images most like it do not.
                parts = {"code": self.encode(x)}
                codes = self.score.nearest_vectors(parts, own_groups)
                return self.decode(codes).mean(0)
            parts = self.parts(x, self.score.part_names)
            return self.score.nearest_rows(parts, own_groups).view(x.shape[1:])
        return self.reconstruct(x).mean(0)

    @torch.inference_mode()
    def anomaly_map(self, x: Tensor, own_groups: Tensor | None) -> Tensor:
        """How scaled rows differ from their counterparts, (n_rows, *input_shape)."""
        return x[0] - self.normal_counterpart(x, own_groups)

    def explain(self, x: Tensor, own_groups: Tensor | None, n_steps: int) -> Tensor:
        """What each entry of scaled rows does to the score, (n_rows, *input_shape)."""
        with torch.no_grad():
            baseline = self.normal_counterpart(x, own_groups)

        def score(rows):
            return self.scores(rows.expand(x.shape), own_groups)

        if self.method.searches_codes:
            return shares_of_squares(score, x[0], baseline)
        return integrated_gradients(score, x[0], baseline, n_steps)

    def freeze(self) -> FittedModel:
        """Leave training mode and need no gradients; returns the model."""
        return self.eval().requires_grad_(False)


def _check_part(method, name, parts, x):
    """Refuse what a method of a user returns in the place of a part."""
    if name not in parts:
        raise ValueError(
            f"{method}.parts returned no {name!r}, only {sorted(parts)}. It has to "
            "return the parts that it is asked for, of its part_names."
        )
    shape, (n_members, n_rows) = tuple(parts[name].shape), x.shape[:2]
    if len(shape) != 3 or shape[:2] not in ((n_members, n_rows), (1, n_rows)):
        raise ValueError(
            f"{method}.parts returned {name!r} of shape {shape}. It has to be "
            f"(n_members, n_rows, width), with {n_members} and {n_rows} here."
        )
