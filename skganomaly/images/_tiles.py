"""Large images in tiles that overlap by as far as a network sees."""

__all__ = ["Tile", "tiles"]


class Tile:
    """One side of a tile.

    Parameters
    ----------
    start, stop : int
        Of the image, what the tile is there for.
    length : int
        Of the image.
    stride : int
        What a network halves an image to is a multiple of this.
    reach : int
        How far a network sees.

    Attributes
    ----------
    own : slice
        Of the image, what the tile is there for.
    wide : slice
        Of the image, that with the margin that the network sees.
    missing : int
        Pixels to a multiple of the stride.
    """

    def __init__(self, start, stop, length, stride, reach):
        self.own = slice(start, stop)
        self.wide = slice(max(start - reach, 0), min(stop + reach, length))
        self.missing = (self.wide.start - self.wide.stop) % stride

    def inside(self, cell=1):
        """Of the tile, the cells of so many pixels that are its own: a slice."""
        first = (self.own.start - self.wide.start) // cell
        return slice(first, first + (self.own.stop - self.own.start) // cell)


def tiles(length, most, stride, reach):
    """Sides of tiles, each a multiple of the stride but for the last.

    Parameters
    ----------
    length : int
        Of the image.
    most : int
        Largest side of what a tile is there for.
    stride, reach : int
        See :class:`Tile`.

    Returns
    -------
    list of Tile
    """
    n_tiles = -(-length // most)
    side = -(-length // (n_tiles * stride)) * stride
    return [
        Tile(start, min(start + side, length), length, stride, reach)
        for start in range(0, length, side)
    ]
