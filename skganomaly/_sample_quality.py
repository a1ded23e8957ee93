"""How what a generator makes compares with the data, by distances between rows."""

__all__ = ["N_SAMPLES", "compare_samples", "n_compared"]

# Rows and samples that are compared: all that there are where rows have up to so many
# values, and fewer, but no fewer than that, where they have more, so that comparing
# them takes no longer.
N_SAMPLES = 512
_N_VALUES = 2048
_FEWEST = 64


def n_compared(width):
    """How many rows of ``width`` values to compare with as many samples."""
    affordable = int(N_SAMPLES * min(1.0, (_N_VALUES / width) ** 0.5))
    return max(_FEWEST, affordable)


def compare_samples(samples, rows):
    """Compare what generators make with the data, by distances between rows.

    Parameters
    ----------
    samples : Tensor of shape (n_members, n_samples, ...)
    rows : Tensor of shape (n_rows, ...)

    Returns
    -------
    dict
        For each member "diversity", the mean distance between two samples as a share of
        that between two rows, and "distance", the energy distance [1]_ of samples and
        rows in the same unit: 0 if they have the same distribution.

    References
    ----------
    .. [1] G. J. Szekely and M. L. Rizzo, "Energy statistics: A class of statistics
       based on distances", Journal of Statistical Planning and Inference 143, 2013,
       doi:10.1016/j.jspi.2013.03.018.
    """
    rows = rows.flatten(1).double()
    samples = samples.flatten(2)
    if (rows == rows[0]).all():
        return {"diversity": [1.0] * len(samples), "distance": [0.0] * len(samples)}
    unit = _mean_distance(rows, rows)
    diversity, distance = [], []
    for made in samples:
        made = made.double()
        within = _mean_distance(made, made) / unit
        between = _mean_distance(made, rows) / unit
        diversity.append(round(within, 4))
        distance.append(round(2 * between - within - 1, 4))
    return {"diversity": diversity, "distance": distance}


def _mean_distance(a, b):
    """Mean distance between two rows; without those of a row to itself."""
    # As products, which cost a fraction of differences. Centred and in double
    # precision these lose nothing that matters.
    centre = b.mean(0)
    a, same, b = a - centre, a is b, b - centre
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    if same:
        squares.fill_diagonal_(0)
    distances = squares.clamp_min(0).sqrt()
    n_pairs = distances.numel() - (len(a) if same else 0)
    return float(distances.sum()) / max(n_pairs, 1)
