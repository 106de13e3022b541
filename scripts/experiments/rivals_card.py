"""The card of `compare_rivals.py`, made from its results file alone, so that no figure in it was typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markdown_tables import table, with_interval

from majl_hf.errors import EvaluationError
from majl_hf.evaluation.registry import BOUNDS, TRACKERS, TRUE_VOCALS
from majl_hf.evaluation.trackers import FCPE_THRESHOLD
from majl_hf.metrics.statistics import LEVEL, NUM_RESAMPLES, Estimate, estimate

OURS = "majl-base"
CREPE_NOTE = (
    "CREPE's published weights were trained on MIR-1K, among others: its rows are not those of a tracker that has "
    "never heard these songs."
)
TITLES = {"rpa": "RPA, %", "rca": "RCA, %", "oa": "OA, %", "vr": "VR, %", "vfa": "VFA, %"}
_HEAD = f"""# Beside other separators and pitch trackers

Written by `scripts/experiments/compare_rivals.py` from `results/rivals.json`, which also has the scores of every clip;
with `--report-only` it writes this page again. All systems heard the same whole clips, each run by its own package's
code. Intervals: {LEVEL:.0%} percentile bootstrap over songs, {NUM_RESAMPLES} resamples; differences are paired, clip by
clip, and negative where {OURS} has more.

These are validation clips, in MIR-1K those of two singers. {OURS} was trained on its other singers and chosen with the
help of these clips, and its decoding was calibrated on those of MIR-1K. Other trackers decide on voicing at the
threshold that their package recommends, torchfcpe at {FCPE_THRESHOLD}. Test splits were not read.

The real-time factor is the seconds of computing for a second of audio, a separator's included, on a CPU that other work
shared. Its load changed: differences of less than a factor of two say little.
"""


def make_card(results: Mapping) -> str:
    """Markdown of a results file.

    Raises:
        EvaluationError: it has no run.
    """
    runs = list(results["runs"].values())
    if not runs:
        raise EvaluationError(
            "The results have no run; run scripts/experiments/compare_rivals.py without --report-only."
        )
    checkpoints = {found for run in runs if (found := run["system"].get("checkpoint_sha256"))}
    if len(checkpoints) > 1:
        raise EvaluationError(f"The results have runs of several checkpoints of {OURS}; delete the older runs, repeat.")
    lines = [_HEAD, *(f"{OURS} is the checkpoint with SHA-256 `{found[:16]}`.\n" for found in checkpoints)]
    if any(run["limit"] is not None for run in runs):
        lines += ["**A few clips only: a trial of the command, not a result.**", ""]
    for dataset in sorted({run["dataset"] for run in runs}, reverse=True):
        of_dataset = {run["system"]["name"]: run for run in runs if run["dataset"] == dataset}
        for metric, section in (("sdr_db", _separation), ("rpa", _pitch)):
            if measured := {name: run for name, run in of_dataset.items() if metric in run["metrics"]}:
                lines += [*section(dataset, measured), ""]
    lines += [*_packages(runs), ""]
    if not_run := results.get("not_run"):
        lines += ["## Not run", ""]
        for reason in dict.fromkeys(not_run.values()):
            names = ", ".join(f"`{name}`" for name, its in not_run.items() if its == reason)
            lines.append(f"- {names}: {reason}")
    return "\n".join(lines).rstrip("\n") + "\n"


def _separation(dataset: str, runs: Mapping[str, Mapping]) -> list[str]:
    """Separators by their SDR; a tracker after a separator has that separator's vocals, so it is left out."""
    runs = {name: run for name, run in runs.items() if _heard(name)[1] is None}
    means = {name: _mean(run, "sdr_db") for name, run in runs.items()}
    rows = []
    for name in sorted(means, key=lambda name: -means[name].mean):
        si_sdr = runs[name]["metrics"]["si_sdr_db"]["mean"]
        cells = [_cell(means[name], 1, ".2f"), f"{si_sdr:.2f}", means[name].num_clips]
        rows.append([_title(name), *cells, _difference(runs, name, "sdr_db", 1), _speed(runs[name])])
    columns = ["system", "SDR, dB:", "SI-SDR, dB:", "clips:", f"SDR minus {OURS}'s, dB:", "real-time factor:"]
    return [f"## Vocals, {dataset}", "", *_facts(runs), "", *table(columns, rows)]


