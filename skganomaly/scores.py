"""Scores: what ``score_type`` may be, besides a word.

A score is any object with a method ``make(method, kind)`` that returns a new
:class:`Scoring`: a torch module that is fitted on the parts of the reference rows and
maps the parts of any row to a number. ``method`` is the detector's
:class:`~skganomaly.base.Method`, and ``kind`` is "rows" for plain rows and "maps" for
images and windows. Derive from :class:`~sklearn.base.BaseEstimator` for parameters
that can be tuned.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from sklearn.base import BaseEstimator

from ._compat import Interval, StrOptions
from ._models._local_score import LocalScoring
from ._models._scoring import JointScoring, PartScoring, Scoring, WeightedScoring
from ._parameters import resolved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._models._method import Method

    _Auto = Literal["auto"]

__all__ = ["JointScore", "LocalScore", "PartScore", "Scoring", "WeightedScore"]

_AUTO = StrOptions({"auto"})


class _Score(BaseEstimator):
    """What all scores have."""

    def make(self, method: Method, kind: str) -> Scoring:
        """Return the score, not yet fitted.

        Parameters
        ----------
        method : Method
            Whose parts are compared.
        kind : {"rows", "maps"}
            Plain rows, or rows with axes of their own.

        Returns
        -------
        Scoring
        """
        raise NotImplementedError


class LocalScore(_Score):
    """Distance to the nearest reference rows, given what is usual there.

    The word "local" stands for it; the :ref:`user guide <which-detector>` has the
    formula.

    Parameters
    ----------
    parts : sequence of str or "auto", default="auto"
        Parts whose joined vectors are compared. "auto" is the method's own choice.
    row_weight : float or "auto", default="auto"
        Weight of the distance of the scaled row itself beside that of the joined
        parts; 0 for none. "auto" is 0.5 for plain rows and 0 otherwise.
    whiten : bool or "auto", default="auto"
        Whether to squash outlying values and whiten the joined vectors first. "auto"
        is True for plain rows.
    use_nearest : bool or "auto", default="auto"
        Whether the distance to the very nearest reference row counts as much as the
        mean distance to the five nearest. "auto" is True for plain rows.
    n_scale_neighbors : int or "auto", default="auto"
        Number of nearest reference rows that say what distance is usual there. "auto"
        is 10 for plain rows and 50 otherwise.
    exponent : float or "auto", default="auto"
        Power of that usual distance which the distance is divided by: 1 for their
        ratio, 0 for the plain distance. "auto" is 0.5 for plain rows and 0.85
        otherwise.

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
        options = resolved(self, None, kind).get_params()
        parts = options.pop("parts")
        if isinstance(parts, str):
            parts = method.local_parts.get(kind, method.part_names)
        return LocalScoring(_known(parts, method), **options)


class JointScore(_Score):
    """Squared Mahalanobis distance of several parts together.

    The word "joint" stands for it.

    Parameters
    ----------
    parts : sequence of str or "auto", default="auto"
        Parts whose joined vectors are compared. "auto" is all parts of the method.

    Examples
    --------
    >>> from skganomaly import GANomalyDetector
    >>> from skganomaly.scores import JointScore
    >>> detector = GANomalyDetector(score_type=JointScore(parts=["latent", "code"]))
    >>> detector.set_params(score_type__parts="auto").score_type
    JointScore()
    """

    _parameter_constraints = {"parts": ["array-like", _AUTO]}

    def __init__(self, *, parts: Sequence[str] | _Auto = "auto") -> None:
        self.parts = parts

    def make(self, method: Method, kind: str) -> Scoring:
        parts = method.part_names if isinstance(self.parts, str) else self.parts
        return JointScoring(_known(parts, method))


class PartScore(_Score):
    """Mean square of one part.

    The name of the part stands for it, except of "code", which is a place and no size.

    Parameters
    ----------
    part : str
        Name of the part, such as "reconstruction".
    """

    _parameter_constraints = {"part": [str]}

    def __init__(self, part: str) -> None:
        self.part = part

    def make(self, method: Method, kind: str) -> Scoring:
        return PartScoring(*_known([self.part], method))


class WeightedScore(_Score):
    """Weighted sum of the sizes of some parts.

    AnoGAN's "published" is one, with weights from its search.

    Parameters
    ----------
    weights : dict of str to float
        Weight of each part, at least 0 and not 0 for all of them.
    order : {"l1", "l2"}, default="l1"
        Whether the size of a part is its mean absolute value or its mean square.

    Examples
    --------
    >>> from skganomaly import GANomalyDetector
    >>> from skganomaly.scores import WeightedScore
    >>> score = WeightedScore({"reconstruction": 0.9, "latent": 0.1}, order="l2")
    >>> detector = GANomalyDetector(score_type=score)
    """

    _parameter_constraints = {"weights": [dict], "order": [StrOptions({"l1", "l2"})]}

    def __init__(
        self, weights: Mapping[str, float], *, order: Literal["l1", "l2"] = "l1"
    ) -> None:
        self.weights = weights
        self.order = order

    def make(self, method: Method, kind: str) -> Scoring:
        _known(self.weights, method)
        weights = self.weights.values()
        if not all(isinstance(w, Real) and 0 <= w < math.inf for w in weights):
            raise ValueError(f"weights={self.weights!r} must be numbers from 0 on.")
        if not any(weights):
            raise ValueError(
                f"weights={self.weights!r} leave nothing to score. Give one of the "
                "parts a weight above 0."
            )
        return WeightedScoring(self.weights, self.order)


_WORDS = {"local": LocalScore, "joint": JointScore}


def named_score(word: str) -> Any:
    """The score that a word stands for; a part's name is that part's."""
    return _WORDS[word]() if word in _WORDS else PartScore(word)


def check_scoring(scoring: Any, method: Method) -> Scoring:
    """Refuse what a user's score makes, if it is no scoring of the method's parts."""
    if not isinstance(scoring, Scoring):
        raise TypeError(
            f"make returned a {type(scoring).__name__}. A score has to make a Scoring: "
            "derive from skganomaly.scores.Scoring."
        )
    parts = [part for part in scoring.part_names if part != "row"]
    if parts or not scoring.part_names:
        _known(parts, method)
    return scoring


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
