"""The operator's entry points: pick a backend, check the arguments, compute windowed sink attention."""

import functools
import logging
from typing import Protocol

import torch
from torch import Tensor

from wsa_lightning.attention.blocked import blocked
from wsa_lightning.attention.cpp import cpp
from wsa_lightning.attention.cpp import why_not as why_not_cpp
from wsa_lightning.attention.flex import flex
from wsa_lightning.attention.flex import why_not as why_not_flex
from wsa_lightning.attention.pattern import Pattern
from wsa_lightning.attention.reference import reference
from wsa_lightning.errors import UserError

logger = logging.getLogger(__name__)

WIDEST_FOR_CPP = 128
"""Window beyond which ``auto`` prefers matrix products on the CPU."""


class Backend(Protocol):
    """One way to compute windowed sink attention; all agree with ``reference``, gradients included."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
        """(batch, heads, sinks + frames, dim_head) each, and so is the result."""


_BACKENDS: dict[str, Backend] = {"reference": reference, "blocked": blocked, "cpp": cpp, "flex": flex}


def backends() -> tuple[str, ...]:
    """The backends usable on this machine, forward and backward, besides ``auto``."""
    usable = {"cpp": why_not_cpp() is None, "flex": torch.cuda.is_available()}
    return tuple(name for name in _BACKENDS if usable.get(name, True))


def resolve(backend: str | Backend) -> Backend:
    """The function behind a backend's name; an unknown name is a ``UserError``, never another backend."""
    if not isinstance(backend, str):
        return backend
    if backend == "auto":
        return _auto
    if backend not in _BACKENDS:
        raise UserError(f"attention backend {backend!r} is not known here: expected auto, {', '.join(_BACKENDS)}")
    return _BACKENDS[backend]


def _auto(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
    """The fastest backend that can take these tensors here."""
    name = _best(q, pattern.window)
    if not torch.compiler.is_compiling():
        _note(name, q.device.type)
    return _BACKENDS[name](q, k, v, pattern)


def _best(q: Tensor, window: int | None) -> str:
    if window is None or torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None:
        return "blocked"  # plain operators: what an exported graph can hold
    if q.device.type == "cuda" and why_not_flex(q) is None:
        return "flex"
    if q.device.type == "cpu" and window <= WIDEST_FOR_CPP:
        if (reason := why_not_cpp()) is None:
            return "cpp"
        if not torch.compiler.is_compiling():
            _warn_without_compiler(reason)
    return "blocked"


@functools.cache
def _warn_without_compiler(reason: str) -> None:
    logger.warning("No C++ compiler (%s); falling back to the slower `blocked` backend.", reason)


@functools.cache
def _note(name: str, device: str) -> None:
    logger.debug("attention backend auto takes %s on %s", name, device)


def windowed_sink_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: int | None,
    sinks: int,
    dilation: int = 1,
    backend: str | Backend = "auto",
) -> Tensor:
    """Attention in which frames see their neighbours and the sinks, and sinks see everything.

    Source: arXiv 2510.25745, section 3; the exact mask is ``Pattern(window, sinks, dilation).mask(frames)``.

    Args:
        q: queries (batch, heads, sinks + frames, dim_head), rotary embedding already applied.
        k: keys, same shape.
        v: values, same shape.
        window: total width in frames, ``window // 2`` to each side of the query; None is full attention.
        sinks: how many of the first positions are sinks.
        dilation: frames from one key of the window to the next; 1 for neighbours.
        backend: ``auto``, one of ``backends()``, or a function; an explicit choice never falls back.

    Returns:
        (batch, heads, sinks + frames, dim_head), in the dtype of ``v`` if the three have the same.

    Raises:
        UserError: a window or dilation below 1, negative sinks, a null window with a dilation, fewer positions than
            sinks + 1, an unknown backend; tensors that differ in shape or device, or hold no real floating-point
            numbers.
    """
    return attend(q, k, v, Pattern(window, sinks, dilation), backend)


def attend(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, backend: str | Backend = "auto") -> Tensor:
    """``windowed_sink_attention`` with a ``Pattern``."""
    if not torch.compiler.is_compiling() and torch._C._get_tracing_state() is None:
        _check(q, k, v)
    frames = q.shape[-2] - pattern.sinks
    if frames < 1:
        raise UserError(f"{q.shape[-2]} positions hold {pattern.sinks} sinks and no frame: expected at least one frame")
    return resolve(backend)(q, k, v, pattern.narrowed(frames))


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    """Refuse tensors that a backend may read or write beyond their ends."""
    if q.ndim != 4 or not q.shape == k.shape == v.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (q, k, v))
        raise UserError(f"q, k and v are {shapes}: expected one shape for all, (batch, heads, positions, dim_head)")
    if not q.device == k.device == v.device:
        raise UserError(f"q, k and v are on {q.device}, {k.device} and {v.device}: expected one device")
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not x.is_floating_point():
            raise UserError(f"{name} is {x.dtype}: expected real floating-point numbers")
