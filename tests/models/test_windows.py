"""Every layer may have a window of its own."""

from dataclasses import replace

import pytest
import torch

from tests.conftest import TINY
from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer, RoformerConfig, describe_window
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


@pytest.mark.parametrize(
    ("window", "words"),
    [
        ([4, 4, 4], r"window is \[4, 4, 4\], 3 windows: expected 2, one a layer, or a single one for all"),
        ([], r"window is \[\], 0 windows: expected 2"),
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


def test_windows_survive_as_plain_data_and_have_a_short_name() -> None:
    config = replace(DEEP, window=[4, None])
    assert config.to_dict()["window"] == [4, None]
    assert RoformerConfig.from_dict(config.to_dict()) == config
    assert hash(config)
    assert [describe_window(window) for window in (None, 10, (4, None))] == ["full", "10", "4,full"]
