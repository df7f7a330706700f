"""The FLOPs fvcore counts are the FLOPs arithmetic says, PyTorch's own counter sees, and the paper reports."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wsa_lightning.attention import Pattern, attention_flops, backends
from wsa_lightning.attention.blocked import executed_pairs
from wsa_lightning.errors import UserError
from wsa_lightning.flops import FlopReport, closed_form, count
from wsa_lightning.flops.counting import trace
from wsa_lightning.flops.tracing import weightless_copy
from wsa_lightning.models import Roformer, RoformerConfig
from wsa_lightning.training import TeacherModule
from wsa_lightning.training.callbacks.closing import closing_table
from wsa_lightning.training.callbacks.flops import FlopCounterCallback

KIM = RoformerConfig()
PAPERS_STUDENT = replace(KIM, window=10, sinks=8)
SMALL = RoformerConfig(
    dim=16, depth=2, heads=2, dim_head=8, ff_mult=2, mlp_expansion_factor=1, mel_bands=8, n_fft=512, win_length=512
)
SMALL_BAND_SPLIT = replace(SMALL, family="band_split", mask_hidden_layers=1, band_widths=(16,) * 8 + (129,))
FAMILIES = [pytest.param(SMALL, id="mel_band"), pytest.param(SMALL_BAND_SPLIT, id="band_split")]


def weightless(config: RoformerConfig, backend: str = "auto") -> Roformer:
    with torch.device("meta"):
        return Roformer(config, backend=backend)


@pytest.fixture(scope="module")
def teacher() -> FlopReport:
    return count(weightless(KIM), 8.0)


@pytest.fixture(scope="module")
def student() -> FlopReport:
    return count(weightless(PAPERS_STUDENT), 8.0)


def test_kims_teacher_costs_3107_gflop_at_8_s_of_which_473_are_time_attention(teacher: FlopReport) -> None:
    assert teacher == closed_form(KIM, 8.0)
    assert round(teacher.total / 1e12, 3) == 3.107
    assert round(teacher.time_attention / 1e12, 3) == 0.473
    assert teacher.frames == 801
    assert sum(teacher.by_module.values()) == teacher.total


def test_the_papers_student_saves_what_the_paper_says(teacher: FlopReport, student: FlopReport) -> None:
    assert student == closed_form(PAPERS_STUDENT, 8.0)
    assert (teacher.paper_pairs, student.paper_pairs) == (641_601, 14_418)
    assert teacher.paper_pairs / student.paper_pairs == 44.5
    assert round(teacher.exact_pairs / student.exact_pairs, 1) == 29.6
    assert round(teacher.time_attention / student.time_attention, 1) == 29.6
    assert round(teacher.total / student.total, 2) == 1.16
    assert teacher.time_attention_paper == teacher.time_attention == teacher.time_attention_executed
    assert teacher.time_attention_paper / student.time_attention_paper == 44.5
    per_pair = 6 * 60 * attention_flops(1, 8, 64)  # layers, bands
    assert student.time_attention_paper == 14_418 * per_pair
    assert student.time_attention_executed == executed_pairs(Pattern(10, 8), 801) * per_pair


def test_a_whole_song_is_counted_as_exactly_as_a_chunk_and_saves_several_times_as_much() -> None:
    one_layer = replace(PAPERS_STUDENT, depth=1)
    assert count(weightless(one_layer), 240.0) == closed_form(one_layer, 240.0)
    teacher, student = closed_form(KIM, 240.0), closed_form(PAPERS_STUDENT, 240.0)
    assert (teacher.exact_pairs, student.exact_pairs) == (24_001**2, 24_001 * 11 - 30 + 24_001 * 8 + 8 * 24_009)
    assert round(teacher.total / student.total, 2) == 6.34


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=6, deadline=None)
@given(
    seconds=st.floats(0.001, 20.0),
    patterns=st.lists(
        st.just((None, 1)) | st.tuples(st.integers(1, 4000), st.sampled_from([1, 1, 3, 200])), min_size=1, max_size=2
    ),
    sinks=st.integers(0, 9),
    stems=st.sampled_from([("vocals",), ("vocals", "drums", "bass")]),
    rest=st.fixed_dictionaries({
        "channels": st.integers(1, 2),
        "time_blocks": st.integers(1, 2),
        "frequency_blocks": st.integers(1, 2),
        "mask_hidden_layers": st.integers(1, 3),
        "heads": st.integers(1, 3),
    }),
)  # fmt: skip
def test_the_count_is_the_closed_form_for_any_architecture_and_duration(
    family: RoformerConfig,
    seconds: float,
    patterns: list[tuple[int | None, int]],
    sinks: int,
    stems: tuple[str, ...],
    rest: dict[str, Any],
) -> None:
    windows, dilations = zip(*patterns, strict=True)
    config = replace(family, depth=len(patterns), window=windows, dilation=dilations, sinks=sinks, stems=stems, **rest)
    report = count(weightless(config), seconds)
    assert report == closed_form(config, seconds)
    assert sum(report.by_module.values()) == report.total


def test_windows_of_their_own_cost_what_the_layers_cost_alone() -> None:
    windows = [4, 40, None]
    together = closed_form(replace(SMALL, depth=3, window=windows, sinks=2), 2.0)
    alone = [closed_form(replace(SMALL, depth=1, window=window, sinks=2), 2.0) for window in windows]
    assert together.time_attention == sum(report.time_attention for report in alone)
    assert together.time_attention_paper == sum(report.time_attention_paper for report in alone)
    assert together.time_attention_executed == sum(report.time_attention_executed for report in alone)
    assert together.exact_pairs == round(sum(report.exact_pairs for report in alone) / 3)
    for layer, report in enumerate(alone):
        assert together.by_module[f"layers.{layer}.time"] == report.by_module["layers.0.time"]


@pytest.mark.parametrize("window, sinks, dilation", [(None, 0, 1), (10, 8, 1), (9, 0, 1), (10, 8, 4)])
@pytest.mark.parametrize("backend", ["reference", "blocked"])
@pytest.mark.parametrize("family", FAMILIES)
def test_pytorchs_own_counter_sees_the_same_linear_layers_and_the_pairs_each_backend_runs(
    family: RoformerConfig, backend: str, window: int | None, sinks: int, dilation: int
) -> None:
    config = replace(family, window=window, sinks=sinks, dilation=dilation)
    model = weightless(config, backend)
    report = count(model, 2.0)
    spectrum = torch.empty(1, config.channels, config.bins, report.frames, dtype=torch.complex64, device="meta")
    with FlopCounterMode(display=False) as witness, torch.no_grad():
        model.estimate_mask(spectrum)

    length = sinks + report.frames
    pairs = executed_pairs(Pattern(window, sinks, dilation), report.frames) if backend == "blocked" else length**2
    executed = config.depth * attention_flops(config.bands * pairs, config.heads, config.dim_head)
    assert witness.get_total_flops() == report.linear + report.frequency_attention + executed
    if window is None:
        assert report.time_attention == executed
    else:
        assert report.time_attention < executed  # whole blocks, or all of the mask, are dense


def test_the_count_does_not_depend_on_the_backend() -> None:
    config = replace(SMALL, window=10, sinks=4)
    reports = [count(weightless(config, backend)) for backend in ("auto", *backends())]
    assert all(report == reports[0] for report in reports)


@pytest.mark.parametrize("seconds", [1 / 44100, 0.01, 0.0232, 0.1, 0.99, 1.0])
def test_the_frames_counted_are_the_frames_the_model_runs(seconds: float) -> None:
    config = replace(KIM, dim=4, depth=1, heads=1, dim_head=2, mel_bands=8)
    mixture = torch.zeros(1, config.channels, round(seconds * config.sample_rate))
    with torch.no_grad():
        mask = Roformer(config)(mixture).mask
    assert count(weightless(config), seconds).frames == mask.shape[-1]


def test_counting_leaves_the_model_as_it_was() -> None:
    model = Roformer(replace(SMALL, window=4, sinks=2)).train()
    mixture = torch.randn(1, 2, 4000)
    audio = model(mixture).audio
    count(model)
    assert model.training
    assert all(weight.device.type == "cpu" and weight.requires_grad for weight in model.parameters())
    assert torch.equal(model(mixture).audio, audio)


def test_a_compiled_or_half_precision_model_counts_the_same() -> None:
    expected = closed_form(SMALL)
    assert count(torch.compile(Roformer(SMALL))) == expected  # type: ignore[arg-type]
    assert count(Roformer(SMALL).bfloat16()) == expected


class Extra(nn.Module):
    """Any function of the tokens (B, T, K, D), in the place of the last norm."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def with_extra(function: Callable[[torch.Tensor], torch.Tensor]) -> Roformer:
    model = weightless(SMALL_BAND_SPLIT)
    model.norm = Extra(function)  # type: ignore[assignment]
    return model


