"""The path of the shipped configs."""

import sys
from pathlib import Path

from wsa_lightning.errors import UserError


def base_config() -> Path:
    """``configs/base.yaml``, in the source tree or where a wheel installs it."""
    candidates = (
        Path(__file__).resolve().parents[2] / "configs" / "base.yaml",
        Path(sys.prefix) / "share" / "wsa-lightning" / "configs" / "base.yaml",
    )
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise UserError(f"configs/base.yaml is at none of {', '.join(map(str, candidates))}: reinstall wsa-lightning")
    return found
