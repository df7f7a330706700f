"""A sweep file expands to its points, and an invalid one is refused."""

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import REPOSITORY
from wsa_lightning.configs import base_config
from wsa_lightning.errors import UserError
from wsa_lightning.reliability.checkpoint_io import previous
from wsa_lightning.sweeps.grid import Sweep, read_sweep, select
from wsa_lightning.sweeps.identity import changes, flat, identity
from wsa_lightning.sweeps.point import Point

GRID = {"model.window": [4, 10, None], "model.sinks": [0, 8]}
STUDIES = sorted(REPOSITORY.glob("experiments/*/*.yaml"))


def sweep(folder: Path, **keys: Any) -> Sweep:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({"folder": str(folder / "runs"), "grid": GRID, **keys}, sort_keys=False))
    return read_sweep(path, base_config())


def test_every_combination_is_a_point_named_by_its_aliases(tmp_path: Path) -> None:
    names = [p.name for p in sweep(tmp_path, aliases={"model.window": "w", "model.sinks": "s"}, seeds=[0, 1]).points]
    assert len(names) == 3 * 2 * 2
    assert names[:3] == ["w4_s0_seed0", "w4_s0_seed1", "w4_s8_seed0"]
    assert names[-1] == "wnull_s8_seed1"


def test_without_an_alias_an_axis_goes_by_its_last_word_and_lists_are_joined(tmp_path: Path) -> None:
    grid = {"model.loss.distill/mask": [0.5], "data.stems": [["vocals", "drums"]], "model.optimizer.lr": [1e-3]}
    (point,) = sweep(tmp_path, grid=grid).points
    assert point.name == "distill-mask0.5_stemsvocals-drums_lr0.001_seed0"
    command = point.command("fit")
    for option, value in (
        ("--model.loss.distill/mask", "0.5"),
        ("--data.stems", '["vocals", "drums"]'),
        ("--model.optimizer.lr", "0.001"),
    ):
        assert command[command.index(option) + 1] == value


def test_null_reaches_the_command_line_as_null(tmp_path: Path) -> None:
    command = sweep(tmp_path).points[-1].command("fit")
    assert command[command.index("--model.window") + 1] == "null"


def test_a_seed_is_that_of_weights_and_of_data(tmp_path: Path) -> None:
    command = sweep(tmp_path, seeds=[7]).points[0].command("fit")
    assert command[command.index("--seed_everything") + 1] == command[command.index("--data.seed") + 1] == "7"


def test_test_takes_the_checkpoint_of_the_fit_before_it_or_none(tmp_path: Path) -> None:
    after = sweep(tmp_path, checkpoint="best").points[0].command("test")
    assert after[-2:] == ["--ckpt_path", str(tmp_path / "runs" / "window4_sinks0_seed0" / "checkpoints" / "best.ckpt")]
    assert "--ckpt_path" not in sweep(tmp_path, stages=["test"]).points[0].command("test")


def test_a_stage_has_overrides_of_its_own(tmp_path: Path) -> None:
    point = sweep(tmp_path, stage_overrides={"test": {"trainer.limit_test_batches": 2}}).points[0]
    assert "--trainer.limit_test_batches" in point.command("test")
    assert "--trainer.limit_test_batches" not in point.command("fit")


@pytest.mark.parametrize(
    ("only", "count"),
    [
        (["window=10"], 2),
        (["model.window=null"], 2),
        (["window=4,null", "sinks=8"], 2),
        (["s=0"], 3),
        (["seed=0"], 6),
        ([], 6),
    ],
)
def test_only_chooses_by_option_alias_or_last_word(only: list[str], count: int, tmp_path: Path) -> None:
    assert len(select(sweep(tmp_path, aliases={"model.sinks": "s"}), only)) == count


@pytest.mark.parametrize(
    ("only", "words"), [("window=7", "has no 7, it has 4, 10, null"), ("depth=1", "axes are"), ("window", "AXIS=VALUE")]
)
def test_only_refuses_what_the_grid_does_not_have(only: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words):
        select(sweep(tmp_path), [only])


