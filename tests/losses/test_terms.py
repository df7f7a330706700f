"""Loss terms are known by one name, weighted, and mean what their formula says."""

import pytest
import torch

from wsa_lightning.errors import UserError
from wsa_lightning.losses import TERMS, Estimate, Loss, Taught


def estimate(*, teacher: bool = True) -> Estimate:
    torch.manual_seed(0)
    mask = torch.randn(2, 1, 2, 5, 7, dtype=torch.complex64)
    return Estimate(
        audio=torch.randn(2, 1, 2, 4000),
        target=torch.randn(2, 1, 2, 4000),
        mask=mask,
        taught=Taught(mask + (3 + 4j), torch.ones(2, 2, 5, 7), {}) if teacher else None,
    )


def test_the_total_is_the_weighted_sum_of_the_named_terms() -> None:
    weights = {"audio/l1": 2.0, "audio/stft": 0.5, "distill/mask": 3.0}
    total, terms = Loss(weights)(estimate())
    assert terms.keys() == weights.keys()
    torch.testing.assert_close(total, sum(weights[name] * value for name, value in terms.items()))


def test_mask_distillation_is_the_mean_complex_distance_weighted_or_not() -> None:
    for name in ("distill/mask", "distill/mask_weighted"):
        assert float(TERMS[name].function(estimate())) == pytest.approx(5.0, rel=1e-5)


def test_the_weighted_distance_counts_a_bin_by_its_weight() -> None:
    e = estimate()
    assert e.taught is not None
    distant = e.taught.mask.clone()
    distant[..., 0, :] = e.mask[..., 0, :]
    weight = torch.zeros(2, 2, 5, 7)
    weight[..., 0, :] = 5
    assert float(TERMS["distill/mask_weighted"].function(e._replace(taught=Taught(distant, weight, {})))) == 0
    distance = TERMS["distill/mask_weighted"].function(e._replace(taught=e.taught._replace(mask_weight=weight)))
    assert float(distance) == pytest.approx(5.0, rel=1e-5)


def test_a_term_of_weight_zero_is_not_computed() -> None:
    _, terms = Loss({"audio/l1": 1.0, "distill/mask": 0.0})(estimate(teacher=False))
    assert terms.keys() == {"audio/l1"}


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"audio/l3": 1.0}, "audio/l3"), ({"audio/l1": -1.0}, "-1"), ({}, "empty"), ({"audio/l1": 0.0}, "all zero")],
)
def test_wrong_weights_are_refused(weights: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        Loss(weights)


def test_distillation_without_a_teacher_names_the_remedy() -> None:
    with pytest.raises(UserError, match=r"distillation\.teacher"):
        TERMS["distill/mask"].function(estimate(teacher=False))


def test_feature_distances_are_relative_to_the_teachers_energy_layer_by_layer() -> None:
    taught = [torch.full((2, 3), 2.0), torch.full((2, 3), 10.0)]
    own = [torch.full((2, 3), 3.0), torch.full((2, 3), 10.0)]
    for tap in ("hidden", "attention"):
        e = estimate()._replace(features={tap: own}, taught=Taught(torch.zeros(1), None, {tap: taught}))
        assert float(TERMS[f"distill/{tap}"].function(e)) == pytest.approx((0.25 + 0) / 2)
        with pytest.raises(UserError, match=r"distillation\.teacher"):
            TERMS[f"distill/{tap}"].function(e._replace(taught=None))
    assert Loss({"distill/hidden": 1.0, "distill/attention": 0.0, "audio/l1": 1.0}).taps == {"hidden"}
