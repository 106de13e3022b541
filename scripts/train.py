"""Train a MAJL model, or run another stage of a recipe, as one process of `accelerate launch` or `torchrun`.

    accelerate launch scripts/train.py scripts/recipes/majl.yaml --stage stage_1
    torchrun --nproc_per_node 4 scripts/train.py scripts/recipes/majl.yaml --stage stage_1

`majl train FILE` runs all stages, each by such a command. The file contains the model to start from, the corpora, the
mixing, the learning rates of the parts and the fields of transformers' TrainingArguments. Run the same command again to
resume from the last checkpoint. Progress, losses and validation scores go to TensorBoard: tensorboard --logdir runs
"""

import typer

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.cli._common import command
from majl_hf.cli.train import run_here

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
app.command(help=__doc__)(command(run_here))

if __name__ == "__main__":
    app()
