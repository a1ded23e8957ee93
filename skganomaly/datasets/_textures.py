"""Seeded textures such as surfaces have, and small defects in some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from scipy import ndimage
from sklearn.utils import Bunch, check_scalar

from .._seed import draw_seed
from ._generated import _check_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    _Floats: TypeAlias = NDArray[np.float64]
    # What is smooth, the structure on it, and the noise of the camera.
    _Layers: TypeAlias = tuple[_Floats, _Floats, _Floats]
    _Material: TypeAlias = dict[str, Any]

TextureKind: TypeAlias = Literal["wood", "fabric", "noise", "dots", "gradient"]
TEXTURE_KINDS: tuple[TextureKind, ...] = get_args(TextureKind)
SURFACE_DEFECTS = ("scratch", "spot", "stain", "missing", "twist")
# These show by what is around, for which a few pixels do not suffice.
_OF_STRUCTURE = ("missing", "twist")

# Strength of a defect, in standard deviations of structure and noise, and its least in
# grey levels: it is to be seen, and need not be glaring.
_STRENGTH = 1.8, 3.5
_LEAST_CONTRAST = 14.0
# Least size of what changes structure: so far, in logarithms, from the smallest that is
# allowed to the largest.
_LEAST_OF_STRUCTURE = 1 / 2
# Among 10,000 random pixels some stray by 3.5 or more, and some places are smooth.
_STRENGTH_IN_NOISE = 3.0, 5.0
_LEAST_IN_NOISE = 2 / 3
# What takes structure away or turns it changes pixels by this much on average, or it
# would lie where there is none.
_LEAST_CHANGE = 0.7
_ATTEMPTS = 30


def make_texture_defects(
    n_normal: int = 100,
    n_defective: int = 30,
    *,
    kind: TextureKind = "wood",
    size: tuple[int, int] = (96, 128),
    defect_sizes: tuple[int, int] = (10, 100),
    random_state: int | np.random.RandomState | None = None,
) -> Bunch:
    """Draw grey pictures of a surface, some of which have one small defect.

    Parameters
    ----------
    n_normal : int, default=100
        Number of images without a defect.
    n_defective : int, default=30
        Number of images with one.
    kind : {"wood", "fabric", "noise", "dots", "gradient"}, default="wood"
        The surface, of which each image is another piece:

        - "wood": bent grain along the image, and fibres;
        - "fabric": a plain weave of threads a few pixels wide;
        - "noise": random, without order or direction, as of cast metal;
        - "dots": a print of dots in rows;
        - "gradient": brushed metal in light that falls off to one side.

    size : (int, int), default=(96, 128)
        Height and width, at least 16 pixels each.
    defect_sizes : (int, int), default=(10, 100)
        Least and largest number of pixels of a defect; small ones are as frequent as
        large ones. At most a quarter of the image.
    random_state : int, RandomState instance or None, default=None
        Seed of the draw.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object with these attributes, the normal images first:

        - images : ndarray of uint8 of shape (n_images, height, width);
        - originals : ndarray of the same shape, the same without defects;
        - masks : boolean ndarray of the same shape, True where the two differ;
        - target : ndarray of shape (n_images,), 1 for normal images, -1 for defective
          ones;
        - kinds : ndarray of str of shape (n_images,), the defect, or "none": in turn
          "scratch", a thin curve that tapers off; "spot", brighter or darker than what
          is around; "stain", a tint that is strongest at its rim; "missing", where the
          surface lacks its structure; and "twist", where that is turned, which "noise"
          has none of. The last two are not among the smallest, and where there is no
          structure to change, there is a spot.

    See Also
    --------
    make_image_anomalies : Defects in images of yours, or in digits.

    Notes
    -----
    Pitch, contrast and direction of the surface are drawn once, and place, brightness
    and noise for each image. With the same `random_state` the first images of a kind
    are the same however many are asked for.

    Nothing is shared with :class:`~skganomaly.images.DrawnDefects`, so a detector that
    is trained with that is not tested with what it has seen.

    Examples
    --------
    >>> from skganomaly.datasets import make_texture_defects
    >>> bunch = make_texture_defects(8, 4, kind="fabric", random_state=0)
    >>> bunch.images.shape, bunch.images.dtype
    ((12, 96, 128), dtype('uint8'))
    >>> areas = bunch.masks.sum(axis=(1, 2))
    >>> bool((areas[:8] == 0).all()), bool((areas[8:] >= 10).all())
    (True, True)
    """
    _check_option("kind", kind, TEXTURE_KINDS)
    for name, number in (("n_normal", n_normal), ("n_defective", n_defective)):
        check_scalar(number, name, (int, np.integer), min_val=0)
    height, width = _pair("size", size, 16)
    least, most = _pair("defect_sizes", defect_sizes, 4)
    if not least <= most <= height * width // 4:
        raise ValueError(
            "defect_sizes must be two numbers of pixels, the smaller one first, and at "
            f"most a quarter of {height} x {width} pixels, got {defect_sizes!r}."
        )
    seed = draw_seed(random_state)
    # What has no direction looks the same when it is turned.
    defects = SURFACE_DEFECTS[:4] if kind == "noise" else SURFACE_DEFECTS
    material = _MATERIALS[kind](np.random.default_rng(seed))
    n = n_normal + n_defective
    originals = np.empty((n, height, width), dtype=np.uint8)
    images = np.empty_like(originals)
    kinds = np.full(n, "none", dtype="<U7")
    for i in range(n):
        place = i - n_normal
        # Streams of their own: one more normal image moves no defect.
        rng = np.random.default_rng([seed, place >= 0, place if place >= 0 else i])
        layers = _SURFACES[kind](material, (height, width), rng)
        originals[i] = images[i] = _levels(_merged(layers))
        if place >= 0:
            wanted = defects[place % len(defects)]
            images[i], kinds[i] = _damaged(layers, kind, wanted, (least, most), rng)
    return Bunch(
        images=images,
        originals=originals,
        masks=images != originals,
        target=np.where(kinds == "none", 1, -1),
        kinds=kinds,
    )


def _pair(name: str, values: tuple[int, int], least: int) -> tuple[int, int]:
    try:
        first, second = values
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be two numbers, got {values!r}.") from None
    for value in (first, second):
        check_scalar(value, name, (int, np.integer), min_val=least)
    return int(first), int(second)


def _merged(layers: _Layers) -> _Floats:
    base, structure, noise = layers
    return base + structure + noise


def _levels(image: _Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


# Surfaces: what all images of one have in common, and the layers of one image.


def _smooth(
    shape: tuple[int, int], sigma: float | tuple[float, float], rng: np.random.Generator
) -> _Floats:
    """Smoothed white noise of mean 0 and variance 1."""
    reach = np.ceil(3 * np.broadcast_to(sigma, 2)).astype(int)
    large = rng.standard_normal(tuple(np.add(shape, 2 * reach)))
    field = ndimage.gaussian_filter(large, sigma, truncate=3.0)
    field = field[reach[0] :, reach[1] :][: shape[0], : shape[1]]
    return (field - field.mean()) / field.std()


def _place(shape: tuple[int, int], rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Coordinates of the pixels on an endless surface."""
    y, x = np.indices(shape, dtype=float)
    return y + rng.uniform(0, 1000), x + rng.uniform(0, 1000)


