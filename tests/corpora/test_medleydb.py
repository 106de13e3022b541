"""MedleyDB: voices distinguished from instruments by metadata, and whose melody MELODY1 is."""

import csv

import numpy as np
import pytest
import yaml
from corpus_files import tone, write

from majl_hf.corpora.medleydb import HOP_S, load_medleydb
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

RATE, DURATION_S = 44100, 0.5
FRAMES = round(DURATION_S / HOP_S)
BAND = (("drum set", ""), ("female singer", "melody"), ("electric bass", "bass"))


def write_track(root, name="Ada_Song", stems=BAND, melody=True, ranking=None, **metadata):
    """A track in the layout of the archive; stem k is a tone of k * 100 Hz."""
    folder = root / "Audio" / name
    content = {"artist": "Ada", "title": "Söng", "has_bleed": "no", "stems": {}, **metadata}
    for number, (instrument, component) in enumerate(stems, start=1):
        file = f"{name}_STEM_{number:02d}.wav"
        audio = tone(100.0 * number, DURATION_S, RATE, level=0.1)
        write(folder / f"{name}_STEMS" / file, np.stack([audio, audio]), RATE)
        content["stems"][f"S{number:02d}"] = {"component": component, "filename": file, "instrument": instrument}
    (folder / f"{name}_METADATA.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    if melody:
        write_melody(root, name, np.where(np.arange(FRAMES) < 40, 200.0, 0.0))
    if ranking:
        (root / "Annotations" / f"{name}_RANKING.txt").write_text(
            "".join(f"{name}_STEM_{number:02d}.wav,{rank}\n" for number, rank in ranking.items())
        )
    return folder


def write_melody(root, name, f0_hz):
    path = root / "Annotations" / "Melody" / f"{name}_MELODY1.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows((k * HOP_S, value) for k, value in enumerate(f0_hz))


def test_vocals_accompaniment_and_melody(tmp_path):
    write_track(tmp_path)
    (track,) = load_medleydb(tmp_path)
    assert (track.id, track.song, track.singer, track.label_kind) == ("medleydb/Ada_Song", "Ada - Söng", "Ada", "full")
    np.testing.assert_allclose(track.vocals.read(0, 1000)[0], tone(200, DURATION_S, RATE, 0.1)[:1000], atol=1e-6)
    expected = tone(100, DURATION_S, RATE, 0.1) + tone(300, DURATION_S, RATE, 0.1)
    np.testing.assert_allclose(track.accompaniment.read(0, 1000)[0], expected[:1000], atol=1e-6)
    assert (track.label.hop_s, track.label.offset_s, track.label.confidence) == (256 / 44100, 0.0, None)
    np.testing.assert_array_equal(track.label.f0_hz[[0, 39, 40]], [200, 200, 0])
    again = row_to_track(track_to_row(track))
    assert again.label_kind == "full" and again.label.hop_s == 256 / 44100 and again.licence == "CC-BY-NC-SA-4.0"


def test_annotations_may_be_elsewhere(tmp_path):
    write_track(tmp_path / "audio")
    (tmp_path / "audio" / "Annotations").rename(tmp_path / "annotations")
    assert load_medleydb(tmp_path / "audio")[0].label is None
    assert load_medleydb(tmp_path / "audio", annotations=tmp_path / "annotations")[0].label is not None


@pytest.mark.parametrize(
    ("stems", "ranking", "is_sung"),
    [
        (BAND, None, True),
        ((("violin", "melody"), ("male singer", "")), None, False),
        ((("violin", "melody"), ("male singer", "melody")), None, False),
        ((("violin", "melody"), ("male singer", "melody")), {1: 2, 2: 1}, True),
        ((("violin", "melody"), ("male singer", "melody")), {1: 1, 2: 2}, False),
        ((("piano", ""), ("male rapper", "melody")), None, False),
    ],
)
def test_the_melody_counts_only_where_a_singer_has_it(tmp_path, stems, ranking, is_sung):
    write_track(tmp_path, stems=stems, ranking=ranking)
    (track,) = load_medleydb(tmp_path)
    assert track.label_kind == ("full" if is_sung else "separation")


def test_where_others_may_sing_silence_of_the_melody_says_nothing(tmp_path):
    write_track(tmp_path, stems=(*BAND, ("vocalists", "")))
    (track,) = load_medleydb(tmp_path)
    np.testing.assert_array_equal(track.label.confidence, np.where(np.arange(FRAMES) < 40, 1.0, 0.0))
    expected = tone(200, DURATION_S, RATE, 0.1) + tone(400, DURATION_S, RATE, 0.1)
    np.testing.assert_allclose(track.vocals.read(0, 1000)[0], expected[:1000], atol=1e-6)


def test_tracks_that_cannot_be_used_are_left_out(tmp_path):
    write_track(tmp_path, "A_Instrumental", stems=BAND[:1], melody=False)
    write_track(tmp_path, "B_Acappella", stems=BAND[1:2], melody=False)
    write_track(tmp_path, "C_Both", stems=(*BAND, (["male singer", "piano"], "")), melody=False)
    write_track(tmp_path, "D_System", stems=(*BAND, ("Main System", "")), melody=False)
    write_track(tmp_path, "E_Bleed", has_bleed="yes", melody=False)
    with pytest.raises(CorpusError, match="None of the 5 tracks"):
        load_medleydb(tmp_path)
    assert [track.song for track in load_medleydb(tmp_path, bleed=True)] == ["Ada - Söng"]


@pytest.mark.parametrize(
    ("f0_hz", "message"),
    [
        (np.full(FRAMES - 4, 200.0), rf"Ada_Song_MELODY1.csv has {FRAMES - 4} frames, .* needs {FRAMES}"),
        (np.full(FRAMES + 4, 200.0), rf"MELODY1.csv has {FRAMES + 4} frames"),
        (np.where(np.arange(FRAMES) == 7, np.nan, 200.0), r"MELODY1.csv: The pitch label's frame 7 is nan"),
        (np.full(FRAMES, -1.0), r"MELODY1.csv: .*frame 0 is -1"),
    ],
)
def test_melodies_that_do_not_fit_are_refused(tmp_path, f0_hz, message):
    write_track(tmp_path)
    write_melody(tmp_path, "Ada_Song", f0_hz)
    with pytest.raises(CorpusError, match=message):
        load_medleydb(tmp_path)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(CorpusError, match="No TRACK_STEMS folder"):
        load_medleydb(tmp_path)
    folder = write_track(tmp_path)
    path = tmp_path / "Annotations" / "Melody" / "Ada_Song_MELODY1.csv"
    path.write_text(path.read_text().replace(str(HOP_S), "0.1", 1))
    with pytest.raises(CorpusError, match=r"Ada_Song_MELODY1.csv: its times are not multiples"):
        load_medleydb(tmp_path)
    stem = folder / "Ada_Song_STEMS" / "Ada_Song_STEM_03.wav"
    stem.rename(stem.with_suffix(".bak"))
    with pytest.raises(CorpusError, match=r"Ada_Song_STEM_03.wav is missing"):
        load_medleydb(tmp_path)
    metadata = folder / "Ada_Song_METADATA.yaml"
    metadata.write_text("stems: {S01: {filename: x.wav}}")
    with pytest.raises(CorpusError, match=r"Ada_Song_METADATA.yaml is not the metadata"):
        load_medleydb(tmp_path)
    metadata.unlink()
    with pytest.raises(CorpusError, match=r"Ada_Song_STEMS has no Ada_Song_METADATA.yaml"):
        load_medleydb(tmp_path)
