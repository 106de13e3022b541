"""`majl calibrate`: a trained model's decoding, chosen on validation clips and written into its config."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import MajlError
from . import _common as c
from ._interrupt import StopSignals

NAME = "calibrate"
SPLIT_COLUMN = "singer_split"


@c.command
def run(
    model: Annotated[Path, typer.Argument(help="Folder of the model.", metavar="FOLDER", show_default=False)],
    mir1k: Annotated[Path | None, typer.Option("--mir1k", help="MIR-1K.", metavar="DIR")] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help="Of MIR-1K's clips.csv.", show_default=SPLIT_COLUMN)
    ] = None,
    rows: Annotated[str | None, typer.Option("--rows", help="Instead, a built corpus with pitch labels.")] = None,
    split: Annotated[str, typer.Option("--split", help="Of MIR-1K or of --rows.")] = "validation",
    keep_path: Annotated[bool, typer.Option("--keep-path", help="Keep Viterbi's costs.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
) -> int:
    """Choose a model's pitch decoding on validation clips.

    Chooses Viterbi's costs by raw pitch accuracy, the calibration of voicing by logistic regression, and the voicing
    threshold by overall accuracy. Writes them into the model's config; prints the scores before and after as JSON.
    """
    if (mir1k is None) == (rows is None):
        raise typer.BadParameter("give either --mir1k or --rows")
    if rows is not None and split_column is not None:
        raise typer.BadParameter("--split-column needs --mir1k; the rows of a built corpus have their split already")
    if not (model / "config.json").is_file():
        raise MajlError(f"{model} is not the folder of a model: it has no config.json. Give that of a trained model.")
    with c.extra("evaluate", "Calibrating"), StopSignals() as signals:
        from ..checkpoints.loading import load_model
        from ..evaluation.calibration import calibrate, write_calibration
        from ..mixing.clips import iter_validation_clips
        from ..mixing.config import FOLDERS, RowsCorpus
        from ._progress import minutes_of_audio, summed

        if rows is not None:
            corpus = RowsCorpus(folder=rows, split=split)
        else:
            corpus = FOLDERS["mir1k"](folder=str(mir1k), split_column=split_column or SPLIT_COLUMN, split_value=split)
        with minutes_of_audio(c.shown(corpus.folder), signals) as progress:
            loaded = load_model(str(model), "cpu")
            report = calibrate(loaded, iter_validation_clips(corpus), keep_path=keep_path, progress=summed(progress))
        c.print_json(report)
        if not dry_run:
            write_calibration(model, report["chosen"])
    return 0
