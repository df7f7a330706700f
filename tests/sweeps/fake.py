"""A stand-in for ``python -m wsa_lightning`` that leaves the files of a run without importing torch.

It takes ``steps`` steps of ``seconds`` each and keeps the number of the last one as its checkpoint, so that a resumed
run goes on where it was. What goes wrong is said by options: ``--fail-window 4`` fails the points of a
window, ``--fail-once FILE`` whatever comes first, once, ``--failed-songs 2`` has ``test`` leave songs out.
Every step is written down in ``steps.txt``: a step that is there twice was computed twice. Only a step that a kill
took between its line and its checkpoint leaves no line: it has to be computed again.
"""

import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path


def main() -> None:
    stage, words = sys.argv[1], sys.argv[2:]
    if stage == "compare":
        compare(words)
        return
    options = dict(zip(words[::2], words[1::2], strict=True))
    run = Path(options["--trainer.default_root_dir"])
    progress = run / "progress" / f"{stage}.json"
    progress.parent.mkdir(parents=True, exist_ok=True)
    if stage == "fit":
        fit(run, progress, options)
    failed = float(options.get("--failed-songs", 0)) if stage == "test" else 0.0
    scores = {"test/usdr": 8.5, "test/failed_songs": failed} if stage == "test" else {"val/usdr": 9}
    write(progress, {"state": "finished", **scores})
    if failed:
        sys.exit(f"error: {failed:.0f} songs failed and are in no score")


def fit(run: Path, progress: Path, options: dict[str, str]) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    checkpoint = run / "checkpoints" / "last.ckpt"
    take_back_a_step_that_was_not_saved(run / "steps.txt", checkpoint)
    first = read(Path(options["--ckpt_path"])) if "--ckpt_path" in options else 0
    steps = int(options.get("--steps", 1))
    if options.get("--fail-window") == options["--model.window"]:
        sys.exit("the loss is NaN")
    for step in range(first, steps):
        write(progress, {"state": "running", "step": step, "steps": steps, "pid": os.getpid()})
        time.sleep(float(options.get("--seconds", 0)))
        with (run / "steps.txt").open("a") as file:
            file.write(f"{step}\n")
        save(checkpoint, step + 1)
        if "--fail-once" in options and not Path(options["--fail-once"]).exists():
            Path(options["--fail-once"]).touch()
            sys.exit("failing once")
        if stopped:
            write(progress, {"state": "stopped", "exception": "SIGTERMException"})
            sys.exit(143)


def take_back_a_step_that_was_not_saved(record: Path, checkpoint: Path) -> None:
    saved = read(checkpoint) if checkpoint.exists() else 0
    lines = record.read_text().splitlines() if record.exists() else []
    if lines and lines[-1] == str(saved):
        record.write_text("".join(f"{line}\n" for line in lines[:-1]))


def compare(words: list[str]) -> None:
    where = words.index("--out")
    out = Path(words[where + 1])
    out.mkdir(parents=True, exist_ok=True)
    (out / "compared.txt").write_text("\n".join(Path(word).name for word in words[:where]))


def write(path: Path, content: dict[str, object]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"started": 0, "updated": 1, "first_step": 0, **content}))
    partial.replace(path)


def save(path: Path, step: int) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w") as file:
        file.writestr("step", str(step))
    partial.replace(path)


def read(path: Path) -> int:
    with zipfile.ZipFile(path) as file:
        return int(file.read("step"))


if __name__ == "__main__":
    main()
