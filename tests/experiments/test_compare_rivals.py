"""scripts/experiments/compare_rivals.py: what runs, what cannot, each clip separated once, resume, sample, card."""

import json

import numpy as np
import pytest
from corpus_files import MIR1K_RATE, sung_note, write, write_mir1k

from majl_hf.checkpoints import SHIPPED
from majl_hf.errors import EvaluationError
from majl_hf.evaluation import PitchTrack, registry
from majl_hf.models.modeling_majl import SHIPPED_CHECKPOINTS

MISSING = "This system needs the package absent, which is not installed."


class Half:
    """A separator that counts its calls."""

    provenance = {"separator": "half 1.0", "separator_licence": "MIT"}
    calls = []

    def __call__(self, mixture, sampling_rate):
        self.calls.append(mixture.shape)
        return 0.5 * mixture


class Tracker:
    """Right in all frames, but an octave up in what it hears at less than full level."""

    provenance = {"tracker": "right 2.0", "tracker_licence": "AGPL-3.0-only"}

    def __call__(self, mono, sampling_rate):
        times_s = np.arange(len(mono) // 160) * 160 / sampling_rate
        f0_hz = 220.0 if np.abs(mono).max() > 0.25 else 440.0
        return PitchTrack(times_s, np.full(len(times_s), f0_hz), np.ones(len(times_s), dtype=bool))


def missing(*arguments):
    raise EvaluationError(MISSING)


@pytest.fixture
def compare(load_script, tmp_path, monkeypatch, tiny_model_folder):
    """`compare(*options)` runs the command on seven clips of MIR-1K and four songs; it returns results and card."""
    for names in (SHIPPED, SHIPPED_CHECKPOINTS):
        monkeypatch.setitem(names, "majl-base", tiny_model_folder)
    monkeypatch.setattr(Half, "calls", [])
    monkeypatch.setitem(registry.SEPARATORS, "spleeter", Half)
    for name in registry.TRACKERS:
        monkeypatch.setitem(registry.TRACKERS, name, Tracker if name in ("swift", "melodia") else missing)
    voice = sung_note(220.0, MIR1K_RATE)
    generator = np.random.default_rng(0)
    clips = {f"amy_{song}_{part}": (0.01 * generator.standard_normal(MIR1K_RATE).astype("f4"), voice)
             for song in (1, 2, 3, 4) for part in ("01", "02")}  # fmt: skip
    splits = dict.fromkeys(clips, "validation") | {"amy_4_02": "test"}
    write_mir1k(tmp_path / "mir1k", clips, splits=splits)
    for song in "abcd":
        for stem in ("vocals", "accompaniment"):
            write(tmp_path / "real_songs" / song / f"{stem}.wav", 0.1 * generator.standard_normal((2, 4410)), 44_100)
    script = load_script("experiments/compare_rivals")
    monkeypatch.setattr(script, "ROOT", tmp_path)
    corpora = ["--real-songs", str(tmp_path / "real_songs"), "--mir1k", str(tmp_path / "mir1k")]

    def run(*options, name="model_cards/results/rivals.json", card="model_cards/rivals.md"):
        assert script.main([*corpora, *options]) == 0
        return json.loads((tmp_path / name).read_text()), (tmp_path / card).read_text()

    return run


def test_everything_that_can_run_is_measured_and_the_rest_has_its_reason(compare):
    results, card = compare()
    runs = results["runs"]
    both = {"mixture", "oracle-mask", "majl-base", "spleeter"}
    tracked = {"swift", "melodia", "spleeter-swift", "majl-base-swift", "vocals-swift"}
    assert {key.partition("/")[0] for key in runs if "real_songs" in key} == both
    assert {key.partition("/")[0] for key in runs if "MIR-1K" in key} == both | tracked
    assert len(Half.calls) == 4 + 7, "each clip is separated once, for all trackers"
    cascade, alone = (runs[f"{name}/MIR-1K/singer_split=validation"] for name in ("spleeter-swift", "spleeter"))
    assert [item["id"] for item in cascade["items"]] == [item["id"] for item in alone["items"]]
    assert "mir1k/amy_4_02" not in str(runs) and cascade["num_items"] == 7

    assert set(results["not_run"]) >= {"open-unmix", "demucs", "roformer", "spleeter-fcpe"}
    assert "- `fcpe`, `praat`, `crepe_tiny`, `spleeter-fcpe`, " in card and f"`vocals-crepe_tiny`: {MISSING}" in card
    assert "- `demucs`: demucs needs the package demucs and weights" in card
    assert "| swift on the mixture | 100.0 [100.0, 100.0] | 100.0" in card
    assert "| spleeter, then swift | 0.0 [0.0, 0.0] | 100.0 [100.0, 100.0] | 0.0" in card
    assert "| **majl-base** |" in card and "| oracle-mask (bound) |" in card
    assert "| tracker | right 2.0 | AGPL-3.0-only |" in card and "| separator | half 1.0 | MIT |" in card
    assert "7 clips of 4 songs" in card and "4 clips of 4 songs" in card


def test_differences_are_paired_and_over_songs(compare):
    from majl_hf.metrics.statistics import estimate

    results, card = compare()
    ours, theirs = (results["runs"][f"{name}/real_songs/all"]["items"] for name in ("majl-base", "spleeter"))
    differences = np.array([[b["sdr_db"] - a["sdr_db"] for a, b in zip(ours, theirs, strict=True)]])
    found = estimate(differences, [item["song"] for item in ours])
    assert f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}]" in card


