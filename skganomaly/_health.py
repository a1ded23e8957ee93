"""Is what was trained any good? A few figures that say so, and words for them."""

import torch

__all__ = [
    "HealthRecord",
    "certainty",
    "generator_failure",
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


class HealthRecord:
    """Collects, chunk by chunk, what the report on a training is made of."""

    def __init__(self):
        self._chunks = []
        self._codes = None
        self._origins = None

    def update(self, rows, residuals, codes):
        """Take in some reference rows.

        Parameters
        ----------
        rows : Tensor of shape (n_rows, n_features)
            Scaled rows.
        residuals : Tensor of shape (n_members, n_rows, n_features)
            Rows less what the generator makes of them.
        codes : Tensor of shape (n_members, n_rows, latent_dim)
        """
        rows, residuals = rows.double(), residuals.double()
        made = rows - residuals
        codes = codes.double()
        if self._origins is None:
            self._origins = rows.mean(0), made.mean(1, True), codes.mean(1, True)
        # Differences of large squares would leave nothing of a small variance.
        rows, made, codes = (
            values - origin
            for values, origin in zip((rows, made, codes), self._origins, strict=True)
        )
        moments = (
            rows.sum(0),
            rows.square().sum(),
            made.sum(1),
            made.square().sum((1, 2)),
            codes.sum(1),
            codes.mT @ codes,
        )
        sums = self._codes
        self._codes = (
            moments
            if sums is None
            else tuple(a + b for a, b in zip(sums, moments, strict=True))
        )
        self._chunks.append(residuals.square().sum(2))

    def code_moments(self):
        """Mean (n_members, width) and covariance (n_members, width, width) of codes."""
        n_rows = self._n_rows
        mean, products = self._codes[4] / n_rows, self._codes[5] / n_rows
        covariance = products - mean[:, :, None] * mean[:, None]
        return self._origins[2][:, 0] + mean, covariance

    @property
    def _n_rows(self):
        return sum(chunk.shape[1] for chunk in self._chunks)

    @property
    def data_variance(self):
        """Total variance of the rows."""
        return float(_total_variance(*self._codes[:2], self._n_rows))

    def report(self):
        """Return diversity and latent usage of each member, and what is out of reach.

        Returns
        -------
        dict
            Plain numbers and lists of them.
        """
        variance = self.data_variance
        errors = torch.cat(self._chunks, dim=1)
        out_of_reach = errors > _OUT_OF_REACH * variance
        _, covariance = self.code_moments()
        used = _participation(covariance) / covariance.shape[1]
        return {
            "diversity": _shares(
                _total_variance(*self._codes[2:4], self._n_rows), variance
            ),
            "latent_usage": [round(value, 4) for value in used.tolist()],
            "unreachable": round(float(out_of_reach.double().mean()), 4),
        }


def generator_failure(diversity, distance):
    """Words for generators whose samples are unlike the data, or None.

    Parameters
    ----------
    diversity, distance : list of float
        See :func:`compare_samples`.
    """
    failed = [
        k
        for k, (spread, apart) in enumerate(zip(diversity, distance, strict=True))
        if not (_DIVERSITY[0] <= spread <= _DIVERSITY[1] and apart <= _DISTANCE)
    ]
    if not failed:
        return None
    figures = ", ".join(
        f"{diversity[k]:.2g} and {distance[k]:.2g} for member {k}" for k in failed
    )
    return (
        "What the generator makes is unlike the training rows: its diversity and "
        f"distance, ideally 1 and 0, are {figures}. Train for longer with max_steps, "
        "lower learning_rate, or pass more rows."
    )


def certainty(losses):
    """Words for a discriminator whose cross-entropy is next to nothing, or None.

    Parameters
    ----------
    losses : dict of str to float
        The last of each loss.
    """
    loss = losses.get("discriminator", 1.0)
    if loss >= _NEVER_WRONG:
        return None
    return (
        f"The discriminator is never wrong (its loss is {loss:.2g}), so the generator "
        "learns nothing from it. Lower its step size with "
        'net_params={"optimizer_d__lr": 1e-4}, or make it smaller.'
    )


def _total_variance(sums, square_sum, n_rows):
    """Sum of the columns' variances, from sums over the rows."""
    return (square_sum / n_rows - (sums / n_rows).square().sum(-1)).clamp_min(0)


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
