"""Every metric gives the community's number: golden values of the public code, and museval and librosa themselves."""

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.metrics.signals import CASES, golden_signals
from wsa_lightning.metrics import bleedless, csdr, csdr_frames, fullness, l1_freq, score_track, si_sdr, usdr
from wsa_lightning.metrics.spectrum import slaney_mel_bank

NAMES = {"sdr": usdr, "si_sdr": si_sdr, "l1_freq": l1_freq, "bleedless": bleedless, "fullness": fullness}
EXACT = 1e-6
ROUNDED = 5e-5
"""Of a case without noise: in empty bins bleedless and fullness see the rounding of the FFT, another on each CPU."""
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"seed {case['case']['seed']}")


def museval_sdr(estimates: Tensor, targets: Tensor, sample_rate: int) -> np.ndarray:
    """museval v4's SDR frames, (sources, frames)."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("museval imports musdb, which needs ffmpeg on PATH")
    museval = pytest.importorskip("museval", reason="museval is not installed: pip install -e '.[dev]'")
    audio = (signal.transpose(1, 2).double().numpy() for signal in (targets, estimates))
    frames, *_ = museval.evaluate(*audio, win=sample_rate, hop=sample_rate)
    return np.asarray(frames)


@cases
@pytest.mark.parametrize("name", NAMES)
def test_a_metric_agrees_with_the_communitys_code(name: str, case: dict[str, Any]) -> None:
    signals = golden_signals(**case["case"])
    close = ROUNDED if name in ("bleedless", "fullness") and not case["case"]["noise"] else EXACT
    assert NAMES[name](signals.estimate, signals.target) == pytest.approx(case["metrics"][name], rel=close)


@cases
def test_csdr_of_vocals_and_accompaniment_agrees_with_the_golden_numbers(case: dict[str, Any]) -> None:
    target, estimate, mixture = golden_signals(**case["case"])
    sources = torch.stack([estimate, mixture - estimate]), torch.stack([target, mixture - target])
    golden = case["metrics"]
    assert csdr(*sources) == pytest.approx([golden["csdr_vocals"], golden["csdr_accompaniment"]], rel=EXACT)
    expected = [np.nan if value is None else value for value in golden["sdr_frames_vocals"]]
    np.testing.assert_allclose(csdr_frames(*sources)[0], expected, rtol=EXACT)
    scored = score_track(estimate[None], target[None], mixture, metrics=["csdr"])
    assert scored == {
        "csdr": [pytest.approx(golden["csdr_vocals"], rel=EXACT)],
        "nan_frames": [sum(value is None for value in golden["sdr_frames_vocals"])],
    }


def test_frames_agree_with_museval_itself_in_every_special_case() -> None:
    rate = 4410
    generator = torch.Generator().manual_seed(4)
    targets = 0.1 * torch.randn(2, 2, 5 * rate + rate // 2, generator=generator)
    estimates = targets + 0.03 * torch.randn(targets.shape, generator=generator)
    estimates[1, :, rate : 2 * rate] = 0
    targets[1, 0, 2 * rate : 3 * rate] = -targets[1, 1, 2 * rate : 3 * rate]  # silent to museval: L + R = 0
    targets[0, :, 3 * rate + 1 : 4 * rate] = 0  # one sample is not silence
    ours = csdr_frames(estimates, targets, rate)
    assert ours.isnan().tolist() == [[False, True, True, False, False]] * 2
    np.testing.assert_allclose(ours, museval_sdr(estimates, targets, rate), rtol=1e-5)


def test_a_track_shorter_than_a_frame_agrees_with_museval_itself() -> None:
    target, estimate, mixture = (audio[:, :20000] for audio in golden_signals(1, 1, 0.2, 0.01))
    sources = torch.stack([estimate, mixture - estimate]), torch.stack([target, mixture - target])
    np.testing.assert_allclose(csdr_frames(*sources), museval_sdr(*sources, 44100), rtol=1e-5)


@pytest.mark.parametrize(("bands", "n_fft", "rate"), [(512, 4096, 44100), (128, 2048, 48000)])
def test_the_mel_bank_is_librosas(bands: int, n_fft: int, rate: int) -> None:
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=bands)
    np.testing.assert_allclose(slaney_mel_bank(bands, n_fft, rate), expected, rtol=1e-6, atol=1e-12)
