"""Parts that scores are tested on, and options of the local score."""

import numpy as np
import torch

ROWS = {
    "row_weight": 0.5,
    "whiten": True,
    "use_nearest": True,
    "n_scale_neighbors": 10,
    "exponent": 0.5,
}
MAPS = {
    "row_weight": 0.0,
    "whiten": False,
    "use_nearest": False,
    "n_scale_neighbors": 50,
    "exponent": 0.75,
}


def make_parts(n_rows=60, seed=0, n_members=2):
    """Correlated residual vectors, 4 columns in two parts, with offsets."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(n_members, 4, 4))
    joined = rng.normal(size=(n_members, n_rows, 4)) @ mixing + [1, -2, 0.5, 3]
    return split(joined)


def split(joined, width=3):
    """Parts "a" and "b" of joined vectors, and a "row" that all members share."""
    joined = torch.as_tensor(joined).float()
    row = joined[:1, :, [1, -1]].exp().clamp_max(1e5)
    return {"a": joined[..., :width], "b": joined[..., width:], "row": row}


def join(parts):
    return torch.cat([parts["a"], parts["b"]], dim=2).double().numpy()


def take(parts, rows):
    return {name: part[:, rows] for name, part in parts.items()}


def n_rows_of(parts):
    return parts["a"].shape[1]


def unseen(n_rows):
    """No row is a reference."""
    return torch.full((n_rows,), -1)


def score_rows(score, parts, own=None):
    own = unseen(n_rows_of(parts)) if own is None else own
    return score(parts, own).double().numpy()
