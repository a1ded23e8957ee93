"""Pictures of what a detector found, in the manner of scikit-learn's displays.

Each display computes in ``from_estimator``, ``from_predictions`` or ``from_images``,
keeps the arrays as attributes, and draws them in ``plot``, which may be called again.
Pictures need matplotlib, of the extra ``skganomaly[plot]``, imported when something
is drawn.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart. What is
drawn also differs in hatching, line style, lightness or direction, for print in grey.
"""

from ._contributions import ContributionDisplay
from ._drawn_defects import DrawnDefectsDisplay
from ._image_verdicts import ImageVerdictDisplay
from ._losses import LossCurveDisplay
from ._reconstructions import ReconstructionDisplay
from ._scores import ScoreDistributionDisplay
from ._time import ScoreOverTimeDisplay

__all__ = [
    "ContributionDisplay",
    "DrawnDefectsDisplay",
    "ImageVerdictDisplay",
    "LossCurveDisplay",
    "ReconstructionDisplay",
    "ScoreDistributionDisplay",
    "ScoreOverTimeDisplay",
]
