"""MUSDB18 in both forms: streams of a stem.mp4 and folders of wav."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from audio_files import RATE, write_aac
from corpus_files import tone, write

from majl_hf.corpora.musdb18 import STREAMS, VALIDATION_TRACKS, load_musdb18, load_musdb18_hq, open_streams
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row

HZ = {"mixture": 1000.0, "drums": 3000.0, "bass": 110.0, "other": 700.0, "vocals": 440.0}
VALIDATION = "James May - On The Line"


def write_stem_mp4(path: Path, names=STREAMS) -> Path:
    """Half a second of stereo AAC, one tone per stream; the right channel is half as loud."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tones = [tone(HZ[name], 0.5, RATE) for name in names]
    write_aac(path, [np.stack([audio, audio / 2]) for audio in tones], bit_rate=192_000)
    return path


def strongest_hz(audio: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(audio.shape[1])))
    return float(spectrum.argmax() * RATE / audio.shape[1])


@pytest.fixture(scope="module")
def musdb(tmp_path_factory):
    root = tmp_path_factory.mktemp("musdb 18")
    for name in ("train/A - One", f"train/{VALIDATION}", "test/B - Ünd"):
        write_stem_mp4(root / f"{name}.stem.mp4")
    return root


def test_songs_and_splits(musdb):
    tracks = load_musdb18(musdb)
    assert [(t.id, t.singer, t.split, t.label_kind) for t in tracks] == [
        ("musdb18/A - One", "A", "train", "separation"),
        (f"musdb18/{VALIDATION}", "James May", "validation", "separation"),
        ("musdb18/B - Ünd", "B", "test", "separation"),
    ]
    assert [t.split for t in load_musdb18(musdb, validation={"A - One"})] == ["validation", "train", "test"]
    assert len(VALIDATION_TRACKS) == 14


def test_streams_are_the_stems_in_their_order(musdb):
    parts = open_streams(musdb / "train" / "A - One.stem.mp4")
    for name, part in parts.items():
        assert abs(strongest_hz(part.read(4000, 16384)) - HZ[name]) < 3
    track = load_musdb18(musdb)[0]
    expected = sum(parts[name].read(0, 9000) for name in ("drums", "bass", "other"))
    np.testing.assert_array_equal(track.accompaniment.read(0, 9000), expected)


def test_samples_are_where_the_encoder_got_them(musdb):
    vocals = open_streams(musdb / "train" / "A - One.stem.mp4")["vocals"]
    original = tone(HZ["vocals"], 0.5, RATE)
    decoded = vocals.read(0, 22050)
    assert decoded.shape == (2, 22050) and abs(vocals.duration_s - 0.5) < 0.05
    middle = slice(3000, 19000)
    assert np.sqrt(np.mean((decoded[0] - original)[middle] ** 2)) < 0.02 * original.std()
    np.testing.assert_allclose(decoded[1, middle], original[middle] / 2, atol=0.02)


@pytest.mark.parametrize("first", [1, 5000, 9999, 20000])
def test_seeking_gives_the_samples_of_the_whole(musdb, first):
    vocals = open_streams(musdb / "train" / "A - One.stem.mp4")["vocals"]
    whole = vocals.read(0, vocals.num_samples)
    np.testing.assert_allclose(vocals.read(first, 3000)[:, :2000], whole[:, first : first + 2000], atol=1e-5)
    assert not vocals.read(-100, 100).any() and not vocals.read(vocals.num_samples, 10).any()
    np.testing.assert_array_equal(vocals.read(-100, 300)[:, 100:], whole[:, :200])


def test_rows_hold_vocals_and_accompaniment(musdb):
    track = load_musdb18(musdb)[0]
    row = track_to_row(track)
    assert row["mixture"] is None and row["label_kind"] == "separation"
    again = row_to_track(row)
    np.testing.assert_allclose(again.vocals.read(0, 9000), track.vocals.read(0, 9000), atol=2**-15)
    np.testing.assert_allclose(again.accompaniment.read(0, 9000), track.accompaniment.read(0, 9000), atol=2**-15)


