"""Tracks to rows and back: audio, labels, levels, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from majl_hf.corpora.labels import Note, PitchLabel
from majl_hf.corpora.tracks import AudioPart, SumPart, Track
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

RATE = 8_000


def part(tmp_path, name, level=0.3, subtype="PCM_16", num_samples=RATE):
    rng = np.random.default_rng(len(name))
    path = tmp_path / f"{name}.wav"
    soundfile.write(path, level * rng.uniform(-1, 1, (num_samples, 2)), RATE, subtype=subtype)
    return AudioPart.open(path)


def track(**fields):
    return Track("corpus/name", "corpus", "song", "singer", 1.0, RATE, licence="CC0-1.0", provenance="Made.", **fields)


def test_full_track_comes_back(tmp_path):
    label = PitchLabel(np.array([0, 220.5, 221]), 0.02, 0.01, np.array([1, 0.5, 0.25]), octave_reliable=False)
    original = track(
        vocals=part(tmp_path, "vocals"),
        accompaniment=part(tmp_path, "accompaniment"),
        label=label,
        notes=(Note(0.01, 0.05, 57.25),),
    )
    row = track_to_row(original)
    assert row["label_kind"] == "full" and row["mixture"] is None
    again = row_to_track(row)
    for name in ("vocals", "accompaniment"):
        assert np.array_equal(again.part(name).read(0, RATE), original.part(name).read(0, RATE))
        assert np.array_equal(again.part(name).read(-7, 50), original.part(name).read(-7, 50))
    assert np.allclose(again.label.f0_hz, label.f0_hz) and np.allclose(again.label.confidence, label.confidence)
    assert (again.label.hop_s, again.label.offset_s, again.label.octave_reliable) == (0.02, 0.01, False)
    assert again.notes == original.notes and again.licence == "CC0-1.0"
    assert again.label_kind == "full"


@pytest.mark.parametrize(("subtype", "expected"), [("PCM_16", "PCM_16"), ("PCM_24", "PCM_24"), ("FLOAT", "PCM_24")])
def test_depth_follows_the_source(tmp_path, subtype, expected):
    import io

    row = track_to_row(track(vocals=part(tmp_path, "vocals", subtype=subtype)))
    assert soundfile.info(io.BytesIO(row["vocals"]["bytes"])).subtype == expected
    assert row["label_kind"] == "vocals"


def test_level_beyond_full_scale_is_scaled_as_a_whole(tmp_path):
    vocals = part(tmp_path, "vocals", level=2.0, subtype="FLOAT")
    accompaniment = part(tmp_path, "accompaniment", level=0.5, subtype="FLOAT")
    row = track_to_row(track(vocals=vocals, accompaniment=accompaniment))
    again = row_to_track(row)
    ratio = again.vocals.read(0, RATE).std() / again.accompaniment.read(0, RATE).std()
    assert np.abs(again.vocals.read(0, RATE)).max() <= 1.0
    assert ratio == pytest.approx(vocals.read(0, RATE).std() / accompaniment.read(0, RATE).std(), rel=1e-4)
    assert "Scaled by" in row["provenance"]


def test_mixture_must_be_the_sum(tmp_path):
    vocals, accompaniment = part(tmp_path, "vocals"), part(tmp_path, "accompaniment")
    parts = {"vocals": vocals, "accompaniment": accompaniment}
    row = track_to_row(track(mixture=SumPart((vocals, accompaniment)), **parts))
    assert row["mixture"] is None
    with pytest.raises(CorpusError, match="corpus/name is not the sum"):
        track_to_row(track(mixture=part(tmp_path, "something else"), **parts))


def test_what_cannot_be_a_row_is_refused(tmp_path):
    mixture = part(tmp_path, "mixture")
    with pytest.raises(CorpusError, match="neither stems nor"):
        track_to_row(track(mixture=mixture))
    with pytest.raises(CorpusError, match="after its audio"):
        track_to_row(track(mixture=mixture, label=PitchLabel(np.array([100.0]), 0.01, 5.0)))
    with pytest.raises(CorpusError, match="8000 Hz; all parts need 16000 Hz"):
        track_to_row(replace(track(vocals=mixture), sampling_rate=16_000))


def test_stems_add_up_only_when_alike(tmp_path):
    one, other = part(tmp_path, "one"), part(tmp_path, "other", num_samples=RATE // 2)
    total = SumPart((one, other))
    assert total.num_samples == RATE
    assert np.allclose(total.read(0, RATE), one.read(0, RATE) + other.read(0, RATE))
    with pytest.raises(CorpusError, match="cannot be added"):
        SumPart((one, replace(other, sampling_rate=16_000)))
