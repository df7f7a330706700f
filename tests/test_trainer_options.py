"""Every option of Lightning's Trainer works here, or ends in one line that says why not."""

import inspect
from pathlib import Path

import lightning as L
import pytest

from tests.conftest import Run

WORKS: dict[str, tuple[object, ...]] = {
    "accelerator": ("cpu",),
    "accumulate_grad_batches": (2,),
    "benchmark": ("true",),
    "callbacks": ("null", "[]"),
    "check_val_every_n_epoch": (2,),
    "detect_anomaly": ("true",),
    "deterministic": ("true", "warn"),
    "devices": (1, "auto"),
    "enable_autolog_hparams": ("false",),
    "enable_model_summary": ("true",),
    "enable_progress_bar": ("false",),
    "fast_dev_run": ("true", 2),
    "gradient_clip_algorithm": ("value",),
    "gradient_clip_val": (0.5,),
    "inference_mode": ("false",),
    "limit_predict_batches": (1,),
    "limit_test_batches": (1,),
    "limit_train_batches": (1, 0.5),
    "limit_val_batches": (0, 1, 1.0),
    "log_every_n_steps": (2,),
    "logger": ("false", "true", "null"),
    "max_steps": (1,),
    "max_time": ("00:00:01:00",),
    "min_epochs": (1,),
    "min_steps": (1,),
    "model_registry": ("somewhere",),
    "num_nodes": (1,),
    "num_sanity_val_steps": (0, 1),
    "overfit_batches": (1,),
    "plugins": ("null",),
    "precision": ("bf16-mixed",),
    "profiler": ("simple",),
    "reload_dataloaders_every_n_epochs": (1,),
    "strategy": ("auto",),
    "sync_batchnorm": ("true",),
    "use_distributed_sampler": ("true",),
    "val_check_interval": (1, 0.5),
}
REFUSED: dict[str, tuple[tuple[object, str], ...]] = {
    "accelerator": (("gpu", "trainer:"),),
    "barebones": (("true", "trainer: `Trainer(barebones=True"),),
    "devices": (("x", "trainer:"),),
    "enable_checkpointing": (("false", "enable_checkpointing=False"),),
    "limit_val_batches": ((0.5, "limit_val_batches"),),
    "max_epochs": ((-1, "trainer.max_epochs and trainer.max_steps are unlimited"),),
    "precision": (("bf16-true", "trainer.precision is bf16-true"),),
    "strategy": (("ddp_spawn", "trainer.strategy"), ("fsdp", "strategy"), ("nonsense", "strategy")),
}
ELSEWHERE = {"default_root_dir", "max_epochs"}  # every run of this file sets them
ONE_LINE = [(name, value, words) for name, cases in REFUSED.items() for value, words in cases]


def micro(songs: Path, teacher: Path, folder: Path) -> tuple[object, ...]:
    return (
        "fit", "--config", "configs/wsa_w16_s4.yaml", "--config", "configs/scale/tiny.yaml", "--data.root", songs,
        "--distillation.teacher", teacher, "--trainer.default_root_dir", folder, "--data.chunk_seconds", 0.1,
        "--data.batch_size", 1, "--data.steps_per_epoch", 2, "--flops.seconds", 0.2,
    )  # fmt: skip


def test_no_option_is_left_out() -> None:
    options = set(inspect.signature(L.Trainer.__init__).parameters) - {"self"}
    assert options == set(WORKS) | set(REFUSED) | ELSEWHERE


@pytest.mark.parametrize(("option", "value"), [(name, value) for name, values in WORKS.items() for value in values])
def test_an_option_of_the_trainer_works(
    option: str, value: object, wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    result = wsa(*micro(songs, tiny_teacher, tmp_path), f"--trainer.{option}", value)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    if option != "fast_dev_run":
        assert (tmp_path / "model.safetensors").is_file()


@pytest.mark.parametrize(("option", "value", "words"), ONE_LINE)
def test_an_option_that_cannot_work_ends_in_one_line(
    option: str, value: object, words: str, wsa: Run, songs: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    result = wsa(*micro(songs, tiny_teacher, tmp_path), f"--trainer.{option}", value)
    assert result.returncode == 2, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1 and words in errors[0], result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "model.safetensors").exists()
