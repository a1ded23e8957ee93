"""One seed for everything that a fit draws."""

import numpy as np
from sklearn.utils import check_random_state

__all__ = ["draw_seed"]


def draw_seed(random_state):
    """Turn scikit-learn's ``random_state`` into one seed."""
    if random_state is None:
        # Drawing it from NumPy's global generator would change that one's state.
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(2**31 - 1))
