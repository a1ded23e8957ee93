"""From trained networks to scores, and to reference scores that a cut can go by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ._groups import one_score_a_group, twins
from ._health import HealthRecord
from ._memorisation import (
    held_out_by_itself,
    not_held_out,
    not_held_out_for_share,
)
from ._models._references import row_keys
from ._models._scaling import row_blocks, to_single
from ._models._scoring import part_magnitudes
from ._weights import priority_sample, worth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ._groups import RowGroups
    from ._models._fitted import FittedModel
    from ._settings import Settings
    from .reports import Finding

__all__ = ["Division", "divide", "fit_score", "hold_out", "score_rows", "set_aside"]

# Groups of rows beside the training; more would not make their mean much surer.
_MOST_ASIDE = 1000


@dataclass
class Division:
    """Training rows, with what is held out of them.

    Attributes
    ----------
    X, X_held_out : ndarray of shape (n_rows, n_features)
    groups, held_out_groups : RowGroups
    finding : Finding or None
        Why rows should have been held out and were not.
    """

    X: np.ndarray
    groups: RowGroups
    X_held_out: np.ndarray
    held_out_groups: RowGroups
    finding: Finding | None = None


def hold_out(
    X: np.ndarray,
    groups: RowGroups,
    settings: Settings,
    chosen_steps: int | None,
    generator: torch.Generator,
) -> Division:
    """Divide rows into those to train on and those to set the threshold with.

    Groups stay whole, and the order of the rows is kept, so that rows of a memory map
    are read in one sweep.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    groups : RowGroups
    settings : Settings
    chosen_steps : int or None
        Steps of the networks that rows go through, if the user chose them.
    generator : torch.Generator
    """
    finding, n_groups = None, groups.n_groups
    fraction = settings.validation_fraction
    if not fraction and chosen_steps is not None:
        fraction, finding = _fraction_by_itself(groups, settings, chosen_steps)
    if not fraction:
        return Division(X, groups, X[:0], groups.take(np.arange(0)), finding)
    n_held_out = max(1, round(fraction * n_groups))
    why = f"validation_fraction={fraction:g}"
    return divide(X, groups, _draw(groups, n_held_out, why, generator))


def set_aside(
    division: Division, fraction: float, generator: torch.Generator
) -> tuple[Division, np.ndarray]:
    """Take rows out of those to train on, for :class:`HeldOutStopping` to look at."""
    X, groups = division.X, division.groups
    n_aside = min(max(1, round(fraction * groups.n_groups)), _MOST_ASIDE)
    aside = divide(
        X, groups, _draw(groups, n_aside, f"fraction={fraction:g}", generator)
    )
    return replace(division, X=aside.X, groups=aside.groups), aside.X_held_out


def _draw(groups, n_drawn, why, generator):
    """Which groups are drawn, so many of them, of shape (n_groups,)."""
    n_groups = groups.n_groups
    if n_groups - n_drawn < 2:
        kind = "rows" if n_groups == len(groups) else "groups of rows"
        raise ValueError(
            f"{why} of {n_groups} {kind} leaves {n_groups - n_drawn} for training, and "
            "at least 2 are needed. Lower it or pass more rows."
        )
    order = torch.randperm(n_groups, generator=generator).numpy()
    drawn = np.zeros(n_groups, dtype=bool)
    drawn[order[:n_drawn]] = True
    return drawn


def divide(X: np.ndarray, groups: RowGroups, new: np.ndarray) -> Division:
    """Divide rows into those of new groups, of shape (n_groups,), and others."""
    new = new[groups.labels]
    seen, held_out = np.flatnonzero(~new), np.flatnonzero(new)
    return Division(X[seen], groups.take(seen), X[held_out], groups.take(held_out))


def _fraction_by_itself(groups, settings, steps):
    """Share of the rows to hold out although nobody asked for it, and a finding."""
    n_groups = groups.n_groups
    n_passes = steps * min(settings.batch_size, n_groups) / n_groups
    fraction = held_out_by_itself(
        n_passes,
        n_groups,
        kind=settings.kind,
        score_type=settings.score_type,
        rate=settings.false_alarm_rate,
    )
    if fraction != 0 and settings.contamination is not None:
        return 0.0, not_held_out_for_share(n_passes, settings.contamination)
    if fraction is None:
        grouped = n_groups < len(groups)
        return 0.0, not_held_out(n_passes, n_groups, groups=grouped)
    return fraction, None


def score_rows(
    model: FittedModel,
    X: np.ndarray,
    part: str | None = None,
    progress: Callable[[Iterable[Any], int], Iterable[Any]] | None = None,
) -> np.ndarray:
    """Anomaly scores of validated rows, by the score or by one part alone."""
    score = model.score if part is None else model.part_scores[part]
    chunks = model.chunks(X, model.scored_at_once(score))
    scores, n_done = np.empty(len(X)), 0
    with model.threads():
        for rows, x in chunks if progress is None else progress(chunks, len(X)):
            own_groups = model.own_groups(rows, x.shape[1], score)
            with torch.inference_mode():
                values = model.scores(x, own_groups, score)
            scores[n_done : n_done + len(rows)] = values[: len(rows)].cpu().numpy()
            n_done += len(rows)
    return scores


def fit_score(
    model: FittedModel,
    division: Division,
    settings: Settings,
    generator: torch.Generator,
    progress: Callable[[Iterable[Any], int], Iterable[Any]],
) -> tuple[np.ndarray, HealthRecord]:
    """Fit a model's scores on reference rows, then score rows new to them.

    Returns
    -------
    reference_scores : ndarray of shape (n_reference_scores,)
        Sorted: what new rows would score, one for each group.
    health : HealthRecord
        What was seen of the networks, and of the rows, on the way.
    """
    seen = division.groups
    chosen, counts = _choose_references(seen, settings.max_references, generator)
    X = division.X if len(chosen) == len(division.X) else division.X[chosen]
    # Numbered anew, as some groups may have no reference.
    kept, labels = np.unique(seen.labels[chosen], return_inverse=True)
    groups = torch.from_numpy(labels)
    score, names = model.score, model.method.part_names
    health = HealthRecord()
    lengths, chunks, magnitudes = [], [], []
    for scaled, x in progress(model.chunks(X, model.scored_at_once()), len(X)):
        with torch.inference_mode():
            padded = model.parts(x, {*names, *score.part_names, "row"})
        chunk = {name: p[:, : len(scaled)].cpu() for name, p in padded.items()}
        lengths.append(len(scaled))
        # With their padding, as they are scored again in the same chunks.
        chunks.append({name: padded[name].cpu() for name in score.part_names})
        magnitudes.append({name: part_magnitudes(chunk[name]) for name in names})
        health.update(chunk["row"][0], chunk.get("reconstruction"), chunk.get("code"))
        # Of images, codes are what a score compares.
        by_code = settings.kind == "maps" and "code" in chunk
        health.vectors.append(chunk["code" if by_code else "row"][0])
    sizes = _join_chunks(magnitudes, lengths)
    if not all(torch.isfinite(size).all() for size in sizes.values()):
        raise FloatingPointError(
            "Training diverged: the trained networks give values that are not "
            f"finite. Lower learning_rate, which is {settings.learning_rate!r}."
        )
    for name, size in sizes.items():
        model.part_scores[name].fit_magnitudes(size)
    parts = _join_chunks(chunks, lengths)
    score.fit(parts, groups)
    if model.codes is not None:
        model.codes.fit(*health.code_moments())
    values = _index(model, division.X, seen.labels, kept, chosen)
    as_new = score.reference_scores(parts, groups, torch.from_numpy(values))
    model.to(model.device)
    if as_new is None:
        own_groups = np.stack([labels, twins(values, labels)], axis=1)
        as_new = _score_chunks(model, chunks, own_groups), np.arange(len(chosen))
    scores, places = map(np.asarray, as_new)
    units, n_rows = labels[places], counts[places]
    if len(division.X_held_out):
        trained = scores
        scores = score_rows(model, division.X_held_out, progress=progress)
        health.compare(trained, scores)
        units, n_rows = division.held_out_groups.labels, np.ones(len(scores), dtype=int)
        if seen.weights is not None:
            n_rows = division.held_out_groups.weights
    n_units = len(np.unique(units))
    n_scores = n_units
    if seen.weights is not None:
        # Less is known of the rows that count for many.
        n_scores = max(1, int(n_units * worth(n_rows)))
    reference_scores = one_score_a_group(scores, n_rows, n_scores)
    health.grouped = len(units) > n_units
    health.labels = labels
    return reference_scores, health


def _choose_references(groups, most, generator):
    """Positions of the rows that scores are relative to, and what each counts for.

    Copies are no references, and their original counts for them.
    """
    distinct = groups.distinct
    counts = groups.counts[distinct]
    if len(distinct) <= most:
        return distinct, counts
    if groups.weights is None:
        drawn = torch.randperm(len(distinct), generator=generator).numpy()
    else:
        uniform = torch.rand(len(distinct), generator=generator, dtype=torch.float64)
        drawn, counts = priority_sample(counts, uniform.numpy(), most)
    chosen = drawn[:most]
    labels = groups.labels[distinct[chosen]]
    if (labels == labels[0]).all() and groups.n_groups > 1:
        # Its rows would have nobody to be compared with.
        chosen[-1] = drawn[np.argmax(groups.labels[distinct[drawn]] != labels[0])]
    chosen = np.sort(chosen)
    return distinct[chosen], counts[chosen]


def _index(model, X, labels, kept, chosen):
    """Make the model find, of all rows, those whose group has a reference.

    Rows in double precision are recognised in single precision, too. Returned are
    numbers that are the same for references that are equal.
    """
    has_reference = np.zeros(labels.max() + 1, dtype=bool)
    has_reference[kept] = True
    members = np.flatnonzero(has_reference[labels])
    casts = [np.asarray, to_single] if X.dtype == np.float64 else [np.asarray]
    keys = np.concatenate(
        [
            row_keys(model.scaling.transform(cast(X[members[block]])))
            for cast in casts
            for block in row_blocks(len(members), X.shape[1])
        ]
    )
    groups = np.searchsorted(kept, labels[members])
    own_keys = keys[np.searchsorted(members, chosen)]
    _, values = np.unique(own_keys, return_inverse=True)
    model.references.fit(keys, np.tile(groups, len(casts)))
    return values


def _score_chunks(model, chunks, own_groups):
    """Scores of the reference rows as if they were new.

    Their parts are at hand, and finding them again may take a search.
    """
    if (own_groups[:, 1] < 0).all():
        own_groups = own_groups[:, :1]
    scores = []
    size = model.scored_at_once()
    for padded, start in zip(chunks, range(0, len(own_groups), size), strict=True):
        parts = {name: part.to(model.device) for name, part in padded.items()}
        n_padded = next(iter(parts.values())).shape[1]
        groups = torch.full((n_padded, own_groups.shape[1]), -1, dtype=torch.int64)
        n_rows = len(own_groups[start : start + size])
        groups[:n_rows] = torch.from_numpy(own_groups[start : start + size])
        with torch.inference_mode():
            values = model.score_parts(parts, groups.to(model.device))
        scores.append(values[:n_rows].cpu().numpy())
    return np.concatenate(scores)


def _join_chunks(chunks, lengths):
    """Join dicts of tensors along their row axis, without what pads them."""
    return {
        name: torch.cat(
            [c[name][:, :n] for c, n in zip(chunks, lengths, strict=True)], dim=1
        )
        for name in chunks[0]
    }
