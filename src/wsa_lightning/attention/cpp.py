"""Windowed sink attention on the CPU in one pass over memory: ``kernel.cpp``, compiled when it is first used.

A C++ compiler (``$CXX``, or ``c++`` on the path) builds the library once per machine, in some seconds; it stays in the
user's cache folder (``WSA_LIGHTNING_CACHE`` names another). Nothing else is needed: no headers of PyTorch, no build
tools. Half precision is computed in fp32, some sequences at a time.
"""

import ctypes
import functools
import hashlib
import itertools
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual

from wsa_lightning.attention.pattern import Pattern
from wsa_lightning.errors import UserError
from wsa_lightning.machine import cache_folder

logger = logging.getLogger(__name__)

SOURCE = Path(__file__).with_name("kernel.cpp")
# No -ffast-math: at link time it would switch denormals off for the whole process, and it assumes there is no NaN.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno"),
    *("-fno-trapping-math", "-fno-signed-zeros", "-fassociative-math", "-freciprocal-math"),
)
HALF_PRECISION_BYTES = 32 << 20
"""Size in fp32 of the sequences converted at a time."""


def why_not() -> str | None:
    """Why the library cannot be used on this machine, or None where it can; compiles on the first call."""
    return _failure()


# What torch.compiler.assume_constant_result does; calling that imports torch._dynamo, a third of our import time.
why_not._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _failure() -> str | None:
    try:
        _library()
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None)
        lines = (said if isinstance(said, str) and said.strip() else str(error)).strip().splitlines()
        # A compiler's last line is a caret or a count; the error itself is above.
        return next((line for line in lines if "error:" in line), lines[-1] if lines else type(error).__name__)
    return None


