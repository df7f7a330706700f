"""Audio to spectrum and back: the centred STFT of the public Roformers, any length in, the same length out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsa_lightning.models.config import RoformerConfig


class Spectral(nn.Module):
    """STFT and inverse with a periodic Hann window, centre padding by reflection, not normalised.

    Runs in fp32 under any autocast, because half precision loses quiet partials beside loud ones.
    """

    hann: Tensor

    def __init__(self, config: RoformerConfig) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.win_length = config.n_fft, config.hop_length, config.win_length
        hann = torch.hann_window(config.win_length, device="cpu")  # why: see Rotary
        self.register_buffer("hann", hann.to(torch.get_default_device()), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Audio (..., N) -> complex spectrum (..., F, T); N <= n_fft // 2 is zero-padded to be reflectable."""
        too_short = self.n_fft // 2 + 1 - audio.shape[-1]
        if too_short > 0:
            audio = F.pad(audio, (0, too_short))
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.float().flatten(0, -2),
                self.n_fft,
                self.hop_length,
                self.win_length,
                self.hann,
                return_complex=True,
            )  # (prod(...), F, T)
        return spectrum.unflatten(0, audio.shape[:-1])

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """Complex spectrum (..., F, T) -> audio (..., length)."""
        with torch.autocast(spectrum.device.type, enabled=False):
            audio = torch.istft(
                spectrum.flatten(0, -3),
                self.n_fft,
                self.hop_length,
                self.win_length,
                self.hann,
                length=length,
            )  # (prod(...), length)
        return audio.unflatten(0, spectrum.shape[:-2])