def _pitch(dataset: str, runs: Mapping[str, Mapping]) -> list[str]:
    order = sorted(runs, key=lambda name: (*_rank(_heard(name)[0]), -runs[name]["metrics"]["rpa"]["mean"]))
    means, differences = [], []
    for name in order:
        shares = [_mean(runs[name], metric) for metric in TITLES]
        means.append([_title(name), *(_cell(share, 100, ".1f") for share in shares), _speed(runs[name])])
        if name != OURS:
            cells = [_difference(runs, name, metric, 100) for metric in ("rpa", "rca", "oa")]
            differences.append([_title(name), *cells])
    lines = [f"## Pitch, {dataset}", "", *_facts(runs), ""]
    lines += table(["system", *(f"{title}:" for title in TITLES.values()), "real-time factor:"], means)
    if dataset == "MIR-1K" and any((_heard(name)[1] or "").startswith("crepe") for name in runs):
        lines += ["", CREPE_NOTE]
    if OURS in runs:
        lines += ["", f"Differences to {OURS}, in points:", ""]
        lines += table(["system", "RPA:", "RCA:", "OA:"], differences)
    return lines


def _heard(name: str) -> tuple[str, str | None]:
    """What a system's tracker hears and the tracker: the mixture, a separator's or the true vocals; a separator alone
    or a model has no tracker."""
    if name in TRACKERS:
        return "mixture", name
    heard, _, tracker = name.rpartition("-")
    return (heard, tracker) if tracker in TRACKERS else (name, None)


def _rank(heard: str) -> tuple[int, str]:
    """Place in the table: our model, trackers on the mixture, on a separator's vocals, on the true vocals."""
    return {OURS: 0, "mixture": 2, TRUE_VOCALS: 3}.get(heard, 1), heard


def _title(name: str) -> str:
    heard, tracker = _heard(name)
    if tracker is None:
        return f"{name} (bound)" if name in BOUNDS else f"**{name}**" if name == OURS else name
    if heard == TRUE_VOCALS:
        return f"{tracker} on the true vocals (bound)"
    return f"{tracker} on the mixture" if heard == "mixture" else f"{heard}, then {tracker}"


def _scores(run: Mapping, metric: str) -> np.ndarray:
    """(1, num_clips), NaN where a clip has no score."""
    values = [item.get(metric) for item in run["items"]]
    return np.array([[np.nan if value is None else value for value in values]], dtype=np.float64)


def _songs(run: Mapping) -> list[str]:
    return [item["song"] for item in run["items"]]


def _mean(run: Mapping, metric: str) -> Estimate:
    return estimate(_scores(run, metric), _songs(run))


def _difference(runs: Mapping[str, Mapping], name: str, metric: str, scale: float) -> str:
    if name == OURS or OURS not in runs:
        return ""
    run, ours = runs[name], runs[OURS]
    if [item["id"] for item in run["items"]] != [item["id"] for item in ours["items"]]:
        raise EvaluationError(f"{name} and {OURS} were measured on other clips; delete one of the runs and repeat it.")
    return _cell(estimate(_scores(run, metric) - _scores(ours, metric), _songs(run)), scale, "+.2f")


def _cell(found: Estimate, scale: float, form: str) -> str:
    return with_interval(found.mean, found.low, found.high, scale, form)


def _speed(run: Mapping) -> str:
    return f"{run['real_time_factor']:.3f}"


def _facts(runs: Mapping[str, Mapping]) -> list[str]:
    run = next(iter(runs.values()))
    songs, threads = len(set(_songs(run))), sorted({run["num_threads"] for run in runs.values()})
    dates = sorted({run["date"][:10] for run in runs.values()})
    return [
        f"{run['num_items']} clips of {songs} songs, {run['audio_s'] / 60:.1f} min, split `{run['split']}`: "
        f"{run['protocol']}. Measured on {' to '.join(dict.fromkeys((dates[0], dates[-1])))} with "
        f"{' or '.join(map(str, threads))} thread{'s' * (threads != [1])}.",
    ]


def _packages(runs: Sequence[Mapping]) -> list[str]:
    rows = {}
    for run in runs:
        for role in ("separator", "tracker"):
            if found := run["system"].get(role):
                rows[found] = [role, found, run["system"][f"{role}_licence"]]
    return [
        "## Packages",
        "",
        f"{OURS} is Apache-2.0; its weights were trained on research and non-commercial data. None of the following is",
        "a dependency of this package; those under the GPL or AGPL stay optional.",
        "",
        *table(["part", "package, version and settings", "licence"], [rows[found] for found in sorted(rows)]),
    ]
