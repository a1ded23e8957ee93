"""Seeded anomalies: tables of four kinds, and images with defects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from sklearn.datasets import load_digits
from sklearn.utils import Bunch, check_random_state, check_scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    _Floats: TypeAlias = NDArray[np.float64]

TableKind: TypeAlias = Literal["global", "local", "cluster", "dependency"]
TABLE_KINDS: tuple[TableKind, ...] = get_args(TableKind)
_DefectKind: TypeAlias = Literal["patch", "erasure", "stroke"]
_DEFECT_KINDS: tuple[_DefectKind, ...] = get_args(_DefectKind)

# How far anomalies stray: enough to be found, not enough to be obvious. Global ones
# stay easy beyond a few columns, whatever the factor: a box has many corners.
_GLOBAL_ENLARGEMENT = 1.1
_LOCAL_COVARIANCE_FACTOR = 5.0
_CLUSTER_SHIFT = 4.0
_DEPENDENCY_POOL = 1000


def make_anomalies(
    n_samples: int = 1000,
    n_features: int = 10,
    *,
    kind: TableKind = "global",
    contamination: float = 0.1,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[_Floats, NDArray[np.int64]]:
    """Draw a table with one of the four kinds of anomaly told apart by ADBench.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of rows, normal and anomalous together; at least 2.
    n_features : int, default=10
        Number of columns; at least 2 for ``kind="dependency"``.
    kind : {"global", "local", "cluster", "dependency"}, default="global"
        How the anomalies differ from the normal rows:

        - "global": uniform over the normal rows' range in each column, enlarged by
          10 %;
        - "local": same means, covariances multiplied by 5;
        - "cluster": same covariances, each mean shifted in a direction of its own by
          4 standard deviations (Mahalanobis distance);
        - "dependency": each column distributed as for normal rows, but the columns
          independent of each other.

    contamination : float in (0, 0.5], default=0.1
        Share of anomalies; at least one row is an anomaly.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        The rows, shuffled.
    y : ndarray of shape (n_samples,)
        1 for normal rows, -1 for anomalies.

    Notes
    -----
    Normal rows of the first three kinds come from a mixture of three Gaussians with
    unequal weights and correlated columns. For "dependency" they lie near a curved
    surface: a third as many latent variables as columns, mixed linearly and through a
    hyperbolic tangent, plus noise. ADBench fits its mixtures and copulas to real
    tables instead; only the four ideas are the same.

    References
    ----------
    .. [1] S. Han, X. Hu, H. Huang, M. Jiang, Y. Zhao, "ADBench: Anomaly Detection
       Benchmark", NeurIPS 2022. :doi:`10.48550/arXiv.2206.09426`

    Examples
    --------
    >>> from skganomaly.datasets import make_anomalies
    >>> X, y = make_anomalies(200, 5, kind="local", random_state=0)
    >>> X.shape, int((y == -1).sum())
    ((200, 5), 20)
    """
    _check_option("kind", kind, TABLE_KINDS)
    n_anomalies = _n_anomalies(n_samples, contamination)
    minimum = 2 if kind == "dependency" else 1
    check_scalar(n_features, "n_features", (int, np.integer), min_val=minimum)
    rng = check_random_state(random_state)
    n_normal = n_samples - n_anomalies
    if kind == "dependency":
        draw = _curved_surface(n_features, rng)
        normal = draw(n_normal)
        # Columns are picked from a pool much larger than their number, so that even
        # a single anomaly mixes values of different rows.
        pool = draw(n_anomalies + _DEPENDENCY_POOL)
        columns = [rng.permutation(column)[:n_anomalies] for column in pool.T]
        anomalous = np.column_stack(columns)
    else:
        weights, means, factors = _mixture(n_features, rng)
        normal = _draw_mixture(n_normal, weights, means, factors, rng)
        if kind == "global":
            low, high = normal.min(axis=0), normal.max(axis=0)
            centre, half = (low + high) / 2, (high - low) / 2 * _GLOBAL_ENLARGEMENT
            anomalous = rng.uniform(
                centre - half, centre + half, size=(n_anomalies, n_features)
            )
        else:
            if kind == "local":
                factors = factors * np.sqrt(_LOCAL_COVARIANCE_FACTOR)
            else:
                direction = rng.standard_normal(means.shape)
                direction /= np.linalg.norm(direction, axis=1, keepdims=True)
                means = means + _CLUSTER_SHIFT * np.einsum(
                    "kij,kj->ki", factors, direction
                )
            anomalous = _draw_mixture(n_anomalies, weights, means, factors, rng)
    X = np.vstack([normal, anomalous])
    y = np.repeat([1, -1], [n_normal, n_anomalies])
    order = rng.permutation(n_samples)
    return X[order], y[order]


def make_image_anomalies(
    n_samples: int = 1000,
    *,
    kind: _DefectKind | Literal["mixed"] = "mixed",
    contamination: float = 0.1,
    images: ArrayLike | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw images of which some carry a defect, with the defect's pixels.

    Parameters
    ----------
    n_samples : int, default=1000
        Number of images, drawn without replacement; at most 1797 for the bundled ones.
    kind : {"mixed", "patch", "erasure", "stroke"}, default="mixed"
        The defect: a block of noise, a block set to the image's darkest value, a line
        one pixel wide in a contrasting brightness, or one of these at random.
    contamination : float in (0, 0.5], default=0.1
        Share of images with a defect; at least one.
    images : array-like of shape (n_images, height, width) or None, default=None
        Images without defects to draw from, at least 4 pixels high and wide. By
        default scikit-learn's 8x8 digits, scaled to [0, 1].
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes:

        - images : ndarray of shape (n_samples, height, width), the images;
        - originals : ndarray of the same shape, the same images without defects;
        - masks : boolean ndarray of the same shape, True where the two differ;
        - data : ndarray of shape (n_samples, height * width), `images` as flat rows;
        - target : ndarray of shape (n_samples,), 1 for intact images, -1 for defects;
        - kinds : ndarray of str of shape (n_samples,), the defect, or "none".

    Examples
    --------
    >>> from skganomaly.datasets import make_image_anomalies
    >>> bunch = make_image_anomalies(100, kind="stroke", random_state=0)
    >>> bunch.images.shape, int((bunch.target == -1).sum())
    ((100, 8, 8), 10)
    """
    _check_option("kind", kind, (*_DEFECT_KINDS, "mixed"))
    n_anomalies = _n_anomalies(n_samples, contamination)
    if images is None:
        images = load_digits().images / 16.0
    images = np.asarray(images, dtype=np.float64)
    if images.ndim != 3 or min(images.shape[1:]) < 4 or not np.isfinite(images).all():
        raise ValueError(
            "`images` must be finite and of shape (n_images, height, width), at least "
            f"4 pixels high and wide, got shape {images.shape}."
        )
    if n_samples > len(images):
        raise ValueError(
            f"n_samples={n_samples}, but there are only {len(images)} images to draw."
        )
    rng = check_random_state(random_state)
    originals = images[rng.permutation(len(images))[:n_samples]]
    damaged = originals.copy()
    kinds = np.full(n_samples, "none", dtype="<U7")
    for index in rng.permutation(n_samples)[:n_anomalies]:
        kinds[index] = rng.choice(_DEFECT_KINDS) if kind == "mixed" else kind
        _add_defect(damaged[index], kinds[index], rng)
    return Bunch(
        images=damaged,
        originals=originals,
        masks=damaged != originals,
        data=damaged.reshape(n_samples, -1),
        target=np.where(kinds == "none", 1, -1),
        kinds=kinds,
    )