def _wood_material(rng: np.random.Generator) -> _Material:
    return {"pitch": rng.uniform(9, 14), "contrast": rng.uniform(16, 22)}


def _wood(
    material: _Material, shape: tuple[int, int], rng: np.random.Generator
) -> _Layers:
    y, _ = _place(shape, rng)
    bend = 0.8 * _smooth(shape, (14, 40), rng)
    phase = 2 * np.pi * (y / material["pitch"] + bend)
    # Late wood is a narrow dark band.
    grain = material["contrast"] * (0.5 - np.exp(1.5 * (np.cos(phase) - 1)) * 1.5)
    fibres = 6 * _smooth(shape, (0.6, 9), rng)
    base = 150 + rng.normal(0, 6) + 5 * _smooth(shape, 30, rng)
    return base, grain + fibres, rng.normal(0, 3, shape)


def _fabric_material(rng: np.random.Generator) -> _Material:
    return {"pitch": rng.uniform(4.5, 7), "turn": rng.uniform(-0.1, 0.1)}


def _fabric(
    material: _Material, shape: tuple[int, int], rng: np.random.Generator
) -> _Layers:
    y, x = _place(shape, rng)
    turn = material["turn"] + rng.normal(0, 0.01)
    across = (x * np.cos(turn) - y * np.sin(turn)) / material["pitch"]
    along = (x * np.sin(turn) + y * np.cos(turn)) / material["pitch"]
    across += 0.12 * _smooth(shape, (25, 4), rng)
    along += 0.12 * _smooth(shape, (4, 25), rng)
    over = (np.floor(across) + np.floor(along)) % 2 == 0
    height = np.where(over, np.sin(np.pi * (across % 1)), np.sin(np.pi * (along % 1)))
    weave = 34 * (height - 0.64) + np.where(over, 5, -5)
    base = 120 + rng.normal(0, 6) + 4 * _smooth(shape, 30, rng)
    return base, weave, rng.normal(0, 4, shape)


