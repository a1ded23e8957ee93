"""Images as people have them: folders, mixed sizes, small defects."""

from ._folder import ImageFolder, MaskSequence
from ._reading import ImageSequence, as_images

__all__ = ["ImageFolder", "ImageSequence", "MaskSequence", "as_images"]
