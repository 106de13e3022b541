"""Put a trained model into the package, where `MajlModel.from_pretrained(NAME)` finds it.

    python scripts/ship_checkpoint.py runs/majl-base --name majl-base
    python scripts/ship_checkpoint.py runs/majl-base --start runs/pretrained/majl-warm-start --share 0.85
    python scripts/ship_checkpoint.py runs/majl/refiner --pitch-estimator runs/majl-stage-1

`--start` and `--share` put the weights between those that training started from and those it reached, which forgets
less of what the start knew (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022); choose the share on
validation data. `--pitch-estimator` takes that part from another model with the same separator.

Weights are written as float16 (half the wheel); the config says float32, which is what they are loaded as. The code
files that a saved model carries for use without the package are left out: the package has them.
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


def between(start: MajlModel, end: MajlModel, share: float) -> None:
    """Move the weights of `end` back towards `start`: `share` of the way from there is kept. A refiner that `start`
    does not have began with a last layer of zeros."""
    origin = start.state_dict()
    with torch.no_grad():
        for name, tensor in end.state_dict().items():
            if name.startswith("refiner.head.") and start.refiner is None:
                tensor.mul_(share)
            elif tensor.is_floating_point() and name in origin:
                tensor.copy_(torch.lerp(origin[name], tensor, share))


def use_pitch_estimator(model: MajlModel, source: MajlModel) -> None:
    """Give `model` the pitch estimator of `source`; ValueError unless their separators are the same."""
    theirs = source.separator.state_dict()
    if any(not torch.equal(tensor, theirs[name]) for name, tensor in model.separator.state_dict().items()):
        raise ValueError("The pitch estimator was trained behind another separator; give models with the same one.")
    model.pitch_estimator.load_state_dict(source.pitch_estimator.state_dict())


def ship(
    source: Path, target: Path, start: Path | None = None, share: float = 1.0, pitch_estimator: Path | None = None
) -> None:
    """Write `source` to `target` as a shipped checkpoint; a card that is already there stays."""
    model = MajlModel.from_pretrained(source)
    if start is not None:
        between(MajlModel.from_pretrained(start), model, share)
    if pitch_estimator is not None:
        use_pitch_estimator(model, MajlModel.from_pretrained(pitch_estimator))
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
    parser.add_argument("--start", type=Path, help="folder of the model that training started from")
    parser.add_argument("--share", type=float, default=1.0, help="of the way from --start; 1 is the trained model")
    parser.add_argument("--pitch-estimator", type=Path, help="folder of the model whose pitch estimator is used")
    arguments = parser.parse_args()
    target = arguments.output / arguments.name
    ship(arguments.model, target, arguments.start, arguments.share, arguments.pitch_estimator)


if __name__ == "__main__":
    main()