def _check_option(name: str, value: str, options: Sequence[str]) -> None:
    if value not in options:
        raise ValueError(f"{name} must be one of {list(options)}, got {value!r}.")


def _n_anomalies(n_samples: int, contamination: float) -> int:
    check_scalar(n_samples, "n_samples", (int, np.integer), min_val=2)
    check_scalar(
        contamination,
        "contamination",
        (float, np.floating),
        min_val=0,
        max_val=0.5,
        include_boundaries="right",
    )
    return max(1, round(contamination * n_samples))


def _mixture(
    n_features: int, rng: np.random.RandomState, n_components: int = 3
) -> tuple[_Floats, _Floats, _Floats]:
    """Return weights, means and covariance factors of a mixture of Gaussians."""
    weights = rng.dirichlet(np.full(n_components, 5.0))
    means = rng.normal(scale=2.0, size=(n_components, n_features))
    factors = rng.standard_normal((n_components, n_features, n_features))
    factors /= np.sqrt(n_features)
    # A ridge keeps every covariance well conditioned.
    factors += 0.3 * np.eye(n_features)
    return weights, means, factors


def _draw_mixture(
    n_samples: int,
    weights: _Floats,
    means: _Floats,
    factors: _Floats,
    rng: np.random.RandomState,
) -> _Floats:
    component = rng.choice(len(weights), size=n_samples, p=weights)
    X = rng.standard_normal((n_samples, means.shape[1]))
    for index, (mean, factor) in enumerate(zip(means, factors, strict=True)):
        mine = component == index
        X[mine] = X[mine] @ factor.T + mean
    return X


def _curved_surface(
    n_features: int, rng: np.random.RandomState
) -> Callable[[int], _Floats]:
    """Return a function that draws rows near one fixed curved surface."""
    n_latent = max(1, n_features // 3)
    bend = 2.0 * rng.standard_normal((n_latent, n_features))
    slope = 0.5 * rng.standard_normal((n_latent, n_features))

    def draw(n_samples: int) -> _Floats:
        latent = rng.standard_normal((n_samples, n_latent))
        noise = 0.4 * rng.standard_normal((n_samples, n_features))
        return np.tanh(latent @ bend) + latent @ slope + noise

    return draw


def _add_defect(image: _Floats, kind: str, rng: np.random.RandomState) -> None:
    """Damage one image in place; at least one pixel changes."""
    height, width = image.shape
    low, high = image.min(), image.max()
    if low == high:
        raise ValueError("An image of one constant value cannot carry a defect.")
    if kind == "stroke":
        # From edge to edge; contrasting, or a white line would vanish on white.
        start, stop = rng.uniform(0, height - 1, size=2)
        rows = np.linspace(start, stop, 2 * max(image.shape))
        columns = np.linspace(0, width - 1, len(rows))
        line = np.round(rows).astype(int), np.round(columns).astype(int)
        if rng.uniform() < 0.5 and height == width:
            line = line[::-1]
        image[line] = np.where(image[line] > (low + high) / 2, low, high)
        return
    size = max(2, round(min(image.shape) * 0.3))
    # Centred on a bright pixel, so that an erasure always erases something.
    candidates = np.argwhere(image > (low + high) / 2)
    row, column = candidates[rng.randint(len(candidates))]
    top = np.clip(row - size // 2, 0, height - size)
    left = np.clip(column - size // 2, 0, width - size)
    block = image[top : top + size, left : left + size]
    block[:] = low if kind == "erasure" else rng.uniform(low, high, size=block.shape)