def test_only_that_leaves_nothing_is_refused_with_what_was_asked_and_what_there_is(tmp_path: Path) -> None:
    words = r"--only window=4 --only window=10: no point matches .*model.window has 4, 10, null; model.sinks has"
    with pytest.raises(UserError, match=words):
        select(sweep(tmp_path), ["window=4", "window=10"])


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("trainer.devices", "devices"), ("trainer.num_nodes", "nodes"), ("trainer.default_root_dir", "folder"),
        ("seed_everything", "seeds"), ("data.seed", "seeds"), ("data.init_args.seed", "seeds"),
    ],
)  # fmt: skip
def test_what_the_sweep_gives_by_itself_is_refused_elsewhere_and_its_key_is_named(
    option: str, key: str, tmp_path: Path
) -> None:
    for where, keys in (
        ("grid", {"grid": {option: [2, 3]}}),
        ("overrides", {"overrides": {option: 2}}),
        ("stage_overrides.test", {"stage_overrides": {"test": {option: 2}}}),
    ):
        with pytest.raises(
            UserError, match=rf"{where} has [a-z_.]+: .*a sweep takes this from the key {key}; set it there"
        ):
            sweep(tmp_path, **keys)


def begin(point: Point, *stages: str, state: str = "finished") -> None:
    """What stages leave behind."""
    for stage in stages:
        point.claim(stage)
        path = point.folder / "progress" / f"{stage}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'{{"state": "{state}"}}')


PRECISE = {"test": {"trainer.precision": "32-true"}}


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ({}, {"checkpoint": "best"}, ["checkpoint: last -> best"]),
        ({"checkpoint": "best"}, {}, ["checkpoint: best -> last"]),
        ({}, {"stage_overrides": PRECISE}, ["stage_overrides.test.trainer.precision: absent -> 32-true"]),
        ({"stage_overrides": PRECISE}, {}, ["stage_overrides.test.trainer.precision: 32-true -> absent"]),
        ({"stage_overrides": PRECISE, "checkpoint": "best"},) * 2 + ([],),
    ],
)
def test_another_checkpoint_or_override_of_a_finished_stage_is_a_change(
    then: dict[str, Any], now: dict[str, Any], said: list[str], tmp_path: Path
) -> None:
    begin(sweep(tmp_path, **then).points[0], "fit", "test")
    assert sweep(tmp_path, **now).points[0].changes() == said


def test_a_stage_that_has_not_finished_may_be_changed_but_a_begun_fit_is_resumed_and_may_not(tmp_path: Path) -> None:
    begin(sweep(tmp_path).points[0], "fit", "test", state="stopped")
    assert sweep(tmp_path, stage_overrides=PRECISE, checkpoint="best").points[0].changes() == []
    changed = sweep(tmp_path, stage_overrides={"fit": {"trainer.max_epochs": 2}}).points[0].changes()
    assert changed == ["stage_overrides.fit.trainer.max_epochs: absent -> 2"]


def test_a_stage_added_later_is_kept_with_what_it_was_run_with(tmp_path: Path) -> None:
    begin(sweep(tmp_path, stages=["fit"]).points[0], "fit")
    later = sweep(tmp_path, stage_overrides=PRECISE).points[0]
    assert later.changes() == []
    begin(later, "test")
    assert later.changes() == []
    assert sweep(tmp_path).points[0].changes() == ["stage_overrides.test.trainer.precision: 32-true -> absent"]


def test_a_point_of_an_older_version_counts_as_run_with_the_defaults(tmp_path: Path) -> None:
    point = sweep(tmp_path).points[0]
    begin(point, "fit", "test")
    (point.own / "point.json").write_text(json.dumps(point.identity))
    assert point.changes() == []
    assert sweep(tmp_path, checkpoint="best").points[0].changes() == ["checkpoint: last -> best"]


