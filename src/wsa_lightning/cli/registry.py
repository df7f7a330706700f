"""Every command: a summary, an example, and the function that runs it."""

from dataclasses import dataclass

from wsa_lightning.errors import UserError

PROGRAM = "python -m wsa_lightning"


@dataclass(frozen=True)
class Command:
    """One command: the summary and the example in ``--help``, and for our own commands the function ``module:name``."""

    summary: str
    example: str
    function: str | None = None


_CHECKPOINT = "--config configs/wsa_w16_s4.yaml --ckpt_path runs/wsa_w16_s4/checkpoints/best.ckpt"
COMMANDS = {
    "fit": Command(
        "train a student from a teacher (or a teacher from scratch)",
        "--config configs/wsa_w16_s4.yaml --model.window 10 --model.sinks 8",
    ),
    "validate": Command(
        "score a model on the validation chunks; without --ckpt_path the student before training", _CHECKPOINT
    ),
    "test": Command(
        "score a model on whole test songs beside its teacher; without --ckpt_path the student before training",
        _CHECKPOINT,
    ),
    "predict": Command("separate the test songs into files", _CHECKPOINT),
    "convert": Command(
        "turn a model file into ours, the public layout or ONNX, a teacher into a student",
        "MelBandRoformer.ckpt student.safetensors --window 10 --sinks 8",
        "wsa_lightning.commands.convert:convert",
    ),
    "sweep": Command(
        "run every point of a grid, on this machine or a Slurm cluster, and compare them",
        "--config experiments/window_sink/sweep.yaml --only window=10",
        "wsa_lightning.commands.sweep:sweep",
    ),
    "data make": Command(
        "compose embedded songs into a folder, in the MUSDB18-HQ layout",
        "songs --songs 100 --seconds 20 --seed 1",
        "wsa_lightning.commands.data:make",
    ),
    "separate": Command(
        "separate songs of any length into stems",
        "SONGS/ --checkpoint small --out separated --stems vocals,instrumental",
        "wsa_lightning.commands.separate:separate",
    ),
    "flops": Command(
        "count what a teacher and its windowed student cost, at any duration",
        "--size kim --window 10 --sinks 8 --seconds 8 60 240",
        "wsa_lightning.commands.flops:flops",
    ),
    "attention": Command(
        "show where a model's attention looks, and which windows would contain it",
        "SONGS/ --checkpoint MelBandRoformer.ckpt --out attention",
        "wsa_lightning.commands.attention:attention",
    ),
    "compare": Command(
        "compare finished runs: table, Pareto front, report with audio, TensorBoard events",
        "runs --out comparison",
        "wsa_lightning.commands.compare:compare",
    ),
    "data check": Command(
        "read every sample of a dataset and list what is wrong with it",
        "MUSDB18-HQ --json_file report.json",
        "wsa_lightning.commands.data:check",
    ),
    "data decode": Command(
        "turn MUSDB18's .stem.mp4 files into WAV files, once",
        "MUSDB18 MUSDB18-wav",
        "wsa_lightning.commands.data:decode",
    ),
    "doctor": Command(
        "check everything a run needs on this machine",
        "--root MUSDB18-HQ",
        "wsa_lightning.commands.doctor:doctor",
    ),
}
TRAINER_COMMANDS = tuple(name for name, command in COMMANDS.items() if command.function is None)


def example(name: str) -> str:
    """The example of a command as a complete line."""
    return f"{PROGRAM} {name} {COMMANDS[name].example}"


def usage() -> str:
    """The top-level help: a summary and an example of every command."""
    lines = [f"usage: {PROGRAM} COMMAND [OPTIONS]", "", "commands:"]
    for name, command in COMMANDS.items():
        lines += [f"  {name:<13}{command.summary}", f"  {'':<13}  {example(name)}"]
    return "\n".join([*lines, "", f"{PROGRAM} COMMAND --help lists the options of a command."])


def find_command(words: list[str]) -> str:
    """The command that the first one or two words name."""
    for name in (" ".join(words[:2]), words[0]):
        if name in COMMANDS:
            return name
    raise UserError(f"unknown command {' '.join(words[:2])!r}: expected one of {', '.join(COMMANDS)}")
