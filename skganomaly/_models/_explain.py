"""What each entry of a row does to a score: integrated gradients that add up."""

import torch

__all__ = ["integrated_gradients", "shares_of_squares"]

_TINY_SUM = 1e-30
_TINY_SQUARES = 1e-12


def integrated_gradients(score, rows, baseline, n_steps):
    """Contributions of entries to the change of a score from a baseline to rows.

    A gradient does not see the jumps of a score, such as those where another row
    becomes the nearest. What a stretch of the line changes in the score beyond its
    gradients is divided in proportion to the sizes of what these say, so that the
    contributions of all stretches add up to the whole change.

    Parameters
    ----------
    score : callable
        From rows to scores of shape (n_rows,).
    rows, baseline : Tensor of shape (n_rows, ...)
    n_steps : int
        Points on the line at which the gradient is taken.

    Returns
    -------
    Tensor of shape (n_rows, ...)
    """

    def value(point):
        with torch.set_grad_enabled(point.requires_grad):
            return score(point)

    change = rows - baseline
    total = torch.zeros_like(change)
    before, slope = value(baseline), None
    for step in range(n_steps):
        share = (step + 0.5) / n_steps
        point = (baseline + share * change).requires_grad_()
        here = value(point)
        gradient = torch.autograd.grad(here.sum(), point)[0]
        # From the middle of the last step to the middle of this one.
        steps = [gradient] if slope is None else [slope, gradient]
        total += _complete(
            sum(steps) * change / (2 * n_steps), change, here.detach() - before
        )
        before, slope = here.detach(), gradient
    last = slope * change / (2 * n_steps)
    return total + _complete(last, change, value(rows) - before)


def shares_of_squares(score, rows, baseline):
    """Divide the change of a score in proportion to squared differences.

    The same as :func:`integrated_gradients` where there are no gradients.
    """
    with torch.no_grad():
        gain = score(rows) - score(baseline)
        squares = (rows - baseline).square()
        total = squares.flatten(1).sum(1).clamp_min(_TINY_SQUARES)[:, None]
        shares = squares.flatten(1) / total
        return shares.view_as(squares) * gain.view(-1, *[1] * (rows.ndim - 1))


def _complete(parts, change, gain):
    """Add to first-order parts of a gain what they lack.

    In proportion to their sizes; where there are none, to squared changes.
    """
    flat, squares = parts.flatten(1), change.flatten(1).square()
    sizes = flat.abs()
    sizes = torch.where(sizes.sum(1, keepdim=True) > 0, sizes, squares)
    shares = sizes / sizes.sum(1, keepdim=True).clamp_min(_TINY_SUM)
    missing = gain - flat.sum(1)
    return (flat + shares * missing[:, None]).view_as(parts)
