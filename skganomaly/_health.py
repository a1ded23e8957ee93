"""Is what was trained any good? A few figures that say so, and words for them."""

import math

import torch

from ._cut import highest_of, too_few
from ._memorisation import memorisation, memorised_probability
from .reports import Finding

__all__ = [
    "HealthRecord",
    "constant_rows",
    "dead_columns",
    "divergence",
    "falling_losses",
    "generator_failure",
    "hardly_trained",
    "interrupted",
    "never_wrong",
    "not_judged",
    "still_falling",
    "too_few_references",
    "too_short",
    "whole_images",
]

# Samples closer to each other than this share of the distance between rows have
# collapsed; further apart, or further from the rows, they have lost the data. Healthy
# generators stay between .6 and 1.2, and below .2.
_DIVERSITY = 0.5, 2.0
_DISTANCE = 0.3
# A cross-entropy below this is that of a discriminator that is never wrong.
_NEVER_WRONG = 1e-3
# A row is out of reach where its squared residual is above this share of the variance.
_OUT_OF_REACH = 0.5

# A residual with so many times the mean square of the rows has exploded. One of a
# network that makes nothing of its input has once that.
_EXPLODED = 3.0
_EXPLODED_EARLY = 100.0
_SETTLED = 30
# Sides of images, in pixels, up to which most are of one aligned object.
_LARGEST_SIDE = 64
# A loss is still falling if it lost this share over the last quarter of the epochs.
_STILL_FALLING = 0.1


class HealthRecord:
    """Collects, chunk by chunk, what the report on a training is made of.

    Attributes
    ----------
    vectors : list of Tensor
        What near copies are looked for in.
    labels : ndarray of shape (n_references,)
        The groups that are known.
    grouped : bool
        Whether some reference rows are of one group.
    memorised : float or None
        Whether held-out rows score higher; None if there are none.
    """

    def __init__(self):
        self._rows = _Moments()
        self._made = _Moments()
        self._codes = _Moments(products=True)
        self._errors = []
        self._compared = None
        self.vectors = []
        self.labels = None
        self.grouped = False
        self.memorised = None

    def compare(self, trained, held_out):
        """Take in scores of training rows that left themselves out, and of others.

        Parameters
        ----------
        trained, held_out : array-like of shape (n_rows,)
        """
        self.memorised = round(memorised_probability(trained, held_out), 4)
        self._compared = len(trained), len(held_out)

    def memorisation(self, *, by_share):
        """The finding of :func:`memorisation` on what was compared, or None."""
        if self.memorised is None:
            return None
        return memorisation(self.memorised, *self._compared, by_share=by_share)

    def update(self, rows, residuals=None, codes=None):
        """Take in some reference rows.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            Scaled rows.
        residuals : Tensor of shape (n_members, n_rows, n_features) or None
            Rows less what the generator makes of them, if the method makes anything.
        codes : Tensor of shape (n_members, n_rows, latent_dim) or None
            If it has codes.
        """
        rows = rows.double()
        self._rows.update(rows)
        if residuals is not None:
            residuals = residuals.double()
            self._made.update(rows - residuals)
            self._errors.append(residuals.square().sum(2))
        if codes is not None:
            self._codes.update(codes.double())

    def code_moments(self):
        """Mean (n_members, width) and covariance (n_members, width, width) of codes."""
        return self._codes.mean, self._codes.covariance

    @property
    def data_variance(self):
        """Total variance of the rows."""
        return float(self._rows.total_variance)

    def report(self):
        """Return diversity, latent usage and error of each member, and the unreachable.

        Returns
        -------
        dict
            Plain numbers and lists of them; None and empty lists of what a method
            does not have.
        """
        report = {"diversity": [], "latent_usage": [], "unreachable": None, "error": []}
        variance = self.data_variance
        if self._errors:
            errors = torch.cat(self._errors, dim=1)
            out_of_reach = errors > _OUT_OF_REACH * variance
            report["diversity"] = _shares(self._made.total_variance, variance)
            report["unreachable"] = round(float(out_of_reach.double().mean()), 4)
            report["error"] = _shares(errors.mean(1), self._rows.mean_square)
        if self._codes.n_rows:
            covariance = self._codes.covariance
            used = _participation(covariance) / covariance.shape[1]
            report["latent_usage"] = [round(value, 4) for value in used.tolist()]
        return report