HEAVY = {
    "aten::matmul": lambda x: x @ x.transpose(-1, -2) @ x,
    "aten::bmm": lambda x: torch.bmm(x[0], x[0].transpose(-1, -2).bmm(x[0])).expand_as(x),
    "aten::fft_rfft": lambda x: x + torch.fft.rfft(x).abs().sum(),
    "einsum 'btkd,btkd,btkd->btkd'": lambda x: torch.einsum("btkd,btkd,btkd->btkd", x, x, x),
    "a mask": lambda x: nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True),
}


@pytest.mark.parametrize("name", HEAVY)
def test_an_operator_it_cannot_count_is_named_with_its_module_and_the_total_is_not_known(name: str) -> None:
    report, plain = count(with_extra(HEAVY[name])), closed_form(SMALL_BAND_SPLIT)
    assert report.known_total is None
    assert any(name in one.operator and one.module == "norm" for one in report.uncounted)
    assert str(report.uncounted[0]).endswith(" in norm")
    assert report.known_time_attention == plain.time_attention, "the last norm is no part of the time axis"
    assert report.linear == plain.linear, "what is known stays"


class GatedConvolution(nn.Module):
    """Time mixing without attention: (sequences, L, D) -> the same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(width, 2 * width, 5, padding=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.glu(self.convolution(x.mT), dim=1).mT


def with_convolution(model: Roformer) -> Roformer:
    model.layers[1].time.blocks[0].attention = GatedConvolution(model.config.dim)
    return model


def test_a_convolution_in_the_place_of_attention_is_counted_with_the_linear_layers() -> None:
    report, plain = count(with_convolution(weightless(SMALL))), closed_form(SMALL)
    assert report.uncounted == ()
    assert report.time_attention * 2 == plain.time_attention
    products = SMALL.bands * report.frames * 5 * SMALL.dim * 2 * SMALL.dim
    attention = SMALL.bands * report.frames * SMALL.dim * (4 * SMALL.heads * SMALL.dim_head + SMALL.heads)
    assert report.linear == plain.linear + 2 * (products - attention)
    assert sum(report.by_module.values()) == report.total


class Aside(nn.Module):
    """Adds what a convolution over the bands says: (1, T, K, D) -> the same."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.convolution(x[0].transpose(1, 2)).sum()


