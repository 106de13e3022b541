"""`majl models`: the checkpoints that come with the package, and the parts that a model can be made of."""

import json
import math
import re
from pathlib import Path
from typing import Annotated

import typer

from ..errors import MajlError
from . import _common as c

NAME = "models"
# Statistics that a checkpoint contains in addition to its parameters.
_NO_PARAMETER = re.compile(r"(^|\.)(running_mean|running_var|num_batches_tracked|window|filterbank)$")


@c.command
def run(
    backbones: Annotated[
        bool, typer.Option("--backbones", help="List separators and pitch estimators, by preset, instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> int:
    """List the models in the package, or parts for new ones."""
    if backbones:
        return _list_backbones(as_json)
    from rich.console import Console
    from rich.table import Column, Table

    from ..checkpoints import SHIPPED

    facts = [describe_checkpoint(name, Path(folder)) for name, folder in SHIPPED.items()]
    if as_json:
        c.print_json(facts)
        return 0
    if not facts:
        raise MajlError("No checkpoint is installed; reinstall the package, or give --model a folder or a Hub id.")
    licence = Column("licence", overflow="fold")
    table = Table(
        "name", "parameters", "size", "rate in Hz", "channels", "notes", licence, box=None, header_style="bold"
    )
    for fact in facts:
        table.add_row(
            fact["name"],
            f"{fact['num_parameters'] / 1e6:.1f} M",
            f"{fact['size_bytes'] / 1e6:.1f} MB",
            str(fact["sampling_rate"]),
            str(fact["num_channels"]),
            "network" if fact["has_note_estimator"] else "from pitch",
            fact["licence"] or "see its card",
        )
    Console(highlight=False).print(table)
    return 0


def _list_backbones(as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Column, Table

    facts = describe_presets()
    if as_json:
        c.print_json(facts)
        return 0
    preset = Column("preset", min_width=max(len(fact["name"]) for fact in facts))
    table = Table(
        preset, "kind", "class", "parameters", "rate in Hz", "channels", "hop", "context", box=None,
        header_style="bold",
    )  # fmt: skip
    for fact in facts:
        number = fact["num_parameters"]
        table.add_row(
            fact["name"],
            fact["kind"].replace("_", " "),
            fact["class"] or "package missing",
            "" if number is None else f"{number / 1e6:.2f} M",
            str(fact["sampling_rate"]),
            str(fact.get("num_channels", "")),
            str(fact.get("hop_length", "")),
            "unbounded" if fact["context_s"] is None else f"{fact['context_s']:.2f} s",
        )
    Console(highlight=False).print(table)
    return 0


def describe_preset(name: str) -> dict:
    """What a preset declares, and its number of parameters.

    Returns:
        `name`, `kind`, `model_type`, `class`, `num_parameters` (both None if a package that it needs is not installed;
        `note` says which), `sampling_rate`, `context_s` (None if unbounded), and depending on the kind `num_channels`,
        `alignment`, `hop_length`, `num_bins`, `first_bin_hz`, `bin_cents`.
    """
    from ..models.presets_majl import PRESETS, preset_config

    preset, config = PRESETS[name], preset_config(name)
    facts = {
        "name": name,
        "kind": preset.kind,
        "model_type": config.model_type,
        "class": None,
        "num_parameters": None,
        "sampling_rate": config.sampling_rate,
        "context_s": None if config.context is None else round(config.context / config.sampling_rate, 4),
    }
    declared = (
        ("num_channels", "alignment")
        if preset.kind == "separator"
        else ("hop_length", "num_bins", "first_bin_hz", "bin_cents")
    )
    facts |= {key: getattr(config, key) for key in declared}
    try:
        part = part_without_memory(name)
    except ImportError as error:
        return {**facts, "note": str(error)}
    num_parameters = sum(parameter.numel() for parameter in part.parameters())
    return {**facts, "class": type(part).__name__, "num_parameters": num_parameters}


def describe_presets() -> list[dict]:
    """`describe_preset` of every preset that is not for tests, separators first; parts of other packages only if these
    are installed."""
    from ..models import backbones_majl  # noqa: F401  (registers the parts and their presets)
    from ..models.presets_majl import preset_names

    names = [name for kind in ("separator", "pitch_estimator") for name in preset_names(kind, for_tests=False)]
    facts = [describe_preset(name) for name in names]
    return [fact for fact in facts if "note" not in fact or not fact["model_type"].startswith("majl-foreign")]


def part_without_memory(name: str):
    """The network of a preset on the meta device: a hundred million parameters take no memory and no time."""
    import torch
    from transformers import AutoModel

    from ..models.presets_majl import preset_config

    with torch.device("meta"):
        part = AutoModel.from_config(preset_config(name)).eval()
    return part.to("meta")  # moves tables computed on the CPU, such as mel filters


def describe_checkpoint(name: str, folder: Path) -> dict:
    """Facts of a saved model from its config, the headers of its weights and its card, without loading it.

    Raises:
        MajlError: the folder lacks a config or weights.
    """
    weights = sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not weights:
        raise MajlError(f"The checkpoint in {folder} lacks config.json or *.safetensors; reinstall the package.")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    separator = config.get("separator_config", {})
    shapes = {key: shape for path in weights for key, shape in _tensor_shapes(path).items()}
    return {
        "name": name,
        "folder": str(folder),
        "num_parameters": sum(math.prod(shape) for key, shape in shapes.items() if not _NO_PARAMETER.search(key)),
        "size_bytes": sum(path.stat().st_size for path in weights),
        "sampling_rate": separator.get("sampling_rate"),
        "num_channels": separator.get("num_channels"),
        "has_note_estimator": config.get("note_estimator_config") is not None,
        "licence": licence_of_card(folder / "README.md"),
    }


def _tensor_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of the tensors of a safetensors file."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118


def licence_of_card(card: Path) -> str | None:
    """The licence in the front matter of a model card; a custom one by its own name."""
    from huggingface_hub import ModelCard

    if not card.is_file():
        return None
    data = ModelCard.load(card, ignore_metadata_errors=True).data
    return data.license_name or data.license
