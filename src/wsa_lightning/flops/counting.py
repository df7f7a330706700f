"""The FLOPs of a Roformer as fvcore counts them on a trace of the whole forward pass, from audio to audio.

fvcore has no handle for attention and passes over what it does not know. Here attention, STFT and inverse STFT are
one operator each (``tracing``), with handles of their own (``handles``), and an operator that has neither a handle
nor a place on the list of free ones is an error.
"""

from collections import Counter
from collections.abc import Iterable

import torch
from fvcore.nn import FlopCountAnalysis

from wsa_lightning.flops.arithmetic import frames_of, pairs_of, stft_flops
from wsa_lightning.flops.handles import FREE_OPERATORS, HANDLES
from wsa_lightning.flops.report import FlopReport
from wsa_lightning.flops.tracing import ATTENTION, weightless_copy
from wsa_lightning.models.roformer import Roformer


def count(model: Roformer, seconds: float = 8.0) -> FlopReport:
    """Count the FLOPs of one forward pass through fvcore, on a weightless copy: any size, any duration.

    Args:
        model: on any device, in any mode, compiled or not; it is left untouched.
        seconds: duration of the mixture, one of them, at the model's sample rate.

    Raises:
        UserError: a duration that is not a positive number.
        RuntimeError: the model runs an operator that is neither counted nor known to be free.
    """
    frames = frames_of(model.config, seconds)
    core = weightless_copy(model)
    config, macs = core.config, trace(core, seconds)

    def flops(modules: Iterable[str], operator: str | None = None) -> int:
        return sum(2 * int(n) for name in modules for op, n in macs[name].items() if operator in (None, op))

    time = [f"layers.{i}.time" for i in range(config.depth)]
    frequency = [f"layers.{i}.frequency" for i in range(config.depth)]
    attention = ATTENTION.partition("::")[2]
    return FlopReport(
        seconds=seconds,
        frames=frames,
        linear=flops([""], "linear"),
        time_attention=flops(time, attention),
        frequency_attention=flops(frequency, attention),
        by_module={name: flops([name]) for name in ("band_split", *time, *frequency, "mask_estimators")},
        stft=stft_flops(config, macs[""]["stft"] + macs[""]["istft"]),
        **pairs_of(config, frames),
    )


def trace(core: Roformer, seconds: float) -> dict[str, Counter[str]]:
    """fvcore's verdict on a forward pass: multiply-accumulates (STFTs: transforms) by module, then by operator."""
    samples = max(1, round(seconds * core.config.sample_rate))
    mixture = torch.empty(1, core.config.channels, samples, device="meta")
    analysis = FlopCountAnalysis(core, mixture).clear_op_handles()
    analysis.set_op_handle(**{f"aten::{name}": None for name in FREE_OPERATORS})
    analysis.set_op_handle(**HANDLES)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    with torch.no_grad():
        macs: dict[str, Counter[str]] = analysis.by_module_and_operator()
    if unknown := sorted(analysis.unsupported_ops()):
        raise RuntimeError(f"cannot count {unknown}: give each a handle, or list it in FREE_OPERATORS")
    return macs
