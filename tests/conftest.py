import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Keep tests from fighting over cores, and rounding the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
