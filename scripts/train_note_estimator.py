"""Train a note estimator for a model whose other parts stay as they are.

    majl data prepare scripts/recipes/corpora.yaml
    python scripts/train_note_estimator.py scripts/recipes/notes.yaml

`majl train` does the same, but computes the frozen parts in every step, which is nearly all of the work. Here their
output is computed once for the recipe's items and kept in `OUTPUT/items`; the estimator then sees each of them many
times. Run the same command again to resume. The recipe's learning rate, decay, batch size, steps and seed are used.

A share of the items are solo voices that do not pass through the separator, as `--solo` has it.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import majl_hf  # noqa: F401  (before transformers)

SOLO_SHARE = 0.15  # of the items that have known vocals
LABELS = ("note_midi", "note_onset", "note_offset", "note_weight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="with a stage `notes`")
    parser.add_argument("--items", type=int, default=700, help="number of items")
    parser.add_argument("--threads", type=int, help="CPU threads")
    options = parser.parse_args()

    from majl_hf.recipe import load_recipe
    from majl_hf.training.run import make_trainer

    if options.threads:
        torch.set_num_threads(options.threads)
    config = load_recipe(options.recipe)["notes"]
    trainer = make_trainer(config)
    model, dataset = trainer.model.eval(), trainer.train_dataset
    folder = Path(config.out) / "items"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.items):
        path = folder / f"{number}.npz"
        if not path.is_file():
            temporary = path.with_suffix(".part")
            with open(temporary, "wb") as file:
                np.savez(file, **front_end(model, dataset[number], number))
            temporary.rename(path)
            print(f"item {number + 1} of {options.items}", end="\r", flush=True)


@torch.inference_mode()
def front_end(model, item: dict, number: int) -> dict[str, np.ndarray]:
    """What the note estimator gets of an item, and its labels."""
    from majl_hf.models.pitch_majl import likeliest_pitch

    is_solo = bool(item["vocals_weight"].min() > 0) and number % round(1 / SOLO_SHARE) == 0
    vocals = item["vocals"][None] if is_solo else model.separator(item["mixture"][None]).vocals
    f0_hz, confidence = likeliest_pitch(model.estimate_pitch(vocals), model.config.pitch_estimator_config)
    arrays = {"waveform": model.voice(vocals)[0], "f0_hz": f0_hz[0], "confidence": confidence[0]}
    arrays |= {name: item[name] for name in LABELS}
    return {name: values.numpy().astype(np.float32) for name, values in arrays.items()}


if __name__ == "__main__":
    main()
