"""Train rows that differ in one thing with equal budgets and seeds, and write what they come to into a card.

    python scripts/experiments/ablate.py CONFIG --dry-run        # plan and estimated minutes
    python scripts/experiments/ablate.py CONFIG                  # train, score on validation, write
    python scripts/experiments/ablate.py CONFIG --test           # score on the test corpus too
    python scripts/experiments/ablate.py CONFIG --report-only

CONFIG, such as configs/ablation_small.yaml, holds the starting point, the corpus whose labels are taken away, the
budget, the seeds and the rows; see ablation/config.py. What is finished is passed over. Run the same command again to
resume; given in two shells it shares the runs between them. A row whose settings were changed is
refused until its folder is deleted.

Results go to `ablation_NAME.json` in the folder `--results`, the card is made from all such files in it:

    model_cards/results/ablation_small.json
    model_cards/ablations.md

Choose on validation; `--test` is for the report, and scores that are there are not made again.

Exit code: 0 done, 1 a mistake in the configuration or the data.
"""

import argparse
import sys
from pathlib import Path

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.errors import MajlError

ROOT = Path(__file__).parents[2]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of the ablation")
    parser.add_argument("--cells", nargs="+", metavar="ROW", help="only these rows, also if they are not enabled")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="only these of the file's seeds")
    parser.add_argument("--test", action="store_true", help="score on the test corpus too, for the report")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print rows, budgets and estimated minutes")
    what.add_argument("--report-only", action="store_true", help="make the card from the results files that are there")
    parser.add_argument("--results", type=Path, default=ROOT / "model_cards" / "results", metavar="DIR")
    parser.add_argument("--card", type=Path, default=ROOT / "model_cards" / "ablations.md", metavar="FILE")
    return parser.parse_args(arguments)


def choose(config, options: argparse.Namespace) -> tuple[list[str], list[int]]:
    """Rows and seeds that the command asks for, in the file's order."""
    from majl_hf.errors import ConfigError

    for wanted, there, what in ((options.cells, config.cells, "row"), (options.seeds, config.seeds, "seed")):
        if unknown := sorted(set(wanted or ()) - set(there)):
            raise ConfigError(
                f"There is no {what} {unknown[0]!r} in {options.config}; it has {', '.join(map(str, there))}."
            )
    cells = [name for name, cell in config.cells.items() if (name in options.cells if options.cells else cell.enabled)]
    seeds = [seed for seed in config.seeds if not options.seeds or seed in options.seeds]
    return cells, seeds


def print_plan(config, cells: list[str], seeds: list[int]) -> None:
    from ablation import budgets, plan_run, prepare
    from ablation.plan import start_folder
    from ablation.timing import estimate_minutes

    from majl_hf.checkpoints import find_checkpoint
    from majl_hf.models.configuration_majl import MajlConfig

    counts = prepare(config)["counts"]
    print(", ".join(f"{kind}: {c['songs']} songs, {c['rows']} rows, {c['minutes']} min" for kind, c in counts.items()))
    rate = MajlConfig.from_pretrained(find_checkpoint(start_folder(config, config.seeds[0]))).sampling_rate
    total_wall = total_cpu = 0.0
    for cell, budget in budgets(config, rate).items():
        if cell in cells:
            wall, cpu = estimate_minutes(config, plan_run(config, cell, seeds[0]))
            total_wall += wall * len(seeds)
            total_cpu += cpu * len(seeds)
            steps = " + ".join(map(str, budget.stage_steps)) or "0"
            print(
                f"{cell}: {steps} steps, {budget.items} items, {budget.audio_s / 3600:.2f} h of audio, "
                f"{wall:.1f} min a seed ({cpu:.1f} min of CPU)",
                flush=True,
            )
    print(
        f"{len(cells)} rows x {len(seeds)} seeds: {total_wall:.0f} min of steps on this machine as busy as it is now "
        f"({total_cpu:.0f} min of CPU), from a few steps of each stage; pseudo labels and scores come on top. "
        "Equal budgets: yes."
    )


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        from ablation import collect_results, load_ablation_config, results_path, run_matrix, write_card, write_results
    except ModuleNotFoundError as error:
        print(f"error: this needs {error.name}; run: pip install 'majl_hf[train,evaluate]'", file=sys.stderr)
        return 1
    try:
        if not options.report_only:
            config = load_ablation_config(options.config)
            cells, seeds = choose(config, options)
            if options.dry_run:
                print_plan(config, cells, seeds)
                return 0
            busy = run_matrix(config, cells, seeds, options.test, lambda text: print(text, flush=True))
            if busy:
                print(f"not in the results yet: {'; '.join(busy)}", file=sys.stderr)
            write_results(results_path(options.results, config.name), collect_results(config))
        print(write_card(options.results, options.card))
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
