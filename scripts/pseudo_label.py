"""Give rows of a built corpus what they lack: pitch to songs with stems and solo voices, vocals to songs with a pitch.

    accelerate launch scripts/pseudo_label.py CONFIG
    torchrun --nproc_per_node 4 scripts/pseudo_label.py CONFIG
    python scripts/pseudo_label.py CONFIG

CONFIG is the YAML file of a run; its section `pseudo_labels` says what is labelled by whom:

    pseudo_labels:
      rows: runs/data/combined           # a folder of `majl data build` or `combine`, or a dataset on the Hub
      out: runs/pseudo
      pitch_teacher: torchfcpe           # a checkpoint, or another package's tracker
      vocals_teacher: majl-base          # a checkpoint
      min_pitch_confidence: 0.4
      min_row_confidence: 0.5

All settings: src/majl_hf/pseudo_labels/config.py. A run that was stopped goes on where it was when the command is given
again, also with another number of processes; each process takes its share of the files, and all need to see one file
system. The result loads with `datasets.load_dataset(out)` and with `majl data check`.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.errors import MajlError

PRINT_S = 10.0  # between two lines of progress


class Progress:
    """Seconds of audio that this process has done, a line every few seconds."""

    def __init__(self) -> None:
        self.rank, self.printed_s = os.environ.get("RANK", "0"), 0.0

    def __call__(self, done_s: float, total_s: float) -> None:
        now_s = time.monotonic()
        if now_s - self.printed_s >= PRINT_S or done_s >= total_s:
            self.printed_s = now_s
            print(f"process {self.rank}: {done_s:,.0f} of {total_s:,.0f} s of audio", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of the run")
    parser.add_argument(
        "--overwrite", action="store_true", help="redo what differs in a folder that was made with other settings"
    )
    options = parser.parse_args(arguments)
    try:
        from majl_hf.pseudo_labels import load_pseudo_label_config, run_pseudo_labels
    except ModuleNotFoundError as error:
        print(f"error: this needs {error.name}; run: pip install 'majl_hf[train,plot]'", file=sys.stderr)
        return 1
    try:
        config = load_pseudo_label_config(options.config)
        result = run_pseudo_labels(config, overwrite=options.overwrite, progress=Progress())
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; give the command again to go on", file=sys.stderr)
        return 130
    from accelerate import PartialState

    PartialState().destroy_process_group()  # else its threads hold up the end
    if os.environ.get("RANK", "0") == "0":
        for message in result.messages:
            print(message, file=sys.stderr)
        for direction, summary in result.report["directions"].items():
            print(
                f"{direction}: {summary['num_kept']} of {summary['num_rows']} rows kept, "
                f"{summary['kept_duration_s'] / 60:.1f} min, mean row confidence {summary['mean_row_confidence']:.3f}"
            )
        by = "1 process" if result.num_processes == 1 else f"{result.num_processes} processes"
        print(f"{result.num_rows} rows in {result.out}, by {by}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