class _Moments:
    """Sums over rows, from an origin near their mean.

    Differences of large squares would leave nothing of a small variance.

    Parameters
    ----------
    products : bool, default=False
        Whether products of columns are summed, too.
    """

    def __init__(self, products=False):
        self.n_rows = 0
        self._with_products = products
        self._origin = None
        self._sums = None

    def update(self, values):
        """Take in values of shape (..., n_rows, width)."""
        if self._origin is None:
            self._origin = values.mean(-2, keepdim=True)
        values = values - self._origin
        if self._with_products:
            second = values.mT @ values
        else:
            second = values.square().sum((-2, -1))
        moments = values.sum(-2), second
        self.n_rows += values.shape[-2]
        self._sums = (
            moments
            if self._sums is None
            else tuple(a + b for a, b in zip(self._sums, moments, strict=True))
        )

    @property
    def mean(self):
        return self._origin.squeeze(-2) + self._sums[0] / self.n_rows

    @property
    def covariance(self):
        mean, products = (part / self.n_rows for part in self._sums)
        return products - mean[..., :, None] * mean[..., None, :]

    @property
    def total_variance(self):
        sums, squares = self._sums
        return (
            squares / self.n_rows - (sums / self.n_rows).square().sum(-1)
        ).clamp_min(0)

    @property
    def mean_square(self):
        """Mean squared length of rows."""
        origin, (sums, squares) = self._origin.squeeze(-2), self._sums
        shift = 2 * (sums @ origin) / self.n_rows + origin @ origin
        return float(squares / self.n_rows + shift)


def generator_failure(diversity, distance):
    """A finding on generators whose samples are unlike the data, or None.

    Parameters
    ----------
    diversity, distance : list of float
        See :func:`compare_samples`.
    """
    figures = _unlike(diversity, distance)
    if figures is None:
        return None
    return Finding(
        "collapsed",
        "What the generator makes is unlike the training rows: its diversity and "
        f"distance, ideally 1 and 0, are {figures}.",
        "Train for longer with max_steps, lower learning_rate, or pass more rows.",
    )


def too_short(n_steps, enough, diversity=None, distance=None):
    """A finding on a training that could not work, or None.

    Parameters
    ----------
    n_steps, enough : int
        Steps that were taken, and from which on such a training can be judged.
    diversity, distance : list of float or None, default=None
        See :func:`compare_samples`; if given, these have to be bad, too.
    """
    if n_steps >= enough:
        return None
    figures = ""
    if diversity is not None:
        unlike = _unlike(diversity, distance)
        if unlike is None:
            return None
        figures = (
            f", and what the generator makes is unlike the training rows: its "
            f"diversity and distance, ideally 1 and 0, are {unlike}"
        )
    return Finding(
        "too_short",
        f"These networks were trained for {n_steps} steps, too few to have learned "
        f"anything{figures}.",
        f"Pass max_steps={enough} or more.",
    )


def not_judged(n_steps, enough):
    """A note on a generator that was trained for too few steps to be judged."""
    return Finding(
        "not_judged",
        f"The generator was trained for {n_steps} steps, too few to tell whether it "
        "has collapsed.",
        f"Pass max_steps={enough} or more.",
    )


def hardly_trained(n_steps, enough):
    """A note on networks that have hardly been trained."""
    return Finding(
        "not_judged",
        f"The networks were trained for {n_steps} steps, too few to tell whether they "
        "learn.",
        f"Leave max_steps at 'auto', or pass {enough} or more.",
    )


def interrupted(label, n_steps, asked):
    """A finding on a training that the user ended."""
    return Finding(
        "interrupted",
        f"{label} was interrupted after {n_steps} of {asked} steps; the detector is "
        "fitted on what was done.",
        "Fit again for the whole training.",
    )


def _unlike(diversity, distance):
    """The figures of the members whose samples are unlike the data, or None."""
    failed = [
        k
        for k, (spread, apart) in enumerate(zip(diversity, distance, strict=True))
        # Not so for NaN either.
        if not (_DIVERSITY[0] <= spread <= _DIVERSITY[1] and apart <= _DISTANCE)
    ]
    if not failed:
        return None
    return ", ".join(
        f"{diversity[k]:.2g} and {distance[k]:.2g} for member {k}" for k in failed
    )


