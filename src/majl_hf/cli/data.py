"""`majl data`: corpora as folders that `datasets` loads; built, combined, checked.

Modules that need `datasets` are imported when a verb runs, so that `majl --help` is fast and works without it.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MajlError
from . import _common as c
from ._interrupt import StopSignals
from ._progress import minutes_of_audio

NAME = "data"
RESUME = "finished files are kept; run the same command again to resume"
app = c.group(NAME, "Build, combine and check datasets from corpora.")

OnConflict = StrEnum("OnConflict", ("move", "error"))
Processes = Annotated[
    int | None, typer.Option("--processes", "-p", min=1, help="Work in parallel.", show_default="all cores")
]
OutDir = Annotated[Path, typer.Option("--out", "-o", help="Folder of the result.", metavar="DIR", file_okay=False)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout: one object per dataset, one per line.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out recordings that cannot be used.")]
Rebuild = Annotated[
    bool, typer.Option("--overwrite", help="If the folder is of other recordings or settings, redo what differs.")
]
ShardMinutes = Annotated[
    float, typer.Option("--shard-minutes", min=0.01, help="Length of the audio in a file, roughly.", metavar="MINUTES")
]


@app.command("list")
@c.command
def list_corpora(
    corpus: Annotated[str | None, typer.Argument(help="Describe this one.", show_default=False)] = None,
) -> int:
    """List the corpora that can be built, or describe one: its layout, traps, licence and options."""
    with c.extra("data", "Working with datasets"):
        from ..corpora.registry import CORPORA, find_corpus

        if corpus is None:
            for found in CORPORA.values():
                typer.echo(f"{found.name:<11} {found.title}: {', '.join(found.label_kinds)}")
            return 0
        found = find_corpus(corpus)
        facts = {"licence": found.licence, "splits": found.splits, "homepage": found.homepage}
        typer.echo(found.documentation)
        typer.echo("\n" + "\n".join(f"{name}: {fact}" for name, fact in facts.items() if fact))
    return 0


@app.command("build")
@c.command
def build(
    corpora: Annotated[
        list[str], typer.Argument(help="Names of corpora, such as mir1k.", metavar="CORPUS...", show_default=False)
    ],
    source: Annotated[
        Path,
        typer.Option("--source", "-s", help="Folder of the corpus, or of several corpora's folders.", metavar="DIR"),
    ],
    out: OutDir,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="Option of the corpus's reader; repeat for more.", metavar="NAME=VALUE"),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split", help="Songs, singers or names (a glob) of a split; the rest is train.", metavar="SPLIT=GLOB"
        ),
    ] = None,
    processes: Processes = None,
    shard_minutes: ShardMinutes = 10.0,
    skip_bad: SkipBad = False,
    overwrite: Rebuild = False,
    as_json: AsJson = False,
) -> int:
    """Build datasets from corpora: Parquet files with FLAC inside, and a card.

    One CORPUS is read from the folder --source and becomes the folder --out. If there are several, each is read from
    its folder below --source and built into its folder below --out.

    Run the same command again to resume a build that was stopped.
    """
    if not source.is_dir():
        raise MajlError(f"The folder {source} does not exist; give the folder of the corpus with --source.")
    options, splits = _pairs(option, "--option"), {}
    for name, pattern in _splits(split):
        splits.setdefault(name, []).append(pattern)
    with c.extra("data", "Working with datasets"):
        from ..corpora.registry import find_corpus
        from ..rows.prepare import BuildJob

        for name in corpora:
            find_corpus(name)
        several = len(corpora) > 1
        jobs = [
            BuildJob(
                corpus=name,
                folder=source / name if several else source,
                out=out / name if several else out,
                options=options,
                splits=splits,
            )
            for name in dict.fromkeys(corpora)
        ]
        settings = {"shard_minutes": shard_minutes, "skip_bad": skip_bad, "overwrite": overwrite}
        return run_jobs(jobs, processes, as_json, **settings)


@app.command("prepare")
@c.command
def prepare(
    file: Annotated[Path, typer.Argument(help="YAML file of corpora.", metavar="FILE", show_default=False)],
    processes: Processes = None,
    skip_bad: SkipBad = False,
    overwrite: Rebuild = False,
    check: Annotated[bool, typer.Option("--check/--no-check", help="Check the results.")] = True,
) -> int:
    """Build the corpora that FILE names, combine them, and check all results.

    Finished, unchanged results are kept. Run the same command again to resume.
    """
    with c.extra("data", "Working with datasets"):
        from ..rows.prepare import PrepareConfig
        from ..system.settings import load_settings

        config = load_settings(file, PrepareConfig)
        folders = [job.out for job in config.jobs]
        settings = {"shard_minutes": config.shard_minutes, "skip_bad": skip_bad, "overwrite": overwrite}
        exit_code = run_jobs(config.jobs, processes, False, **settings)
        if exit_code == 0 and config.combine is not None:
            folders.append(config.combined)
            if not config.is_combined():
                settings = {"shard_minutes": config.shard_minutes, "overwrite": True}
                exit_code = run_combine(folders[:-1], config.combined, config.combine, processes, False, **settings)
                if exit_code == 0:
                    config.note_combined()
        if exit_code == 0 and check:
            exit_code = check_folders(folders, processes, as_json=False)
        return exit_code


@app.command("combine")
@c.command
def combine(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Built datasets; of duplicates that in the first is kept.", metavar="DIR...", show_default=False
        ),
    ],
    out: OutDir,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split", help="Rows whose id matches the glob go there; the first match decides.", metavar="SPLIT=GLOB"
        ),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--keep-duplicates", help="Keep songs that corpora have in common.")
    ] = False,
    by_audio: Annotated[
        bool, typer.Option("--by-audio/--by-name", help="Compare recordings by fingerprint as well as by name.")
    ] = True,
    on_conflict: Annotated[
        OnConflict, typer.Option("--on-conflict", help="Rows of train that are also in validation or test.")
    ] = OnConflict.move,
    processes: Processes = None,
    shard_minutes: ShardMinutes = 10.0,
    overwrite: c.Overwrite = False,
    as_json: AsJson = False,
) -> int:
    """Join built datasets: no duplicates, no song on both sides of a split, a sampling weight for each row."""
    splits = {pattern: name for name, pattern in _splits(split)}
    with c.extra("data", "Working with datasets"):
        from ..rows.combine import CombineOptions

        options = CombineOptions(
            splits=splits, drop_duplicates=not duplicates, by_audio=by_audio, on_conflict=on_conflict.value
        )
        return run_combine(folders, out, options, processes, as_json, shard_minutes=shard_minutes, overwrite=overwrite)


@app.command("check")
@c.command
def check(
    folders: Annotated[list[Path], typer.Argument(help="Datasets.", metavar="DIR...", show_default=False)],
    processes: Processes = None,
    as_json: AsJson = False,
) -> int:
    """Check every row of datasets and count their contents."""
    with c.extra("data", "Working with datasets"):
        return check_folders(folders, processes, as_json)


def run_jobs(jobs: list, processes: int | None, as_json: bool, **settings) -> int:
    """Build one corpus after the other and return the exit code; one that fails does not stop the others."""
    from ..system.processes import usable_cpus

    failures: list[str] = []
    with StopSignals(RESUME) as signals:
        for job in jobs:
            started_s = time.monotonic()
            with _reported(job.title, failures, as_json):
                with minutes_of_audio(job.title, signals) as progress:
                    report = job.run(num_processes=processes or usable_cpus(), progress=progress, **settings)
                _report_built(job, report, time.monotonic() - started_s, as_json)
    return c.EXIT_FAILED if failures else 0


@contextlib.contextmanager
def _reported(what: str, failures: list[str], as_json: bool = False) -> Iterator[None]:
    """Context in which an error of the package is added to `failures` and printed instead of raised."""
    try:
        yield
    except MajlError as error:
        failures.append(what)
        typer.echo(f"failed: {what}: {error}", err=True)
        if as_json:
            c.print_json({"corpus": what, "status": "failed", "error": str(error)})


def _report_built(job, report, elapsed_s: float, as_json: bool) -> None:
    for id, reason in report.left_out.items():
        typer.echo(f"left out: {id}: {reason}", err=True)
    if as_json:
        c.print_json(
            {
                "corpus": job.title,
                "status": "done",
                "out": str(report.out),
                "num_rows": report.num_rows,
                "minutes": round(report.duration_s / 60, 3),
                "bytes": report.num_bytes,
                "num_shards": len(report.footers),
                "num_kept": report.num_kept,
                "left_out": report.left_out,
                "elapsed_s": round(elapsed_s, 3),
            }
        )
        return
    kept = f", {report.num_kept} of them there already" if report.num_kept else ""
    left_out = f", {len(report.left_out)} left out" if report.left_out else ""
    typer.echo(
        f"{job.title}: {report.num_rows} recordings{left_out}, {report.duration_s / 60:.1f} min, "
        f"{report.num_bytes / 1e6:.1f} MB in {len(report.footers)} files{kept}, in {elapsed_s:.1f} s -> "
        f"{c.shown(report.out)}"
    )


def run_combine(folders: list[Path], out: Path, options, processes: int | None, as_json: bool, **settings) -> int:
    """Combine datasets, report the result, and return the exit code; `settings` are those of `combine_corpora`."""
    from ..rows.combine import combine_corpora
    from ..system.processes import usable_cpus

    started_s = time.monotonic()
    failures: list[str] = []
    with (
        StopSignals(RESUME) as signals,
        _reported(c.shown(out), failures),
        minutes_of_audio(c.shown(out), signals) as progress,
    ):
        report = combine_corpora(
            folders,
            out,
            options,
            num_processes=processes or usable_cpus(),
            progress=progress,
            **settings,
        )
    if failures:
        return c.EXIT_FAILED
    elapsed_s = time.monotonic() - started_s
    if as_json:
        facts = {"out": str(report.out), "num_rows": report.num_rows, "minutes": round(report.duration_s / 60, 3)}
        changes = {"dropped": report.dropped, "moved": report.moved, "held_out_audio": report.held_out_audio}
        c.print_json({**facts, "amounts": report.amounts.as_list(), **changes, "elapsed_s": round(elapsed_s, 3)})
        return 0
    for row in report.dropped:
        typer.echo(f"dropped: {row['id']}: same {row['because']} as {row['of']}", err=True)
    for row in report.moved:
        typer.echo(f"moved to unused: {row['id']}: same {row['because']} as {row['of']}", err=True)
    typer.echo(
        f"{c.shown(out)}: {report.num_rows} recordings, {report.duration_s / 60:.1f} min; "
        f"{len(report.dropped)} dropped, {len(report.moved)} moved to unused, in {elapsed_s:.1f} s"
    )
    return 0


def check_folders(folders: list[Path], processes: int | None, as_json: bool) -> int:
    """Check datasets, report what was found, and return the exit code."""
    from ..rows.check import check_dataset
    from ..system.processes import usable_cpus

    failures: list[str] = []
    with StopSignals(RESUME) as signals:
        for folder in folders:
            with _reported(c.shown(folder), failures):
                with minutes_of_audio(c.shown(folder), signals) as progress:
                    report = check_dataset(folder, processes or usable_cpus(), progress)
                if not report.ok:
                    failures.append(c.shown(folder))
                if as_json:
                    c.print_json(report.as_dict())
                else:
                    _report_checked(report)
    return c.EXIT_FAILED if failures else 0


def _report_checked(report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("split", "corpus", "kind", "rows", "minutes", "MB/min", box=None, header_style="bold")
    for (split, corpus, kind), amount in report.amounts.in_order():
        table.add_row(split, corpus, kind, *_numbers(amount))
    table.add_row("all", "", "", *_numbers(report.total))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(f"{c.shown(report.folder)}: {'good' if report.ok else f'{len(report.problems)} problems'}")
    console.print(table)
    for problem in report.problems:
        console.print(f"problem: {problem}")


def _numbers(amount) -> tuple[str, str, str]:
    return str(amount.num_rows), f"{amount.minutes:.1f}", f"{amount.bytes_per_minute / 1e6:.2f}"


def _pairs(texts: list[str] | None, option: str) -> dict:
    """`NAME=VALUE` options; a value that is JSON (a number, true, a list) is read as JSON."""
    pairs = dict(_pair(text, option) for text in texts or ())
    for name, value in pairs.items():
        with contextlib.suppress(ValueError):
            pairs[name] = json.loads(value)
    return pairs


def _splits(texts: list[str] | None) -> list[tuple[str, str]]:
    """`SPLIT=GLOB` options."""
    from ..rows.shards import SPLITS

    pairs = [_pair(text, "--split") for text in texts or ()]
    if unknown := [name for name, _ in pairs if name not in SPLITS]:
        raise typer.BadParameter(f"there is no split {unknown[0]!r}; use {', '.join(SPLITS)}", param_hint="--split")
    return pairs


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
    return name, value
