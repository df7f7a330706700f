"""The architecture: imports point down, the lower packages do without Lightning, every shipped config parses."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from wsa_lightning.cli import COMMANDS, main

PACKAGE = REPOSITORY / "src" / "wsa_lightning"
FLOORS = {
    "errors": 0,
    "ranges": 0,
    "atomic": 0,
    "machine": 0,
    "configs": 1,
    "results": 1,
    "attention": 1,
    "models": 2,
    "checkpoints": 3,
    "losses": 3,
    "metrics": 3,
    "flops": 3,
    "locality": 3,
    "separation": 3,
    "figures": 3,
    "composer": 3,
    "data": 3,
    "reliability": 4,
    "training": 5,
    "sweeps": 5,
    "comparison": 6,
    "commands": 7,
    "cli": 8,
    "__main__": 9,
}
CONFIGS = sorted(REPOSITORY.glob("configs/**/*.yaml"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            modules = [node.module or ""]
            if node.module == "wsa_lightning":
                modules = [f"wsa_lightning.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        rooms |= {module.split(".")[1] for module in modules if module.startswith("wsa_lightning.")}
    return rooms


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_import_runs_up(path: Path) -> None:
    if path == PACKAGE / "__init__.py":
        assert not imported_rooms(path)
        return
    own = room(path)
    for other in imported_rooms(path) - {own}:
        assert FLOORS[other] < FLOORS[own] or (FLOORS[other] == FLOORS[own] == 3), f"{path} imports {other}"


@pytest.mark.parametrize("name", [name for name, floor in FLOORS.items() if floor <= 3])
def test_every_room_below_training_opens_without_lightning_or_musdb(name: str) -> None:
    code = (
        f"import wsa_lightning.{name}, sys; "
        "assert not {'lightning', 'pytorch_lightning', 'musdb', 'stempeg'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_parses(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = output_of(["fit", "--config", str(path), "--print_config"], capsys)
    assert "class_path: wsa_lightning.training" in said


def test_help_lists_every_command_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    said = output_of(["--help"], capsys)
    for command in COMMANDS:
        assert f"python -m wsa_lightning {command} " in said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = " ".join(output_of([*command.split(), "--help"], capsys).split())
    assert f"example: python -m wsa_lightning {command} " in said


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
def test_a_flag_has_hyphens_or_underscores_and_no_value_and_a_list_may_be_repeated(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(REPOSITORY)
    words = ["--only", "window=10", "--only", "sinks=4", "--out", str(tmp_path)]
    main_with(["sweep", flag, "--config", "experiments/window_sink/sweep.yaml", *words])
    said = capsys.readouterr().out
    assert said.count("# w10_s4_seed0") == said.count("_seed0: to do") == 1


def output_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        main_with(words)
    assert end.value.code == 0
    return capsys.readouterr().out


def main_with(words: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["wsa_lightning", *words])
        main()