def _noise_material(rng: np.random.Generator) -> _Material:
    return {"sigma": rng.uniform(0.9, 1.5), "contrast": rng.uniform(14, 20)}


def _noise(
    material: _Material, shape: tuple[int, int], rng: np.random.Generator
) -> _Layers:
    structure = material["contrast"] * _smooth(shape, material["sigma"], rng)
    base = 125 + rng.normal(0, 6) + 4 * _smooth(shape, 30, rng)
    return base, structure, rng.normal(0, 3, shape)


def _dots_material(rng: np.random.Generator) -> _Material:
    return {
        "pitch": rng.uniform(8, 12),
        "radius": rng.uniform(0.24, 0.32),
        "contrast": rng.choice([-1, 1]) * rng.uniform(50, 70),
    }


def _dots(
    material: _Material, shape: tuple[int, int], rng: np.random.Generator
) -> _Layers:
    y, x = _place(shape, rng)
    pitch = material["pitch"]
    row = np.floor(y / pitch)
    # Rows are staggered.
    x = x + (row % 2) * pitch / 2
    distance = np.hypot(y % pitch - pitch / 2, x % pitch - pitch / 2)
    # Printed unevenly: the edge is nearer here and farther there.
    edge = material["radius"] * pitch + 0.25 * _smooth(shape, 3, rng)
    dots = material["contrast"] * np.clip(edge - distance + 0.5, 0, 1)
    base = 130 + rng.normal(0, 6) + 3 * _smooth(shape, 30, rng)
    return base, dots - dots.mean(), rng.normal(0, 4, shape)


def _gradient_material(rng: np.random.Generator) -> _Material:
    return {"direction": rng.uniform(0, 2 * np.pi), "contrast": rng.uniform(5, 8)}


def _gradient(
    material: _Material, shape: tuple[int, int], rng: np.random.Generator
) -> _Layers:
    y, x = (np.linspace(-1, 1, n) for n in shape)
    direction = material["direction"] + rng.normal(0, 0.15)
    slope = y[:, None] * np.sin(direction) + x * np.cos(direction)
    base = 130 + rng.normal(0, 6) + 45 * slope - 12 * slope**2
    brushed = material["contrast"] * _smooth(shape, (0.6, 14), rng)
    return base, brushed, rng.normal(0, 2.5, shape)


_MATERIALS = {
    "wood": _wood_material,
    "fabric": _fabric_material,
    "noise": _noise_material,
    "dots": _dots_material,
    "gradient": _gradient_material,
}
_SURFACES = {
    "wood": _wood,
    "fabric": _fabric,
    "noise": _noise,
    "dots": _dots,
    "gradient": _gradient,
}


def _damaged(
    layers: _Layers,
    surface: str,
    kind: str,
    sizes: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], str]:
    """One image with a defect of as many pixels as are allowed, and which it is."""
    base, structure, noise = layers
    original = _levels(_merged(layers))
    spread = float((structure + noise).std())
    strengths = _STRENGTH_IN_NOISE if surface == "noise" else _STRENGTH
    for _ in range(_ATTEMPTS):
        low, high = np.log(sizes)
        if kind in _OF_STRUCTURE:
            share = _LEAST_IN_NOISE if surface == "noise" else _LEAST_OF_STRUCTURE
            low += share * (high - low)
        area = round(np.exp(rng.uniform(low, high)))
        strength = max(rng.uniform(*strengths) * spread, _LEAST_CONTRAST)
        field, depth = _shape(kind, area, original.shape, rng)
        # The lowest pixels, so that it has exactly that area.
        lowest = np.argpartition(field.ravel(), area - 1)[:area]
        inside = np.zeros(field.shape, dtype=bool)
        inside.flat[lowest] = True
        if kind in _OF_STRUCTURE:
            other = _restructured(kind, structure, inside, rng)
            if np.abs(other - structure)[inside].mean() < _LEAST_CHANGE * spread:
                continue
            drawn = base + other + noise
        else:
            drawn = _merged(layers)
            drawn = drawn + strength * rng.choice([-1, 1]) * depth(field)
        drawn = np.where(inside, _levels(drawn), original)
        if sizes[0] <= np.count_nonzero(drawn != original) <= sizes[1]:
            return drawn.astype(np.uint8), kind
    # A surface with hardly any structure can lack none, and at a rim there is no more
    # room for what is turned.
    return _damaged(layers, surface, "spot", sizes, rng)


