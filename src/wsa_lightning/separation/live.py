"""Stems while the music plays: blocks of any size in, what is ready out, with bounded state and latency."""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsa_lightning.errors import UserError
from wsa_lightning.models import Roformer
from wsa_lightning.separation.blocks import receptive_samples
from wsa_lightning.separation.live_layers import LiveLayers

STEP_FRAMES = 8
MEMORY_SECONDS = 0.5


class LiveSeparator:
    """A windowed student fed with audio as it arrives.

    Without sinks its samples are those of the model on the whole stream at once, to rounding. Sinks see the past only
    (``live_layers``), so with them it differs a little. What comes out does not depend on how the audio is divided into
    pushes.

    Args:
        model: windowed, on any device; it is put into evaluation mode.
        step_frames: STFT frames computed at once; more are cheaper, and each adds a hop of latency.
        memory_seconds: the past that the sinks see (``experiments/separation_blocks`` compares some).

    Raises:
        UserError: the model has full attention, or an argument is not positive.
    """

    def __init__(
        self, model: Roformer, *, step_frames: int = STEP_FRAMES, memory_seconds: float = MEMORY_SECONDS
    ) -> None:
        config = model.config
        if step_frames < 1 or memory_seconds <= 0:
            raise UserError(f"step_frames {step_frames}, memory_seconds {memory_seconds}: expected both positive")
        self.latency_samples = receptive_samples(config) + (step_frames - 1) * config.hop_length
        self.model = model.eval()
        self.step_frames = step_frames
        self._memory = config.frames(memory_seconds)
        self._edge = config.n_fft // 2
        window = model.spectral.hann
        margin = config.n_fft - len(window)
        self._window = F.pad(window, (margin // 2, margin - margin // 2))  # as torch.stft centres it
        self.reset()

    @property
    def latency_ms(self) -> float:
        """How late a sample may leave after it was pushed: receptive field, STFT window and step, in milliseconds."""
        return 1000 * self.latency_samples / self.model.config.sample_rate

    def reset(self) -> None:
        """Forget everything: the next push begins another stream."""
        config, device = self.model.config, self._window.device
        self._layers = LiveLayers(self.model, self._memory)
        self._pushed = self._returned = 0
        self._begun = False
        self._audio = torch.zeros(config.channels, 0, device=device)  # not yet in a frame
        self._recent = self._audio  # what the end would be reflected from
        self._spectrum = torch.zeros(config.channels, config.bins, 0, dtype=torch.complex64, device=device)
        overhang = config.n_fft - config.hop_length
        self._sum = torch.zeros(len(config.stems), config.channels, overhang, device=device)
        self._envelope = torch.zeros(overhang, device=device)
        self._skip = self._edge

    @torch.no_grad()
    def push(self, mixture: Tensor) -> Tensor:
        """Feed (C, any) at the model's rate; returns (stems, C, ready), in order, on the same device.

        Raises:
            UserError: another number of channels, NaN or infinity (nothing of that push is taken in).
        """
        if mixture.ndim != 2 or mixture.shape[0] != self.model.config.channels:
            raise UserError(f"mixture has shape {tuple(mixture.shape)}: expected ({self.model.config.channels}, any)")
        if not torch.isfinite(mixture).all():
            raise UserError("NaN or infinity in the mixture: expected finite audio")
        return self._returning(self._take(mixture.to(self._audio))).to(mixture.device)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """End the stream: (stems, C, all that is left), so that as much came out as went in; then ``reset``."""
        pushed = self._pushed
        if not pushed:
            return self._returning([])
        ready = []
        if not self._begun:  # too short to reflect: zeros follow, as in the offline STFT
            short = self._edge + 1 - pushed
            ready += self._take(self._audio.new_zeros(len(self._audio), short))
        self._audio = torch.cat((self._audio, self._recent[:, :-1].flip(-1)), dim=-1)
        while (frames := self._frames()) > 0:
            ready.append(self._step(min(frames, self.step_frames)))
        ready.append(self._synthesize(self._layers.step(self._tokens(0), last=True)))
        ready.append(self._sum / self._envelope.clamp_min(1e-11))
        rest = self._returning(ready)
        already = self._returned - rest.shape[-1]
        self.reset()
        return rest[..., : pushed - already]

    def _take(self, audio: Tensor) -> list[Tensor]:
        """Take in (C, any), and compute all whole steps."""
        self._pushed += audio.shape[-1]
        self._recent = torch.cat((self._recent, audio), dim=-1)[:, -self._edge - 1 :]
        self._audio = torch.cat((self._audio, audio), dim=-1)
        if not self._begun and self._pushed > self._edge:
            self._begun = True
            self._audio = torch.cat((self._audio[:, 1 : self._edge + 1].flip(-1), self._audio), dim=-1)
        ready = []
        while self._begun and self._frames() >= self.step_frames:
            ready.append(self._step(self.step_frames))
        return ready

    def _frames(self) -> int:
        config = self.model.config
        return max(0, (self._audio.shape[-1] - config.n_fft) // config.hop_length + 1)

    def _step(self, frames: int) -> Tensor:
        """The next frames in, and the audio (stems, C, any) that they make ready out."""
        return self._synthesize(self._layers.step(self._tokens(frames)))

    def _tokens(self, frames: int) -> Tensor:
        """Take frames out of the audio that waits: tokens (frames, K, D)."""
        config = self.model.config
        if not frames:
            return self._audio.new_zeros(0, config.bands, config.dim)
        stretch = self._audio[:, : (frames - 1) * config.hop_length + config.n_fft]
        self._audio = self._audio[:, frames * config.hop_length :]
        windows = stretch.unfold(-1, config.n_fft, config.hop_length) * self._window  # (C, frames, n_fft)
        spectrum = torch.fft.rfft(windows).transpose(-1, -2)  # (C, F, frames)
        self._spectrum = torch.cat((self._spectrum, spectrum), dim=-1)
        return self.model.tokens(spectrum[None])[0]

    def _synthesize(self, tokens: Tensor) -> Tensor:
        """Tokens (ready, K, D) -> masks, separated frames, and the audio (stems, C, ready hops) they complete."""
        model, config, ready = self.model, self.model.config, len(tokens)
        if not ready:
            return self._sum[..., :0]
        mask = model.masks(model.norm(tokens)).permute(1, 2, 3, 0)  # (stems, C, F, ready)
        separated = self._spectrum[..., :ready] * mask
        self._spectrum = self._spectrum[..., ready:]
        if config.zero_dc:
            separated[..., 0, :] = 0
        frames = torch.fft.irfft(separated, config.n_fft, dim=-2) * self._window[:, None]  # (stems, C, n_fft, ready)
        done = ready * config.hop_length
        total = F.pad(self._sum, (0, done)) + self._overlap_add(frames.flatten(0, 1)).view(*frames.shape[:2], -1)
        squares = self._window.square()[None, :, None].expand(1, -1, ready)
        envelope = F.pad(self._envelope, (0, done)) + self._overlap_add(squares)[0]
        self._sum, self._envelope = total[..., done:], envelope[done:]
        return total[..., :done] / envelope[:done].clamp_min(1e-11)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """(any, n_fft, frames) -> (any, (frames - 1) hop + n_fft)."""
        hop = self.model.config.hop_length
        length = (frames.shape[-1] - 1) * hop + frames.shape[-2]
        return F.fold(frames, (1, length), (1, frames.shape[-2]), stride=(1, hop))[:, 0, 0]

    def _returning(self, ready: list[Tensor]) -> Tensor:
        """What is ready, without the half window that comes before the stream's first sample."""
        out = torch.cat([self._sum[..., :0], *ready], dim=-1)
        skipped = min(self._skip, out.shape[-1])
        self._skip -= skipped
        self._returned += out.shape[-1] - skipped
        return out[..., skipped:]
