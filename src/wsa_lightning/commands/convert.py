"""``convert``: a model file into another format, and a teacher into a student."""

from pathlib import Path
from typing import Literal

from safetensors import SafetensorError

from wsa_lightning.checkpoints import load, save, save_onnx, save_public
from wsa_lightning.checkpoints.companion import unsaid
from wsa_lightning.commands.separate import stopped_by_sigterm
from wsa_lightning.errors import UserError, first_line
from wsa_lightning.models import Dilation, PatternOptions, Roformer, Window, describe_patterns

ModelFormat = Literal["ours", "public", "onnx"]
SUFFIXES: dict[ModelFormat, tuple[str, ...]] = {
    "ours": (".safetensors",),
    "public": (".ckpt", ".pt", ".pth", ".th", ".safetensors"),
    "onnx": (".onnx",),
}


def convert(
    input: str,
    output: Path,
    *,
    window: Window | Literal["keep"] = "keep",
    sinks: int | Literal["keep"] = "keep",
    dilation: Dilation | Literal["keep"] = "keep",
    format: ModelFormat | None = None,
    config: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Convert the model file INPUT to OUTPUT: ours, the public layout with its YAML, or ONNX.

    Args:
        input: any model file this project opens, or the name of a shipped model.
        output: the file to write; the public layout puts a YAML of the same name beside it.
        window: width of the time attention in frames, null for full attention, a list of one a layer, or keep for what
            the file says.
        sinks: sink tokens; another number than the file's starts at the mean band-split feature, plus a little noise.
        dilation: frames from one key of the window to the next, a list of one a layer, or keep; 1 for neighbours.
        format: what to write; by default what the suffix of OUTPUT says (.safetensors ours, .ckpt public, .onnx).
        config: the YAML of a public INPUT; by default the one beside it.
        overwrite: replace what is there.
    """
    chosen = format or format_of(output)
    if output.suffix not in SUFFIXES[chosen]:
        raise UserError(f"OUTPUT is {output}: expected a name in {', '.join(SUFFIXES[chosen])} for --format {chosen}")
    if output.is_dir():
        raise UserError(f"OUTPUT is {output}, a folder: expected a file to write")
    for path in (output, *([output.with_suffix(".yaml")] if chosen == "public" else [])):
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists: name another OUTPUT, or pass --overwrite")
    pattern: PatternOptions = {}
    if window != "keep":
        pattern["window"] = window
    if sinks != "keep":
        pattern["sinks"] = sinks
    if dilation != "keep":
        pattern["dilation"] = dilation
    model = load(input, config=config, **pattern)
    if chosen == "onnx":
        print("capturing the graph: a minute for a small model, several minutes for a large one", flush=True)
    with stopped_by_sigterm():
        write(model, output, chosen)
    if chosen == "public":
        print(f"{output.with_suffix('.yaml')}: the YAML that goes with it")
        for line in unsaid(model.config):
            print(f"note: {line}")
    print(f"{output}: {describe(model)}")


def write(model: Roformer, output: Path, format: ModelFormat) -> None:
    """Write the file, or nothing; ``UserError`` if the folder or the disk does not allow it."""
    try:
        if format == "ours":
            save(model, output)
        elif format == "onnx":
            save_onnx(model, output)
        else:
            save_public(model, output)
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and format != "public":  # torch.save raises RuntimeError for a full disk
            raise
        raise UserError(
            f"{output} cannot be written ({first_line(error)}): make room, or choose another folder"
        ) from None


def format_of(output: Path) -> ModelFormat:
    """The format a file's suffix stands for."""
    for name, suffixes in SUFFIXES.items():
        if output.suffix in suffixes:
            return name
    raise UserError(f"OUTPUT is {output}: expected .safetensors, .ckpt or .onnx, or --format")


def describe(model: Roformer) -> str:
    """A model in one line."""
    config = model.config
    parameters = sum(parameter.numel() for parameter in model.parameters())
    attention = "full attention" if config.window is None else f"window {describe_patterns(config)}"
    return (
        f"{config.family}, {parameters / 1e6:.1f} M parameters, {attention}, {config.sinks} sinks, "
        f"{', '.join(config.stems)}, hop {config.hop_length} at {config.sample_rate} Hz"
    )