def _shape(
    kind: str, area: int, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[_Floats, Callable[[_Floats], _Floats]]:
    """What is lowest inside a defect, and its strength by that."""
    centre = [rng.uniform(0.06 * n, 0.94 * n) for n in shape]
    y, x = np.indices(shape, dtype=float)
    if kind == "scratch":
        return _curve(area, centre, shape, rng), lambda field: np.exp(-(field**2) / 2)
    turn, aspect = rng.uniform(0, np.pi), rng.uniform(1, 1.8)
    y, x = y - centre[0], x - centre[1]
    along = (x * np.cos(turn) + y * np.sin(turn)) / np.sqrt(aspect)
    across = (y * np.cos(turn) - x * np.sin(turn)) * np.sqrt(aspect)
    angle = np.arctan2(across, along)
    outline = 1 + sum(
        rng.uniform(0, 0.3) / n * np.cos(n * angle + rng.uniform(0, 2 * np.pi))
        for n in (2, 3, 5)
    )
    # 1 at the rim.
    field = np.hypot(along, across) / outline / np.sqrt(area / np.pi)
    if kind == "stain":
        return field, lambda field: 0.5 + 0.7 * np.clip(field, 0, 1) ** 4
    return field, lambda field: np.clip(1.6 - field, 0.3, 1)


def _curve(
    area: int, centre: list[float], shape: tuple[int, ...], rng: np.random.Generator
) -> _Floats:
    """Distance to a bent line, which tapers off to its end."""
    width = min(rng.uniform(1.0, 2.2), area / 6)
    length = area / width
    t = np.linspace(-0.5, 0.5, max(int(4 * length), 8))
    heading = rng.uniform(0, 2 * np.pi) + rng.uniform(-1.2, 1.2) * t
    steps = np.stack([np.sin(heading), np.cos(heading)]) * length / len(t)
    path = np.cumsum(steps, axis=1)
    path = path - path.mean(axis=1, keepdims=True) + np.reshape(centre, (2, 1))
    # Shifted into the image as far as it fits.
    for axis, n in enumerate(shape):
        low, high = path[axis].min(), path[axis].max()
        path[axis] += max(0, -low) - max(0, high - (n - 1))
    places = np.rint(path).astype(int)
    kept = ((places >= 0) & (places < np.reshape(shape, (2, 1)))).all(axis=0)
    y, x = np.indices(shape, dtype=float)
    distance = np.full(shape, np.inf)
    for i in np.flatnonzero(kept)[::2]:
        taper = width * (1 - 0.5 * i / len(t))
        far = np.hypot(y - path[0, i], x - path[1, i]) / taper
        np.minimum(distance, far, out=distance)
    return distance


def _restructured(
    kind: str,
    structure: _Floats,
    inside: NDArray[np.bool_],
    rng: np.random.Generator,
) -> _Floats:
    """Structure that is missing or turned inside a defect."""
    if kind == "missing":
        return np.where(inside, structure.mean(), structure)
    rows, columns = np.nonzero(inside)
    y, x = rows.mean(), columns.mean()
    angle = rng.choice([-1, 1]) * rng.uniform(0.3, 0.7) * np.pi
    dy, dx = rows - y, columns - x
    other = structure.copy()
    other[rows, columns] = ndimage.map_coordinates(
        structure,
        [
            y + dy * np.cos(angle) + dx * np.sin(angle),
            x + dx * np.cos(angle) - dy * np.sin(angle),
        ],
        order=1,
        mode="mirror",
    )
    return other