def cpp(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """Windowed sink attention on the CPU; q, k, v and result are (batch, heads, sinks + frames, dim_head)."""
    if reason := why_not():
        raise UserError(
            f"attention backend 'cpp' could not be compiled: {reason}. Install a C++ compiler (g++ 12 or newer, or "
            "clang++; CXX names another), or use backend blocked"
        )
    if q.device.type not in ("cpu", "meta"):
        raise UserError(f"attention backend 'cpp' runs on the CPU, the tensors are on {q.device}: use backend auto")
    if pattern.is_full(q.shape[-2] - pattern.sinks):
        return F.scaled_dot_product_attention(q, k, v)
    if not torch.compiler.is_compiling() and any(unpack_dual(x).tangent is not None for x in (q, k, v)):
        raise UserError("attention backend 'cpp' has no forward-mode derivative: use backend blocked")
    out, _ = _attend(q.to(v.dtype), k.to(v.dtype), v, [pattern.half, pattern.sinks, pattern.dilation])
    return out


@torch.library.custom_op(
    "wsa_lightning::cpp_attention",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, int[] pattern) -> (Tensor, Tensor)",
)
def _attend(q: Tensor, k: Tensor, v: Tensor, pattern: list[int]) -> tuple[Tensor, Tensor]:
    """Result, and the log of each softmax's sum (batch, heads, positions), which the backward pass needs.

    ``pattern``: half a window, sinks, dilation, in the order of ``kernel.cpp``.
    """
    out, lse = _empty_result(q, k, v, pattern)
    sinks = pattern[1]

    def forward(q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor) -> None:
        batch, heads, length, dim_head = q.shape
        pieces = -(-(length - sinks) // _library().frames_in_a_piece())
        parts = q.new_empty(batch, heads, pieces, sinks, dim_head + 2)
        _call("forward", (q, k, v, out), (lse, parts), pattern)

    _some_sequences_at_a_time(forward, (q, k, v), (out,), lse)
    return out, lse


@_attend.register_fake
def _empty_result(q: Tensor, k: Tensor, v: Tensor, pattern: list[int]) -> tuple[Tensor, Tensor]:
    lse = q.new_empty(q.shape[:-1], dtype=torch.float64 if q.dtype == torch.float64 else torch.float32)
    return _empty_rows(v), lse


@torch.library.custom_op(
    "wsa_lightning::cpp_attention_backward",
    mutates_args=(),
    schema="(Tensor q, Tensor k, Tensor v, Tensor out, Tensor gradient, Tensor lse, int[] pattern)"
    " -> (Tensor, Tensor, Tensor)",
)
def _attend_backward(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, gradient: Tensor, lse: Tensor, pattern: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    dq, dk, dv = (_empty_rows(x) for x in (q, k, v))

    def backward(*tensors: Tensor) -> None:
        *rows, lse = tensors
        for total in rows[-3:]:
            total.zero_()
        _call("backward", rows, (lse,), pattern)

    _some_sequences_at_a_time(backward, (q, k, v, out, gradient), (dq, dk, dv), lse)
    return dq, dk, dv


@_attend_backward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, out: Tensor, gradient: Tensor, lse: Tensor, pattern: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    return _empty_rows(q), _empty_rows(k), _empty_rows(v)


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ctx.pattern = inputs
    ctx.save_for_backward(q, k, v, *output)
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse = ctx.saved_tensors
    return (*_attend_backward(q, k, v, out, gradient, lse, ctx.pattern), None)


_attend.register_autograd(_gradients, setup_context=_save_for_backward)


def _some_sequences_at_a_time(
    work: Callable[..., None], inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], lse: Tensor
) -> None:
    """Call ``work(*inputs, *outputs, lse)`` in fp32 or fp64: half precision in slices of the batch, or of the heads."""
    if lse.numel() == 0:
        return
    if inputs[0].dtype == lse.dtype:
        work(*map(_readable, inputs), *outputs, lse)
        return
    batch, heads, length, dim_head = inputs[0].shape
    at_a_time = max(1, HALF_PRECISION_BYTES // (4 * length * dim_head))  # heads, of one sequence or of several
    rows, columns = max(1, at_a_time // heads), min(heads, at_a_time)
    for row, column in itertools.product(range(0, batch, rows), range(0, heads, columns)):
        part = (slice(row, row + rows), slice(column, column + columns))
        results = [_empty_rows(x[part], lse.dtype) for x in outputs]
        work(*(_readable(x[part].to(lse.dtype)) for x in inputs), *results, lse[part])
        for output, result in zip(outputs, results, strict=True):
            output[part] = result


def _empty_rows(like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B, H, L, E) that lies in memory as (B, L, H, E), as a model's projections give and take it."""
    batch, heads, length, dim_head = like.shape
    return like.new_empty(batch, length, heads, dim_head, dtype=dtype or like.dtype).transpose(1, 2)


def _readable(x: Tensor) -> Tensor:
    """The numbers of a head side by side, as the kernel reads them; it takes any other strides."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _call(work: str, rows: Any, plain: tuple[Tensor, ...], pattern: list[int]) -> None:
    """Pass pointers and strides to the library; ``rows`` are (B, H, L, E), ``plain`` are contiguous."""
    batch, heads, length, dim_head = rows[0].shape
    pointers = [x.data_ptr() for x in (*rows, *plain)]
    strides = [stride for x in rows for stride in x.stride()[:3]]
    sizes = [batch, heads, length, dim_head, *pattern, torch.get_num_threads()]
    function = getattr(_library(), f"{work}_{'double' if rows[0].dtype == torch.float64 else 'float'}")
    function(
        (ctypes.c_void_p * len(pointers))(*pointers),
        (ctypes.c_int64 * len(strides))(*strides),
        (ctypes.c_int64 * len(sizes))(*sizes),
        ctypes.c_double(dim_head**-0.5),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    """The compiled kernel, from the cache or from the compiler."""
    compiler = shutil.which(os.environ.get("CXX") or "c++")
    if compiler is None:
        raise FileNotFoundError(f"no compiler {os.environ.get('CXX') or 'c++'} on the path")
    folder, name = cache_folder() / "kernels", f"attention-{_fingerprint(compiler)}"
    # A library that was cut off would end the process when it is loaded, so its name holds its checksum.
    whole = (path for path in folder.glob(f"{name}-*.so") if path.name == f"{name}-{_checksum(path)}.so")
    library = ctypes.CDLL(str(next(whole, None) or _compile(compiler, folder, name)))
    library.frames_in_a_piece.restype = ctypes.c_int64
    return library


def _fingerprint(compiler: str) -> str:
    """Identifies the source, the flags and the processor: machines that differ may share a home folder."""
    info = Path("/proc/cpuinfo")
    flags = (
        [line for line in info.read_text().splitlines() if line.startswith(("flags", "Features"))]
        if info.is_file()
        else []
    )
    known = (SOURCE.read_text(), FLAGS, compiler, platform.platform(), flags[:1])
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _compile(compiler: str, parent: Path, name: str) -> Path:
    """Compile to a temporary file and rename it, because several processes may compile at once."""
    parent.mkdir(parents=True, exist_ok=True)
    logger.info("compiling the attention kernel with %s, once for this machine", compiler)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        built = Path(folder) / "kernel.so"
        command = [compiler, *FLAGS, str(SOURCE), "-o", str(built)]
        try:
            subprocess.run([*command, "-fopenmp"], check=True, capture_output=True, text=True, timeout=120)
        except subprocess.CalledProcessError:
            # Apple's compiler has no OpenMP: compile for one thread.
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return built.replace(parent / f"{name}-{_checksum(built)}.so")
