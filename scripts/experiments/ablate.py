"""Train variants that differ in one setting with equal budgets and seeds, and write the results into a card.

    python scripts/experiments/ablate.py CONFIG --dry-run        # steps, items and hours of audio
    python scripts/experiments/ablate.py CONFIG                  # train, score on validation, write
    python scripts/experiments/ablate.py CONFIG --test           # also score on the test corpus
    python scripts/experiments/ablate.py CONFIG --report-only

CONFIG, such as configs/ablation_small.yaml, contains the starting point, the corpus whose labels are removed, the
budget, the seeds and the variants; see ablation/config.py. Finished runs are skipped. Run the same command again to
resume; if it runs in two shells, they share the runs. A variant whose settings were changed is refused until its
folder is deleted.

Results go to `ablation_NAME.json` in the folder `--results`; the card is made from all such files in it:

    model_cards/results/ablation_small.json
    model_cards/ablations.md

Choose on validation; `--test` is for the report. Existing scores are not computed again.

Exit code: 0 done, 1 an error in the configuration or the data.
"""

import argparse
import sys
from pathlib import Path

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.errors import ConfigError, MajlError

ROOT = Path(__file__).parents[2]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of the ablation")
    parser.add_argument("--cells", nargs="+", metavar="VARIANT", help="only these, even if not enabled")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="only these of the file's seeds")
    parser.add_argument("--test", action="store_true", help="also score on the test corpus, for the report")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--dry-run", action="store_true", help="print what each variant spends")
    what.add_argument("--report-only", action="store_true", help="make the card from the existing results files")
    parser.add_argument("--results", type=Path, default=ROOT / "model_cards" / "results", metavar="DIR")
    parser.add_argument("--card", type=Path, default=ROOT / "model_cards" / "ablations.md", metavar="FILE")
    return parser.parse_args(arguments)


def choose(wanted: list | None, there: list, default: list, what: str) -> list:
    """The wanted ones, in the file's order; the default ones if none are given."""
    if unknown := sorted(set(wanted or ()) - set(there)):
        raise ConfigError(f"There is no {what} {unknown[0]!r}; there are {', '.join(map(str, there))}.")
    return [name for name in there if name in (wanted or default)]


def run(options: argparse.Namespace) -> None:
    from ablation.card import make_card, read_all
    from ablation.config import AblationConfig, plan_run
    from ablation.reduced import make_reduced_corpus
    from ablation.results import write_results
    from ablation.run import run_matrix

    from majl_hf.system.files import write_atomically
    from majl_hf.system.settings import load_settings

    if not options.report_only:
        config = load_settings(options.config, AblationConfig)
        enabled = [name for name, cell in config.cells.items() if cell.enabled]
        cells = choose(options.cells, list(config.cells), enabled, "variant")
        seeds = choose(options.seeds, list(config.seeds), list(config.seeds), "seed")
        if options.dry_run:
            for kind, count in make_reduced_corpus(config.corpus)["counts"].items():
                print(f"{kind}: {count['songs']} songs, {count['rows']} rows, {count['minutes']} min")
            rate = config.start_config().sampling_rate
            for cell in cells:
                plan_run(config, cell, seeds[0])  # finds errors
                spent = config.spent(cell, rate)
                steps = " + ".join(map(str, spent["stage_steps"])) or "0"
                hours = spent["audio_s"] / 3600
                print(f"{cell}: {steps} steps, {spent['items']} items, {hours:.2f} h of audio, {len(seeds)} seeds")
            return
        busy = run_matrix(config, cells, seeds, options.test)
        if busy:
            print(f"not in the results yet, since another process is running it: {'; '.join(busy)}", file=sys.stderr)
        print(write_results(config, options.results))
    write_atomically(options.card, make_card(read_all(options.results)))
    print(options.card)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        run(options)
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