@pytest.mark.parametrize("convolution", [nn.Conv1d(16, 32, 7, stride=2, groups=4), nn.ConvTranspose1d(16, 8, 5, 2)])
def test_a_convolution_counts_as_pytorchs_own_counter_counts_it(convolution: nn.Module) -> None:
    plain = closed_form(SMALL_BAND_SPLIT)
    with FlopCounterMode(display=False) as witness:
        Aside(convolution).to("meta")(torch.empty(1, plain.frames, SMALL_BAND_SPLIT.bands, 16, device="meta"))
    model = with_extra(lambda x: x)
    model.norm = Aside(convolution)  # type: ignore[assignment]
    assert count(model).linear == plain.linear + witness.get_total_flops()


def test_an_unknown_operator_along_time_leaves_neither_the_total_nor_the_time_attention_known() -> None:
    model = weightless(SMALL)
    model.layers[1].time.blocks[0].attention = Extra(lambda x: x @ x.transpose(-1, -2) @ x)
    report = count(model)
    assert report.uncounted == (("aten::matmul", "layers.1.time.blocks.0.attention"),)
    assert (report.known_total, report.known_time_attention) == (None, None)


def test_a_model_that_cannot_be_traced_has_no_known_figure_and_the_report_says_where() -> None:
    for model, place in (
        (with_extra(lambda x: nn.functional.conv1d(x[0], x.new_empty(9, x.shape[2], 1))), "norm"),
        (with_extra(lambda x: x if float(x.sum()) > 0 else -x), "norm"),
    ):
        report = count(model)
        assert report.uncounted[0].operator.startswith("untraceable code (")
        assert report.uncounted[0].module == place
        assert (report.known_total, report.known_time_attention) == (None, None)


