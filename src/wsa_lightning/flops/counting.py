"""The FLOPs of a Roformer as fvcore counts them on a trace of the whole forward pass, from audio to audio.

fvcore has no handle for attention, and ignores what it does not know. Here attention, STFT and inverse STFT are one
operator each (``tracing``) with their own handles (``handles``). An operator that has no handle and is not listed as
free is reported as uncounted.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import torch
from fvcore.nn import FlopCountAnalysis

from wsa_lightning.errors import first_line
from wsa_lightning.flops.arithmetic import frames_of, pairs_of, stft_flops
from wsa_lightning.flops.flop_report import FlopReport, Uncounted
from wsa_lightning.flops.handles import FREE_OPERATORS, HANDLES
from wsa_lightning.flops.tracing import ATTENTION, weightless_copy
from wsa_lightning.models.roformer import Roformer


class Trace(NamedTuple):
    """What fvcore found: multiply-accumulates (STFTs: transforms) by module and operator; and what has no handle."""

    macs: dict[str, Counter[str]]
    uncounted: tuple[Uncounted, ...]


def count(model: Roformer, seconds: float = 8.0) -> FlopReport:
    """Count the FLOPs of one forward pass through fvcore, on a weightless copy: any size, any duration.

    Args:
        model: on any device, in any mode, compiled or not; it is left untouched.
        seconds: duration of the mixture, one of them, at the model's sample rate.

    Raises:
        UserError: a duration that is not a positive number.
    """
    frames = frames_of(model.config, seconds)
    core = weightless_copy(model)
    config, (macs, uncounted) = core.config, trace(core, seconds)

    def flops(modules: Iterable[str], operator: str | None = None) -> int:
        return sum(2 * int(n) for name in modules for op, n in macs[name].items() if operator in (None, op))

    time = [f"layers.{i}.time" for i in range(config.depth)]
    frequency = [f"layers.{i}.frequency" for i in range(config.depth)]
    attention = ATTENTION.partition("::")[2]
    return FlopReport(
        seconds=seconds,
        frames=frames,
        linear=flops([""]) - flops([""], attention) - flops([""], "stft") - flops([""], "istft"),
        time_attention=flops(time, attention),
        frequency_attention=flops(frequency, attention),
        by_module={name: flops([name]) for name in ("band_split", *time, *frequency, "mask_estimators")},
        stft=stft_flops(config, macs[""]["stft"] + macs[""]["istft"]),
        **pairs_of(config, frames),
        uncounted=uncounted,
    )


def trace(core: Roformer, seconds: float) -> Trace:
    """fvcore's count of a forward pass; of one that cannot be traced on the meta device, nothing but where it fails."""
    samples = max(1, round(seconds * core.config.sample_rate))
    mixture = torch.empty(1, core.config.channels, samples, device="meta")
    analysis = FlopCountAnalysis(core, mixture).clear_op_handles()
    analysis.set_op_handle(**{f"aten::{name}": None for name in FREE_OPERATORS})
    analysis.set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    entered = [""]
    for name, module in core.named_modules():
        module.register_forward_pre_hook(lambda *_, name=name: entered.append(name))
    try:
        with torch.no_grad():
            macs: dict[str, Counter[str]] = analysis.by_module_and_operator()
    except Exception as error:  # whatever code from outside raises: a count is not worth a training
        where = Uncounted(f"untraceable code ({first_line(error)})", entered[-1])
        return Trace(defaultdict(Counter), (where, Uncounted("everything else", "")))
    callers: dict[str, list[str]] = {}
    for path, operators in macs.items():
        # A handle that cannot count an operator after all returns infinity.
        unknown = [operator for operator, n in operators.items() if math.isinf(n)]
        for operator in [*analysis.unsupported_ops(path), *unknown]:
            callers.setdefault(operator, []).append(path)
        for operator in unknown:
            del operators[operator]
    uncounted = [Uncounted(operator, module) for operator, modules in callers.items() for module in _innermost(modules)]
    return Trace(macs, tuple(sorted(uncounted)))


def _innermost(modules: list[str]) -> list[str]:
    """Modules none of whose submodules is among them."""
    return [
        module
        for module in modules
        if not any(other != module and f"{other}.".startswith(f"{module}." if module else "") for other in modules)
    ]
