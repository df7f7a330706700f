"""A whole model against the peer package with the same weights: speed, agreement, share of the machine's GEMM rate.

The peer is ``melband-roformer-infer`` or ``bs-roformer-infer``; both compute full attention. The weights are random
and reach it through ``checkpoints.to_public``; the DC bin is kept, as the peers keep it. The windowed model has the
same weights and 8 sinks besides.

Example: python benchmarks/model.py --sizes small --seconds 8
"""

import argparse
from dataclasses import replace
from typing import Any

import torch
from harness import interleave, show, write
from torch import nn

from wsa_lightning.checkpoints import to_public
from wsa_lightning.flops import closed_form
from wsa_lightning.models import Roformer, RoformerConfig

KIM = RoformerConfig(zero_dc=False)
SMALL = replace(KIM, dim=48, depth=2, heads=4, dim_head=16)
SMALL_BS = replace(SMALL, family="band_split", mask_hidden_layers=1, mlp_expansion_factor=4)
SIZES = {"small": SMALL, "small_bs": SMALL_BS, "kim": KIM}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def peer_of(model: Roformer) -> nn.Module:
    """The peer package's model with this model's weights, every one of them."""
    config = model.config
    options: dict[str, Any] = {
        "dim": config.dim, "depth": config.depth, "heads": config.heads, "dim_head": config.dim_head, "stereo": True,
        "num_stems": len(config.stems), "time_transformer_depth": config.time_blocks,
        "freq_transformer_depth": config.frequency_blocks, "stft_n_fft": config.n_fft,
        "stft_win_length": config.win_length, "stft_hop_length": config.hop_length, "flash_attn": True,
    }  # fmt: skip
    if config.family == "mel_band":
        from mel_band_roformer.mel_band_roformer import MelBandRoformer

        peer: nn.Module = MelBandRoformer(
            **options, num_bands=config.bands, mask_estimator_depth=config.mask_hidden_layers,
            match_input_audio_length=True,
        )  # fmt: skip
    else:
        from bs_roformer.bs_roformer import BSRoformer

        peer = BSRoformer(
            **options, freqs_per_bands=config.band_widths, mask_estimator_depth=config.mask_hidden_layers + 1
        )
    peer.load_state_dict(to_public(model), strict=True)
    return peer.eval()


def gemm_rate() -> float:
    """FLOP/s of one large fp32 matrix product, the best of a few."""
    a, b = torch.randn(8192, 1536, device=DEVICE), torch.randn(1536, 1536, device=DEVICE)
    best = interleave({"gemm": lambda: a @ b}, rounds=5)["gemm"].min
    return 2 * 8192 * 1536 * 1536 / best


def models_of(config: RoformerConfig, compiled: bool) -> dict[str, nn.Module]:
    """Peer, full attention, windowed; compiled where asked for."""
    torch.manual_seed(0)
    full = Roformer(config).eval().to(DEVICE)
    students = {}
    for name in ("wsa", "wsa compiled") if compiled else ("wsa",):
        student = Roformer(replace(config, window=10, sinks=8)).eval().to(DEVICE)
        student.load_state_dict(full.state_dict(), strict=False)
        students[name] = student
    if compiled:
        students["wsa compiled"].compile_layers()
    return {"peer": peer_of(full).to(DEVICE), "full": full, **students}


@torch.no_grad()
def rows_of(size: str, seconds: float, rounds: int, compiled: bool, bf16: bool) -> list[dict[str, Any]]:
    """Every case of one size."""
    config = SIZES[size]
    models = models_of(config, compiled)
    mixture = 0.1 * torch.randn(1, 2, round(seconds * 44100), device=DEVICE)
    theirs = models["peer"](mixture)
    ours = models["full"](mixture).audio[:, 0]
    samples = min(theirs.shape[-1], ours.shape[-1])
    difference = float((ours[..., :samples] - theirs[..., :samples]).norm() / theirs.norm())

    cases = {name: (lambda model=model: model(mixture)) for name, model in models.items()}
    if bf16:

        def in_bf16() -> Any:
            with torch.autocast(DEVICE, torch.bfloat16):
                return models["wsa"](mixture)

        cases["wsa bf16"] = in_bf16
    timings = interleave(cases, rounds)
    rate = gemm_rate()
    rows = []
    for name, timing in timings.items():
        linear = closed_form(replace(config, window=10, sinks=8) if name.startswith("wsa") else config, seconds).linear
        rows.append(
            {
                "size": size,
                "case": name,
                "seconds_of_audio": seconds,
                "faster_than_peer": timings["peer"].median / timing.median,
                "seconds_per_second": timing.median / seconds,
                "share_of_gemm_rate": linear / timing.median / rate,
                "gemm_flops_per_second": rate,
                "peer_difference": difference,
                **timing.to_dict(),
            }
        )
    return rows


def main() -> None:
    """Print the table and write ``results/model*.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["small", "small_bs"], choices=SIZES)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also the windowed model with compiled layers")
    parser.add_argument("--bf16", action="store_true", help="also the windowed model under bf16 autocast")
    parser.add_argument("--name", default="model", help="of the JSON file")
    arguments = parser.parse_args()
    rows = [
        row
        for size in arguments.sizes
        for row in rows_of(size, arguments.seconds, arguments.rounds, arguments.compile, arguments.bf16)
    ]
    show(
        f"forward pass of {arguments.seconds:g} s; full and peer differ by at most "
        f"{max(row['peer_difference'] for row in rows):.1e} of the norm",
        ["size", "case", "x peer", "s per s of audio", "linear FLOP/s, share of GEMM", "median s", "min s"],
        [
            [r["size"], r["case"], r["faster_than_peer"], r["seconds_per_second"], r["share_of_gemm_rate"],
             r["median_s"], r["min_s"]]
            for r in rows
        ],
    )  # fmt: skip
    write(arguments.name, rows)


if __name__ == "__main__":
    main()
