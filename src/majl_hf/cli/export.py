"""`majl export`: a model in a form that other programs run."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c

NAME = "export"
app = c.group(NAME, "Export a model.")
Weights = StrEnum("Weights", ("float32", "float16", "int8"))  # onnx_graph.WEIGHTS, which needs onnx


def licence_sentence(model: str) -> str:
    """What a folder with the weights of a model, by its name, says of their licence."""
    from ..checkpoints import find_checkpoint, licence_files
    from .models import licence_of_card

    folder = find_checkpoint(model)
    name = licence_of_card(Path(folder) / "README.md")
    if name is None:
        return "For the weights, see their model's card."
    where = " and ".join(path.name for path in licence_files(folder)) or "its card"
    return f"The weights are under the licence {name} of the model {model}; see {where}."


@app.callback()
def _group() -> None:
    """Export a model."""


@app.command("onnx")
@c.command
def onnx(
    folder: Annotated[Path, typer.Argument(help="New folder.", metavar="DIR", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped name, a folder, or a Hub id[@REVISION].", metavar="NAME")
    ] = "majl-base",
    weights: Annotated[
        Weights,
        typer.Option("--weights", help="In which weights are stored: float16 is half as large, int8 a third."),
    ] = Weights.float32,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an exported folder.")] = False,
) -> int:
    """Write a folder that separates songs and reads pitch with onnxruntime, numpy and soundfile alone.

    Run it with `python DIR separate SONG -o OUT`, or give it to --model.
    """
    with c.extra("export", "The export to ONNX"):
        from ..checkpoints import find_checkpoint, licence_files
        from ..checkpoints.loading import load_model, silence_libraries
        from ..export.onnx_folder import export_onnx

        silence_libraries()
        export_onnx(
            load_model(model, "cpu"),
            folder,
            model,
            licence_sentence(model),
            licence_files(find_checkpoint(model)),
            weights=weights,
            overwrite=overwrite,
        )
    size_mb = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    typer.echo(f"{c.shown(folder)}: {model} for onnxruntime, {size_mb:.1f} MB")
    return 0
