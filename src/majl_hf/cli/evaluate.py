"""`majl evaluate`: measure separation and pitch on labelled music and store the scores in a results file."""

import itertools
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c
from ._interrupt import StopSignals

NAME = "evaluate"


@c.command
def run(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Results file; other runs in it stay.", metavar="JSON")
    ],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="A shipped name, a folder or a Hub id; repeat for more.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The model's name in the results.", show_default="last part of --model")
    ] = None,
    system: Annotated[
        list[str] | None,
        typer.Option(
            "--system",
            help="A bound (mixture, oracle-mask), a separator (spleeter, open-unmix, demucs, roformer, majl-base), a "
            "pitch tracker on the mixture (praat, crepe, crepe_tiny, melodia, fcpe, swift), on the vocals of a "
            "separator (spleeter-fcpe) or on the true vocals (vocals-fcpe). Each needs its package. Repeat for more.",
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights", help="Local path of a separator's weights: demucs=PATH. Repeat for more.", metavar="NAME=PATH"
        ),
    ] = None,
    mir1k: Annotated[Path | None, typer.Option("--mir1k", help="MIR-1K.", metavar="DIR")] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help="Of MIR-1K's clips.csv; --split is its value.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option("--rows", help="A built corpus: a folder of `majl data build`, or a Hub id.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Of MIR-1K and of --rows.", show_default="all clips; validation rows")
    ] = None,
    stems: Annotated[
        Path | None, typer.Option("--stems", help="Songs as vocals and accompaniment.", metavar="DIR")
    ] = None,
    songs: Annotated[str, typer.Option("--songs", help="Of --stems, separated by commas.", show_default="all")] = "",
    stem_file: Annotated[Path | None, typer.Option("--stem-file", help="A .stem.mp4.", metavar="FILE")] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition",
            help="Also measure the clips as they sound after this, such as mp3, reverb, hiss, telephone, level-40 or "
            "left (all: docs/evaluating.md); repeat for more.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", help="Also a page: every clip, errors by singer, level and register, the worst clips to hear."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first N clips: a smoke test, under its own key.")
    ] = None,
    voicing_policy: c.Policy = None,
    voicing_threshold: c.Threshold = None,
    threads: c.Threads = None,
) -> int:
    """Measure separation and pitch on labelled music.

    SDR, NSDR and SI-SDR of the vocals over all channels and the whole clip; RPA, RCA, OA, VR and VFA of the pitch
    where there are labels. Each with mean, median, 95 % bootstrap interval and count.

    JSON gets one run per system and corpus, with every clip's scores, the checkpoint's SHA-256, the code's commit and
    the packages' versions; a run with the same key is replaced. To make a model card from it, run
    `python -m majl_hf.evaluation.model_card JSON -o card.md`.

    Test splits are for the final report: choose and tune on validation.
    """
    voicing = voicing_policy is not None or voicing_threshold is not None
    wrong = {
        "nothing to measure: give --model or --system": not (model or system),
        "--weights needs a --system": bool(weights) and not system,
        "nothing to measure on: give --mir1k, --stems, --stem-file or --rows": (
            mir1k is None and stems is None and stem_file is None and rows is None
        ),
        "--name needs exactly one --model": name is not None and len(model or ()) != 1,
        "--voicing-policy and --voicing-threshold need a --model; other systems have their own": voicing and not model,
        "--split-column needs --mir1k": split_column is not None and mir1k is None,
        "--split needs --mir1k or --rows": split is not None and mir1k is None and rows is None,
        "with --mir1k, --split-column and --split must be given together; to measure all of MIR-1K and one split of "
        "--rows, run the command twice": mir1k is not None and (split_column is None) != (split is None),
        "--songs needs --stems": bool(songs) and stems is None,
    }
    for message, is_wrong in wrong.items():
        if is_wrong:
            raise typer.BadParameter(message)
    with c.extra("evaluate", "Evaluating"), StopSignals() as signals:
        import torch
        from rich.console import Console

        from ..evaluation import MajlSystem, build_system, evaluate
        from ..evaluation.conditions import CONDITIONS
        from ..evaluation.registry import weights_by_name
        from ..evaluation.report import Report, write_page
        from ..evaluation.results import make_run, merge_run, read_results, run_key
        from ..mixing.config import FOLDERS, RowsCorpus
        from ._progress import minutes_of_audio, summed

        if unknown := [state for state in condition or () if state not in CONDITIONS]:
            raise typer.BadParameter(f"there is no condition {unknown[0]!r}; there are {', '.join(CONDITIONS)}")
        if output.exists():
            read_results(output)  # refuse a broken file now and not after scoring
        corpora = []
        if mir1k is not None:
            corpora.append(FOLDERS["mir1k"](folder=str(mir1k), split_column=split_column, split_value=split))
        if rows is not None:
            corpora.append(RowsCorpus(folder=rows, split=split or "validation"))
        if stems is not None:
            include = tuple(song for song in songs.split(",") if song)
            corpora.append(FOLDERS["stems"](folder=str(stems), include=include))
        if stem_file is not None:
            corpora.append(FOLDERS["stem-file"](folder=str(stem_file)))
        paths = weights_by_name(weights or ())
        if threads is not None:
            torch.set_num_threads(threads)
        reports = {}
        makers = [
            partial(MajlSystem.from_pretrained, one, voicing_policy, voicing_threshold, name, threads)
            for one in model or ()
        ]
        makers += [partial(build_system, one, paths) for one in system or ()]
        for make in makers:  # one after the other, so that only one model is in memory
            measured = make()
            for corpus, state in itertools.product(corpora, [None, *(condition or ())]):
                under = f", {state}" if state else ""
                with minutes_of_audio(f"{measured.name} on {c.shown(corpus.folder)}{under}", signals) as progress:
                    add, report = summed(progress), Report()
                    evaluation = evaluate(
                        measured,
                        corpus,
                        limit=limit,
                        condition=state,
                        on_item=lambda item, add=add: add(item.duration_s),
                        observe=None if html is None else report.observe,
                    )
                report.protocol = evaluation.protocol
                result = make_run(evaluation, measured)
                merge_run(output, run_key(evaluation), result)
                Console().print(_table(run_key(evaluation), result))
                reports[run_key(evaluation)] = report
                if html is not None:
                    write_page(html, reports)
    return 0


def _table(key: str, result: dict):
    from rich.table import Table

    caption = f"{result['num_items']} clips, {result['audio_s']:.0f} s of audio in {result['wall_s']:.0f} s"
    table = Table(title=key, caption=caption, title_justify="left", caption_justify="left")
    for heading in ("metric", "mean", "95 % interval", "median", "clips", "skipped"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for metric in result["metrics"].values():
        scale, unit = (100, "%") if metric["unit"] == "fraction" else (1, metric["unit"])
        interval = "" if metric["low"] is None else f"{metric['low'] * scale:.2f} to {metric['high'] * scale:.2f}"
        table.add_row(
            f"{metric['name']}, {unit}",
            f"{metric['mean'] * scale:.2f}",
            interval,
            f"{metric['median'] * scale:.2f}",
            str(metric["count"]),
            str(metric["skipped"] + metric["non_finite"]),
        )
    return table