def test_broken_stem_files_are_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"No \*.stem.mp4 in .*train"):
        load_musdb18(tmp_path)
    path = write_stem_mp4(tmp_path / "train" / "A - One.stem.mp4", STREAMS[:2])
    with pytest.raises(CorpusError, match=r"A - One.stem.mp4 has 2 audio stream\(s\); a stem file has 5"):
        load_musdb18(tmp_path)
    path.write_bytes(b"no mp4")
    with pytest.raises(CorpusError, match=r"A - One.stem.mp4 cannot be read"):
        load_musdb18(tmp_path)


def test_a_stream_that_ends_early_is_refused(tmp_path):
    path = write_stem_mp4(tmp_path / "A.stem.mp4")
    vocals = open_streams(path)["vocals"]
    longer = type(vocals)(path, vocals.stream, RATE, vocals.num_samples + 5000, 2)
    with pytest.raises(CorpusError, match=r"A.stem.mp4, stream 4 ends after"):
        longer.read(0, longer.num_samples)


def stempeg_example() -> Path:
    """The MUSDB18 excerpt inside the stempeg package, or the file that MAJL_STEM_MP4 names."""
    if "MAJL_STEM_MP4" in os.environ:
        return Path(os.environ["MAJL_STEM_MP4"])
    spec = importlib.util.find_spec("stempeg")
    if spec is None:
        pytest.skip("stempeg, whose wheel contains an excerpt of MUSDB18, is not installed; or set MAJL_STEM_MP4")
    return next(Path(spec.origin).parent.rglob("*.stem.mp4"))


def test_a_real_file(tmp_path):
    (tmp_path / "test").mkdir()
    path = tmp_path / "test" / "The Easton Ellises - Falcon 69.stem.mp4"
    path.write_bytes(stempeg_example().read_bytes())
    (track,) = load_musdb18(tmp_path)
    assert (track.sampling_rate, track.vocals.num_channels) == (44100, 2) and 6.0 < track.duration_s < 6.2
    vocals, accompaniment = (p.read(0, p.num_samples) for p in (track.vocals, track.accompaniment))
    mixture = open_streams(path)["mixture"].read(0, vocals.shape[1])
    # Streams start together: the sum of the stems is close to the mixture (mastering changed it by -15 dB) and closest
    # without an offset.
    total = vocals + accompaniment
    errors = [np.mean((mixture - np.roll(total, shift, axis=1)) ** 2) for shift in (-8, -1, 0, 1, 8)]
    assert int(np.argmin(errors)) == 2 and errors[2] < 0.04 * np.mean(mixture**2)
    part = track.vocals
    np.testing.assert_allclose(part.read(150_001, 5000), vocals[:, 150_001:155_001], atol=1e-5)
    again = row_to_track(track_to_row(track))
    assert again.duration_s == track.duration_s and again.label_kind == "separation"


# MUSDB18-HQ


@pytest.fixture
def musdb_hq(tmp_path):
    for folder in ("train/A - One", f"train/{VALIDATION}", "test/B - Two"):
        for name in STREAMS:
            audio = tone(HZ[name], 0.2, RATE, level=0.1)
            write(tmp_path / folder / f"{name}.wav", np.stack([audio, audio / 2]), RATE)
    return tmp_path


def test_hq_songs_splits_and_sums(musdb_hq):
    tracks = load_musdb18_hq(musdb_hq)
    assert [(t.id, t.split) for t in tracks] == [
        ("musdb18_hq/A - One", "train"),
        (f"musdb18_hq/{VALIDATION}", "validation"),
        ("musdb18_hq/B - Two", "test"),
    ]
    expected = sum(tone(HZ[name], 0.2, RATE, level=0.1) for name in ("drums", "bass", "other"))
    np.testing.assert_allclose(tracks[0].accompaniment.read(0, 8820)[0], expected, atol=1e-6)
    row = track_to_row(tracks[0])
    assert (row["label_kind"], row["mixture"], row["duration_s"]) == ("separation", None, 0.2)


def test_hq_refusals(musdb_hq, tmp_path):
    folder = musdb_hq / "train" / "A - One"
    (folder / "bass.wav").unlink()
    with pytest.raises(CorpusError, match=r"bass.wav is missing"):
        load_musdb18_hq(musdb_hq)
    write(folder / "bass.wav", np.zeros((2, 100), np.float32), RATE)
    with pytest.raises(CorpusError, match=r"stems in .*A - One differ in \(rate, channels, samples\)"):
        load_musdb18_hq(musdb_hq)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="No folder in"):
        load_musdb18_hq(tmp_path / "empty")
