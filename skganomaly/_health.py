"""Is what was trained any good? A few figures that say so, and words for them."""

import torch

__all__ = ["HealthRecord", "certainty", "collapse", "diversity", "last_losses"]

# Generated rows with less than this share of the data's variance have collapsed.
_COLLAPSED = 0.1
# A cross-entropy below this is that of a discriminator that is never wrong.
_NEVER_WRONG = 1e-3
# A row is out of reach where its squared residual is above this share of the variance.
_OUT_OF_REACH = 0.5

# Entries of a history that are not losses.
_BOOKKEEPING = {"dur", "epoch", "n_steps", "train_loss"}


class HealthRecord:
    """Collects, chunk by chunk, what the report on a training is made of."""

    def __init__(self):
        self._chunks = []
        self._codes = None

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
        return mean, products - mean[:, :, None] * mean[:, None]

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


def diversity(generated, data_variance):
    """Total variance of generated rows as a share of the data's.

    Parameters
    ----------
    generated : Tensor of shape (n_members, n_rows, ...)
    data_variance : float

    Returns
    -------
    list of float
        For each member; 1 where the data do not vary.
    """
    rows = generated.flatten(2).double()
    variance = _total_variance(rows.sum(1), rows.square().sum((1, 2)), rows.shape[1])
    return _shares(variance, data_variance)


def collapse(diversity):
    """Words for generators whose output hardly varies, or None.

    Parameters
    ----------
    diversity : list of float
        Share of the data's variance, for each member.
    """
    collapsed = [k for k, share in enumerate(diversity) if share < _COLLAPSED]
    if not collapsed:
        return None
    shares = ", ".join(f"{100 * diversity[k]:.2g} %" for k in collapsed)
    return (
        f"The generator of member {', '.join(map(str, collapsed))} has collapsed: what "
        f"it makes has {shares} of the variance of the training rows. Train for longer "
        "with max_steps, lower learning_rate, pass more rows, or try another "
        "random_state."
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


def last_losses(history):
    """The last value of every loss in a history."""
    losses = {}
    for epoch in history:
        losses |= {name: v for name, v in epoch.items() if name not in _BOOKKEEPING}
    return {name: v for name, v in losses.items() if isinstance(v, float)}


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
