from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from typing_extensions import Self

from ._base import BaseGANDetector, _Threshold
from ._version import __version__ as __version__
from .architectures import _Architecture
from .interop import as_pyod as as_pyod
from .interop import from_pyod as from_pyod

__all__ = [
    "AnoGANDetector",
    "AutoencoderDetector",
    "GANomalyDetector",
    "__version__",
    "as_pyod",
    "from_pyod",
]

_Auto: TypeAlias = Literal["auto"]
_RandomState: TypeAlias = int | np.random.RandomState | None

class GANomalyDetector(BaseGANDetector):
    def __init__(
        self,
        *,
        architecture: Literal["auto", "mlp", "conv", "published"]
        | _Architecture = "auto",
        input_shape: Sequence[int] | None = None,
        latent_dim: int | _Auto = "auto",
        scaler: Literal["auto", "minmax", "standard", "channel"] | None = "auto",
        n_members: int | _Auto = "auto",
        input_noise: float | Sequence[float] | _Auto = "auto",
        reconstruction_loss: Literal["auto", "l1", "l2"] = "auto",
        adversarial_loss: Literal["feature_matching", "bce"] = "feature_matching",
        reconstruction_weight: float | _Auto = "auto",
        latent_weight: float | _Auto = "auto",
        adversarial_weight: float | _Auto = "auto",
        score_type: Literal[
            "auto", "local", "joint", "latent", "reconstruction", "features"
        ] = "auto",
        max_restarts: int = 2,
        max_references: int = 6000,
        contamination: float | _Auto = "auto",
        false_alarm_rate: float = 0.05,
        threshold: _Threshold = "auto",
        validation_fraction: float = 0.0,
        max_steps: int | _Auto = "auto",
        batch_size: int = 64,
        learning_rate: float = 0.001,
        learning_rate_schedule: Literal["auto", "cosine", "constant"] = "auto",
        beta_1: float | _Auto = "auto",
        callbacks: Sequence[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        device: str | torch.device = "auto",
        random_state: _RandomState = None,
        verbose: int = 0,
    ) -> None: ...
    @classmethod
    def from_paper(cls, *, n_samples: int | None = None, **overrides: Any) -> Self: ...

class AnoGANDetector(BaseGANDetector):
    def __init__(
        self,
        *,
        architecture: Literal["auto", "mlp", "conv", "published"]
        | _Architecture = "auto",
        input_shape: Sequence[int] | None = None,
        latent_dim: int | _Auto = "auto",
        scaler: Literal["auto", "minmax", "standard", "channel"] | None = "auto",
        n_members: int | _Auto = "auto",
        input_noise: float | Sequence[float] | _Auto = "auto",
        loss: Literal["auto", "wgan-gp", "logistic"] = "auto",
        n_critic: int = 1,
        gradient_penalty: float | _Auto = "auto",
        penalty_interval: int | _Auto = "auto",
        average_decay: float = 0.99,
        critic_learning_rate: float | _Auto = "auto",
        encoder_learning_rate: float = 0.001,
        encoder_steps: int | _Auto = "auto",
        encoder_feature_weight: float = 1.0,
        search: Literal["encoder", "gradient", "nearest"] = "encoder",
        n_search_steps: int | _Auto = "auto",
        search_learning_rate: float = 0.1,
        n_starts: int = 1,
        n_candidates: int = 1024,
        residual_loss: Literal["l1", "l2"] = "l1",
        feature_weight: float = 0.1,
        feature_layer: int | None = None,
        prior_weight: float = 0.0,
        score_type: Literal[
            "auto", "local", "joint", "published", "reconstruction", "features"
        ] = "auto",
        max_restarts: int = 2,
        max_references: int = 6000,
        contamination: float | _Auto = "auto",
        false_alarm_rate: float = 0.05,
        threshold: _Threshold = "auto",
        validation_fraction: float = 0.0,
        max_steps: int | _Auto = "auto",
        batch_size: int = 64,
        learning_rate: float | _Auto = "auto",
        learning_rate_schedule: Literal["auto", "cosine", "constant"] = "auto",
        beta_1: float | _Auto = "auto",
        callbacks: Sequence[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        device: str | torch.device = "auto",
        random_state: _RandomState = None,
        verbose: int = 0,
    ) -> None: ...
    @classmethod
    def from_paper(
        cls,
        paper: Literal["f-anogan", "anogan"] = "f-anogan",
        *,
        n_samples: int | None = None,
        **overrides: Any,
    ) -> Self: ...

class AutoencoderDetector(BaseGANDetector):
    def __init__(
        self,
        *,
        architecture: Literal["auto", "mlp", "conv", "published"]
        | _Architecture = "auto",
        input_shape: Sequence[int] | None = None,
        latent_dim: int | _Auto = "auto",
        scaler: Literal["auto", "minmax", "standard", "channel"] | None = "auto",
        n_members: int | _Auto = "auto",
        input_noise: float | Sequence[float] | _Auto = "auto",
        score_type: Literal["auto", "local", "joint", "reconstruction"] = "auto",
        max_references: int = 6000,
        contamination: float | _Auto = "auto",
        false_alarm_rate: float = 0.05,
        threshold: _Threshold = "auto",
        validation_fraction: float = 0.0,
        max_steps: int | _Auto = "auto",
        batch_size: int = 64,
        learning_rate: float = 0.001,
        learning_rate_schedule: Literal["auto", "cosine", "constant"] = "auto",
        beta_1: float | _Auto = "auto",
        callbacks: Sequence[Any] | None = None,
        net_params: dict[str, Any] | None = None,
        device: str | torch.device = "auto",
        random_state: _RandomState = None,
        verbose: int = 0,
    ) -> None: ...
