"""Copy a trained model into the package, where `MajlModel.from_pretrained(NAME)` finds it.

    python scripts/ship_checkpoint.py runs/majl-base/model --name majl-base

Weights are written as float16 (half the size); the config says float32, the type in which they are loaded. The code
files that a saved model contains for use without the package are left out, because the package has them.

Real songs decide: a model replaces a shipped one only if its vocals' mean SDR on them is at least as high, by the
results file of both; add those of a new model by

    majl evaluate --model runs/majl-base/model --name candidate --stems FOLDER/real_songs -o results.json
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from majl_hf import MajlFeatureExtractor, MajlModel
from majl_hf.checkpoints import LICENCE_FILES
from majl_hf.checkpoints.loading import checkpoint_sha256
from majl_hf.evaluation.results import complete_runs
from majl_hf.system.files import new_folder

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS, RESULTS = ROOT / "src/majl_hf/checkpoints", ROOT / "model_cards/results"
REAL_SONGS = "real_songs"  # the corpus, as `majl evaluate` names it by its folder
MAX_BYTES = 50_000_000
MAX_PARAMETERS = 24_000_000


def ship(source: Path, target: Path) -> None:
    """Write `source` to `target` as a shipped checkpoint; card and licence that are already there stay."""
    model = MajlModel.from_pretrained(source)
    if model.num_parameters() > MAX_PARAMETERS:
        raise ValueError(f"{source} has {model.num_parameters()} parameters; at most {MAX_PARAMETERS} are shipped.")
    with new_folder(target) as partial:
        model.save_pretrained(partial)
        MajlFeatureExtractor.from_config(model.config).save_pretrained(partial)
        for path in partial.glob("*.py"):
            path.unlink()
        for name in ("config.json", "preprocessor_config.json"):
            values = json.loads((partial / name).read_text())
            values.pop("auto_map", None)
            if name == "config.json":
                values["dtype"] = "float32"
            (partial / name).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        state = load_file(partial / "model.safetensors")
        state = {name: tensor.half() if tensor.dtype == torch.float32 else tensor for name, tensor in state.items()}
        save_file(state, partial / "model.safetensors", metadata={"format": "pt"})
        size = sum(path.stat().st_size for path in partial.iterdir())
        if size > MAX_BYTES:
            raise ValueError(f"{partial} has {size} bytes; at most {MAX_BYTES} are shipped.")
        for name in ("README.md", *LICENCE_FILES):
            if (target / name).exists():
                shutil.copy2(target / name, partial)
    print(f"{target.name}: {model.num_parameters() / 1e6:.2f} M parameters, {size / 1e6:.1f} MB")


def check_real_songs(source: Path, target: Path, results: Path) -> None:
    """That a model is not worse on real songs than the one that it replaces, if there is one.

    Raises:
        ValueError: it is, or one of the two has not been evaluated on them.
    """
    if not target.exists():
        return
    by_checkpoint = {
        run["system"].get("checkpoint_sha256"): run["metrics"]["sdr_db"]["mean"]
        for run in complete_runs(results)
        if run["dataset"] == REAL_SONGS
    }
    sdr_db = [by_checkpoint.get(checkpoint_sha256(folder)) for folder in (source, target)]
    for folder, mean_db in zip((source, target), sdr_db, strict=True):
        if mean_db is None:
            raise ValueError(f"{results} has no results of {folder} on {REAL_SONGS}; evaluate it first, see --help.")
    if sdr_db[0] < sdr_db[1]:
        raise ValueError(
            f"{source} has {sdr_db[0]:.2f} dB on {REAL_SONGS} and the shipped {target.name} {sdr_db[1]:.2f} dB; "
            "what users hear would be worse."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("--name", default="majl-base")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS)
    parser.add_argument("--results", type=Path, help="results file; default: model_cards/results/NAME.json")
    arguments = parser.parse_args()
    target = arguments.output / arguments.name
    check_real_songs(arguments.model, target, arguments.results or RESULTS / f"{arguments.name}.json")
    ship(arguments.model, target)


if __name__ == "__main__":
    main()
