"""What each backend does besides the numbers: when ``auto`` takes it, how it lives with PyTorch's other machinery."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch.export import Dim, export
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from tests.attention.test_operator import output_and_gradients, tokens
from wsa_lightning.attention import Pattern, backends, operator, windowed_sink_attention
from wsa_lightning.attention import flex as flex_room
from wsa_lightning.errors import UserError

FAST = tuple(name for name in backends() if name != "reference")
needs_compiler = pytest.mark.skipif("cpp" not in backends(), reason="needs a C++ compiler")


def attend(q: Tensor, k: Tensor, v: Tensor, backend: str = "auto", dilation: int = 1) -> Tensor:
    return windowed_sink_attention(2 * q, k, v, window=10, sinks=4, dilation=dilation, backend=backend)


def floats(length: int = 104, dim_head: int = 16) -> list[Tensor]:
    return [x.detach().float().requires_grad_() for x in tokens(2, 2, length, dim_head)]


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("dim_head", [16, 24, 32, 64, 128])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)])
@pytest.mark.parametrize("frames, window, sinks", [(1, 10, 8), (3, 7, 2), (97, 9, 0), (131, 16, 4), (200, 63, 17)])
def test_every_width_and_precision_is_the_oracles_to_its_rounding(
    backend: str, dim_head: int, dtype: torch.dtype, tolerance: float, frames: int, window: int, sinks: int
) -> None:
    qkv = [x.detach().to(dtype).requires_grad_() for x in tokens(1, 2, sinks + frames, dim_head)]
    oracle = output_and_gradients([x.detach().double().requires_grad_() for x in qkv], window, sinks, "reference")
    for ours, exact in zip(output_and_gradients(qkv, window, sinks, backend), oracle, strict=True):
        assert ours.dtype == dtype
        assert (ours - exact).norm() <= tolerance * exact.norm() + 1e-6


@pytest.mark.parametrize("backend", FAST)
def test_sums_over_many_frames_do_not_stop_growing_in_half_precision(backend: str) -> None:
    qkv = [x.detach().bfloat16().requires_grad_() for x in tokens(1, 1, 2000, 8)]
    oracle = output_and_gradients([x.detach().double().requires_grad_() for x in qkv], 16, 4, "reference")
    for ours, exact in zip(output_and_gradients(qkv, 16, 4, backend), oracle, strict=True):
        assert (ours[:, :, :4] - exact[:, :, :4]).norm() <= 1e-2 * exact[:, :, :4].norm()


@pytest.mark.parametrize("backend", FAST)
def test_many_sequences_are_all_computed(backend: str) -> None:
    batch = 59
    for dtype in (torch.float32, torch.bfloat16):
        qkv = [x.detach().to(dtype) for x in tokens(batch, 2, 104, 4)]
        ours = windowed_sink_attention(*qkv, window=10, sinks=4, backend=backend)
        oracle = windowed_sink_attention(*[x.float() for x in qkv], window=10, sinks=4, backend="reference")
        torch.testing.assert_close(ours.float(), oracle, rtol=0, atol=1e-6 if dtype == torch.float32 else 2e-2)


@pytest.mark.parametrize("frames, window, sinks", [(161, 10, 8), (129, 9, 0), (400, 150, 3), (65, 63, 1)])
def test_the_seams_between_blocks_of_a_sequence_cannot_be_seen(frames: int, window: int, sinks: int) -> None:
    qkv = tokens(2, 3, sinks + frames, 4)
    oracle = output_and_gradients(qkv, window, sinks, "reference")
    for ours, exact in zip(output_and_gradients(qkv, window, sinks, "blocked"), oracle, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", FAST)
def test_a_nan_reaches_whoever_sees_it_and_no_other_head(backend: str) -> None:
    q, k, v = (x.detach() for x in floats())
    k[0, 0, 50, 0] = torch.nan
    out = windowed_sink_attention(q, k, v, window=10, sinks=4, backend=backend)
    sick = out.isnan().all(-1)
    position = torch.arange(104)
    assert sick[0, 0][(position < 4) | ((position - 50).abs() <= 5)].all()
    assert not sick[0, 1].any()
    assert not sick[1].any()


@pytest.mark.parametrize("backend", FAST)
def test_large_scores_do_not_overflow(backend: str) -> None:
    q, k, v = (60 * x.detach() for x in floats())
    ours = windowed_sink_attention(q, k, v, window=10, sinks=4, backend=backend)
    oracle = windowed_sink_attention(*[x.double() for x in (q, k, v)], window=10, sinks=4, backend="reference")
    torch.testing.assert_close(ours.double(), oracle, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("backend", FAST)
def test_activation_checkpointing_and_autocast_change_nothing(backend: str) -> None:
    qkv = floats()
    plain = attend(*qkv, backend)
    with torch.autocast("cpu", torch.bfloat16):
        again = checkpoint(attend, *qkv, backend, use_reentrant=False)
    assert again.dtype == torch.float32
    weight = torch.linspace(-1, 1, plain.numel()).view_as(plain)
    for one, other in zip(
        torch.autograd.grad((plain * weight).sum(), qkv),
        torch.autograd.grad((again * weight).sum(), qkv),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=5e-2, atol=5e-2)


class Projected(torch.nn.Module):
    """Attention over q, k, v that a layer makes, as a model has it."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend
        self.to_qkv = torch.nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.to_qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return attend(q, k, v, self.backend)


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("backend", FAST)
def test_ddp_takes_the_same_gradients_off_every_backend(backend: str) -> None:
    torch.manual_seed(0)
    plain, x = Projected("reference"), torch.randn(2, 104, 8)
    model = Projected(backend)
    model.load_state_dict(plain.state_dict())
    for module in (plain, DistributedDataParallel(model)):
        module(x).square().sum().backward()
    torch.testing.assert_close(model.to_qkv.weight.grad, plain.to_qkv.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("backend", FAST)
def test_a_compiled_caller_gets_the_same_numbers_in_one_graph(backend: str, dilation: int) -> None:
    qkv = floats()
    compiled = torch.compile(attend, fullgraph=True)
    ours, oracle = compiled(*qkv, backend, dilation), attend(*qkv, "reference", dilation)
    weight = torch.linspace(-1, 1, ours.numel()).view_as(ours)
    torch.testing.assert_close(ours, oracle)
    for one, other in zip(
        torch.autograd.grad((ours * weight).sum(), qkv),
        torch.autograd.grad((oracle * weight).sum(), qkv),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


class Attend(torch.nn.Module):
    """The operator as something that can be exported."""

    def __init__(self, backend: str, dilation: int = 1) -> None:
        super().__init__()
        self.backend, self.dilation = backend, dilation

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attend(q, k, v, self.backend, self.dilation)


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("backend", ("auto", *FAST))
def test_an_exported_graph_computes_the_same(backend: str, dilation: int) -> None:
    qkv = tuple(x.detach() for x in floats())
    exported = export(Attend(backend, dilation), qkv)
    torch.testing.assert_close(exported.module()(*qkv), attend(*qkv, "reference", dilation))
    if backend == "auto":  # a graph for other programs holds no operator of ours
        assert not [node for node in exported.graph.nodes if "wsa" in str(node.target)]


@needs_compiler
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_graph_exported_with_the_kernel_serves_every_length(dilation: int) -> None:
    length = Dim("length", min=32, max=4096)
    tensors = tuple(x.detach() for x in floats())
    exported = export(Attend("cpp", dilation), tensors, dynamic_shapes=({2: length},) * 3)
    other = [x.detach() for x in floats(333)]
    torch.testing.assert_close(exported.module()(*other), attend(*other, "reference", dilation))


@pytest.mark.parametrize(
    "frames, window, sinks, dilation",
    [(40, 3, 0, 1), (300, 10, 8, 1), (300, 130, 1, 1), (513, 64, 70, 1), (300, 10, 8, 9)],
)
def test_flex_attention_runs_on_the_cpu_for_its_pattern_to_be_checked(
    frames: int, window: int, sinks: int, dilation: int
) -> None:
    qkv = [x.detach() for x in tokens(1, 2, sinks + frames, 16)]
    options = {"window": window, "sinks": sinks, "dilation": dilation}
    ours = windowed_sink_attention(*qkv, **options, backend="flex")
    oracle = windowed_sink_attention(*qkv, **options, backend="reference")
    torch.testing.assert_close(ours, oracle, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "length, window, sinks, dilation",
    [(64, 10, 8, 1), (809, 10, 8, 1), (809, 200, 0, 1), (1000, 64, 130, 1), (1500, 8, 8, 16)],
)
def test_flex_attention_leaves_out_exactly_the_blocks_without_an_allowed_pair(
    length: int, window: int, sinks: int, dilation: int
) -> None:
    pattern = Pattern(window, sinks, dilation)
    block = flex_room.positions_in_a_block(pattern)
    blocks = -(-length // block)
    whole = torch.zeros(blocks * block, blocks * block, dtype=torch.bool)
    whole[:length, :length] = pattern.mask(length - sinks)
    met = whole.view(blocks, block, blocks, block).any(3).any(1)
    mask = flex_room.block_mask(pattern, length, torch.device("cpu"))
    assert torch.equal(mask.to_dense()[0, 0].bool(), met)


def test_flex_attention_says_that_it_cannot_train_on_the_cpu() -> None:
    with pytest.raises(UserError, match="no backward pass on the CPU"):
        attend(*floats(), "flex")


@needs_compiler
@pytest.mark.parametrize(
    ("window", "frames", "name"), [(10, 100, "cpp"), (None, 100, "blocked"), (500, 2000, "blocked")]
)
def test_auto_takes_the_kernel_for_narrow_windows_and_says_so_at_debug_level(
    window: int | None, frames: int, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    operator._note.cache_clear()
    q, k, v = (x.detach() for x in tokens(1, 1, frames, 4))
    with caplog.at_level(logging.DEBUG, logger="wsa_lightning.attention.operator"):
        windowed_sink_attention(q, k, v, window=window, sinks=0)
    assert f"auto takes {name} on cpu" in caplog.text


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )


ATTEND_TWICE = """
import logging, torch
logging.basicConfig(level=logging.INFO)
from wsa_lightning.attention import backends, windowed_sink_attention
q = torch.randn(1, 2, 104, 8)
for _ in range(2):
    windowed_sink_attention(q, q, q, window=10, sinks=4)
print(backends())
windowed_sink_attention(q, q, q, window=10, sinks=4, backend="cpp")
"""


def test_without_a_compiler_auto_warns_once_and_the_explicit_choice_is_an_error(tmp_path: Path) -> None:
    done = run(ATTEND_TWICE, CXX="no-such-compiler", WSA_LIGHTNING_CACHE=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("No C++ compiler (no compiler no-such-compiler on the path); falling back") == 1
    assert "('reference', 'blocked')" in done.stdout
    assert "could not be compiled: no compiler no-such-compiler on the path" in done.stderr


def test_a_compiler_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'error: out of ideas' >&2\necho '      ^' >&2\nexit 1\n")
    compiler.chmod(0o755)
    cache = tmp_path / "cache"
    done = run(ATTEND_TWICE, CXX=str(compiler), WSA_LIGHTNING_CACHE=str(cache))
    assert "error: out of ideas" in done.stderr
    assert list(cache.rglob("*.so")) == []


@pytest.mark.slow
@needs_compiler
def test_two_processes_may_compile_at_once_and_a_third_finds_the_library(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ATTEND_TWICE]
    environment = {**os.environ, "WSA_LIGHTNING_CACHE": str(tmp_path)}
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(list(tmp_path.rglob("*"))) == 2  # the folder and one library
    third = run(ATTEND_TWICE, WSA_LIGHTNING_CACHE=str(tmp_path))
    assert third.returncode == 0
    assert "compiling" not in third.stderr


@needs_compiler
@pytest.mark.parametrize("length", [0, 9000])
def test_a_kernel_that_was_cut_off_in_the_cache_is_compiled_again(length: int, tmp_path: Path) -> None:
    assert run(ATTEND_TWICE, WSA_LIGHTNING_CACHE=str(tmp_path)).returncode == 0
    (library,) = tmp_path.rglob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:length])
    again = run(ATTEND_TWICE, WSA_LIGHTNING_CACHE=str(tmp_path))
    assert again.returncode == 0, again.stderr
    assert library.read_bytes() == whole


def test_a_mask_made_in_inference_mode_is_not_kept_for_training() -> None:
    with torch.inference_mode():
        attend(*(x.detach() for x in floats(203)), "flex")
    assert not flex_room.block_mask(Pattern(10, 4), 203, torch.device("cpu")).kv_indices.is_inference()
