"""Pictures of what a detector found, in the manner of scikit-learn's displays.

Each display computes in ``from_estimator`` or ``from_predictions``, keeps the arrays as
attributes, and draws them in ``plot``, which may be called again. Pictures need
matplotlib, of the extra ``skganomaly[plot]``; it is imported when something is drawn.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. What is
drawn also differs in hatching, line style, lightness or direction, for print in grey.
"""

from ._contributions import ContributionDisplay
from ._losses import LossCurveDisplay
from ._reconstructions import ReconstructionDisplay
from ._scores import ScoreDistributionDisplay
from ._time import ScoreOverTimeDisplay

__all__ = [
    "ContributionDisplay",
    "LossCurveDisplay",
    "ReconstructionDisplay",
    "ScoreDistributionDisplay",
    "ScoreOverTimeDisplay",
]
