"""How many multiply-accumulates an operator in a trace makes, and which operators make none."""

import math
from collections import Counter
from typing import Any

from fvcore.nn.jit_handles import get_shape, linear_flop_jit

from wsa_lightning.flops.tracing import STAND_INS

FREE_OPERATORS = (
    "add", "clamp_min", "clone", "complex", "cos", "div", "expand_as", "gelu", "glu", "index_add", "linalg_vector_norm",
    "mul", "mul_", "pow", "sigmoid", "sin", "sub", "tanh", "unflatten", "view_as_complex", "view_as_real",
    # Not in our own models, but common in layers that others write:
    "abs", "exp", "flip", "group_norm", "layer_norm", "log", "masked_fill", "mean", "mT", "neg", "relu", "roll",
    "rsqrt", "silu", "softmax", "softplus", "sqrt", "sum", "where",
)  # fmt: skip
"""ATen operators without a matrix product, besides those that fvcore ignores by itself."""


def _unknown(operator: str) -> Counter[str]:
    """A handle's answer for an operator whose multiply-accumulates it cannot tell."""
    return Counter({operator: math.inf})


def _sdpa_macs(inputs: list[Any], outputs: list[Any]) -> int | Counter[str]:
    """PyTorch's own attention without a mask; what a mask allows cannot be read off its shape."""
    mask, causal = inputs[3], inputs[5]
    if mask.type().kind() != "NoneType" or causal.toIValue():
        return _unknown("aten::scaled_dot_product_attention with a mask")
    *batch, queries, dim_head = get_shape(inputs[0])
    keys, width = get_shape(inputs[2])[-2:]
    return math.prod(batch) * queries * keys * (dim_head + width)


def _einsum_macs(inputs: list[Any], outputs: list[Any]) -> int | Counter[str]:
    """Two operands: one multiply-accumulate per combination of the indices involved; an elementwise product is free."""
    equation = inputs[0].toIValue().replace(" ", "")
    shapes = [get_shape(operand) for operand in inputs[1].node().inputs()]
    terms, _, result = equation.partition("->")
    if len(shapes) != 2 or "->" not in equation or "." in equation:
        return _unknown(f"aten::einsum {equation!r}")
    left, right = (dict(zip(term, shape, strict=True)) for term, shape in zip(terms.split(","), shapes, strict=True))
    # An index of one operand alone that is not in the result is summed before the product.
    contracted = (left.keys() & right.keys()) - set(result)
    if not contracted:
        return 0
    taking_part = contracted | set(result)
    return math.prod(max(left.get(index, 1), right.get(index, 1)) for index in taking_part)


def _stated(inputs: list[Any], outputs: list[Any]) -> int:
    """What a stand-in was told when it was traced."""
    return int(inputs[2].toIValue())


HANDLES = {
    "aten::linear": linear_flop_jit,
    "aten::einsum": _einsum_macs,
    "aten::scaled_dot_product_attention": _sdpa_macs,
    **dict.fromkeys(STAND_INS, _stated),
}
"""What is counted, and how; the tests check every handle against a second counter."""
