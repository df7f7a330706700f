"""A line before training: how much memory it will take, estimated from two short steps, and how much there is."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import lightning as L
import psutil
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor, nn

from wsa_lightning.losses import Estimate, Loss, Taught
from wsa_lightning.models import Roformer
from wsa_lightning.models.taps import tapped
from wsa_lightning.reliability.internals import find_callback
from wsa_lightning.training.callbacks.averaging import EMACallback
from wsa_lightning.training.module import SeparationModule

logger = logging.getLogger(__name__)

PROBE_SECONDS = (0.25, 0.5)
MIB = 2**20

Context = Callable[[], AbstractContextManager[None]]


def estimate(
    net: Roformer,
    loss: Loss,
    batch_size: int,
    samples: int,
    *,
    teacher: Roformer | None,
    average: bool,
    context: Context,
) -> dict[str, int]:
    """Bytes by purpose that AdamW's training step of ``net`` on (batch_size, C, samples) holds.

    Activations are what autograd keeps of one short and one longer forward pass with its losses, extended in a straight
    line: with every backend they grow with the length, not its square. With activation checkpointing the layer that is
    being recomputed comes on top.

    Args:
        net: the network, on its device.
        loss: what is minimised.
        batch_size: samples of a batch.
        samples: length of a sample.
        teacher: another network beside it that holds no activations.
        average: whether an average of the weights is kept.
        context: autocast, as in training.
    """
    weights = _bytes(net.parameters())
    rate = net.config.sample_rate
    short, longer = (round(rate * seconds) for seconds in PROBE_SECONDS)
    first, second = (_activations(net, loss, length, context) for length in (short, longer))
    per_item = first + (second - first) * (samples - short) / (longer - short)
    return {
        "weights": weights,
        "gradients": _bytes(parameter for parameter in net.parameters() if parameter.requires_grad),
        "optimizer": 2 * weights,
        "average": weights if average else 0,
        "teacher": _bytes(teacher.parameters()) if teacher is not None else 0,
        "activations": round(batch_size * max(per_item, 0.0)),
    }


def describe(needed: dict[str, int]) -> str:
    """The sum in MiB, and what it consists of."""
    parts = ", ".join(f"{name} {value / MIB:,.0f}" for name, value in needed.items() if value)
    return f"about {sum(needed.values()) / MIB:,.0f} MiB ({parts})"


def _activations(net: Roformer, loss: Loss, samples: int, context: Context) -> float:
    """Bytes that one sample's forward pass keeps, and with checkpointing one layer's share of the rest."""
    kept = _saved(net, loss, samples, context)
    if not net.activation_checkpointing:
        return kept
    net.activation_checkpointing = False
    try:
        return kept + (_saved(net, loss, samples, context) - kept) / net.config.depth
    finally:
        net.activation_checkpointing = True


def _saved(net: Roformer, loss: Loss, samples: int, context: Context) -> int:
    """Bytes that autograd keeps of one sample's forward pass and losses, each storage once, without the weights."""
    own = {parameter.untyped_storage()._cdata for parameter in net.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            storages[storage._cdata] = storage
        return tensor

    device = next(net.parameters()).device
    mixture = torch.zeros(1, net.config.channels, samples, device=device)  # no random numbers: a run must repeat
    targets = mixture[:, None].expand(-1, len(net.config.stems), -1, -1)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), context():
        with tapped(net, loss.taps) as features:
            audio, mask = net(mixture)
        theirs = {tap: [torch.zeros_like(x) for x in layers] for tap, layers in features.items()}
        taught = Taught(torch.zeros_like(mask), net.spectral(mixture).abs(), theirs)
        loss(Estimate(audio, targets, mask, features, taught))
        return sum(storage.nbytes() for storage in storages.values())


def _bytes(parameters: Iterator[nn.Parameter]) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


REMEDIES = (
    "lower data.batch_size (and raise trainer.accumulate_grad_batches by as much: the step stays the same), "
    "set model.activation_checkpointing true, or set trainer.precision bf16-mixed"
)


class MemoryCallback(L.Callback):
    """Prints weights, gradients, optimizer, average, teacher and activations before training starts.

    Warns, with the three settings to change, when the sum exceeds the memory that is free.
    """

    @rank_zero_only
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, SeparationModule):
            return
        needed = estimate(
            pl_module.net,
            pl_module.loss,
            pl_module.data.batch_size,
            pl_module.data.chunk,
            teacher=None if pl_module.teacher is None else pl_module.teacher.network,
            average=find_callback(trainer, EMACallback) is not None,
            context=trainer.precision_plugin.forward_context,
        )
        free = free_memory(pl_module.device)
        rank_zero_info(f"memory: {describe(needed)}, of {free / MIB:,.0f} MiB free on {pl_module.device}")
        if sum(needed.values()) > free:
            logger.warning("this may not fit: %s", REMEDIES)


def free_memory(device: torch.device) -> int:
    """Bytes free on a GPU, or on the machine for any other device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)
