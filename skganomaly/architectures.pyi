from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from sklearn.base import BaseEstimator
from torch import nn

__all__ = ["MLP", "ConvNet"]

class _Architecture(Protocol):
    def encoder(self, input_shape: Any, latent_dim: Any, /) -> nn.Module: ...
    def decoder(self, latent_dim: Any, input_shape: Any, /) -> nn.Module: ...

class MLP(BaseEstimator):
    def __init__(
        self,
        *,
        hidden_layer_sizes: Sequence[int] = (128, 128),
        discriminator_layer_sizes: Sequence[int] = (512,),
        activation: Literal["leaky_relu", "relu", "elu", "silu", "tanh"] = "leaky_relu",
        normalization: Literal["batch"] | None = None,
        output_activation: Literal["linear", "tanh", "sigmoid"] = "linear",
    ) -> None: ...
    def encoder(self, input_shape: Sequence[int], latent_dim: int) -> nn.Module: ...
    def decoder(self, latent_dim: int, input_shape: Sequence[int]) -> nn.Module: ...
    def discriminator(self, input_shape: Sequence[int]) -> nn.Module: ...
    def initialize(self, network: nn.Module, generator: torch.Generator) -> None: ...

class ConvNet(BaseEstimator):
    def __init__(
        self,
        *,
        base_channels: int = 8,
        n_blocks: int | Literal["auto"] = "auto",
        normalization: Literal["batch"] | None = "batch",
        discriminator_normalization: Literal["batch"] | None = "batch",
        output_activation: Literal["linear", "tanh", "sigmoid"] = "tanh",
    ) -> None: ...
    def encoder(self, input_shape: Sequence[int], latent_dim: int) -> nn.Module: ...
    def decoder(self, latent_dim: int, input_shape: Sequence[int]) -> nn.Module: ...
    def discriminator(self, input_shape: Sequence[int]) -> nn.Module: ...
    def initialize(self, network: nn.Module, generator: torch.Generator) -> None: ...