def test_fit_goes_on_from_the_checkpoint_before_the_last_one_if_only_that_is_left(tmp_path: Path) -> None:
    point = sweep(tmp_path).points[0]
    older, curve = previous(point.last_checkpoint), point.folder / "events.out.tfevents.1"
    older.parent.mkdir(parents=True)
    with zipfile.ZipFile(older, "w") as file:
        file.writestr("step", "1")
    curve.touch()
    assert point.make_ready("fit") == ""
    assert curve.exists(), "the curves up to that checkpoint are kept"
    assert point.command("fit")[-2:] == ["--ckpt_path", str(point.last_checkpoint)]
    older.unlink()
    assert "--ckpt_path" not in point.command("fit")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"grids": {}}, "grids.*the keys are folder, configs, grid"),
        ({"grid": {"model.window": 4}}, "model.window is 4: expected a list"),
        ({"grid": {"config": [3]}}, "grid.config has 3: expected a config file, or a list of them"),
        ({"grid": {"config": [["a.yaml", None]]}}, "grid.config has"),
        ({"grid": {"config": ["absent.yaml"]}}, "absent.yaml cannot be read"),
        ({"grid": {"model.window": []}}, "expected a list of at least one value"),
        ({"grid": {"model.window": [4, 4]}}, "it has a value twice"),
        ({"overrides": {"model.window": 4}}, "model.window is in grid and in overrides"),
        ({"aliases": {"window": "w"}}, "aliases has window: expected model.window"),
        ({"stages": ["train"]}, "stages has train: expected fit"),
        ({"checkpoint": "first"}, "checkpoint has first"),
        ({"devices": 0}, "devices is 0: expected 1 or more"),
        ({"devices": "many"}, "many"),
        ({"retries": -1}, "retries is -1"),
        ({"local": {"slots": 0}}, "local.slots is 0"),
        ({"configs": ["gone.yaml"]}, "gone.yaml cannot be read"),
    ],
)  # fmt: skip
def test_a_file_that_makes_no_sweep_is_refused_by_name(keys: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as error:
        sweep(tmp_path, **keys)
    assert "sweep.yaml" in str(error.value)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_shipped_study_unfolds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert len(read_sweep(path, base_config()).points) > 1


OPTIONS = st.dictionaries(
    st.sampled_from(["a", "b.c", "b.d", "model.loss.audio/l1"]),
    st.one_of(st.none(), st.integers(), st.text()),
    max_size=4,
)


@given(base=OPTIONS, given_options=OPTIONS)
def test_a_point_is_equal_to_itself(base: dict[str, Any], given_options: dict[str, Any]) -> None:
    one = identity(base, {}, given_options)
    assert changes(one, identity(base, {}, given_options)) == []


@given(base=OPTIONS, given_options=OPTIONS, key=st.sampled_from(["a", "b.c", "new"]))
def test_any_other_value_of_a_given_option_is_a_change(
    base: dict[str, Any], given_options: dict[str, Any], key: str
) -> None:
    old, new = {**given_options, key: "old"}, {**given_options, key: "new"}
    assert changes(identity(base, old, {}), identity(base, new, {})) == [f"{key}: old -> new"]


def test_a_default_that_a_newer_version_brings_is_no_change_but_another_default_is() -> None:
    old = identity({"model.window": 16}, {}, {"model.sinks": 4})
    assert changes(old, identity({"model.window": 16, "model.new": 1}, {}, {"model.sinks": 4})) == []
    assert changes(old, identity({"model.window": 17}, {}, {"model.sinks": 4})) == ["model.window: 16 -> 17"]


def test_the_loss_of_a_file_is_the_whole_loss_for_a_point_as_for_fit(tmp_path: Path) -> None:
    losses = {"audio.yaml": {"audio/l1": 1.0, "audio/stft": 0.5}, "masks.yaml": {"distill/mask_weighted": 10.0}}
    for name, loss in losses.items():
        (tmp_path / name).write_text(yaml.safe_dump({"model": {"init_args": {"loss": loss}}}))
    point = sweep(
        tmp_path, configs=[str(tmp_path / name) for name in losses], overrides={"model.loss.distill/hidden": 1.0}
    ).points[0]
    printed = subprocess.run([*point.command("fit"), "--print_config"], capture_output=True, text=True, check=True)
    said = yaml.safe_load(printed.stdout)["model"]["init_args"]["loss"]
    assert said == {"distill/mask_weighted": 10.0, "distill/hidden": 1.0}
    known = point.identity["options"]
    assert {key.removeprefix("model.loss."): known[key] for key in known if key.startswith("model.loss.")} == said


@pytest.mark.parametrize("where", ["grid", "overrides"])
def test_a_loss_given_as_one_mapping_is_the_whole_loss(where: str, tmp_path: Path) -> None:
    loss = {"distill/mask": 10.0}
    keys = {"grid": {"grid": {"model.loss": [loss]}}, "overrides": {"overrides": {"model.loss": loss}}}[where]
    known = sweep(tmp_path, **keys).points[0].identity["options"]
    assert {key: known[key] for key in known if key.startswith("model.loss")} == {"model.loss.distill/mask": 10.0}


def test_a_term_that_the_loss_of_a_file_no_longer_has_is_a_change() -> None:
    base = {"model.loss.audio/l1": 1.0, "model.window": 16}
    masks = {"model.loss.distill/mask": 10.0}
    old = identity(base, {**masks, "model.loss.audio/l1": 1.0}, {})
    assert changes(old, identity(base, masks, {})) == ["model.loss.audio/l1: 1.0 -> absent"]


def test_init_args_are_not_part_of_a_name() -> None:
    tree = {"model": {"class_path": "x", "init_args": {"window": 4}}, "model.init_args.sinks": 2}
    assert flat(tree) == {"model.class_path": "x", "model.window": 4, "model.sinks": 2}
