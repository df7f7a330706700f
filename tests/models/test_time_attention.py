"""Every layer may have its own window and dilation."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import TINY
from wsa_lightning.attention import Pattern
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig, TimeAttention, describe_patterns
from wsa_lightning.models.roformer import Layer

DEEP = replace(TINY, depth=2, sinks=2)


def model(window: object) -> Roformer:
    torch.manual_seed(0)
    return Roformer(replace(DEEP, window=window)).eval()


@torch.no_grad()
def test_a_list_of_equal_windows_is_the_single_one_bit_for_bit() -> None:
    mixture = 0.1 * torch.randn(1, 2, 8820)
    listed, single = model([6, 6]), model(6)
    assert listed.config == single.config
    assert torch.equal(listed(mixture).audio, single(mixture).audio)
    assert model([None, None]).config.window is None


@torch.no_grad()
@pytest.mark.parametrize("windows", [(2, 12), (12, 2), (None, 4)])
def test_every_layer_attends_within_its_own_window(windows: tuple[int | None, int | None]) -> None:
    both = model(windows)
    tokens = torch.randn(1, DEEP.sinks + 40, DEEP.bands, DEEP.dim)
    x = tokens
    for place, window in enumerate(windows):
        alone = model(window).layers[place]
        assert isinstance(alone, Layer)
        x = alone(x)
    assert torch.equal(both.layers[1](both.layers[0](tokens)), x)
    assert not torch.equal(model(windows[0]).layers[1](both.layers[0](tokens)), x)


@torch.no_grad()
def test_a_dilated_layer_hears_as_far_as_its_dilation_reaches_and_a_plain_one_does_not() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(1, 60, DEEP.bands, DEEP.dim)
    changed = tokens.clone()
    changed[:, 30] += 1
    for dilation, near in ((1, {28, 29, 30, 31, 32}), (8, {14, 22, 30, 38, 46})):
        layer = Roformer(replace(DEEP, sinks=0, window=4, dilation=dilation)).eval().layers[0]
        heard = (layer(tokens) != layer(changed)).flatten(2).any(-1)[0]
        assert set(heard.nonzero().ravel().tolist()) == near


@pytest.mark.parametrize(
    ("dilation", "words"),
    [
        ([1, 2, 4], r"dilation is \[1, 2, 4\], 3 values: expected 2, one a layer, or a single one for all"),
        (10**30, "dilation is 10{30}: expected at most"),
        (0, "dilation is 0: expected at least 1"),
        ([1, "far"], "dilation is 'far': expected an integer, or a list of them"),
        (True, "dilation is True: expected an integer"),
        (2.0, "dilation is 2.0: expected an integer"),
        (None, "dilation is None: expected an integer"),
        ([8, 1], "dilation is 8 where window is null: expected 1"),
    ],
)
def test_what_are_no_dilations_is_refused_in_one_line(dilation: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        replace(DEEP, window=[None, 16], dilation=dilation)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ([4, 4, 4], r"window is \[4, 4, 4\], 3 values: expected 2, one a layer, or a single one for all"),
        ([], r"window is \[\], 0 values: expected 2"),
        ([4, 0], "window is 0: expected a width of at least 1 frame, or null"),
        ([4, "wide"], "window is 'wide': expected an integer, null, or a list of them"),
        ([4, True], "window is True: expected an integer"),
        (2.5, "window is 2.5: expected an integer"),
    ],
)
def test_what_are_no_windows_is_refused_in_one_line(window: object, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        replace(DEEP, window=window)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)


def test_what_files_and_tables_say_of_a_time_attention_is_read_back_and_short() -> None:
    listed = TimeAttention.of({"window": [4, None], "sinks": 8, "depth": 2})
    assert listed == TimeAttention((4, None), 1, 8)
    assert listed.columns() == {"window": "4,full", "dilation": 1, "sinks": 8}
    assert TimeAttention.of(listed.to_dict()) == listed
    assert TimeAttention().columns() == {"window": "full", "dilation": 1, "sinks": 0}
    assert replace(DEEP, window=[4, 16], dilation=[1, 8]).patterns == (Pattern(4, 2), Pattern(16, 2, 8))


def test_a_change_of_the_window_keeps_the_rest_of_the_pattern_where_that_is_possible() -> None:
    dilated = replace(DEEP, window=[4, 16], dilation=[1, 8])
    assert dilated.with_pattern() == dilated
    assert dilated.with_pattern(window=10) == replace(DEEP, window=10, dilation=[1, 8])
    assert dilated.with_pattern(window=[10, None]) == replace(DEEP, window=[10, None])
    assert dilated.with_pattern(dilation=1, sinks=0) == replace(DEEP, window=[4, 16], sinks=0)


def test_windows_survive_as_plain_data_and_have_a_short_name() -> None:
    for config in (replace(DEEP, window=[4, None]), replace(DEEP, window=[4, 16], dilation=[1, 8])):
        assert config.to_dict()["window"] == [pattern.window for pattern in config.patterns]
        assert RoformerConfig.from_dict(config.to_dict()) == config
        assert hash(config)
    assert replace(DEEP, window=6, dilation=[3, 3]) == replace(DEEP, window=6, dilation=3)
    assert [str(TimeAttention(*pattern)) for pattern in ((16, 8), ((4, 16), (1, 8)), ((4, 16), 2), (16, (1, 8)))] == [
        "16/8", "4,16/8", "4/2,16/2", "16,16/8",
    ]  # fmt: skip
    assert [describe_patterns(replace(DEEP, window=window)) for window in (None, 10, (4, None))] == [
        "full",
        "10",
        "4,full",
    ]
