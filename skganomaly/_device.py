"""Where a detector computes."""

import warnings

import torch

from ._ranks import current

__all__ = ["resolve_device"]


def resolve_device(device, *, fallback=False):
    """Turn the ``device`` parameter into a :class:`torch.device`.

    Parameters
    ----------
    device : str or torch.device
        "auto" takes CUDA when there is one, then MPS, then the CPU. Of processes that
        train together, each has a GPU of its own for "auto" and "cuda".
    fallback : bool, default=False
        Whether a device that this machine lacks is replaced by the CPU with a
        warning, as is right for a detector that was trained elsewhere, or refused.

    Returns
    -------
    torch.device
    """
    ranks = current()
    if ranks.size > 1 and str(device) in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", ranks.gpu)
    mps = getattr(torch.backends, "mps", None)
    has_mps = mps is not None and mps.is_available()
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if has_mps else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is not a torch device. Use 'auto', 'cpu', 'cuda', "
            "'cuda:1', 'mps' or a torch.device."
        ) from error
    if resolved.type == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        missing = (resolved.index or 0) >= found
    elif resolved.type == "mps":
        missing = not has_mps
    else:
        try:
            missing = torch.empty(1, device=resolved).is_meta
        except (RuntimeError, AssertionError, NotImplementedError):
            missing = True
    if not missing:
        return resolved
    message = f"device={str(device)!r} was asked for and torch finds no such device"
    if not fallback:
        raise ValueError(f"{message}. Use device='auto' to take what there is.")
    warnings.warn(f"{message}; using the CPU.", UserWarning, stacklevel=5)
    return torch.device("cpu")
