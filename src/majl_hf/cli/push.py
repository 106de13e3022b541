"""`majl push`: models, datasets and Spaces to the Hub.

There is no option for a token, which would end up in the shell's history: log in with `hf auth login` or set HF_TOKEN.
"""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _common as c

if TYPE_CHECKING:
    from ..publish.hub import PushReport

NAME = "push"
app = c.group(
    NAME,
    "Upload a model, dataset or Space to the Hub. Private, unless you give --public.",
    "Log in first: `hf auth login`, or HF_TOKEN in the environment.",
)

RepoId = Annotated[str, typer.Argument(help="Target; created if missing.", metavar="OWNER/NAME", show_default=False)]
Public = Annotated[bool, typer.Option("--public", help="A new repository is public, and a public one is accepted.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Branch; created if missing.", show_default="main")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List files and sizes; upload nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]


@app.command("model")
@c.command
def model(
    repo_id: RepoId,
    source: Annotated[str, typer.Argument(help="A shipped name or a folder of a trained model.")] = "majl-base",
    card: Annotated[
        Path | None, typer.Option("--card", help="Markdown of the card.", show_default="README.md of the folder")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--licence", help="Of the weights, such as cc-by-nc-4.0; creates a card.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="Of `majl evaluate`, for exactly these weights.")
    ] = None,
    base_model: Annotated[
        list[str] | None,
        typer.Option("--base-model", help="Hub id of the model it was trained from; repeat for more.", metavar="ID"),
    ] = None,
    datasets: Annotated[
        list[str] | None,
        typer.Option("--dataset", help="Hub id of a dataset it was trained on; repeat for more.", metavar="ID"),
    ] = None,
    endpoint: Annotated[
        Path | None,
        typer.Option(
            "--endpoint",
            help="Folder with the handler.py of an Inference Endpoint: deployment/endpoint.",
            metavar="DIR",
        ),
    ] = None,
    public: Public = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Push a model: weights, config, feature extractor, card, results, and the code that loads it anywhere.

    `AutoModel.from_pretrained(ID, trust_remote_code=True)` runs that code if this package is not installed.
    """
    if card is not None and licence is not None:
        raise typer.BadParameter("--card gives a card and --licence creates one; give only one of them")
    if licence is None and (base_model or datasets):
        raise typer.BadParameter("--base-model and --dataset are for a card that --licence creates")
    with c.extra("evaluate", "Creating a card"):
        import transformers

        from ..publish.hub import Target
        from ..publish.model import push_model

        transformers.utils.logging.disable_progress_bar()  # the model is only loaded to check that it is complete
        target = Target(repo_id, not public, revision, dry_run)
        report = push_model(
            source,
            target,
            card=card,
            licence=licence,
            results=results,
            base_models=base_model or (),
            datasets=datasets or (),
            endpoint=endpoint,
        )
        return _tell(report, as_json)


@app.command("dataset")
@c.command
def dataset(
    repo_id: RepoId,
    source: Annotated[
        Path, typer.Argument(help="A built, combined or pseudo-labelled dataset.", metavar="DIR", show_default=False)
    ],
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", help="A corpus of unknown licence to upload; repeat for more.", metavar="CORPUS"),
    ] = None,
    public: Public = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Push a dataset and its card. Rows whose licence forbids it are left out and counted."""
    with c.extra("data", "Working with datasets"):
        from ..publish.dataset import push_dataset
        from ..publish.hub import Target

        return _tell(push_dataset(source, Target(repo_id, not public, revision, dry_run), allow or ()), as_json)


@app.command("space")
@c.command
def space(
    repo_id: RepoId,
    source: Annotated[Path, typer.Argument(help="Folder of the Space.", metavar="DIR", show_default=False)],
    wheel: Annotated[
        Path | None, typer.Option("--wheel", help="Of this package.", show_default="built from the source tree")
    ] = None,
    public: Public = False,
    revision: Revision = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> int:
    """Push a Space together with the wheel of this package, which a static Space does not need."""
    from ..publish.hub import Target
    from ..publish.space import push_space

    return _tell(push_space(source, Target(repo_id, not public, revision, dry_run), wheel), as_json)


def _tell(report: "PushReport", as_json: bool) -> int:
    if as_json:
        c.print_json(dataclasses.asdict(report))
        return 0
    width = max(map(len, report.files), default=0)
    for path, size in report.files.items():
        typer.echo(f"{path:<{width}}  {size:>13,} bytes")
    for corpus, count in report.left_out.items():
        typer.echo(f"left out: {count} rows of {corpus}, which must not be redistributed", err=True)
    rows = "" if report.num_rows is None else f", {report.num_rows} rows"
    what = f"{len(report.files)} files, {sum(report.files.values()) / 1e6:.1f} MB{rows}"
    revision = f", revision {report.revision}" if report.revision else ""
    if report.commit is None:
        visibility = "private" if report.private else "public"
        typer.echo(f"dry run: {what} would go to the {visibility} {report.kind} {report.repo_id}{revision}")
    else:
        typer.echo(f"{report.address}: {what}{revision}, commit {report.commit}")
    return 0
