"""AnoGAN's search for the code that generates the row most like a given one.

Many rows are searched for at once, and none of them notices the others: the objective
is a sum over rows, and Adam keeps its moments for every entry of every code. The
networks are frozen, so only codes have gradients.
"""

import torch
from torch import Tensor, nn

from ..cuda import recorded
from ..losses import mean_size
from ._products import aligned_product

__all__ = ["CandidateCodes", "LatentSearch"]


class LatentSearch:
    r"""Gradient descent on the codes of rows, with frozen networks.

    A code :math:`z` of a row :math:`x` descends

    .. math::

        (1 - w) \, \lvert x - G(z) \rvert + w \, \lvert f(x) - f(G(z)) \rvert
        + v \, z^2,

    means over the entries, with the features :math:`f` of the discriminator. Each row
    keeps the code with the lowest value it passed, its start included, so a search
    never makes matters worse.

    Parameters
    ----------
    options : object
        Such as those of :mod:`skganomaly.searches`: ``n_steps`` of Adam, of which 0
        only choose the best start; its ``learning_rate``, in units of the codes;
        ``residual_loss``, "l1" or "l2", for rows and features alike; and the weights
        :math:`w`, ``feature_weight``, and :math:`v`, ``prior_weight``.

    References
    ----------
    .. [1] T. Schlegl et al., "Unsupervised anomaly detection with generative
       adversarial networks to guide marker discovery", IPMI 2017, arXiv:1703.05921.
    """

    def __init__(self, options):
        self.options = options

    def objective(self, generator, features, x, z, target=None) -> Tensor:
        """What a search descends, shape (n_members, n_rows).

        Parameters
        ----------
        generator, features : callable
            The networks: codes to rows, rows to features.
        x : Tensor of shape (n_members, n_rows, ...)
        z : Tensor of shape (n_members, n_rows, latent_dim)
        target : Tensor of shape (n_members, n_rows, ...) or None, default=None
            The features of ``x``, where they are known.
        """
        weight, prior = self.options.feature_weight, self.options.prior_weight
        generated = generator(z)
        value = (1 - weight) * self._difference(x, generated)
        if weight:
            target = features(x).detach() if target is None else target
            value = value + weight * self._difference(target, features(generated))
        if prior:
            value = value + prior * z.square().mean(2)
        return value

    def _difference(self, a, b):
        return mean_size(a - b, self.options.residual_loss)

    def __call__(self, generator, features, x: Tensor, starts: Tensor) -> Tensor:
        """Search from every start of every row.

        Parameters
        ----------
        generator, features : callable
            The networks, frozen and in evaluation mode.
        x : Tensor of shape (n_members, n_rows, ...)
            Rows to find.
        starts : Tensor of shape (n_members, n_rows, n_starts, latent_dim)
            Codes to start from.

        Returns
        -------
        Tensor of shape (n_members, n_rows, latent_dim)
            The best code of each row, without a gradient.
        """
        n_members, n_rows, n_starts, latent_dim = starts.shape
        # Scoring runs in inference mode, whose tensors can have no gradient.
        with torch.inference_mode(False), torch.enable_grad():
            x = x.detach().clone().repeat_interleave(n_starts, dim=1)
            z = starts.detach().clone().flatten(1, 2).requires_grad_()
            with torch.no_grad():
                target = features(x) if self.options.feature_weight else None
            # Alike, whether steps are recorded or not.
            optimizer = torch.optim.Adam(
                [z], self.options.learning_rate, fused=z.is_cuda or None
            )
            best = z.detach().clone()
            lowest = best.new_full(best.shape[:2], torch.inf)

            def look():
                value = self.objective(generator, features, x, z, target)
                better = value.detach() < lowest
                lowest.copy_(torch.where(better, value.detach(), lowest))
                best.copy_(torch.where(better[:, :, None], z.detach(), best))
                return value

            def descend():
                (z.grad,) = torch.autograd.grad(look().sum(), z)
                optimizer.step()

            step = recorded(descend, [optimizer], x.device)
            for _ in range(self.options.n_steps):
                step()
            # Once more than there are steps, as the end of the last one may be best.
            with torch.no_grad():
                look()
        chosen = lowest.view(n_members, n_rows, n_starts).argmin(2)
        best = best.view(n_members, n_rows, n_starts, latent_dim)
        place = chosen[:, :, None, None].expand(-1, -1, -1, latent_dim)
        return best.gather(2, place)[:, :, 0]


class CandidateCodes(nn.Module):
    """Codes drawn once, from which every search starts.

    Parameters
    ----------
    codes : Tensor of shape (n_members, n_candidates, latent_dim)
        Draws from the prior of the codes.
    """

    def __init__(self, codes):
        super().__init__()
        self.register_buffer("codes", codes)
        self._rows = None

    def _apply(self, fn, recurse=True):
        self._rows = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args):
        # They are of another generator.
        self._rows = None
        super()._load_from_state_dict(*args)

    def same_for_all(self, n_rows):
        """All codes for every row, (n_members, n_rows, n_candidates, latent_dim)."""
        return self.codes[:, None].expand(-1, n_rows, -1, -1)

    def nearest(self, generator, x: Tensor, n_nearest) -> Tensor:
        """The codes whose generated rows are nearest to rows in squared error.

        Parameters
        ----------
        generator : callable
            Frozen and in evaluation mode: what it generates is kept from call to call.
        x : Tensor of shape (n_members, n_rows, ...)
        n_nearest : int

        Returns
        -------
        Tensor of shape (n_members, n_rows, n_nearest, latent_dim)
        """
        if self._rows is None:
            with torch.no_grad():
                # In blocks, as the intermediate layers of many images are large.
                blocks = [generator(part) for part in self.codes.split(256, dim=1)]
            rows = torch.cat([block.flatten(2) for block in blocks], dim=1)
            self._rows = rows, rows.square().sum(2)[:, None]
        rows, norms = self._rows
        with torch.no_grad():
            distances = norms - 2 * aligned_product(x.flatten(2), rows.mT)
            indices = distances.topk(n_nearest, dim=2, largest=False).indices
        latent_dim = self.codes.shape[2]
        place = indices.flatten(1)[:, :, None].expand(-1, -1, latent_dim)
        return self.codes.gather(1, place).unflatten(1, indices.shape[1:])
