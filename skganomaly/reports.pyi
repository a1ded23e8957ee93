from dataclasses import dataclass
from typing import Any

__all__ = ["Finding", "TrainingReport"]

@dataclass(frozen=True)
class Finding:
    name: str
    seen: str
    remedy: str

@dataclass(kw_only=True)
class TrainingReport:
    losses: dict[str, float]
    n_steps: int
    n_passes: float
    diversity: list[float]
    latent_usage: list[float]
    unreachable: float
    error: list[float]
    distance: list[float] | None = ...
    judged: bool = ...
    still_falling: list[str]
    memorised: float | None = ...
    near_copies: float = ...
    dead_columns: int = ...
    restarts: list[dict[str, Any]]
    problems: list[Finding]
    notes: list[Finding]
