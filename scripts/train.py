"""Train a MAJL model: both parts jointly, from a YAML file.

    accelerate launch scripts/train.py scripts/recipes/majl_base.yaml
    accelerate launch scripts/train.py scripts/recipes/majl.yaml --stage 1

The file holds the model to start from, the corpora, the mixing, the learning rates of the parts and the fields of
transformers' TrainingArguments. A run that was stopped goes on from its last checkpoint when the command is given
again; `--fresh` starts anew. Progress, losses and validation scores go to TensorBoard:

    tensorboard --logdir runs
"""

import argparse
import shutil
from pathlib import Path

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.training import STAGES, load_training_config, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument("--fresh", action="store_true", help="delete the run's folder and start anew")
    parser.add_argument("--max-steps", type=int, help="instead of the file's number of steps")
    parser.add_argument("--stage", type=int, choices=STAGES, help="of a file that has stages")
    arguments = parser.parse_args()

    config = load_training_config(arguments.config, arguments.stage)
    if arguments.max_steps is not None:
        config = config.model_copy(update={"arguments": {**config.arguments, "max_steps": arguments.max_steps}})
    if arguments.fresh:
        shutil.rmtree(config.arguments["output_dir"], ignore_errors=True)
    train(config, resume=not arguments.fresh)


if __name__ == "__main__":
    main()
