"""How a state dict differs from a layout: short enough to read, precise enough to act on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from wsa_lightning.checkpoints.public_names import is_rotary, public_name
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.models.config import PUBLISHED

Shapes = Mapping[str, tuple[int, ...]]

KNOWN_LAYOUTS = {
    "Mel-Band RoFormer, vocals (Kim)": PUBLISHED["kim"],
    "Mel-Band RoFormer with window 10 and 8 sinks (the paper's student)": PUBLISHED["kim"].with_pattern(
        window=10, sinks=8
    ),
    "BS-RoFormer, vocals (viperx)": PUBLISHED["viperx"],
    "BS-RoFormer, six stems (SW)": replace(
        PUBLISHED["viperx"], dim=256, stems=("bass", "drums", "other", "vocals", "guitar", "piano")
    ),
}
"""Public models, of the published sizes, that a file is compared with if its tensors do not fit."""


def shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    """Names to shapes."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def load_exactly(
    model: Roformer, state: Mapping[str, Tensor], *, unexpected: Sequence[str] = (), assign: bool = False
) -> None:
    """``load_state_dict`` with a short readable difference instead of a page of names.

    Args:
        model: what to fill.
        state: our names to tensors.
        unexpected: names that no Roformer has, reported with the rest.
        assign: make ``state``'s tensors the model's own instead of copying them.

    Raises:
        UserError: a tensor is missing, unexpected or of another shape.
    """
    own, theirs = shapes_of(model.state_dict()), shapes_of(state)
    differences = {
        "missing": sorted(set(own) - set(theirs)),
        "unexpected": [*sorted(set(theirs) - set(own)), *unexpected],
        "other shape": [
            f"{name} {theirs[name]} instead of {own[name]}"
            for name in own
            if name in theirs and theirs[name] != own[name]
        ],
    }
    if any(differences.values()):
        lines = [
            f"{kind} {len(names)}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for kind, names in differences.items()
            if names
        ]
        raise UserError(f"tensors do not fit the architecture read off them; {'; '.join(lines)}")
    model.load_state_dict(dict(state), assign=assign)


def nearest_layout(shapes: Shapes) -> str:
    """Half a sentence that names the known public layout with most in common, and how much that is."""
    shapes = {name: shape for name, shape in shapes.items() if not is_rotary(name)}

    def likeness(layout: Shapes) -> float:
        """Shared names, and shared names of equal shape, as fractions of all names of both."""
        both = set(layout) | set(shapes)
        shared = [name for name in layout if name in shapes]
        return (len(shared) + sum(layout[name] == shapes[name] for name in shared)) / len(both)

    name, layout = max(_known_shapes().items(), key=lambda item: likeness(item[1]))
    if not set(layout) & set(shapes):
        return "it shares no tensor name with any known Roformer, and may be another architecture"
    fitting = sum(shapes.get(key) == shape for key, shape in layout.items())
    return f"nearest known layout: {name}, of whose {len(layout)} tensors {fitting} are here"


@cache
def _known_shapes() -> dict[str, Shapes]:
    known: dict[str, Shapes] = {}
    for name, config in KNOWN_LAYOUTS.items():
        with torch.device("meta"):
            state = Roformer(config).state_dict()
        known[name] = {public_name(ours): tuple(tensor.shape) for ours, tensor in state.items()}
    return known
