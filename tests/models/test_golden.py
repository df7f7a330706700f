"""Our models compute what the public code computes."""

import pytest
import torch

from tests import golden
from wsa_lightning.attention import backends
from wsa_lightning.checkpoints import from_public, to_public
from wsa_lightning.models import Roformer


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("name", golden.RECIPES)
def test_output_agrees_with_the_public_code_to_1e_5_of_its_norm(name: str, backend: str) -> None:
    recipe = golden.recipe(name)
    loaded = from_public(
        golden.state_dict(name),
        config=recipe["config"],
        window=recipe.get("window"),
        sinks=recipe.get("sinks", 0),
    )
    model = Roformer(loaded.config, backend=backend)
    model.load_state_dict(loaded.state_dict())
    with torch.no_grad():
        audio = model(golden.mixture(name)).audio.reshape(recipe["output_shape"])
    expected = golden.output(name)
    assert (audio - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("name", golden.KEYS)
def test_public_layouts_of_full_size_load_with_every_tensor_accounted_for(name: str) -> None:
    shapes = golden.recipe(name)["parameters"]
    model = from_public({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    back = {key: list(tensor.shape) for key, tensor in to_public(model).items()}
    assert back == shapes
