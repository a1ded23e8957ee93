"""Products that round a row in one way, whatever rows come with it."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["PRODUCT_ROWS", "aligned_product", "is_traced", "row_product"]

# Rows that are multiplied at once.
PRODUCT_ROWS = 64


def aligned_product(x: Tensor, weight: Tensor) -> Tensor:
    """Batched matrix product that rounds every row of ``x`` in the same way.

    How a row is rounded depends on where its values, and those of its result, lie
    relative to the processor's vector registers, so equal rows at different places of
    a batch can come out different in the last digit. Zeros that bring all rows to a
    multiple of 64 bytes prevent that. It also depends on their number, so whole blocks
    of 64 rows are multiplied block by block.

    Parameters
    ----------
    x : Tensor of shape (n_members, n_rows, n_in)
    weight : Tensor of shape (n_members, n_in, n_out)

    Returns
    -------
    Tensor of shape (n_members, n_rows, n_out)
    """
    n_in, n_out = weight.shape[1:]
    inner, outer = -n_in % 16, -n_out % 16
    if inner:
        x = F.pad(x, (0, inner))
    if inner or outer:
        weight = F.pad(weight, (0, outer, 0, inner))
    whole = is_traced() or x.device.type != "cpu" or x.shape[1] % PRODUCT_ROWS
    product = torch.bmm(x, weight) if whole else _block_product(x, weight)
    return product[:, :, :n_out]


def _block_product(x, weight):
    """A batched product of so many rows at a time, of one member after the other."""
    n_blocks = x.shape[1] // PRODUCT_ROWS
    if n_blocks == 1:
        return torch.bmm(x, weight)
    blocks = [
        torch.bmm(rows.unflatten(0, (n_blocks, -1)), matrix.expand(n_blocks, -1, -1))
        for rows, matrix in zip(x, weight, strict=True)
    ]
    return torch.stack(blocks).flatten(1, 2)


def row_product(x: Tensor, weight: Tensor) -> Tensor:
    """:func:`aligned_product` of any number of rows, in whole blocks.

    Their number decides on how a product is summed up, too.
    """
    n_rows = x.shape[1]
    n_missing = 0 if is_traced() else -n_rows % PRODUCT_ROWS
    if not n_missing:
        return aligned_product(x, weight)
    product = aligned_product(F.pad(x, (0, 0, 0, n_missing)), weight)
    # Without a part of what is larger, which would be stored with all of it.
    return product[:, :n_rows].clone()


def is_traced() -> bool:
    """Whether torch writes down what it does, for graphs of any number of rows."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()
