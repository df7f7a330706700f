"""The device that ``--device`` names."""

import torch

from wsa_lightning.errors import UserError, first_line


def find_device(name: str) -> torch.device:
    """The device of that name, if this machine has it; ``auto`` is the GPU if there is one."""
    if name == "auto":
        mps = torch.backends.mps.is_available()
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {name} cannot be used ({first_line(error)}): expected auto, cpu, cuda, mps"
        ) from None
    return device
