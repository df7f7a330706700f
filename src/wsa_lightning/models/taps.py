"""What a Roformer computes on the way to its mask, for losses that compare two models inside."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from wsa_lightning.errors import UserError
from wsa_lightning.models.roformer import Roformer
from wsa_lightning.models.transformer import Attention

TAPS = ("hidden", "attention")
"""``hidden``: every layer's output, (B, T, K, D). ``attention``: every time attention's update, (B K, T, D)."""


@contextmanager
def tapped(model: Roformer, taps: Collection[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Record what passes the taps while the context is open; one forward pass fills each list, layer by layer.

    Sinks are cut off, so that a student's tensors have the shapes of its teacher's.

    Args:
        model: its layers must be called as modules, compiled one by one or not at all.
        taps: some of ``TAPS``.

    Raises:
        UserError: an unknown tap.
    """
    if unknown := sorted(set(taps) - set(TAPS)):
        raise UserError(f"taps {unknown} are not known: expected some of {', '.join(TAPS)}")
    kept: dict[str, list[Tensor]] = {name: [] for name in taps}
    sinks = model.config.sinks

    def keep(name: str, module: nn.Module) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            kept[name].append(output[:, sinks:])

        return module.register_forward_hook(hook)

    with ExitStack() as handles:
        for layer in model.layers:
            if "hidden" in kept:
                handles.enter_context(keep("hidden", layer))
            if "attention" in kept:
                for name, module in layer.named_modules():
                    if name.startswith("time.") and isinstance(module, Attention):
                        handles.enter_context(keep("attention", module))
        yield kept
