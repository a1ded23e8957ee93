"""Images: defects drawn into normal images, and a network that finds them."""

from ._drawing import DrawnDefects

__all__ = ["DrawnDefects"]