def test_a_second_run_measures_only_what_is_missing(compare, tmp_path):
    first, _ = compare()
    path = tmp_path / "model_cards/results/rivals.json"
    removed = first["runs"].pop("spleeter-swift/MIR-1K/singer_split=validation")
    path.write_text(json.dumps(first))
    Half.calls.clear()
    again, _ = compare()
    assert len(Half.calls) == 7
    repeated = again["runs"].pop("spleeter-swift/MIR-1K/singer_split=validation")
    assert again["runs"] == first["runs"] and repeated["metrics"] == removed["metrics"]
    Half.calls.clear()
    assert compare("--report-only")[1] == compare()[1] and not Half.calls


def test_a_quick_run_draws_a_few_clips_and_touches_no_result(compare, tmp_path):
    results, card = compare("--quick", name="runs/rivals_quick.json", card="runs/rivals_quick.md")
    assert "A few clips only" in card and not (tmp_path / "model_cards").exists()
    counts = {key: run["num_items"] for key, run in results["runs"].items()}
    assert set(counts.values()) == {3, 5} and counts["mixture/MIR-1K/singer_split=validation/first-5"] == 5
    ids = {name: [item["id"] for item in run["items"]] for name, run in results["runs"].items() if "MIR" in name}
    assert len({tuple(found) for found in ids.values()}) == 1, "all systems hear the same clips"


def test_runs_on_other_clips_are_not_compared(compare, tmp_path, load_script, capsys):
    results, _ = compare()
    results["runs"]["spleeter/real_songs/all"]["items"].reverse()
    path = tmp_path / "other.json"
    path.write_text(json.dumps(results))
    script = load_script("experiments/compare_rivals")
    assert script.main(["--report-only", "--results", str(path), "--card", str(tmp_path / "card.md")]) == 1
    assert "spleeter and majl-base were measured on other clips" in capsys.readouterr().err
    results["runs"]["majl-base-swift/MIR-1K/singer_split=validation"]["system"]["checkpoint_sha256"] = "0" * 64
    path.write_text(json.dumps(results))
    assert script.main(["--report-only", "--results", str(path), "--card", str(tmp_path / "card.md")]) == 1
    assert "several checkpoints of majl-base" in capsys.readouterr().err
    path.write_text('{"runs": {}}')
    assert script.main(["--report-only", "--results", str(path), "--card", str(tmp_path / "card.md")]) == 1
    assert "have no run" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script.main([])
