"""Loss terms are known by one name, weighted, and mean what their formula says."""

import pytest
import torch

from wsa_lightning.errors import UserError
from wsa_lightning.losses import TERMS, Estimate, check_weights, taps_needed, weighted_sum


def estimate(*, teacher: bool = True) -> Estimate:
    torch.manual_seed(0)
    mask = torch.randn(2, 1, 2, 5, 7, dtype=torch.complex64)
    return Estimate(
        audio=torch.randn(2, 1, 2, 4000),
        target=torch.randn(2, 1, 2, 4000),
        mask=mask,
        teacher_mask=mask + (3 + 4j) if teacher else None,
        spectrum=torch.randn(2, 2, 5, 7, dtype=torch.complex64) if teacher else None,
    )


def test_the_total_is_the_weighted_sum_of_the_named_terms() -> None:
    weights = {"audio/l1": 2.0, "audio/stft": 0.5, "distill/mask": 3.0}
    total, terms = weighted_sum(weights, estimate())
    assert terms.keys() == weights.keys()
    torch.testing.assert_close(total, sum(weights[name] * value for name, value in terms.items()))


def test_mask_distillation_is_the_mean_complex_distance_weighted_or_not() -> None:
    for name in ("distill/mask", "distill/mask_weighted"):
        assert float(TERMS[name](estimate())) == pytest.approx(5.0, rel=1e-5)


def test_the_weighted_distance_counts_loud_bins_more() -> None:
    e = estimate()
    spectrum = torch.zeros_like(e.spectrum)
    spectrum[..., 0, :] = 1
    assert e.teacher_mask is not None
    distant = e.teacher_mask.clone()
    distant[..., 0, :] = e.mask[..., 0, :]
    assert float(TERMS["distill/mask_weighted"](e._replace(teacher_mask=distant, spectrum=spectrum))) == 0


def test_parts_of_a_batch_that_know_its_mean_magnitude_average_to_the_weighted_distance_of_the_whole() -> None:
    e = estimate()
    assert e.spectrum is not None and e.teacher_mask is not None
    e = e._replace(
        teacher_mask=e.teacher_mask * torch.tensor([1.0, 3.0]).reshape(2, 1, 1, 1, 1),
        spectrum=e.spectrum * torch.tensor([1.0, 0.1]).reshape(2, 1, 1, 1),
    )
    mean = e.spectrum.abs().mean()
    parts = [
        e._replace(mask=e.mask[i], teacher_mask=e.teacher_mask[i], spectrum=e.spectrum[i], mean_magnitude=mean)
        for i in (slice(0, 1), slice(1, 2))
    ]
    term = TERMS["distill/mask_weighted"]
    torch.testing.assert_close(sum(term(part) for part in parts) / 2, term(e))
    alone = sum(float(term(part._replace(mean_magnitude=None))) for part in parts) / 2
    assert alone != pytest.approx(float(term(e)), rel=0.1)


def test_a_term_of_weight_zero_is_not_computed() -> None:
    _, terms = weighted_sum({"audio/l1": 1.0, "distill/mask": 0.0}, estimate(teacher=False))
    assert terms.keys() == {"audio/l1"}


@pytest.mark.parametrize(
    ("weights", "words"),
    [({"audio/l3": 1.0}, "audio/l3"), ({"audio/l1": -1.0}, "-1"), ({}, "empty"), ({"audio/l1": 0.0}, "all zero")],
)
def test_wrong_weights_are_refused(weights: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_weights(weights)


def test_distillation_without_a_teacher_names_the_remedy() -> None:
    with pytest.raises(UserError, match=r"distillation\.teacher"):
        TERMS["distill/mask"](estimate(teacher=False))


def test_feature_distances_are_relative_to_the_teachers_energy_layer_by_layer() -> None:
    taught = [torch.full((2, 3), 2.0), torch.full((2, 3), 10.0)]
    own = [torch.full((2, 3), 3.0), torch.full((2, 3), 10.0)]
    for tap in ("hidden", "attention"):
        e = estimate()._replace(features={tap: own}, teacher_features={tap: taught})
        assert float(TERMS[f"distill/{tap}"](e)) == pytest.approx((0.25 + 0) / 2)
        with pytest.raises(UserError, match=r"distillation\.teacher"):
            TERMS[f"distill/{tap}"](e._replace(teacher_features=None))
    assert taps_needed({"distill/hidden": 1.0, "distill/attention": 0.0, "audio/l1": 1.0}) == {"hidden"}
