"""All of MAJL: stage 1, pseudo labels, stage 2, each by its own command and from one YAML file.

    python scripts/run_majl.py scripts/recipes/majl.yaml
    python scripts/run_majl.py scripts/recipes/majl.yaml --launch "--multi_gpu --num_processes 4"

is the same as

    accelerate launch scripts/train.py CONFIG --stage 1
    accelerate launch scripts/pseudo_label.py CONFIG
    accelerate launch scripts/train.py CONFIG --stage 2

Given again after it was stopped or killed, it goes on where it was: a stage that came to its end with the same settings
is passed over, one that did not goes on from its last checkpoint, and so do the pseudo labels. When stage 1 is trained
again, what was made from it is made again; after a change of settings in the middle of a stage give `--fresh`.

`--launch` holds arguments for `accelerate launch`. On several machines, which need one file system, give the three
commands on each with what `accelerate launch` needs there (`--num_machines`, `--machine_rank`, `--main_process_ip`).
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.errors import MajlError
from majl_hf.training import STAGES, is_finished, load_training_config

SCRIPTS = Path(__file__).parent


def launch(arguments: list[str], launch_arguments: list[str]) -> None:
    """Run a script of this folder by `accelerate launch`; SystemExit with its exit code where it fails."""
    name, *rest = arguments
    command = [sys.executable, "-m", "accelerate.commands.launch", *launch_arguments, str(SCRIPTS / name), *rest]
    print(f"=== accelerate launch {shlex.join([*launch_arguments, name, *rest])}", flush=True)
    code = subprocess.run(command).returncode
    if code:
        print(f"error: {name} ended with exit code {code}; the same command goes on where it was.", file=sys.stderr)
        sys.exit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file with the sections stage_1, pseudo_labels and stage_2")
    parser.add_argument("--launch", default="", metavar="ARGUMENTS", help="for accelerate launch")
    parser.add_argument("--fresh", action="store_true", help="train both stages anew")
    options = parser.parse_args()
    extra = shlex.split(options.launch)
    try:
        stages = {stage: load_training_config(options.config, stage) for stage in STAGES}
    except (MajlError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")

    for stage, config in stages.items():
        if is_finished(config) and not options.fresh:
            print(f"=== stage {stage} is finished: {config.arguments['output_dir']}", flush=True)
        else:
            for later in range(stage + 1, max(STAGES) + 1):  # was made from another stage 1, if it is there
                shutil.rmtree(stages[later].arguments["output_dir"], ignore_errors=True)
            launch(["train.py", str(options.config), "--stage", str(stage), *["--fresh"] * options.fresh], extra)
        if stage == 1:
            launch(["pseudo_label.py", str(options.config), "--overwrite"], extra)


if __name__ == "__main__":
    main()
