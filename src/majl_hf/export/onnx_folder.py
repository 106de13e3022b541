"""`majl export onnx`: one folder that runs with onnxruntime, numpy and soundfile alone."""

import json
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path

import onnx

from .. import models
from ..errors import MajlError
from ..models.onnx_majl import MODEL_TYPE, PARTS, is_onnx_folder
from ..system.provenance import __version__
from . import onnx_main
from .onnx_parts import part_graphs

PACKAGE = "majl_onnx"  # in the folder: the engine's files
ENGINE = (
    "conditioning", "decoding", "note_decoding", "notes", "onnx", "parts", "pitch", "resampling", "samples",
    "streaming", "viterbi", "windows",
)  # fmt: skip
PART_FIELDS = ("sampling_rate", "num_channels", "hop_length", "num_bins", "first_bin_hz", "bin_cents", "n_fft")

README = """# {name} for onnxruntime

Separates songs into vocals and accompaniment, and reads the sung pitch, without torch. Exported by majl_hf {version}.

    pip install onnxruntime numpy soundfile
    python {folder} separate SONG -o OUT
    python {folder} pitch SONG -o OUT

`majl separate SONG -o OUT --model {folder}` and `majl_hf.separate(..., model="{folder}")` use it, too.

{sizes}

{equality}

## Licence

The code is under Apache-2.0. {licence}
"""


EXACT = "Results equal those of the torch model to 1e-4 of full scale."
ROUNDED = "Weights are stored in {weights}, so results differ a little from those of the torch model."


def export_onnx(
    model,
    folder: Path,
    name: str,
    licence: str,
    licence_files: Iterable[Path] = (),
    *,
    weights: str = "float32",
    overwrite: bool = False,
) -> Path:
    """Write a folder with graphs, config, engine and command line of a `MajlModel`; it appears whole or not at all.

    Args:
        name: What the model is called in the folder's README.
        licence: A sentence about the licence of the weights.
        licence_files: Its text, copied into the folder.
        weights: In which they are stored, one of `onnx_graph.WEIGHTS`; docs/onnx.md states what each costs.
        overwrite: Replace a folder that this function wrote; any other folder is left alone.

    Raises:
        MajlError: a part cannot be exported, or the folder exists or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (overwrite and is_onnx_folder(folder)):
        advice = "use --overwrite to replace it" if is_onnx_folder(folder) else "give the name of a new folder"
        raise MajlError(f"{folder} exists; {advice}.")
    graphs = part_graphs(model, weights)
    equality = EXACT if weights == "float32" else ROUNDED.format(weights=weights)
    temporary = folder.parent / f".majl-{secrets.token_hex(8)}.part"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        _write(temporary, model.config, graphs, folder.name, name, licence, equality)
        for path in licence_files:
            shutil.copyfile(path, temporary / path.name)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    except OSError as error:
        raise MajlError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _write(
    target: Path, config, graphs: dict[str, onnx.ModelProto], folder: str, name: str, licence: str, equality: str
) -> None:
    for part, graph in graphs.items():
        onnx.save(graph, target / f"{part}.onnx")
    (target / "config.json").write_text(json.dumps(_config(config, list(graphs)), indent=1) + "\n", encoding="utf-8")
    engine = target / PACKAGE
    engine.mkdir()
    (engine / "__init__.py").write_text('"""The engine of majl_hf."""\n', encoding="utf-8")
    for module in ENGINE:
        shutil.copyfile(Path(models.__file__).with_name(f"{module}_majl.py"), engine / f"{module}_majl.py")
    program = Path(onnx_main.__file__).read_text(encoding="utf-8")
    (target / "__main__.py").write_text(program.replace("from ..models.", f"from {PACKAGE}."), encoding="utf-8")
    sizes = "\n".join(f"- `{part}.onnx`: {(target / f'{part}.onnx').stat().st_size / 1e6:.1f} MB" for part in graphs)
    card = README.format(name=name, version=__version__, folder=folder, sizes=sizes, licence=licence, equality=equality)
    (target / "README.md").write_text(card, encoding="utf-8")


def _config(config, parts: list[str]) -> dict:
    """What the engine reads from a `MajlConfig`, all of it explicit."""
    plain = {
        name: value for name, value in config.to_dict().items()
        if isinstance(value, (bool, int, float, str)) and name not in ("transformers_version", "dtype", "_name_or_path")
    }  # fmt: skip
    values = {
        **plain,
        "model_type": MODEL_TYPE,
        "version": __version__,
        "parts": parts,
        "sampling_rate": config.sampling_rate,
        "num_channels": config.num_channels,
        "frame_hop_s": config.frame_hop_s,
    }
    for name in PARTS:
        part = getattr(config, f"{name}_config")
        values[f"{name}_config"] = part and {
            "model_type": part.model_type,
            "context": part.context,
            "alignment": getattr(part, "alignment", getattr(part, "hop_length", 1)),
            **{field: getattr(part, field) for field in PART_FIELDS if hasattr(part, field)},
        }
    return values
