"""A machine is divided among slots as the sweep file says."""

from typing import Any

import pytest

from wsa_lightning.errors import UserError
from wsa_lightning.sweeps import local
from wsa_lightning.sweeps.grid import LocalOptions, SweepFile
from wsa_lightning.sweeps.local import make_slots


def slots(monkeypatch: pytest.MonkeyPatch, gpus: str, points: int = 9, cores: int = 16, **keys: Any) -> list[Any]:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setattr(local, "usable_cores", lambda: cores)
    return make_slots(SweepFile(folder="runs", **keys), points)


def test_gpus_are_handed_out_in_groups_under_the_names_this_process_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    made = slots(monkeypatch, "2,3,5,GPU-7,9", devices=2)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in made] == ["2,3", "5,GPU-7"]
    assert {slot["OMP_NUM_THREADS"] for slot in made} == {"4"}


def test_cores_are_divided_among_slots_and_their_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(slots(monkeypatch, "")) == 8
    made = slots(monkeypatch, "", devices=2, local=LocalOptions(slots=2))
    assert [slot["OMP_NUM_THREADS"] for slot in made] == ["4", "4"]
    assert "CUDA_VISIBLE_DEVICES" not in made[0]
    assert slots(monkeypatch, "", local=LocalOptions(threads=3))[0]["OMP_NUM_THREADS"] == "3"
    assert len(slots(monkeypatch, "", cores=1)) == 1


def test_the_share_of_a_point_does_not_depend_on_how_many_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slots(monkeypatch, "", points=1) == slots(monkeypatch, "")[:1]
    assert slots(monkeypatch, "0,1", points=1) == slots(monkeypatch, "0,1")[:1]


def test_a_run_asked_to_stay_on_the_cpu_gets_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    made = slots(monkeypatch, "0,1", overrides={"trainer.accelerator": "cpu"})
    assert all("CUDA_VISIBLE_DEVICES" not in slot for slot in made)


def test_inside_an_allocation_lightning_does_not_take_a_child_for_a_task_of_srun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "1")
    assert slots(monkeypatch, "")[0]["SLURM_JOB_NAME"] == "interactive"


@pytest.mark.parametrize(
    ("gpus", "keys", "words"),
    [
        ("0", {"devices": 2}, "devices is 2, and this machine shows 1 GPUs"),
        ("0,1", {"local": LocalOptions(slots=3)}, "local.slots is 3: 2 GPUs make 2 groups of 1"),
        ("", {"nodes": 2}, "nodes is 2: one machine is one node"),
    ],
)
def test_more_than_the_machine_has_is_refused(
    gpus: str, keys: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=words):
        slots(monkeypatch, gpus, **keys)
