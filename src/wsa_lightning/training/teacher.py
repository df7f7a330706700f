"""A teacher, trained from scratch with full attention."""

from typing import Any

from wsa_lightning.models.config import BAND_SPLIT_WIDTHS, Family, RoformerConfig
from wsa_lightning.training.module import SeparationModule


class TeacherModule(SeparationModule):
    """A Roformer of any size, trained from scratch; see ``RoformerConfig`` for the sizes.

    Args:
        family: ``mel_band`` or ``band_split``.
        dim: width of a token.
        depth: layers.
        heads: attention heads.
        dim_head: width of a head.
        mask_hidden_layers: hidden layers of a band's mask MLP.
        mlp_expansion_factor: hidden width of the mask MLP, as a multiple of ``dim``.
        stems: stems to estimate, the same as ``data.stems``.
        mel_bands: bands of the ``mel_band`` family.
        band_widths: bins per band of the ``band_split`` family.
        zero_dc: whether bin 0 of the separated spectrum is set to zero.
        options: what every ``SeparationModule`` takes (loss, learning_rate, ...).
    """

    def __init__(
        self,
        family: Family = "mel_band",
        dim: int = 48,
        depth: int = 2,
        heads: int = 4,
        dim_head: int = 16,
        mask_hidden_layers: int = 2,
        mlp_expansion_factor: int = 1,
        stems: tuple[str, ...] = ("vocals",),
        mel_bands: int = 60,
        band_widths: tuple[int, ...] = BAND_SPLIT_WIDTHS,
        zero_dc: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.build(
            RoformerConfig(
                family=family,
                dim=dim,
                depth=depth,
                heads=heads,
                dim_head=dim_head,
                mask_hidden_layers=mask_hidden_layers,
                mlp_expansion_factor=mlp_expansion_factor,
                stems=stems,
                mel_bands=mel_bands,
                band_widths=band_widths,
                zero_dc=zero_dc,
            )
        )
