"""Share of new rows flagged, 5 % promised, where training rows repeat or are related.

Run ``python docs/measurements/repeats.py``; it takes two minutes on one core. Detectors
with their defaults, medians and ranges over seeds 0 to 2.
"""

import warnings

import numpy as np
import torch

from skganomaly import AnoGANDetector, AutoencoderDetector, GANomalyDetector

DETECTORS = (GANomalyDetector, AutoencoderDetector, AnoGANDetector)


def repeated(rows, rng):
    """Training sets made of the same independent rows, by what happened to them."""
    n = len(rows)
    return {
        "once": rows,
        "twice": np.concatenate([rows, rows]),
        "joined, 2 to 6 times": np.repeat(rows, rng.integers(2, 7, n), axis=0),
        "noise of 1e-9": np.concatenate(
            [rows, rows + 1e-9 * rng.normal(size=rows.shape)]
        ),
        "bootstrap": rows[rng.integers(0, n, n)],
        "half of them twice": np.concatenate([rows, rows[: n // 2]]),
    }


def flagged(detector, rows):
    return np.mean(detector.predict(rows) == -1)


def measure(seed):
    """What each kind of training set leads to, by kind and detector."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1000, 8))
    sets = repeated(X[:500], rng)
    part = np.repeat(np.arange(150), 6)
    shots = rng.normal(size=(150, 8))[part] + 0.3 * rng.normal(size=(900, 8))
    new = rng.normal(size=(1000, 8)) + 0.3 * rng.normal(size=(1000, 8))
    extreme = 6 * rng.normal(size=(20, 8))
    dirty = np.concatenate([rng.normal(size=(800, 8)), extreme, extreme])
    for cls in DETECTORS:
        name = cls.__name__
        for kind, rows in sets.items():
            detector = cls(random_state=seed).fit(rows)
            yield kind, name, flagged(detector, X[500:])
        grouped = cls(random_state=seed).fit(shots, groups=part)
        yield "six shots, groups named", name, flagged(grouped, new)
        alone = cls(random_state=seed).fit(shots)
        yield "six shots, not named", name, flagged(alone, new)
        warned = [p.name for p in alone.training_report_.problems]
        yield "  and warned of", name, float("near_copies" in warned)
        detector = cls(random_state=seed, contamination=40 / 840).fit(dirty)
        yield "extreme rows twice: caught", name, flagged(detector, extreme)


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = {}
    for seed in range(3):
        for kind, name, share in measure(seed):
            found.setdefault(kind, {}).setdefault(name, []).append(share)
    print(f"{'':28s}" + "".join(f"{cls.__name__:>24s}" for cls in DETECTORS))
    for kind, by_detector in found.items():
        cells = [
            f"{np.median(v):.3f} ({min(v):.3f}-{max(v):.3f})"
            for v in by_detector.values()
        ]
        print(f"{kind:28s}" + "".join(f"{cell:>24s}" for cell in cells))


if __name__ == "__main__":
    main()
