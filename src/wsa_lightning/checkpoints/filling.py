"""A Roformer around tensors that already exist, without initialising parameters first."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from wsa_lightning.checkpoints.difference import load_exactly
from wsa_lightning.errors import UserError, first_line
from wsa_lightning.models import Roformer, RoformerConfig


class _NoInitialisation(TorchFunctionMode):
    """Skips ``torch.nn.init``: memory of parameters is reserved and never touched."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def fill(
    config: RoformerConfig, state: Mapping[str, Tensor], *, unexpected: list[str] | None = None, share: bool = False
) -> Roformer:
    """A Roformer with exactly these tensors, where they are.

    Args:
        config: the architecture.
        state: our names to tensors.
        unexpected: names that no Roformer has, reported with the rest.
        share: take the tensors themselves, dtype included, instead of copies in fp32.

    Raises:
        UserError: a tensor is missing, unexpected or of another shape.
    """
    _refuse_too_few(config, len(state))
    device = next(iter(state.values())).device
    try:
        with torch.device("meta"), _NoInitialisation():
            load_exactly(Roformer(config), state, unexpected=unexpected or (), assign=True)
        with torch.device(device), _NoInitialisation():
            model = Roformer(config)
    except (RuntimeError, MemoryError) as error:
        raise UserError(f"a model of the sizes read off the tensors cannot be built: {first_line(error)}") from None
    load_exactly(model, state, unexpected=unexpected or (), assign=share)
    return model


def _refuse_too_few(config: RoformerConfig, tensors: int) -> None:
    """Refuse a config with more parts than there are tensors, before building them takes time and memory."""
    blocks = config.depth * (config.time_blocks + config.frequency_blocks)
    bands = config.bands * (1 + len(config.stems) * config.mask_hidden_layers)
    if max(blocks, bands) > tensors:
        raise UserError(f"{tensors} tensors cannot be the {blocks} blocks and {bands} layers of bands that are stated")
