"""Scores: what a detector's ``score_type`` may be beside a word.

A score is any object with a method ``make(method, kind)``, which returns a new
:class:`Scoring`: a torch module that is fitted on the parts of the reference rows and
maps the parts of any row to a number. ``method`` has ``part_names`` and
``local_parts``, and ``kind`` is "rows" or "maps".
"""

from __future__ import annotations

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from sklearn.base import BaseEstimator

from ._compat import Interval, StrOptions
from ._models._local_score import LocalScoring
from ._models._scoring import JointScoring, PartScoring, Scoring, WeightedScoring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._models._method import Method

    _Auto = Literal["auto"]

__all__ = ["JointScore", "LocalScore", "PartScore", "Scoring", "WeightedScore"]

_AUTO = StrOptions({"auto"})


class LocalScore(BaseEstimator):
    """How far a row is from its nearest reference rows, for where it is.

    The score "local"; the :ref:`user guide <which-detector>` has the formula.

    Parameters
    ----------
    parts : sequence of str or "auto", default="auto"
        Parts whose joined vectors are compared. "auto" is the method's own choice.
    row_weight : float or "auto", default="auto"
        Weight of the distance of the scaled row itself beside that of the joined
        parts; 0 for none. "auto" is 0.5 for plain rows and 0 otherwise.
    whiten : bool or "auto", default="auto"
        Whether to squash outlying values and whiten the joined vectors first. "auto"
        does so for plain rows.
    use_nearest : bool or "auto", default="auto"
        Whether the distance to the very nearest reference row counts on its own beside
        the mean of the five nearest. "auto" is True for plain rows.
    n_scale_neighbors : int or "auto", default="auto"
        Neighbours that say what distance is usual in a place. "auto" is 10 for plain
        rows and 50 otherwise.
    exponent : float or "auto", default="auto"
        How much of that distance is divided by: 1 is all of it, 0 nothing. "auto" is
        0.5 for plain rows and 0.85 otherwise.

    Examples
    --------
    >>> from skganomaly import AutoencoderDetector
    >>> from skganomaly.scores import LocalScore
    >>> AutoencoderDetector(score_type=LocalScore(exponent=1.0)).score_type
    LocalScore(exponent=1.0)
    """

    _parameter_constraints = {
        "parts": ["array-like", _AUTO],
        "row_weight": [Interval(Real, 0, None, closed="left"), _AUTO],
        "whiten": ["boolean", _AUTO],
        "use_nearest": ["boolean", _AUTO],
        "n_scale_neighbors": [Interval(Integral, 1, None, closed="left"), _AUTO],
        "exponent": [Interval(Real, 0, None, closed="left"), _AUTO],
    }
    _defaults = {
        "rows": {
            "row_weight": 0.5,
            "whiten": True,
            "use_nearest": True,
            "n_scale_neighbors": 10,
            "exponent": 0.5,
        },
        "maps": {
            "row_weight": 0.0,
            "whiten": False,
            "use_nearest": False,
            "n_scale_neighbors": 50,
            "exponent": 0.85,
        },
    }

    def __init__(
        self,
        *,
        parts: Sequence[str] | _Auto = "auto",
        row_weight: float | _Auto = "auto",
        whiten: bool | _Auto = "auto",
        use_nearest: bool | _Auto = "auto",
        n_scale_neighbors: int | _Auto = "auto",
        exponent: float | _Auto = "auto",
    ) -> None:
        self.parts = parts
        self.row_weight = row_weight
        self.whiten = whiten
        self.use_nearest = use_nearest
        self.n_scale_neighbors = n_scale_neighbors
        self.exponent = exponent

    def make(self, method: Method, kind: str) -> Scoring:
        """Return the unfitted score; see the module's description."""
        options = {**self.get_params(), **self._chosen(kind)}
        parts = options.pop("parts")
        if isinstance(parts, str):
            parts = method.local_parts.get(kind, method.part_names)
        return LocalScoring(_known(parts, method), **options)

    def _chosen(self, kind: str) -> dict[str, Any]:
        defaults = self._defaults[kind]
        return {
            name: default
            for name, default in defaults.items()
            if isinstance(getattr(self, name), str)
        }


class JointScore(BaseEstimator):
    """Squared Mahalanobis distance of parts together; the score "joint".

    Parameters
    ----------
    parts : sequence of str or "auto", default="auto"
        "auto" is all parts of the method.
    """

    _parameter_constraints = {"parts": ["array-like", _AUTO]}

    def __init__(self, *, parts: Sequence[str] | _Auto = "auto") -> None:
        self.parts = parts

    def make(self, method: Method, kind: str) -> Scoring:
        """Return the unfitted score; see the module's description."""
        parts = method.part_names if isinstance(self.parts, str) else self.parts
        return JointScoring(_known(parts, method))


class PartScore(BaseEstimator):
    """Mean square of one part; a part's name as ``score_type`` stands for it.

    Parameters
    ----------
    part : str
        Such as "reconstruction".
    """

    _parameter_constraints = {"part": [str]}

    def __init__(self, part: str) -> None:
        self.part = part

    def make(self, method: Method, kind: str) -> Scoring:
        """Return the unfitted score; see the module's description."""
        return PartScoring(*_known([self.part], method))


class WeightedScore(BaseEstimator):
    """Weighted mean of the sizes of some parts.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each part.
    order : {"l1", "l2"}, default="l1"
        Whether a part's size is its mean absolute value or its mean square.
    """

    _parameter_constraints = {"weights": [dict], "order": [StrOptions({"l1", "l2"})]}

    def __init__(
        self, weights: Mapping[str, float], *, order: Literal["l1", "l2"] = "l1"
    ) -> None:
        self.weights = weights
        self.order = order

    def make(self, method: Method, kind: str) -> Scoring:
        """Return the unfitted score; see the module's description."""
        _known(self.weights, method)
        return WeightedScoring(self.weights, self.order)


_WORDS = {"local": LocalScore, "joint": JointScore}


def named_score(word: str) -> Any:
    """The score that a word stands for; a part's name is that part's."""
    return _WORDS[word]() if word in _WORDS else PartScore(word)


def score_words(method: type[Method]) -> list[str]:
    """The words that stand for a score of a method."""
    # A code is a place, and its size says nothing.
    return [*_WORDS, *(name for name in method.part_names if name != "code")]


def _known(parts, method):
    """The parts, if the method has all of them."""
    unknown = [part for part in parts if part not in method.part_names]
    if unknown or not len(parts):
        raise ValueError(
            f"A score of the parts {list(parts)} was asked for, and the method has "
            f"{list(method.part_names)}."
        )
    return tuple(parts)
