"""Which further arguments of skorch's net a user may pass."""

import torch

__all__ = ["check_net_params"]

_ALLOWED = "optimizer", "compile", "mixed_precision"
_ALLOWED_PREFIXES = "optimizer__", "optimizer_d__", "compile__"

# What the detector itself sets, and the parameter that does it.
_SET_BY = {
    "lr": "learning_rate",
    "batch_size": "batch_size",
    "max_epochs": "max_steps",
    "max_steps": "max_steps",
    "callbacks": "callbacks",
    "device": "device",
    "verbose": "verbose",
    "module": "architecture",
    "game": "architecture",
    "train_split": "validation_fraction",
    "noise": "input_noise",
    "sources": "random_state",
    "schedule": "learning_rate_schedule",
}


def check_net_params(net_params, *, parameters, adversarial, device):
    """Refuse arguments that the detector sets itself, or that mean nothing to it.

    Parameters
    ----------
    net_params : dict or None
    parameters : collection of str
        Names of the detector's parameters.
    adversarial : bool
        Whether there is a discriminator, with an optimiser of its own.
    device : torch.device
        Where it is trained.

    Raises
    ------
    ValueError
        With the parameter of the detector to use instead, where there is one.
    """
    for name in net_params or ():
        if not isinstance(name, str):
            raise ValueError(f"net_params has the key {name!r}; keys are names.")
        if name.startswith("optimizer_d__") and not adversarial:
            raise ValueError(
                f"net_params has {name!r}, and there is no discriminator here. Use "
                f"'optimizer__{name.removeprefix('optimizer_d__')}'."
            )
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES):
            continue
        parameter = _SET_BY.get(name.split("__")[0], name)
        if parameter in parameters:
            remedy = f"The detector sets it: use its parameter {parameter!r} instead."
        else:
            remedy = "It is none of the options that may be chosen."
        raise ValueError(
            f"net_params has {name!r}. {remedy} Allowed are 'optimizer', 'compile', "
            "'mixed_precision', options 'optimizer__<name>' of the first, and "
            "'optimizer_d__<name>' for the discriminator alone."
        )
    _check_precision((net_params or {}).get("mixed_precision"), device)


def _check_precision(precision, device):
    if precision is None:
        return
    if not isinstance(precision, str) or precision != "bfloat16":
        raise ValueError(
            f"net_params has 'mixed_precision': {precision!r}. It is 'bfloat16', or "
            "None for single precision."
        )
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            # Where torch has none, it may go on without and warn.
            there, why = torch.is_autocast_enabled(device.type), ""
    except RuntimeError as error:
        there, why = False, f" ({error})"
    if not there:
        raise ValueError(
            f"net_params has 'mixed_precision': {precision!r}, which is not to be had "
            f"on the device {str(device)!r}{why}. Leave it out, or choose another "
            "device."
        )
