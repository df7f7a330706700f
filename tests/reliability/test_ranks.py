"""A DDP rank that dies takes the run down within a minute, and one message says why."""

import json
import time
from pathlib import Path

import pytest

from tests.conftest import Run

WORDS = ("was killed", "had enough", "Traceback")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("how", "rank", "message"),
    [
        ("SIGKILL", 1, "was killed by SIGKILL; all ranks stop; go on with the same options and --ckpt_path"),
        ("SIGKILL", 0, "was killed; all ranks stop; go on with the same options and --ckpt_path"),
        ("user error", 1, "error: rank 1 had enough"),
    ],
)
def test_when_a_rank_dies_all_stop_within_a_minute_with_one_message(
    how: str, rank: int, message: str, wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    died = tmp_path / "died"
    saboteur = {"hook": "on_before_backward", "count": 2, "how": how, "rank": rank, "note": str(died)}
    result = wsa(
        "fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
        "--distillation.teacher", tiny_teacher, "--trainer.default_root_dir", tmp_path, "--data.chunk_seconds", 0.25,
        "--trainer.devices", 2, "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu",
        "--trainer.logger", "false", "--recovery.every_n_steps", 1, "--trainer.num_sanity_val_steps", 0,
        "--trainer.callbacks",
        json.dumps([{"class_path": "tests.reliability.saboteur.Saboteur", "init_args": saboteur}]), timeout=500,
    )  # fmt: skip
    # The pipes close when the last rank is gone, so this is after the end of both.
    assert time.time() - died.stat().st_mtime < 60
    assert result.returncode not in (0, 143)
    assert message in result.stderr
    assert sum(result.stderr.count(word) for word in WORDS) == 1, result.stderr
