"""Train a note estimator for a model whose other parts stay as they are.

    majl data prepare scripts/recipes/corpora.yaml
    python scripts/train_note_estimator.py scripts/recipes/notes.yaml

`majl train` does the same, but computes the frozen parts in every step, which is nearly all of the work. Here their
output is computed once for the recipe's items and kept in `OUTPUT/items`; the estimator then sees each of them many
times. Run the same command again to resume. The recipe's learning rate, decay, batch size, steps and seed are used.

A share of the items are solo voices that do not pass through the separator, as `--solo` has it.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import majl_hf  # noqa: F401  (before transformers)

SOLO_SHARE = 0.15  # of the items that have known vocals
LABELS = ("note_midi", "note_onset", "note_offset", "note_weight")
CROP_FRAMES = 800  # of an item, in a step
LOG_STEPS, SAVE_STEPS = 50, 200
STATE_NAME = "state.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="with a stage `notes`")
    parser.add_argument("--items", type=int, default=400, help="number of items")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--only-items", action="store_true", help="compute the items, and train nothing")
    options = parser.parse_args()

    from majl_hf.recipe import load_recipe
    from majl_hf.training.run import make_trainer

    config = load_recipe(options.recipe)["notes"]
    trainer = make_trainer(config)
    if options.threads:
        torch.set_num_threads(options.threads)
    model, folder = trainer.model.eval(), Path(config.out)
    paths = [folder / "items" / f"{number}.npz" for number in range(options.items)]
    compute_items(model, trainer.train_dataset, paths)
    if not options.only_items:
        train(model, paths, trainer.args, config.average_decay or 0.0, folder)
        model.save_pretrained(folder)


def compute_items(model, dataset, paths: list[Path]) -> None:
    """Write what the front end makes of each item of the dataset, except where that is done already."""
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(paths):
        if not path.is_file():
            temporary = path.with_suffix(".part")
            with open(temporary, "wb") as file:
                np.savez(file, **front_end(model, dataset[number], number))
            temporary.rename(path)
            print(f"item {number + 1} of {len(paths)}", end="\r", flush=True)


def train(model, paths: list[Path], arguments, average_decay: float, folder: Path) -> None:
    """Train the model's note estimator on the items; it gets the average of its weights."""
    from majl_hf.models.losses_majl import note_loss
    from majl_hf.training.trainer import moving_average

    estimator = model.note_estimator
    average = moving_average(estimator, average_decay)
    optimizer = torch.optim.AdamW(
        estimator.parameters(), lr=arguments.learning_rate, weight_decay=arguments.weight_decay
    )
    step, state = 0, folder / STATE_NAME
    if state.is_file():
        step = load_state(state, estimator, average, optimizer)
        print(f"resumes after step {step}")
    losses = []
    for step in range(step, arguments.max_steps):  # noqa: B020 (where it resumes)
        rate = min(1.0, (step + 1) / max(1, arguments.warmup_steps))
        rate *= 0.5 + 0.5 * math.cos(math.pi * step / arguments.max_steps)
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * rate
        rng = np.random.default_rng([arguments.seed, step])
        batch = draw(paths, arguments.train_batch_size, estimator.config.hop_length, rng)
        torch.manual_seed(int(rng.integers(2**31)))  # of dropout
        estimator.train()
        output = estimator(batch["waveform"], batch["f0_hz"], batch["confidence"])
        loss = note_loss(output, batch["f0_hz"], *(batch[name] for name in LABELS[:3]))
        loss = (loss * batch["note_weight"]).sum() / batch["note_weight"].sum().clamp(min=1.0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(estimator.parameters(), arguments.max_grad_norm)
        optimizer.step()
        average.update_parameters(estimator)
        losses.append(loss.item())
        if (step + 1) % LOG_STEPS == 0:
            print(f"step {step + 1} of {arguments.max_steps}: loss {np.mean(losses[-LOG_STEPS:]):.4f}", flush=True)
        if (step + 1) % SAVE_STEPS == 0:
            save_state(state, estimator, average, optimizer, step + 1)
    estimator.load_state_dict(average.module.state_dict())
    estimator.eval()


def draw(paths: list[Path], count: int, hop_length: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """A batch of crops of items, at random levels."""
    crops = []
    for path in rng.choice(len(paths), count, replace=False):
        with np.load(paths[path]) as item:
            start = int(rng.integers(0, max(1, len(item["f0_hz"]) - CROP_FRAMES)))
            crop = {name: item[name][start : start + CROP_FRAMES] for name in ("f0_hz", "confidence", *LABELS)}
            samples = item["waveform"][start * hop_length :][: CROP_FRAMES * hop_length - 1]
        crop["waveform"] = samples * np.float32(10 ** (rng.uniform(-12, 6) / 20))
        crops.append(crop)
    return {name: torch.from_numpy(np.stack([crop[name] for crop in crops])) for name in crops[0]}


def save_state(path: Path, estimator, average, optimizer, step: int) -> None:
    tensors = {f"weights.{name}": value for name, value in estimator.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for number, parameter in enumerate(estimator.parameters()):
        tensors |= {f"adam.{number}.{name}": value for name, value in optimizer.state[parameter].items()}
    temporary = path.with_suffix(".part")
    save_file(
        {name: value.detach().contiguous().clone() for name, value in tensors.items()}, temporary, {"step": str(step)}
    )
    temporary.replace(path)


def load_state(path: Path, estimator, average, optimizer) -> int:
    """Restore what `save_state` wrote; returns the step."""
    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)

    def below(prefix):
        return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

    estimator.load_state_dict(below("weights."))
    average.load_state_dict(below("average."))
    for number, parameter in enumerate(estimator.parameters()):
        optimizer.state[parameter] = below(f"adam.{number}.")
    return step


@torch.inference_mode()
def front_end(model, item: dict, number: int) -> dict[str, np.ndarray]:
    """What the note estimator gets of an item, and its labels."""
    from majl_hf.models.posteriors_majl import likeliest_pitch

    is_solo = bool(item["vocals_weight"].min() > 0) and number % round(1 / SOLO_SHARE) == 0
    vocals = item["vocals"][None] if is_solo else model.separator(item["mixture"][None]).vocals
    f0_hz, confidence = likeliest_pitch(model.estimate_pitch(vocals), model.config.pitch_estimator_config)
    arrays = {"waveform": model.voice(vocals)[0], "f0_hz": f0_hz[0], "confidence": confidence[0]}
    arrays |= {name: item[name] for name in LABELS}
    return {name: values.numpy().astype(np.float32) for name, values in arrays.items()}


if __name__ == "__main__":
    main()
