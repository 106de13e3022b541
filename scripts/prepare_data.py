"""Build several corpora and combine them, from a YAML file.

    MAJL_DATA=~/corpora python scripts/prepare_data.py scripts/recipes/corpora.yaml

Every corpus becomes a folder that `datasets.load_dataset` takes, and all of them together another one. Run the
same command again to resume; what is finished and unchanged is kept. At the end every folder is
checked; `--no-check` leaves that out.
"""

import argparse
import sys
from pathlib import Path

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.cli import _common as c
from majl_hf.cli.data import check_folders, run_combine, run_jobs
from majl_hf.errors import MajlError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file")
    parser.add_argument("--processes", type=int, help="work in parallel; by default on all cores")
    parser.add_argument("--skip-bad", action="store_true", help="leave out recordings that cannot be used")
    parser.add_argument(
        "--overwrite", action="store_true", help="redo what differs in folders that were built otherwise"
    )
    parser.add_argument("--no-check", action="store_true", help="do not check the results")
    arguments = parser.parse_args()

    with c.extra("data", "Working with datasets"):
        from majl_hf.rows.prepare import load_prepare_config

        config = load_prepare_config(arguments.config)
        settings = {"skip_bad": arguments.skip_bad, "overwrite": arguments.overwrite}
        exit_code = run_jobs(config.jobs, arguments.processes, False, shard_minutes=config.shard_minutes, **settings)
        folders = [job.out for job in config.jobs]
        if exit_code == 0 and config.combine is not None:
            if not config.is_combined():
                exit_code = run_combine(
                    folders,
                    config.combined,
                    config.combine,
                    arguments.processes,
                    False,
                    shard_minutes=config.shard_minutes,
                    overwrite=True,
                )
                if exit_code == 0:
                    config.note_combined()
            folders.append(config.combined)
        if exit_code == 0 and not arguments.no_check:
            exit_code = check_folders(folders, arguments.processes, as_json=False)
    return exit_code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MajlError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:  # between two steps
        sys.exit(130)
