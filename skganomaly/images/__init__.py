"""Images as people have them: folders, mixed sizes, small defects."""

from ._detector import ImageDetector
from ._drawing import DrawnDefects
from ._features import FrozenFeatures
from ._folder import ImageFolder, MaskSequence
from ._methods import DefectDiscriminator
from ._reading import ImageSequence, as_images

__all__ = [
    "DefectDiscriminator",
    "DrawnDefects",
    "FrozenFeatures",
    "ImageDetector",
    "ImageFolder",
    "ImageSequence",
    "MaskSequence",
    "as_images",
]