class Fit:
    """As much of a trainer as the callback needs."""

    loggers, global_step = (), 0


def test_fit_goes_on_with_a_warning_of_one_line_and_n_a_in_the_closing_table(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    module = TeacherModule(SMALL, loss={"audio/l1": 1.0})
    module.net = Roformer(SMALL)
    module.net.layers[1].time.blocks[0].attention = Extra(lambda x: x @ x.transpose(-1, -2) @ x)
    callback = FlopCounterCallback(seconds=1.0)
    callback.on_fit_start(Fit(), module)  # type: ignore[arg-type]
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "aten::matmul in layers.1.time.blocks.0.attention" in warning
    assert "\n" not in warning
    assert callback.figures == {}
    Console().print(closing_table({"val/usdr": 1.0}, callback))
    assert capsys.readouterr().out.count("n/a") == 2


COUNTABLE = {
    "attention of PyTorch's own": lambda x: nn.functional.scaled_dot_product_attention(x, x[..., :3, :], x[..., :3, :]),
    "einsum over one index": lambda x: torch.einsum("btkd,btjd->btkj", x, x)[..., :1] * x,
    "einsum in another order": lambda x: torch.einsum("btkd,ed->btke", x, x.new_empty(16, 16)),
    "einsum that sums first": lambda x: torch.einsum("btkd,btjd->btk", x, x)[..., None] * x,
    "einsum that only multiplies": lambda x: torch.einsum("btkd,btkd->btkd", x, x),
    "a linear layer": lambda x: nn.functional.linear(x, x.new_empty(16, 16)),
}


@pytest.mark.parametrize("name", COUNTABLE)
def test_what_has_a_handle_counts_as_pytorchs_own_counter_counts_it(name: str) -> None:
    function, tokens = COUNTABLE[name], torch.empty(1, 101, SMALL_BAND_SPLIT.bands, 16, device="meta")
    with FlopCounterMode(display=False) as witness:
        function(tokens)
    plain, extra = (_all_macs(with_extra(f), 1.0) for f in (lambda x: x, function))
    assert witness.get_total_flops() == 2 * (extra - plain)
    assert (extra == plain) == (name == "einsum that only multiplies")


def _all_macs(model: Roformer, seconds: float) -> int:
    """Everything counted but the STFTs."""
    macs = trace(weightless_copy(model), seconds).macs[""]
    return int(sum(n for operator, n in macs.items() if operator not in ("stft", "istft")))


def test_the_stft_stands_beside_the_total() -> None:
    report = closed_form(replace(KIM, stems=("vocals", "drums")))
    # 2 channels forward, 2 stems x 2 channels back, 2.5 n log2 n each.
    assert report.stft == 6 * 801 * 5 * 2048 * 11 // 2
    assert report.total == report.linear + report.time_attention + report.frequency_attention


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_duration_that_is_not_positive_is_an_error(seconds: float) -> None:
    with pytest.raises(UserError, match="positive duration"):
        count(weightless(SMALL), seconds)
    with pytest.raises(UserError, match="positive duration"):
        closed_form(SMALL, seconds)
