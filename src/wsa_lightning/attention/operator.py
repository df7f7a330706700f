"""The operator's one door: pick a backend, check the arguments, compute windowed sink attention."""

from typing import Protocol

from torch import Tensor

from wsa_lightning.attention.blocked import blocked
from wsa_lightning.attention.pattern import check_pattern
from wsa_lightning.attention.reference import reference
from wsa_lightning.errors import UserError


class Backend(Protocol):
    """One way to compute windowed sink attention; all agree with ``reference``, gradients included."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None, sinks: int) -> Tensor:
        """(batch, heads, sinks + frames, dim_head) each, and so is the result."""


_BACKENDS: dict[str, Backend] = {"reference": reference, "blocked": blocked}


def backends() -> tuple[str, ...]:
    """The backends usable on this machine, besides ``auto``."""
    return tuple(_BACKENDS)


def resolve(backend: str | Backend) -> Backend:
    """The function behind a backend's name; an unknown name is a ``UserError``, never another backend."""
    if not isinstance(backend, str):
        return backend
    name = "blocked" if backend == "auto" else backend
    if name not in _BACKENDS:
        raise UserError(f"attention backend {backend!r} is not known here: expected auto, {', '.join(_BACKENDS)}")
    return _BACKENDS[name]


def windowed_sink_attention(
    q: Tensor, k: Tensor, v: Tensor, *, window: int | None, sinks: int, backend: str | Backend = "auto"
) -> Tensor:
    """Attention in which frames see their neighbours and the sinks, and sinks see everything.

    Source: arXiv 2510.25745, section 3; the exact mask is ``attention.pattern.allowed``.

    Args:
        q: queries (batch, heads, sinks + frames, dim_head), rotary embedding already applied.
        k: keys, same shape.
        v: values, same shape.
        window: total width in frames, ``window // 2`` to each side of the query; None is full attention.
        sinks: how many of the first positions are sinks.
        backend: ``auto``, one of ``backends()``, or a function; an explicit choice never falls back.

    Returns:
        (batch, heads, sinks + frames, dim_head), in the dtype of ``v``.

    Raises:
        UserError: a window below 1, negative sinks, fewer positions than sinks + 1, an unknown backend.
    """
    check_pattern(window, sinks)
    if q.shape[-2] <= sinks:
        raise UserError(f"{q.shape[-2]} positions hold {sinks} sinks and no frame: expected at least one frame")
    return resolve(backend)(q, k, v, window=window, sinks=sinks)
