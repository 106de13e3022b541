"""Whole corpora: both directions, thresholds, provenance; stopped and resumed, by one process and by two."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from built_corpora import contents, make_rows, read_rows, write_built
from datasets import load_dataset

from majl_hf.checkpoints.loading import checkpoint_sha256
from majl_hf.errors import CorpusError, MajlError
from majl_hf.evaluation.systems import PitchTrack
from majl_hf.pseudo_labels import PseudoLabelConfig, report, run, run_pseudo_labels
from majl_hf.pseudo_labels.teachers import PitchTeacher, VocalsTeacher
from majl_hf.rows.check import check_dataset
from majl_hf.rows.convert import row_to_track
from majl_hf.rows.writing import ShardWriter

ROOT = Path(__file__).parents[2]
DATE = "2026-01-02"


def make_config(corpus: Path, out: Path, **values) -> PseudoLabelConfig:
    return PseudoLabelConfig(**{"rows": str(corpus), "out": str(out), "date": DATE, **values})


def test_rows_get_what_they_lack(corpus, pitch_teacher, vocals_teacher, tmp_path):
    seconds = []
    result = run_pseudo_labels(
        make_config(corpus, tmp_path / "out"),
        pitch_teacher=pitch_teacher,
        vocals_teacher=vocals_teacher,
        progress=lambda done_s, total_s: seconds.append((done_s, total_s)),
    )
    assert seconds == [(done_s, 5.0) for done_s in (1.0, 2.0, 3.0, 4.0, 5.0)]
    assert [result.report[name] for name in ("num_rows", "duration_s", "dropped")] == [5, 5.0, {}]
    assert result.messages == ()
    assert check_dataset(result.out).problems == []
    loaded = load_dataset(str(result.out), split="train")
    assert set(loaded["label_kind"]) == {"pseudo"} and len(loaded) == 5

    before, after = read_rows(corpus), read_rows(result.out)
    for id, f0_hz in (("c/separation0", 220.0), ("c/separation1", 230.0), ("c/vocals0", 220.0)):
        row = after[id]
        assert row["f0_hz"] == pytest.approx([f0_hz] * len(row["f0_hz"]), rel=0.02)
        assert (row["f0_hop_s"], row["f0_offset_s"], row["f0_octave_reliable"]) == (pytest.approx(0.02), 0.0, True)
        assert np.mean(row["pitch_confidence"]) > 0.9 and row["vocals_confidence"] is None
        assert all(row[name] == before[id][name] for name in ("vocals", "accompaniment", "mixture", "song", "licence"))
        assert row["provenance"].endswith(
            "Pitch read from the vocals by tone-tracker (version 1.0), confidence = its voicing, as it reports no "
            "certainty x share of agreeing readings of the voice transposed by -2, +2 semitones, frames under 0.4 set "
            f"to 0; rows under 0.5 left out, this one has {np.mean(row['pitch_confidence']):.3f}; {DATE}."
        )
    for id in ("c/pitch0", "c/pitch1"):
        row, old = after[id], before[id]
        assert row["mixture"] is None and np.mean(row["vocals_confidence"]) > 0.95
        assert len(row["vocals_confidence"]) == len(row["f0_hz"])
        label = ("f0_hz", "f0_hop_s", "f0_offset_s", "f0_octave_reliable", "pitch_confidence", "notes", "duration_s")
        assert all(row[name] == old[name] for name in label) and row["f0_octave_reliable"] is False
        track, mixture = row_to_track(row), row_to_track(old).part("mixture").read(0, 16_000)
        vocals, accompaniment = (track.part(name).read(0, 16_000) for name in ("vocals", "accompaniment"))
        assert np.array_equal(vocals + accompaniment, mixture)  # to the bit
        assert np.abs(vocals - 0.3 * mixture).max() <= 2.0**-16 + 1e-7
        assert "Vocals estimated from the mixture by a-third" in row["provenance"]
        assert "tone-tracker (version 1.0) reads from them, averaged over 0.2 s" in row["provenance"]


def test_report_card_and_picture(corpus, pitch_teacher, vocals_teacher, tmp_path, monkeypatch):
    teachers = {"pitch_teacher": pitch_teacher, "vocals_teacher": vocals_teacher}
    result = run_pseudo_labels(make_config(corpus, tmp_path / "out"), **teachers)
    facts = json.loads((result.out / "pseudo_labels.json").read_text())
    assert facts == result.report
    assert (facts["date"], facts["pitch_teacher"], facts["vocals_teacher"]) == (
        DATE,
        pitch_teacher.facts,
        vocals_teacher.facts,
    )
    assert facts["not_labelled"] == {"full": 1, "accompaniment": 1} and facts["views_semitones"] == [-2.0, 2.0]
    pitch, vocals = facts["directions"]["pitch"], facts["directions"]["vocals"]
    assert (pitch["num_rows"], pitch["num_kept"], vocals["num_rows"]) == (3, 3, 2)
    assert pitch["num_frames"] == sum(pitch["histogram_frames"]) == 3 * 50
    assert pitch["voiced_share"] == pytest.approx(pitch["num_voiced"] / 150) and pitch["num_voiced"] >= 144
    assert sum(vocals["histogram_frames"]) == sum(vocals["histogram_voiced_frames"]) == 2 * 100
    assert sum(pitch["histogram_rows"]) == 3 and set(facts["row_confidence"]) == set(read_rows(result.out))
    assert (result.out / "confidences.png").read_bytes().startswith(b"\x89PNG")
    card = (result.out / "README.md").read_text()
    assert "pseudo-labelled" in card and "Pitch teacher: id `tone-tracker`" in card and "confidences.png" in card
    assert "| pitch, read from clean vocals | 3 | 3 |" in card

    def missing(*arguments):
        raise MajlError("matplotlib is not there")

    monkeypatch.setattr(report, "plot_confidences", missing)
    result = run_pseudo_labels(make_config(corpus, tmp_path / "plain"), **teachers)
    assert (
        result.messages == ("No picture: matplotlib is not there",) and "confidences.png" not in result.report["card"]
    )


def test_thresholds_drop_rows_and_silence_frames(corpus, vocals_teacher, tmp_path):
    """A tracker that is two semitones off in one view of the second separation row, and unsure of every frame."""

    def tracker(mono, sampling_rate):
        f0_hz = np.full(50, 220.0)
        certainty = np.where(np.arange(50) < 10, 0.3, 0.8)
        return PitchTrack(np.arange(50) * 0.02, f0_hz, np.ones(50, dtype=bool), certainty)

    teacher = PitchTeacher(tracker, {"id": "monotone"})  # 220 Hz whatever is played: no view agrees
    no_views = make_config(corpus, tmp_path / "out", views_semitones=(), vocals_teacher=None)
    result = run_pseudo_labels(no_views, pitch_teacher=teacher)
    rows = read_rows(result.out)
    assert sorted(rows) == ["c/separation0", "c/separation1", "c/vocals0"]  # without a vocals teacher no pitch rows
    assert rows["c/vocals0"]["pitch_confidence"] == pytest.approx([0.0] * 10 + [0.8] * 40)
    assert rows["c/vocals0"]["f0_hz"] == pytest.approx([220.0] * 50)
    assert "confidence = its own certainty, frames under 0.4" in rows["c/vocals0"]["provenance"]
    assert result.report["directions"]["pitch"]["num_silenced_kept"] == 30 and result.report["vocals_teacher"] is None

    with pytest.raises(MajlError, match=r"All 3 rows were dropped .*its confidence is 0.000, under 0.5"):
        run_pseudo_labels(make_config(corpus, tmp_path / "none", vocals_teacher=None), pitch_teacher=teacher)

    # c/pitch0 is 220 Hz and its label agrees; c/pitch1 is 230 Hz, 77 cents away. It alone is in its file.
    config = make_config(corpus, tmp_path / "vocals", label_kinds=("pitch",), shard_minutes=0.01)
    result = run_pseudo_labels(config, pitch_teacher=teacher, vocals_teacher=vocals_teacher)
    assert sorted(read_rows(result.out)) == ["c/pitch0"] and sorted(result.report["dropped"]) == ["c/pitch1"]
    assert result.report["dropped"]["c/pitch1"] == "its confidence is 0.000, under 0.5"
    assert check_dataset(result.out).problems == [] and load_dataset(str(result.out))["train"].num_rows == 1
    assert len(list((result.out / "data").iterdir())) == 2


def test_a_teacher_that_fails_is_named_with_the_row(corpus, pitch_teacher, tmp_path):
    broken = VocalsTeacher(lambda mixture, rate: np.full_like(mixture, np.inf), {"id": "broken"})
    with pytest.raises(CorpusError, match="Row c/pitch0 cannot be labelled: the teacher broken returned vocals of"):
        run_pseudo_labels(make_config(corpus, tmp_path / "out"), pitch_teacher=pitch_teacher, vocals_teacher=broken)


def test_a_model_whose_weights_are_not_finite_is_named_with_the_row(corpus, tiny_model_folder, tmp_path):
    from majl_hf.models.modeling_majl import MajlModel

    model = MajlModel.from_pretrained(tiny_model_folder)
    model.pitch_estimator.head.weight.data[0, 0, 0, 0] = np.nan
    model.save_pretrained(tmp_path / "nan")
    config = make_config(corpus, tmp_path / "out", pitch_teacher=str(tmp_path / "nan"), vocals_teacher=None)
    with pytest.raises(CorpusError, match=r"Row c/separation0 .* the teacher nan returned pitch logits"):
        run_pseudo_labels(config)


def test_other_settings_do_not_mix_with_what_is_there(corpus, pitch_teacher, tmp_path):
    config = make_config(corpus, tmp_path / "out", vocals_teacher=None)
    first = run_pseudo_labels(config, pitch_teacher=pitch_teacher)
    other = config.model_copy(update={"min_row_confidence": 0.6})
    with pytest.raises(MajlError, match=r"was made with another plan .min_row_confidence 0.5, now 0.6"):
        run_pseudo_labels(other, pitch_teacher=pitch_teacher)
    assert run_pseudo_labels(config, pitch_teacher=pitch_teacher) == first
    second = run_pseudo_labels(other, pitch_teacher=pitch_teacher, overwrite=True)
    assert second.report["min_row_confidence"] == 0.6
    assert "rows under 0.6 left out" in read_rows(second.out)["c/vocals0"]["provenance"]

    before = contents(corpus)
    with pytest.raises(MajlError, match=r"contains data/train-00000-of-00002\.parquet but no build\.json"):
        run_pseudo_labels(make_config(corpus, corpus, vocals_teacher=None), pitch_teacher=pitch_teacher, overwrite=True)
    assert contents(corpus) == before


def test_the_date_is_taken_once(corpus, pitch_teacher, tmp_path, monkeypatch):
    config = make_config(corpus, tmp_path / "out", vocals_teacher=None, date=None)
    first = run_pseudo_labels(config, pitch_teacher=pitch_teacher)
    before = contents(first.out)

    class Tomorrow:
        @staticmethod
        def now(zone):
            raise AssertionError("the date is in the plan")

    monkeypatch.setattr(run, "datetime", Tomorrow)
    (first.out / "data" / "train-00000-of-00001.parquet").unlink()
    build = json.loads((first.out / "build.json").read_text())
    (first.out / "build.json").write_text(json.dumps({**build, "finished": False}))
    run_pseudo_labels(config, pitch_teacher=pitch_teacher)
    assert contents(first.out) == before


class Killed(BaseException):
    pass


@pytest.mark.timeout(600)
def test_a_killed_run_is_finished_by_two_processes(corpus, tiny_model_folder, tmp_path, monkeypatch):
    """Killed in its second file, and resumed by `majl label` under torchrun: the bytes of an uninterrupted run."""
    values = {"shard_minutes": 0.01, "min_row_confidence": 0.0, "min_pitch_confidence": 0.0, "date": None}
    values |= {"pitch_teacher": tiny_model_folder, "vocals_teacher": tiny_model_folder}
    whole = run_pseudo_labels(make_config(corpus, tmp_path / "whole", **values))
    sha256 = checkpoint_sha256(tiny_model_folder)
    assert all(f"weights SHA-256 {sha256}" in row["provenance"] for row in read_rows(whole.out).values())
    monkeypatch.setattr(run, "load_pitch_teacher", None)  # a finished run loads no teacher
    assert run_pseudo_labels(make_config(corpus, tmp_path / "whole", **values)).report == whole.report
    monkeypatch.undo()

    out = tmp_path / "parts"

    def kill(done_s, total_s):
        if done_s >= 2.0:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "discard", lambda self: None)  # a killed process does not clean up
        with pytest.raises(Killed):
            run_pseudo_labels(make_config(corpus, out, **values), progress=kill)
    names = sorted(path.name for path in (out / "data").iterdir())
    assert len(names) == 2 and names[0].endswith(".part") and names[1] == "train-00000-of-00005.parquet"
    finished_before = (out / "data" / names[1]).stat().st_mtime_ns

    section = make_config(corpus, out, **values).model_dump(mode="json")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"kind": "label", **section}))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    command += ["--master_port", str(20000 + os.getpid() % 20000), "-m", "majl_hf.cli", "label"]
    process = subprocess.run([*command, str(tmp_path / "run.yaml")], capture_output=True, text=True, timeout=560)
    assert process.returncode == 0, process.stderr[-3000:]
    assert "by 2 processes" in process.stdout  # the world size
    for rank in (0, 1):  # two each of the four remaining files
        assert f"process {rank}: 2 of 2 s of audio" in process.stderr
    assert (out / "data" / names[1]).stat().st_mtime_ns == finished_before
    assert contents(out) == contents(whole.out)
    assert check_dataset(out).problems == []


def test_a_corpus_that_lacks_nothing(corpus, tmp_path):
    row = {name: value for name, value in read_rows(corpus)["c/full0"].items() if name != "split"}
    full = write_built(tmp_path / "full", [row])
    with pytest.raises(CorpusError, match=r"has no row to label in train: it needs rows of kind pitch, and has {'full"):
        run_pseudo_labels(make_config(full, tmp_path / "out", label_kinds=("pitch",)))


def test_a_separation_that_kept_the_voice_in_the_accompaniment_is_dropped(tmp_path, pitch_teacher):
    rows = make_rows({"pitch": 2}, duration_s=1.0)
    rows[0]["f0_octave_reliable"] = True  # the other one's octave is unreliable, so it cannot be checked
    noise = VocalsTeacher(
        lambda mixture, rate: np.random.default_rng(0).uniform(-0.01, 0.01, mixture.shape).astype(np.float32),
        {"id": "noise", "kind": "function"},
    )
    config = PseudoLabelConfig(
        rows=str(write_built(tmp_path / "rows", rows)), out=str(tmp_path / "out"), min_row_confidence=0.0
    )
    result = run_pseudo_labels(config, pitch_teacher=pitch_teacher, vocals_teacher=noise)
    ((id, reason),) = result.report["dropped"].items()
    assert id == "c/pitch0" and reason.startswith("the separation failed: the accompaniment fits the pitch label")
    assert result.report["num_rows"] == 1