def never_wrong(losses):
    """A finding on a discriminator whose cross-entropy is next to nothing, or None.

    Parameters
    ----------
    losses : dict of str to float
        The last of each loss.
    """
    loss = losses.get("discriminator", 1.0)
    if loss >= _NEVER_WRONG:
        return None
    return Finding(
        "one_sided",
        f"The discriminator is never wrong (its loss is {loss:.2g}), so the generator "
        "learns nothing from it.",
        'Lower its step size with net_params={"optimizer_d__lr": 1e-4}, or make it '
        "smaller.",
    )


def divergence(error, n_steps, learning_rate):
    """A finding on networks whose residuals have exploded, or None.

    Parameters
    ----------
    error : list of float
        For each member the mean squared residual over the mean square of the rows.
    n_steps : int
        Steps of the training.
    learning_rate : float
    """
    # What networks make of rows at first may be a few times as large as these.
    bound = _EXPLODED if n_steps >= _SETTLED else _EXPLODED_EARLY
    # Not so for NaN either.
    if all(share <= bound for share in error):
        return None
    return Finding(
        "diverged",
        f"Training diverged: the mean squared residual is {max(error):.2g} times the "
        "mean square of the rows, and once that for networks that have learned "
        "nothing.",
        f"Lower learning_rate, which is {learning_rate:g}.",
    )


def too_few_references(n_references, rate, *, groups):
    """A finding on a rate that so few scores cannot promise, or None.

    Parameters
    ----------
    n_references : int
        Number of reference scores.
    rate : float
        Share of new normal rows that may be flagged.
    groups : bool
        Whether the scores are of groups of rows.
    """
    if not too_few(n_references, rate):
        return None
    kind = "groups of rows" if groups else "rows"
    return Finding(
        "too_few",
        highest_of(n_references, kind, rate),
        f"Pass {math.ceil(round(1 / rate, 6)) - 1} {kind} or more, raise "
        "false_alarm_rate, or set threshold='tail'.",
    )


def falling_losses(history):
    """Names of the reconstruction's losses that had not come to rest.

    Parameters
    ----------
    history : list of dict
        Epochs, in order.

    Returns
    -------
    list of str
        Empty where there are too few epochs to say.
    """
    falling = []
    names = {name for epoch in history for name in epoch if "reconstruction" in name}
    for name in sorted(names):
        values = [epoch[name] for epoch in history if name in epoch]
        quarter = len(values) // 4
        if not quarter:
            continue
        before = sum(values[-2 * quarter : -quarter]) / quarter
        last = sum(values[-quarter:]) / quarter
        if last < (1 - _STILL_FALLING) * before:
            falling.append(name)
    return falling


def still_falling(names):
    """A note on losses that had not come to rest."""
    return Finding(
        "still_falling",
        f"At the end of the training {' and '.join(names)} still fell by more than "
        f"{_STILL_FALLING:.0%} over its last quarter.",
        "More steps make reconstructions sharper; whether they make the ranking better "
        "only labelled rows can tell.",
    )


def constant_rows():
    """A finding on training rows that are all equal."""
    return Finding(
        "constant",
        "All training rows are equal, so there is nothing to learn, and whatever "
        "differs is an anomaly.",
        "Check how X was read and whether it was scaled to nothing.",
    )


def dead_columns(n_dead, n_columns):
    """A note on columns that have one value only."""
    return Finding(
        "dead_columns",
        f"{n_dead} of {n_columns} columns have one value in all training rows.",
        "Drop them, unless another value in one of them is what you look for.",
    )


def whole_images(input_shape):
    """A note on images so large that a small defect may be what is looked for.

    No warning, as the size does not tell: the object as a whole may be.
    """
    sides = input_shape[1:]
    if len(sides) != 2 or min(sides) <= _LARGEST_SIDE:
        return None
    return Finding(
        "whole_images",
        f"Images of {sides[0]} x {sides[1]} pixels are scored as wholes.",
        "If a defect of a few pixels is what you look for, the score hardly moves; use "
        "skganomaly.images.ImageDetector.",
    )


def _shares(values, whole):
    if whole <= 0:
        return [1.0] * len(values)
    return [round(value / whole, 4) for value in values.tolist()]


def _participation(covariance):
    """How many directions vary: (sum of eigenvalues)^2 over the sum of their squares.

    Between 1, and the width if all directions vary alike.
    """
    trace = covariance.diagonal(dim1=1, dim2=2).sum(1)
    squares = covariance.square().sum((1, 2))
    return trace.square() / squares.clamp_min(torch.finfo(squares.dtype).tiny)
