"""Published recipes, as parameters of our detectors."""

from __future__ import annotations

from typing import Any

from .adversaries import Logistic, Wasserstein
from .searches import EncoderSearch, GradientSearch

__all__ = ["published_anogan"]


def published_anogan(paper: str, n_samples: int | None) -> dict[str, Any]:
    """What AnoGAN or f-AnoGAN set, with steps where the number of rows is known."""
    published: dict[str, Any] = {
        "architecture": "published",
        "scaler": "channel",
        "n_members": 1,
        "input_noise": 0.0,
        "average_decay": 0.0,
        "score_type": "published",
        "batch_size": 64,
        "learning_rate_schedule": "constant",
    }
    if paper == "anogan":
        published |= {
            "latent_dim": 100,
            "adversary": Logistic(learning_rate=2e-4),
            "search": GradientSearch(
                n_steps=500, residual_loss="l1", feature_weight=0.1
            ),
            "learning_rate": 2e-4,
            "beta_1": 0.5,
        }
        if n_samples is not None:
            published["max_steps"] = max(1, 20 * n_samples // 64)
    elif paper == "f-anogan":
        search = EncoderSearch(
            encoder_learning_rate=5e-5, residual_loss="l2", feature_weight=0.5
        )
        published |= {
            "latent_dim": 128,
            "adversary": Wasserstein(
                n_critic=5, penalty_interval=1, learning_rate=1e-4
            ),
            "search": search,
            "learning_rate": 1e-4,
            "beta_1": 0.0,
            "net_params": {"optimizer__betas": (0.0, 0.9)},
        }
        if n_samples is not None:
            published["max_steps"] = max(1, 5 * 7 * n_samples // 64)
            search.encoder_steps = 50_000
    else:
        raise ValueError(f"paper must be 'f-anogan' or 'anogan', got {paper!r}.")
    return published
