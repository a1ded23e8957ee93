"""Whether training steps say what later steps will be like."""

import warnings

import numpy as np

# Standard deviation of the median of n normal scores, in interquartile ranges over the
# square root of n.
_MEDIAN = 0.93
# Share that outer blocks are judged by, at least.
_LEVEL = 0.2
# Blocks with fewer scores say nothing.
_LEAST_SCORES = 10


def held_out_rates(blocks, rate):
    """Share of each block's scores above the cut that other inner blocks give.

    Inner blocks lie between steps that their clone was trained on; new steps come
    after all that is known, as the last block does.

    Parameters
    ----------
    blocks : list of ndarray
        Scores of each block, held out, in the order of time.
    rate : float
        Share of the others' scores above their cut.

    Returns
    -------
    ndarray of shape (n_blocks,)
        On average about `rate` if blocks are alike.
    """
    shares = []
    everything = range(len(blocks))
    for i, block in enumerate(blocks):
        others = [j for j in everything[1:-1] if j != i]
        others = others or [j for j in everything if j != i]
        known = np.concatenate([blocks[j] for j in others])
        shares.append(np.mean(block > np.quantile(known, 1 - rate)))
    return np.array(shares)


def warn_of_drift(blocks, rates, rate, length):
    """Warn if blocks of training steps differ more than chance makes them.

    Parameters
    ----------
    blocks : list of ndarray
        Scores of windows of each block, held out, in the order of time.
    rates : ndarray of shape (n_blocks,)
        From :func:`held_out_rates`.
    rate : float
        The share promised.
    length : int
        Steps of a window. Windows count as independent if they share less than half.
    """
    quarters = np.array([np.quantile(block, [0.25, 0.5, 0.75]) for block in blocks])
    width = np.mean(quarters[:, 2] - quarters[:, 0])
    spread = np.ptp(quarters[:, 1])
    n_scores = min(len(block) for block in blocks)
    n_independent = max(1, 2 * (n_scores + length - 1) / (length + 1))
    # About how far apart the highest and the lowest of so many normal draws can be.
    limit = 2 * np.sqrt(2 * np.log(len(blocks))) + 1.5
    limit *= _MEDIAN * width / np.sqrt(n_independent)
    chance = np.sqrt(rate * (1 - rate) / n_independent)
    differ = spread > limit and rates.max() > rate + 3 * chance
    # A trend leaves what is in the middle between what is at both ends. High scores
    # come together, so their share says more if there are many of them.
    level = max(rate, _LEVEL)
    ends = held_out_rates(blocks, level)[[0, -1]].min()
    trend = ends > level + 3 * np.sqrt(level * (1 - level) / n_independent)
    if n_scores < _LEAST_SCORES or not width or not (differ or trend):
        return
    outer = (rates[0] + rates[-1]) / 2
    inner = f" (the inner ones {rates[1:-1].mean():.0%})" if len(rates) > 2 else ""
    shares = ", ".join(f"{share:.0%}" for share in rates)
    warnings.warn(
        "The training steps are not alike from beginning to end: judged by other inner "
        f"blocks, {shares} of the {len(rates)} blocks' windows would be flagged, where "
        f"{rate:.0%} is promised; {outer:.0%} of the outer blocks{inner}. Expect the "
        "share of new steps flagged to be far from the promise, above it or below. If "
        "the metric drifts, use skganomaly.timeseries.AdaptiveThreshold, or take "
        "differences first; if not, train on more seasons.",
        UserWarning,
        stacklevel=2,
    )
