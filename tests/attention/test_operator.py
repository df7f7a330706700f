"""Every backend computes what the oracle computes, gradients included, through the operator's entry point."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wsa_lightning.attention import Pattern, backends, windowed_sink_attention
from wsa_lightning.errors import UserError

BACKENDS = ("auto", *backends())
BESIDES_THE_ORACLE = tuple(name for name in BACKENDS if name != "reference")
FRAMES, SINKS = st.integers(1, 200), st.integers(0, 9)
WINDOWS = st.none() | st.integers(1, 80)
PATTERNS = st.tuples(WINDOWS, st.just(1)) | st.tuples(st.integers(1, 80), st.integers(1, 30))
"""Window and dilation."""


def tokens(batch: int, heads: int, length: int, dim_head: int, *, seed: int = 0) -> list[Tensor]:
    """Random q, k, v in fp64, laid out as a model cuts them from one projection: views, not contiguous."""
    generator = torch.Generator().manual_seed(seed)
    qkv = torch.randn(batch, length, 3, heads, dim_head, generator=generator, dtype=torch.float64)
    return [part.requires_grad_() for part in qkv.permute(2, 0, 3, 1, 4)]


def output_and_gradients(
    qkv: list[Tensor], window: int | None, sinks: int, backend: str, dilation: int = 1
) -> tuple[Tensor, ...]:
    out = windowed_sink_attention(*qkv, window=window, sinks=sinks, dilation=dilation, backend=backend)
    # A weight of its own for each output entry, or errors that cancel in a sum would pass.
    loss = out.flatten() @ torch.linspace(-1, 1, out.numel(), dtype=out.dtype)
    return (out, *torch.autograd.grad(loss, qkv))


@pytest.mark.parametrize("backend", BESIDES_THE_ORACLE)
@settings(max_examples=40, deadline=None)
@given(
    frames=FRAMES,
    pattern=PATTERNS,
    sinks=SINKS,
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    dim_head=st.sampled_from([1, 2, 5, 8]),
    seed=st.integers(0, 2**16),
)
@example(frames=1, pattern=(1, 1), sinks=0, batch=1, heads=1, dim_head=4, seed=0)
@example(frames=1, pattern=(10, 1), sinks=8, batch=2, heads=2, dim_head=4, seed=0)
@example(frames=5, pattern=(80, 1), sinks=3, batch=1, heads=2, dim_head=4, seed=0)
@example(frames=33, pattern=(1, 1), sinks=0, batch=1, heads=1, dim_head=4, seed=0)
@example(frames=64, pattern=(10, 1), sinks=8, batch=1, heads=2, dim_head=4, seed=0)
@example(frames=65, pattern=(63, 1), sinks=1, batch=1, heads=2, dim_head=4, seed=0)
@example(frames=129, pattern=(64, 1), sinks=9, batch=2, heads=1, dim_head=4, seed=0)
@example(frames=129, pattern=(6, 30), sinks=9, batch=2, heads=1, dim_head=8, seed=0)
def test_every_backend_equals_the_oracle_in_output_and_gradients(
    backend: str,
    frames: int,
    pattern: tuple[int | None, int],
    sinks: int,
    batch: int,
    heads: int,
    dim_head: int,
    seed: int,
) -> None:
    window, dilation = pattern
    qkv = tokens(batch, heads, sinks + frames, dim_head, seed=seed)
    expected = output_and_gradients(qkv, window, sinks, "reference", dilation)
    for ours, oracle in zip(output_and_gradients(qkv, window, sinks, backend, dilation), expected, strict=True):
        assert ours.shape == oracle.shape
        torch.testing.assert_close(ours, oracle, rtol=1e-9, atol=1e-9)


@given(frames=st.integers(1, 20), pattern=PATTERNS, sinks=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_the_oracle_is_a_softmax_over_what_each_query_may_see(
    frames: int, pattern: tuple[int | None, int], sinks: int
) -> None:
    window, dilation = pattern
    q, k, v = (x[0, 0] for x in tokens(1, 1, sinks + frames, 4))
    out = windowed_sink_attention(
        *tokens(1, 1, sinks + frames, 4), window=window, sinks=sinks, dilation=dilation, backend="reference"
    )
    for i, seen in enumerate(Pattern(window, sinks, dilation).mask(frames)):
        weights = (k[seen] @ q[i] / 4**0.5).softmax(0)
        torch.testing.assert_close(out[0, 0, i], weights @ v[seen])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["contiguous", "every second dimension", "expanded over the batch"])
def test_the_layout_of_the_inputs_in_memory_does_not_matter(backend: str, layout: str) -> None:
    q, k, v = (x.detach() for x in tokens(1, 2, 104, 8))
    if layout == "every second dimension":
        q, k, v = (x[..., ::2] for x in (q, k, v))
    if layout == "expanded over the batch":
        q, k, v = (x.expand(3, -1, -1, -1) for x in (q, k, v))
    ours = windowed_sink_attention(q, k, v, window=10, sinks=4, backend=backend)
    oracle = windowed_sink_attention(
        q.contiguous(), k.contiguous(), v.contiguous(), window=10, sinks=4, backend="reference"
    )
    torch.testing.assert_close(ours, oracle)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frames, sinks", [(1, 0), (1, 5), (40, 0), (70, 8)])
def test_no_window_and_a_window_of_twice_the_frames_are_full_attention(backend: str, frames: int, sinks: int) -> None:
    q, k, v = tokens(2, 2, sinks + frames, 8)
    full = F.scaled_dot_product_attention(q, k, v)
    for window in (None, 2 * frames, 2 * frames + 1, 10**6):
        ours = windowed_sink_attention(q, k, v, window=window, sinks=sinks, backend=backend)
        torch.testing.assert_close(ours, full)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_window_of_one_frame_and_no_sinks_returns_the_values(backend: str) -> None:
    q, k, v = tokens(2, 2, 75, 8)
    torch.testing.assert_close(windowed_sink_attention(q, k, v, window=1, sinks=0, backend=backend), v)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=25, deadline=None)
@given(
    data=st.data(),
    frames=st.integers(2, 120),
    window=st.integers(1, 40),
    sinks=st.integers(0, 5),
    dilation=st.integers(1, 20),
)
def test_a_frame_changes_the_sinks_and_the_frames_in_whose_window_it_lies_and_no_other(
    backend: str, data: st.DataObject, frames: int, window: int, sinks: int, dilation: int
) -> None:
    frame = data.draw(st.integers(0, frames - 1), label="frame")
    changed = changed_queries(frames, window, sinks, sinks + frame, backend, dilation)
    steps = range(-(window // 2), window // 2 + 1)
    near = {frame + step * dilation for step in steps}
    assert changed.tolist() == [True] * sinks + [other in near for other in range(frames)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frames, dilation", [(40, 3), (9, 4), (200, 7)])
def test_a_dilated_window_is_a_plain_one_over_every_so_many_frames(backend: str, frames: int, dilation: int) -> None:
    q, k, v = tokens(2, 2, frames, 8)
    whole = windowed_sink_attention(q, k, v, window=6, sinks=0, dilation=dilation, backend=backend)
    for first in range(dilation):
        part = [x[:, :, first::dilation] for x in (q, k, v)]
        torch.testing.assert_close(
            whole[:, :, first::dilation], windowed_sink_attention(*part, window=6, sinks=0, backend="reference")
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reach_beyond_all_measure_takes_no_memory_and_sees_what_there_is(backend: str) -> None:
    qkv = tokens(1, 2, 54, 4)
    for window in (1, 10**9):
        alone = windowed_sink_attention(*qkv, window=window, sinks=4, dilation=10**9, backend=backend)
        torch.testing.assert_close(alone, windowed_sink_attention(*qkv, window=1, sinks=4, backend="reference"))
    every_other = windowed_sink_attention(*qkv, window=10**9, sinks=4, dilation=2, backend=backend)
    oracle = windowed_sink_attention(*qkv, window=200, sinks=4, dilation=2, backend="reference")
    torch.testing.assert_close(every_other, oracle)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sink", range(3))
def test_a_sink_changes_everyone(backend: str, sink: int) -> None:
    assert changed_queries(frames=100, window=6, sinks=3, position=sink, backend=backend).all()


def changed_queries(frames: int, window: int, sinks: int, position: int, backend: str, dilation: int = 1) -> Tensor:
    """Which outputs, (sinks + frames,) bool, differ at all once the key and value at ``position`` are others."""
    q, k, v = (x.detach() for x in tokens(1, 1, sinks + frames, 4))
    options = {"window": window, "sinks": sinks, "dilation": dilation}
    before = windowed_sink_attention(q, k, v, **options, backend=backend)
    k, v = k.clone(), v.clone()
    k[:, :, position] += 1.0
    v[:, :, position] += 1.0
    after = windowed_sink_attention(q, k, v, **options, backend=backend)
    return (before != after).any(-1).flatten()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "frames, window, sinks, dilation", [(7, 3, 2, 1), (35, 4, 1, 1), (4, None, 1, 1), (34, 2, 0, 1), (35, 4, 1, 3)]
)
def test_gradients_are_the_derivatives(
    backend: str, frames: int, window: int | None, sinks: int, dilation: int
) -> None:
    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return windowed_sink_attention(q, k, v, window=window, sinks=sinks, dilation=dilation, backend=backend)

    assert torch.autograd.gradcheck(attend, tokens(1, 1, sinks + frames, 2), fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
def test_half_precision_stays_close_to_the_oracle_in_fp32(backend: str, dtype: torch.dtype, tolerance: float) -> None:
    halves = [x.detach().to(dtype).requires_grad_() for x in tokens(2, 2, 104, 16)]
    fulls = [x.detach().float().requires_grad_() for x in halves]
    ours = output_and_gradients(halves, 10, 4, backend)
    for half, full in zip(ours, output_and_gradients(fulls, 10, 4, "reference"), strict=True):
        assert half.dtype == dtype
        assert (half.float() - full).norm() <= tolerance * full.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_empty_batch_gives_an_empty_result(backend: str) -> None:
    q, k, v = tokens(0, 2, 104, 8)
    assert windowed_sink_attention(q, k, v, window=10, sinks=4, backend=backend).shape == (0, 2, 104, 8)


def test_a_function_can_be_the_backend() -> None:
    def first_value(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern) -> Tensor:
        return v[:, :, :1].expand_as(v)

    q, k, v = tokens(1, 1, 5, 2)
    out = windowed_sink_attention(q, k, v, window=2, sinks=1, backend=first_value)
    assert torch.equal(out, v[:, :, :1].expand_as(v))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"backend": "triton"}, "'triton' is not known here: expected auto, reference, blocked, cpp, flex"),
        ({"backend": ""}, "'' is not known here"),
        ({"window": 0}, "window is 0"),
        ({"window": -2}, "window is -2"),
        ({"sinks": -1}, "sinks is -1"),
        ({"dilation": 0}, "dilation is 0"),
        ({"window": None, "dilation": 2}, "dilation is 2 where window is null"),
        ({"sinks": 12}, "12 positions hold 12 sinks and no frame"),
        ({"sinks": 13}, "12 positions hold 13 sinks and no frame"),
    ],
)
def test_a_wrong_argument_is_an_error_that_says_what_was_seen(wrong: dict[str, object], message: str) -> None:
    q, k, v = tokens(1, 1, 12, 2)
    arguments = {"window": 4, "sinks": 2, "backend": "auto"} | wrong
    with pytest.raises(UserError, match=message):
        windowed_sink_attention(q, k, v, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", [*backends(), "auto"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q, k, v: (q, k[:, :, :20], v[:, :, :20]), "expected one shape"),
        (lambda q, k, v: (q, k[:, :1], v[:, :1]), "expected one shape"),
        (lambda q, k, v: (q, k[..., :4], v), "expected one shape"),
        (lambda q, k, v: (q[:1], k, v), "expected one shape"),
        (lambda q, k, v: (q[0], k[0], v[0]), "expected one shape"),
        (lambda q, k, v: (q, k.to("meta"), v), "expected one device"),
        (lambda q, k, v: (q.long(), k, v), "q is torch.int64"),
        (lambda q, k, v: (q, k, v.cfloat()), "v is torch.complex64"),
    ],
)
def test_tensors_that_do_not_belong_together_are_refused(
    change: Callable[..., tuple[torch.Tensor, ...]], words: str, backend: str
) -> None:
    q, k, v = change(*torch.randn(3, 2, 2, 30, 8))
    with pytest.raises(UserError, match=words):
        windowed_sink_attention(q, k, v, window=4, sinks=2, backend=backend)


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_forward_mode_derivatives_are_those_of_the_oracle_in_float64(backend: str) -> None:
    q, k, v, tangent = torch.randn(4, 2, 2, 30, 8, dtype=torch.float64)

    def attend(q: torch.Tensor, name: str) -> torch.Tensor:
        return windowed_sink_attention(q, k, v, window=4, sinks=2, backend=name)

    expected = torch.autograd.functional.jvp(lambda q: attend(q, "reference"), q, tangent)[1]
    try:
        found = torch.func.jvp(lambda q: attend(q, backend), (q,), (tangent,))[1]
    except NotImplementedError:
        assert backend == "blocked", "PyTorch's own attention has no forward mode, and says so"
    else:
        torch.testing.assert_close(found, expected)


@pytest.mark.skipif("cpp" not in backends(), reason="needs a C++ compiler")
def test_the_kernel_refuses_forward_mode_where_it_would_return_0() -> None:
    q, k, v, tangent = torch.randn(4, 2, 2, 30, 8)
    for backend in ("cpp", "auto"):
        with pytest.raises(UserError, match="no forward-mode derivative: use backend blocked"):
            torch.func.jvp(
                lambda q, backend=backend: windowed_sink_attention(q, k, v, window=4, sinks=2, backend=backend),
                (q,),
                (tangent,),
            )
