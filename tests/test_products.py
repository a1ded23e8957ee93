"""Tests of products that round a row in one way, whatever comes with it."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skganomaly._models._products import PRODUCT_ROWS, aligned_product, row_product


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_rows", [1, 3, 64])
def test_aligned_product_is_a_batched_product(n_rows, dtype):
    """The zeros that are put around change no value and no shape."""
    rng = np.random.default_rng(0)
    for n_in, n_out in [(1, 1), (3, 17), (16, 16), (33, 2), (15, 31)]:
        x = torch.from_numpy(rng.normal(size=(2, n_rows, n_in))).to(dtype)
        weight = torch.from_numpy(rng.normal(size=(2, n_in, n_out))).to(dtype)
        product = aligned_product(x, weight)
        assert product.shape == (2, n_rows, n_out)
        atol = 1e-4 if dtype is torch.float32 else 1e-12
        assert_allclose(product, x.numpy() @ weight.numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("n_in", range(1, 34))
def test_aligned_product_rounds_equal_rows_alike(n_in):
    """A row's product does not depend on where in the batch the row stands."""
    rng = np.random.default_rng(n_in)
    row = torch.from_numpy(rng.normal(size=(2, 1, n_in)).astype(np.float32))
    batch = row.expand(2, 71, n_in).clone()
    for n_out in range(1, 34):
        weight = torch.from_numpy(rng.normal(size=(2, n_in, n_out)).astype(np.float32))
        product = aligned_product(batch, weight)
        assert_array_equal(product, product[:, :1].expand_as(product))


@pytest.mark.parametrize("n_members", [1, 2, 5])
def test_products_do_not_depend_on_the_number_of_blocks(n_members):
    """To the last bit, with gradients too."""
    rng = np.random.default_rng(n_members)
    for n_in, n_out, n_blocks in [(1, 1, 2), (30, 128, 8), (17, 90, 3), (300, 5, 4)]:
        n_rows = n_blocks * PRODUCT_ROWS
        x = torch.from_numpy(rng.normal(size=(n_members, n_rows, n_in))).float()
        weight = torch.from_numpy(rng.normal(size=(n_members, n_in, n_out))).float()
        blocks = [aligned_product(b, weight) for b in x.split(PRODUCT_ROWS, dim=1)]
        assert torch.equal(aligned_product(x, weight), torch.cat(blocks, dim=1))
        few = row_product(x[:, : n_rows - 5], weight)
        assert torch.equal(few, torch.cat(blocks, dim=1)[:, : n_rows - 5])
        assert torch.equal(row_product(x[:, 7:8], weight), blocks[0][:, 7:8])
        x.requires_grad_(True)
        aligned_product(x, weight).square().sum().backward()
        by_hand = 2 * torch.cat(blocks, dim=1) @ weight.mT
        assert_allclose(x.grad, by_hand, rtol=1e-4, atol=1e-3)
