"""Whether networks know their rows by heart, and when to hold rows out for that."""

import math

import numpy as np

from .reports import Finding

__all__ = [
    "held_out_by_itself",
    "memorisation",
    "memorised_probability",
    "not_held_out",
    "not_held_out_for_share",
]

# Up to so many passes over the rows, reference scores of trained rows are those of new
# ones. Of autoencoders on six tables of 59 to 250 rows, the share of new rows flagged
# where 5 % are promised was 3 to 8 % after 20 passes and after 80, 4 to 12 % after 160,
# and up to 88 % after 600. The other scores have no leave-one-out of the networks and
# go wrong sooner: 5 to 8 % after 20, 6 to 17 % after 80, 36 to 75 % after 320. The
# codes of maps know little about what was seen: 3 to 5 % after 20 to 640.
_MOST_PASSES = {("rows", "local"): 80, ("maps", "local"): math.inf}
_MOST_PASSES_OTHERWISE = 25
# Held out where networks may have memorised the rows.
_FRACTION = 0.2
# Held-out rows score higher than trained ones with this probability, and beyond what
# chance does once in two thousand times.
_MEMORISED = 0.6
_CHANCE = 3.3

_BY_HELD_OUT = (
    "The threshold comes from the held-out rows alone and keeps its promise, but new "
    "normal rows are harder to tell from anomalies."
)
_BY_SHARE = (
    "The threshold flags the share contamination of all of them, and of new normal "
    "rows more."
)


def held_out_by_itself(n_passes, n_rows, *, kind, score_type, rate):
    """Share of the rows to hold out where the networks may memorise what they see.

    Parameters
    ----------
    n_passes : float
        How often the networks will see each row.
    n_rows : int
    kind : {"rows", "maps"}
    score_type : str
    rate : float
        The false-alarm rate that is promised.

    Returns
    -------
    float or None
        0 where the scores of trained rows will do; None where rows should be held out,
        and are too few for the rate.
    """
    if n_passes <= _MOST_PASSES.get((kind, score_type), _MOST_PASSES_OTHERWISE):
        return 0.0
    # With n scores nothing below 1 / (n + 1) can be promised.
    if round(_FRACTION * n_rows) + 1 < 1 / rate:
        return None
    return _FRACTION


def not_held_out(n_passes, n_rows, *, groups):
    """A finding on rows that may be memorised and are too few to hold some out.

    Parameters
    ----------
    n_passes : float
        How often the networks will see each row, or each group of rows.
    n_rows : int
        Number of rows, or of their groups.
    groups : bool
        Whether it is groups of rows that are counted.
    """
    one, many = ("group of rows", "groups of rows") if groups else ("row", "rows")
    return Finding(
        "not_held_out",
        f"The networks see each {one} {n_passes:.0f} times and may know it by heart, "
        f"and {n_rows} {many} are too few to hold out a fifth of them for the "
        "threshold, so the share of new normal rows that it flags is not known.",
        f"Leave the steps at 'auto', lower them, pass more {many}, raise "
        "false_alarm_rate, or set validation_fraction.",
    )


def not_held_out_for_share(n_passes, contamination):
    """A finding on rows that may be memorised, and that set the threshold by a share.

    The share is one of the training rows, so that holding some out would not help.
    """
    return Finding(
        "not_held_out",
        f"The networks see each row {n_passes:.0f} times and may know it by heart. "
        f"contamination={contamination:g} flags that share of the rows themselves, and "
        "of new normal rows perhaps many more.",
        "Leave the steps at 'auto', lower them, pass more rows, or leave contamination "
        "at 'auto' for a promise about new rows.",
    )


def memorised_probability(trained, held_out):
    """Probability that a held-out row scores higher than a trained one, halving ties.

    Parameters
    ----------
    trained : array-like of shape (n_trained,)
        Scores of training rows that leave themselves out of the score's searches.
    held_out : array-like of shape (n_held_out,)

    Returns
    -------
    float
        .5 if they are alike.
    """
    trained = np.sort(np.asarray(trained, dtype=np.float64))
    below = np.searchsorted(trained, held_out, side="left")
    up_to = np.searchsorted(trained, held_out, side="right")
    return float(np.mean(below + up_to) / (2 * len(trained)))


def memorisation(probability, n_trained, n_held_out, *, by_share=False):
    """A finding on networks that know their rows by heart, or None.

    Parameters
    ----------
    probability : float
        See :func:`memorised_probability`.
    n_trained, n_held_out : int
        Rows of either kind, from which follows what chance can do.
    by_share : bool, default=False
        Whether the threshold flags a share of the rows themselves.
    """
    # The standard deviation of the Mann-Whitney statistic of rows that are alike.
    deviation = math.sqrt((n_trained + n_held_out + 1) / (12 * n_trained * n_held_out))
    if probability <= max(_MEMORISED, 0.5 + _CHANCE * deviation):
        return None
    return Finding(
        "memorised",
        f"The networks know their training rows by heart: a held-out row scores higher "
        f"than one of them with probability {probability:.2f} instead of .5. "
        + (_BY_SHARE if by_share else _BY_HELD_OUT),
        "Lower max_steps (AnoGAN: encoder_steps), or pass more rows.",
    )
