"""Copy a trained model into the package, where `MajlModel.from_pretrained(NAME)` finds it.

    python scripts/ship_checkpoint.py runs/majl-base/model --name majl-base

Weights are written as float16 (half the size); the config says float32, the type in which they are loaded. The code
files that a saved model contains for use without the package are left out, because the package has them.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from majl_hf import MajlFeatureExtractor, MajlModel
from majl_hf.system.files import new_folder

CHECKPOINTS = Path(__file__).resolve().parents[1] / "src/majl_hf/checkpoints"
MAX_BYTES = 50_000_000
MAX_PARAMETERS = 24_000_000


def ship(source: Path, target: Path) -> None:
    """Write `source` to `target` as a shipped checkpoint; a card that is already there stays."""
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
        if (target / "README.md").exists():
            shutil.copy2(target / "README.md", partial)
    print(f"{target.name}: {model.num_parameters() / 1e6:.2f} M parameters, {size / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the trained model")
    parser.add_argument("--name", default="majl-base")
    parser.add_argument("--output", type=Path, default=CHECKPOINTS)
    arguments = parser.parse_args()
    ship(arguments.model, arguments.output / arguments.name)


if __name__ == "__main__":
    main()
