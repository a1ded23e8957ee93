"""What a fitted detector says about its training.

``training_report_`` of every detector is a :class:`TrainingReport`. What went wrong is
in its ``problems``, each a :class:`Finding` with a name, what was seen and what to do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["Finding", "TrainingReport"]


@dataclass(frozen=True)
class Finding:
    """Something seen in a training, under a name that code can ask for.

    Parameters
    ----------
    name : str
        One word; see :class:`TrainingReport`.
    seen : str
        What was seen, with the figures.
    remedy : str
        What to do about it.

    Examples
    --------
    >>> from skganomaly.reports import Finding
    >>> print(Finding("collapsed", "All samples are alike.", "Raise max_steps."))
    All samples are alike. Raise max_steps.
    """

    name: str
    seen: str
    remedy: str

    def __str__(self) -> str:
        """Return the words of a warning."""
        return f"{self.seen} {self.remedy}"


@dataclass(kw_only=True)
class TrainingReport:
    """How a training went: plain numbers, and what they mean.

    Parameters
    ----------
    losses : dict of str to float
        The last value of each loss.
    n_steps : int
        Optimiser steps of all phases of the training that counts.
    n_passes : float
        How often the networks that rows go through have seen each training row, or a
        row of each group if rows come in groups or copies: for AnoGAN its encoder,
        which is 0 without one.
    diversity : list of float
        For each member the variance of what its generator makes of the training rows,
        as a share of theirs. AnoGAN: how far apart samples are, as a share of the
        distance between rows. Ideally 1.
    latent_usage : list of float
        For each member the share of the latent directions that codes vary in.
    unreachable : float or None
        Share of training rows whose squared residual is above half of the variance;
        None if nothing is made of rows.
    error : list of float
        For each member the mean squared residual, as a share of the mean square of the
        scaled rows: 1 if it makes nothing but zeros.
    distance : list of float or None, default=None
        AnoGAN: for each member the energy distance of samples and rows, in the unit of
        ``diversity``. Ideally 0.
    judged : bool, default=True
        Whether the training was long enough to say that it failed.
    still_falling : list of str
        Losses of the reconstruction that fell by more than a tenth over the last
        quarter of the training.
    memorised : float or None, default=None
        Where rows were held out, the probability that one of them scores higher than
        a training row does when it leaves itself out: .5 if they are alike, 1 if the
        networks know the training rows by heart.
    near_copies : float, default=0.0
        Share of training rows that are plainly nearer to a few others than independent
        rows would be. 0 if that was not seen, as where rows are too few to tell.
    dead_columns : int, default=0
        Columns, or pixels, that have one value in all training rows.
    restarts : list of dict
        Trainings or discriminators that were given up: "after_steps" and "reason".
    problems : list of Finding
        What went wrong; each of them was also warned of. Empty if all went well. Their
        names:

        - "diverged": residuals far above the rows themselves, though finite;
        - "collapsed": AnoGAN's samples are unlike the rows, after all restarts;
        - "too_short": trained too little to work, and it shows;
        - "one_sided": the discriminator is never wrong;
        - "memorised": held-out rows score higher than trained ones;
        - "not_held_out": the networks may have memorised the rows, which are too few
          to hold some out, or set the threshold themselves (contamination), so the
          promise on false alarms is withdrawn;
        - "too_few": fewer reference scores than the promised rate takes;
        - "near_copies": rows that are not independent;
        - "drifted": new rows of ``partial_fit`` beyond those that the scaling knows;
        - "constant": all rows are equal;
        - "interrupted": Ctrl-C ended the training early.
    notes : list of Finding
        What is good to know and no reason to warn: "not_judged", "still_falling",
        "dead_columns", "whole_images" (of more than 64 pixels a side).

    Examples
    --------
    >>> import numpy as np
    >>> from skganomaly import AutoencoderDetector
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> detector = AutoencoderDetector(random_state=0).fit(X)
    >>> detector.training_report_.problems
    []
    >>> detector.training_report_.n_steps
    62
    """

    losses: dict[str, float]
    n_steps: int
    n_passes: float
    diversity: list[float]
    latent_usage: list[float]
    unreachable: float | None
    error: list[float]
    distance: list[float] | None = None
    judged: bool = True
    still_falling: list[str]
    memorised: float | None = None
    near_copies: float = 0.0
    dead_columns: int = 0
    restarts: list[dict[str, Any]]
    problems: list[Finding]
    notes: list[Finding]

    def __repr__(self) -> str:
        """Return one short line for each field, and the findings below."""
        width = max(len(f.name) for f in fields(self)) + 2
        lines = [f"{type(self).__name__}:"]
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in ("problems", "notes"):
                text = ", ".join(finding.name for finding in value) or "none"
            else:
                text = _short(value)
            lines.append(f"  {f.name:{width}}{text}")
        for finding in (*self.problems, *self.notes):
            lines += [f"{finding.name}:", f"  {finding.seen}", f"  {finding.remedy}"]
        return "\n".join(lines)


def _short(value: object) -> str:
    """A value in a few digits."""
    if value is None:
        return "not looked at"
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, float):
        return f"{value:.3g}" if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        if value and isinstance(value[0], dict):
            return str(len(value))
        return ", ".join(map(_short, value)) or "none"
    return str(value)
