from dataclasses import replace

import numpy as np
import pytest
import torch
from built_corpora import make_track
from corpus_files import MIR1K_RATE, VOICE_HZ, cents, dominant_hz, steady_clip, tone, write, write_mir1k
from pydantic import ValidationError

from majl_hf.corpora.notes import Note
from majl_hf.corpora.tracks import AudioPart
from majl_hf.errors import ConfigError, CorpusError
from majl_hf.mixing.config import MixingConfig
from majl_hf.mixing.items import JointMixtureDataset
from majl_hf.mixing.segments import active_rms_dbfs, fade_edges, read_segment, to_channels
from majl_hf.mixing.transforms import (
    DOUBLE_OCTAVES,
    DOUBLE_SHARES,
    DoubleMelody,
    FrameLabels,
    MoveFormants,
    RandomEqualizer,
    Segment,
)

RATE = 22050
SEGMENT = 32768  # 1.486 s


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)
    write_mir1k(root / "mir1k", {f"s{i}_1_01": steady_clip(3.0) for i in range(3)})
    for i, frequency_hz in enumerate((300.0, 330.0)):
        write(root / "voices" / f"v{i}.wav", tone(frequency_hz, 0.6, 16000), 16000)
    for song, frequency_hz in (("one", 500.0), ("two", 600.0)):
        vocals = tone(frequency_hz, 4.0, RATE)
        write(root / "stems" / song / "vocals.wav", np.stack([vocals, 0.5 * vocals]), RATE)
        noise = np.array([[0.1], [0.08]], np.float32) * rng.standard_normal((2, 4 * RATE)).astype(np.float32)
        write(root / "stems" / song / "accompaniment.wav", noise, RATE)
    noise = (0.2 * rng.standard_normal((2, 5 * 48000))).astype(np.float32)
    write(root / "music" / "noise.wav", noise, 48000)
    return root


RECIPES = {"mir1k": "full", "voices": "vocals", "stems": "separation", "music": "accompaniment"}


def source(root, kind, weight=1.0, **options):
    extra = {"min_duration_s": 1.0} if kind == "music" else {}
    return {"kind": kind, "folder": str(root / kind), "weight": weight, RECIPES[kind]: options, **extra}


def make(sources, **options):
    options = {"length": 40, "sampling_rate": RATE, "segment_samples": SEGMENT, **options}
    return JointMixtureDataset(MixingConfig(sources=sources, **options))


def make_all(root, **options):
    return make([source(root, kind) for kind in ("mir1k", "voices", "stems", "music")], **options)


# The item


def test_item_layout_and_exact_sum(folders):
    dataset = make_all(folders)
    kinds = set()
    for index in range(len(dataset)):
        item, segment = dataset[index], dataset.draw(index)
        frame_labels = {"f0_hz", "pitch_weight", "octave_reliable", "by_hand", "vocals_weight"}
        frame_labels |= {"note_midi", "note_onset", "note_offset", "note_weight"}
        assert set(item) == {"mixture", "vocals", "id"} | frame_labels
        assert item["mixture"].shape == item["vocals"].shape == (2, SEGMENT)
        assert {item[name].shape for name in frame_labels} == {(149,)}
        assert all(value.dtype == torch.float32 for key, value in item.items() if key != "id")
        assert torch.equal(item["mixture"], item["vocals"] + torch.from_numpy(segment.accompaniment))
        assert 0 < item["mixture"].abs().max() <= 1.0
        kinds.add(item["id"].split("/")[0])
    assert kinds == {"mir1k", "voices", "stems", "silence+music"}


def test_num_frames_is_as_requested(folders):
    item = make([source(folders, "music")], num_frames=160)[0]
    # Frames past the segment's end are not known to be unvoiced.
    assert item["pitch_weight"].tolist() == [1.0] * 149 + [0.0] * 11


# Determinism


def test_items_depend_on_seed_epoch_and_index_only(folders):
    dataset, again = make_all(folders), make_all(folders)
    first = [dataset[index] for index in (5, 2)]
    assert torch.equal(again[2]["mixture"], first[1]["mixture"])  # order of reading does not matter
    assert torch.equal(again[5]["mixture"], first[0]["mixture"])
    assert not torch.equal(first[0]["mixture"], first[1]["mixture"])
    again.set_epoch(1)
    assert not torch.equal(again[5]["mixture"], first[0]["mixture"])
    again.set_epoch(0)
    assert torch.equal(again[5]["mixture"], first[0]["mixture"])
    assert not torch.equal(make_all(folders, seed=1)[5]["mixture"], first[0]["mixture"])


# Pitch and time move together


def test_speed_moves_pitch_and_label_alike(folders):
    dataset = make([source(folders, "mir1k", original_probability=0.5)], speed_probability=1.0, voiced_probability=1.0)
    measured = []
    for index in range(20):
        item = dataset[index]
        voiced = item["f0_hz"] > 0
        f0_hz = float(item["f0_hz"][voiced].median())
        measured.append(dominant_hz(item["vocals"][0].numpy(), RATE))
        assert abs(cents(measured[-1], f0_hz)) < 10
        assert voiced.float().mean() > 0.95
    semitones = np.array([cents(hz, VOICE_HZ) / 100 for hz in measured])
    assert semitones.min() < -2 and semitones.max() > 2 and np.abs(semitones).max() <= 4.1


def test_label_times_follow_the_audio(tmp_path):
    """A voice that begins at 1 s and jumps an octave at 2 s: both edges are where the label says, at any speed."""
    vocals = np.concatenate([np.zeros(MIR1K_RATE, np.float32), tone(220, 1.0, MIR1K_RATE), tone(440, 1.0, MIR1K_RATE)])
    semitones = np.concatenate([np.zeros(49), np.full(50, 57.0), np.full(50, 69.0)])  # line 49 is centred at 1.0 s
    write_mir1k(tmp_path, {"a_1_01": (tone(3000, 3.0, MIR1K_RATE), vocals)}, {"a_1_01": semitones})
    dataset = make(
        [{"kind": "mir1k", "folder": str(tmp_path), "full": {"original_probability": 1.0}}],
        segment_samples=3 * RATE,
        speed_probability=1.0,
        pan_probability=0.0,
        length=12,
    )
    times_s = np.arange(dataset.config.total_frames) * 0.01
    speeds = []
    for index in range(len(dataset)):
        item = dataset[index]
        audio, f0_hz = item["vocals"][0].numpy(), item["f0_hz"].numpy()
        speed = f0_hz[f0_hz > 0].min() / 220.0
        speeds.append(speed)
        onset_s = np.flatnonzero(np.abs(audio) > 0.02 * np.abs(audio).max())[0] / RATE
        # The first voiced label frame is centred on the onset and reaches 10 ms of the recording to either side.
        assert -0.010 / speed - 0.002 < times_s[f0_hz > 0][0] - onset_s < 0.011
        jump_s = times_s[f0_hz > 300.0][0] - onset_s
        assert abs(jump_s - 1.0 / speed) < 0.010 / speed + 0.011
        for since_onset_s, hz in ((0.5, 220.0), (1.3, 440.0)):
            frame = round((onset_s + since_onset_s / speed) / 0.01)
            begin = round((frame * 0.01 - 0.05) * RATE)
            assert abs(cents(dominant_hz(audio[begin : begin + RATE // 10], RATE), f0_hz[frame])) < 10
            assert abs(cents(f0_hz[frame], hz * speed)) < 0.1 and item["pitch_weight"][frame] == 1
    assert min(speeds) < 0.95 and max(speeds) > 1.05


@pytest.mark.parametrize("speed", [1.0, 0.83, 1.21])
@pytest.mark.parametrize(("orig_rate", "target_rate"), [(16000, 44100), (44100, 44100), (48000, 44100)])
def test_read_segment_is_where_it_says(tmp_path, speed, orig_rate, target_rate):
    """A slow sine shows the time: sample n must be second `exact_s + n * speed / target_rate` of the file."""
    path = write(tmp_path / "tone.wav", tone(100.0, 2.0, orig_rate), orig_rate)
    audio, exact_s = read_segment(AudioPart.open(path), 0.7312, 20000, target_rate, speed)
    assert audio.shape == (1, 20000)
    assert abs(exact_s - 0.7312) < 1 / orig_rate + 1 / target_rate
    expected = 0.3 * np.sin(2 * np.pi * 100.0 * (exact_s + np.arange(20000) * speed / target_rate))
    np.testing.assert_allclose(audio[0], expected, atol=3e-4)


def test_band_rate_removes_the_upper_band(tmp_path):
    path = write(tmp_path / "two.wav", tone(1000, 2.0, 44100) + tone(12000, 2.0, 44100), 44100)
    audio, _ = read_segment(AudioPart.open(path), 0.5, 32768, 44100, band_rate=16000)
    spectrum = np.abs(np.fft.rfft(audio[0] * np.hanning(32768)))
    frequency_hz = np.fft.rfftfreq(32768, 1 / 44100)
    assert spectrum[frequency_hz > 8500].max() < 1e-4 * spectrum.max()


# Kinds of sources


def test_original_pairs_keep_both_parts_as_recorded(folders):
    dataset = make(
        [source(folders, "mir1k", original_probability=1.0)], speed_probability=0.0, gain_db=0.0, pan_probability=0.0
    )
    for index in range(5):
        segment = dataset.draw(index)
        np.testing.assert_array_equal(segment.vocals[0], segment.vocals[1])
        for part, hz in ((segment.vocals, VOICE_HZ), (segment.accompaniment, 3000.0)):
            assert abs(cents(dominant_hz(part[0], RATE), hz)) < 1
            assert 20 * np.log10(part.std() * np.sqrt(2) / 0.3) == pytest.approx(0.0, abs=0.1)


def test_gain_moves_the_level_and_reaches_its_limits(folders):
    dataset = make(
        [source(folders, "mir1k", original_probability=1.0)], speed_probability=0.0, pan_probability=0.0, length=60
    )
    gains_db = np.array([20 * np.log10(dataset.draw(i).vocals.std() * np.sqrt(2) / 0.3) for i in range(60)])
    assert -12.1 < gains_db.min() < -9 and 3 < gains_db.max() < 12.1


def test_remix_ratio_is_drawn_around_0_db(folders):
    dataset = make([source(folders, "mir1k", original_probability=0.0)], length=60)
    ratios_db = []
    for index in range(60):
        segment = dataset.draw(index)
        ratios_db.append(active_rms_dbfs(segment.vocals, RATE) - active_rms_dbfs(segment.accompaniment, RATE))
    ratios_db = np.array(ratios_db)
    assert abs(ratios_db.mean()) < 2 and 2.5 < ratios_db.std() < 5.5 and np.abs(ratios_db).max() < 10.1


def test_mir1k_remixes_over_music_keep_their_label(folders):
    sources = [source(folders, "mir1k", original_probability=0.0, background_probability=1.0)]
    dataset = make([*sources, source(folders, "music", weight=0.0)], length=10)
    for index in range(10):
        item = dataset[index]
        assert "+music/noise" in item["id"] and item["id"].startswith("mir1k/")
        assert item["pitch_weight"].mean() > 0.95
        assert abs(cents(dominant_hz(item["vocals"][0].numpy(), RATE), float(item["f0_hz"].median()))) < 10


def test_short_voices_fill_the_segment_and_have_no_label(folders):
    sources = [source(folders, "voices", labelled_probability=0.0), source(folders, "music", weight=0.0)]
    dataset = make(sources, length=10)
    joined = 0
    for index in range(10):
        item = dataset[index]
        assert not item["pitch_weight"].any() and not item["f0_hz"].any()
        joined += item["id"].count("voices/") > 1
        assert (item["vocals"] != 0).float().mean() > 0.4
    assert joined == 10  # 0.6 s of voice never fill 1.5 s


def test_voices_borrow_labelled_vocals(folders):
    sources = [
        source(folders, "voices", labelled_probability=1.0),
        source(folders, "mir1k", weight=0.0),
        source(folders, "music", weight=0.0),
    ]
    item = make(sources)[0]
    assert item["id"].startswith("mir1k/") and item["pitch_weight"].mean() > 0.95


def test_joined_labelled_pieces_carry_their_own_labels(tmp_path, folders):
    clip = (tone(3000, 0.5, MIR1K_RATE), tone(VOICE_HZ, 0.5, MIR1K_RATE))
    write_mir1k(tmp_path, {"a_1_01": clip, "b_1_01": clip})
    sources = [{"kind": "mir1k", "folder": str(tmp_path), "full": {"original_probability": 0.0}}]
    dataset = make(sources, speed_probability=0.0, pan_probability=0.0, length=6)
    for index in range(6):
        item = dataset[index]
        assert item["id"].split("+")[0].count("mir1k/") >= 2
        envelope = item["vocals"][0].abs().numpy()
        known = item["pitch_weight"].numpy() > 0
        assert 0.5 < known.mean() < 1.0
        for frame in np.flatnonzero(known):
            begin = max(0, round((frame * 0.01 - 0.005) * RATE))
            assert envelope[begin : begin + round(0.01 * RATE)].any(), (index, frame)
        np.testing.assert_allclose(item["f0_hz"].numpy()[known], 220.0, rtol=1e-6)


def test_stems_as_they_are_and_over_another_song(folders):
    as_is = make([source(folders, "stems", original_probability=1.0, vocals_weight=0.5)], pan_probability=0.0)
    remixed = make([source(folders, "stems", original_probability=0.0)])
    for index in range(10):
        item = as_is[index]
        assert item["id"].endswith("+original") and item["vocals_weight"].unique().tolist() == [0.5]
        levels = item["vocals"].std(dim=1)  # stereo is kept, possibly swapped
        assert float(levels.max() / levels.min()) == pytest.approx(2.0, rel=1e-3)
        vocals, accompaniment = remixed[index]["id"].split("+")
        assert vocals.split("@")[0] != accompaniment.split("@")[0]


def test_music_is_unvoiced_everywhere(folders):
    item = make([source(folders, "music")])[0]
    assert not item["vocals"].any() and item["mixture"].any()
    assert (item["pitch_weight"] == 1).all() and (item["f0_hz"] == 0).all()


def test_untrusted_stems_are_no_background(folders):
    voices = source(folders, "voices")
    with pytest.raises(ValidationError, match="need an accompaniment"):
        make([voices, source(folders, "stems", vocals_weight=0.5)])
    assert "+stems/" in make([voices, source(folders, "stems", weight=0.0)])[0]["id"]
    with pytest.raises(ConfigError, match=r"All recordings of .*/stems have weight 0"):
        make([{**source(folders, "stems"), "separation": {"weight": 0.0}}])


def test_silent_stretches_are_mostly_drawn_again(tmp_path):
    vocals = np.concatenate([np.zeros(9 * RATE, np.float32), tone(500, 3.0, RATE)])
    write(tmp_path / "song" / "vocals.wav", vocals, RATE)
    write(tmp_path / "song" / "accompaniment.wav", tone(900, 12.0, RATE), RATE)

    def share(voiced_probability):
        options = {"kind": "stems", "folder": str(tmp_path), "separation": {"original_probability": 1.0}}
        dataset = make([options], voiced_probability=voiced_probability, length=80)
        return np.mean([bool(dataset.draw(index).vocals.any()) for index in range(80)])

    assert share(0.0) < 0.55 < 0.65 < share(1.0)


# Channels and levels


def test_pan_and_swap(folders):
    sources = [source(folders, "mir1k", original_probability=1.0)]
    differences_db = []
    dataset = make(sources, pan_probability=1.0, speed_probability=0.0, length=30)
    for index in range(30):
        left, right = dataset.draw(index).vocals.std(axis=1)
        differences_db.append(20 * np.log10(left / right))
    assert 1.5 < np.abs(differences_db).max() <= 3.01 and min(differences_db) < 0 < max(differences_db)
    stereo = [source(folders, "stems", original_probability=1.0)]
    louder = set()
    for index in range(20):
        segment = make(stereo).draw(index)
        louder.add((int(segment.vocals.std(axis=1).argmax()), int(segment.accompaniment.std(axis=1).argmax())))
    assert louder == {(0, 0), (1, 1)}  # both parts change sides together


def test_to_channels():
    mono, stereo = np.full((1, 4), 0.5, np.float32), np.array([[1.0] * 4, [0.0] * 4], np.float32)
    np.testing.assert_array_equal(to_channels(mono, 2), np.full((2, 4), 0.5, np.float32))
    assert to_channels(stereo, 2) is stereo
    np.testing.assert_array_equal(to_channels(stereo, 1), mono)
    left, right = to_channels(mono, 2, pan_db=3.0)[:, 0]
    assert 20 * np.log10(left / right) == pytest.approx(3.0, abs=1e-5)
    assert to_channels(mono, 2, pan_db=3.0).dtype == np.float32


def test_fade_edges_only_where_requested():
    audio = np.ones((2, 1000), np.float32)
    np.testing.assert_array_equal(fade_edges(audio, 16000, start=False, end=False), audio)
    faded = fade_edges(audio, 16000, start=True, end=False)  # 5 ms are 80 samples
    assert not faded[:, 0].any() and 0 < faded[0, 79] <= 1 and (faded[:, 80:] == 1).all() and (audio == 1).all()
    np.testing.assert_array_equal(fade_edges(audio, 16000, start=False, end=True), faded[:, ::-1])


def test_joined_pieces_fade(folders):
    sources = [source(folders, "voices", labelled_probability=0.0), source(folders, "music", weight=0.0)]
    for index in range(5):
        vocals = make(sources, pan_probability=0.0, gain_db=0.0).draw(index).vocals[0]
        # A 330 Hz tone of 0.3 moves by less than 0.04 from one sample to the next, unless two pieces meet unfaded.
        assert np.abs(np.diff(vocals)).max() < 0.04


def test_mono_items(folders):
    item = make_all(folders, num_channels=1)[0]
    assert item["mixture"].shape == (1, SEGMENT)


def test_peak_is_limited_for_both_parts_alike(tmp_path):
    clip = (tone(VOICE_HZ, 3.0, MIR1K_RATE, 0.9), tone(VOICE_HZ, 3.0, MIR1K_RATE, 0.9))
    write_mir1k(tmp_path, {"a_1_01": clip})
    dataset = make(
        [{"kind": "mir1k", "folder": str(tmp_path), "full": {"original_probability": 1.0}}],
        gain_db=0.0,
        pan_probability=0.0,
    )
    segment = dataset.draw(0)
    assert 0.999 < np.abs(segment.mixture).max() <= 1.0
    np.testing.assert_array_equal(segment.vocals, segment.accompaniment)


# Refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "at least 1"),
        ({"length": 0}, "length"),
        ({"num_channels": 3}, "num_channels"),
        ({"speed_probability": 1.5}, "speed_probability"),
        ({"speed_probabilty": 0.5}, "speed_probabilty"),
        ({"sources": [{"kind": "opera", "folder": "x"}]}, "opera"),
        ({"sources": [{"kind": "music", "folder": "x", "weight": 0}]}, "weight 0"),
        ({"sources": [{"kind": "voices", "folder": "x"}]}, "need an accompaniment"),
    ],
)
def test_impossible_configurations(change, message):
    with pytest.raises(ValidationError, match=message):
        MixingConfig(**{"sources": [{"kind": "music", "folder": "x"}], "length": 1, **change})


def test_refuses_missing_folder_and_foreign_index(folders, tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        make([{"kind": "mir1k", "folder": str(tmp_path / "no")}])
    dataset = make([source(folders, "music")], length=3)
    with pytest.raises(IndexError, match="Item 3 does not exist; the dataset has 3"):
        dataset[3]


def test_equalizer_colours_each_part_at_its_level_and_within_its_limit():
    rng = np.random.default_rng(0)
    vocals, accompaniment = rng.standard_normal((2, 2, RATE)).astype(np.float32)
    segment = Segment("a", vocals, accompaniment, FrameLabels.unknown(10))
    coloured = RandomEqualizer(1.0, 6.0, RATE)(segment, np.random.default_rng(1))
    gains_db = []
    for before, after in ((vocals, coloured.vocals), (accompaniment, coloured.accompaniment)):
        assert after.dtype == np.float32
        assert np.square(after).mean() == pytest.approx(np.square(before).mean(), rel=1e-4)
        gains_db.append(20 * np.log10(np.abs(np.fft.rfft(after)[:, 1:-1] / np.fft.rfft(before)[:, 1:-1])))
        assert 3 < np.ptp(gains_db[-1]) < 12.1
    assert np.abs(gains_db[0] - gains_db[1]).max() > 3
    silent = RandomEqualizer(1.0, 6.0, RATE)(replace(segment, vocals=0 * vocals), rng)
    assert not silent.vocals.any()


def test_equalizer_is_drawn_for_each_item(folders):
    music = [source(folders, "music")]
    plain, coloured = make(music), make(music, equalizer_probability=1.0)
    assert np.abs(plain.draw(0).accompaniment - coloured.draw(0).accompaniment).max() > 1e-3


def vowel(f0_hz, formant_hz, num_samples=2 * RATE):
    """Harmonics of `f0_hz` under one resonance at `formant_hz`, two channels of which the second is half as loud."""
    times_s = np.arange(num_samples) / RATE
    harmonics_hz = f0_hz * np.arange(1, int(0.45 * RATE / f0_hz))
    loudness = np.exp(-0.5 * (np.log2(harmonics_hz / formant_hz) / 0.3) ** 2) + 1e-3
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, len(harmonics_hz))[:, None]
    voice = (loudness[:, None] * np.sin(2 * np.pi * harmonics_hz[:, None] * times_s + phases)).sum(axis=0)
    return np.stack([0.1 * voice, 0.05 * voice]).astype(np.float32)


def centroid_hz(audio):
    power = np.square(np.abs(np.fft.rfft(audio[0])))
    return (power * np.fft.rfftfreq(audio.shape[1], 1 / RATE)).sum() / power.sum()


@pytest.mark.parametrize("factor", [0.84, 1.0, 1.19])
def test_moved_formants_keep_pitch_level_and_channels(factor):
    f0_hz, formant_hz = 150.0, 1200.0
    vocals = vowel(f0_hz, formant_hz)
    moved = MoveFormants(1.0, 3.0, RATE)._moved(vocals, factor)
    assert moved.shape == vocals.shape and moved.dtype == np.float32
    assert centroid_hz(moved) / centroid_hz(vocals) == pytest.approx(factor, rel=0.05)
    assert np.abs(moved[1] - 0.5 * moved[0]).max() < 1e-6
    power = np.square(np.abs(np.fft.rfft(moved[0])))  # over 2 s: every harmonic is a bin of its own
    harmonics = np.arange(2 * 150, len(power), 2 * 150)
    near = sum(power[harmonics + offset].sum() for offset in (-2, -1, 0, 1, 2))
    assert near / power.sum() > 0.98
    if factor == 1.0:
        assert np.abs(moved - vocals).max() < 1e-5


def test_moved_formants_are_drawn_for_the_vocals_alone():
    vocals = vowel(220.0, 900.0)
    frames = FrameLabels.unknown(10)
    segment = Segment("a", vocals, vocals[::-1].copy(), frames)
    move = MoveFormants(1.0, 3.0, RATE)
    results = [move(segment, np.random.default_rng(seed)) for seed in range(8)]
    ratios = [centroid_hz(result.vocals) / centroid_hz(vocals) for result in results]
    assert min(ratios) < 0.97 and max(ratios) > 1.03 and min(ratios) > 0.8 and max(ratios) < 1.25
    for result in results:
        assert np.array_equal(result.accompaniment, segment.accompaniment) and result.frames is frames
        assert np.square(result.vocals).mean() == pytest.approx(np.square(vocals).mean(), rel=1e-4)
    silent = replace(segment, vocals=0 * vocals)
    assert move(silent, np.random.default_rng(0)) is silent
    assert MoveFormants(0.0, 3.0, RATE)(segment, np.random.default_rng(0)) is segment


def test_formants_are_drawn_for_each_item(folders):
    clips = [source(folders, "mir1k")]
    plain, moved = make(clips), make(clips, formant_probability=1.0)
    assert np.abs(plain.draw(0).vocals - moved.draw(0).vocals).max() > 1e-3


@pytest.mark.parametrize("octave", [-1, 0, 1])
def test_a_doubled_melody_follows_the_label_in_its_octave_and_at_its_level(octave):
    hop_s, num_frames = 0.01, 100
    frames = FrameLabels.unknown(num_frames)
    frames.f0_hz[10:50], frames.f0_hz[50:90] = 222.0, 331.5
    frames.pitch_weight[:] = 1.0
    audio = np.random.default_rng(0).standard_normal((2, 2, RATE)).astype(np.float32)
    segment = Segment("a", audio[0], audio[1], frames)
    double = DoubleMelody(1.0, -6.0, -6.0, hop_s, RATE)
    for seed in range(100):
        drawn = np.random.default_rng(seed)
        drawn.random()
        if drawn.choice(DOUBLE_OCTAVES, p=DOUBLE_SHARES) == octave:
            break
    doubled = double(segment, np.random.default_rng(seed))
    tone = (doubled.accompaniment - segment.accompaniment)[0]
    assert np.array_equal(doubled.vocals, segment.vocals) and doubled.accompaniment.dtype == np.float32
    assert np.square(tone).mean() == pytest.approx(np.square(segment.vocals).mean() * 10**-0.6, rel=1e-3)
    assert np.abs(tone[: int(0.09 * RATE)]).max() < 1e-5 and np.abs(tone[int(0.91 * RATE) :]).max() < 1e-5
    for begin_s, hz in ((0.15, 221.6), (0.55, 332.1)):  # seven semitones apart, half-way between
        piece = tone[int(begin_s * RATE) : int((begin_s + 0.3) * RATE)]
        spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 8 * RATE))
        lowest = np.flatnonzero(spectrum > 0.3 * spectrum.max())[0]
        peak = lowest + spectrum[lowest : lowest + 40].argmax()
        assert peak / 8 == pytest.approx(hz * 2.0**octave, rel=0.005)


def test_levels_of_doubles_the_wrong_way_round_are_refused(folders):
    with pytest.raises(ValueError, match=r"doubling_min_db is 3\.0 and doubling_max_db is 0\.0"):
        make([source(folders, "music")], doubling_min_db=3.0)


def test_nothing_is_doubled_without_a_label(folders):
    audio = np.ones((1, RATE), dtype=np.float32)
    segment = Segment("a", audio, audio, FrameLabels.unknown(100))
    assert DoubleMelody(1.0, -6.0, -6.0, 0.01, RATE)(segment, np.random.default_rng(0)) is segment
    sources = [source(folders, "mir1k")]
    plain, doubled = make(sources), make(sources, doubling_probability=1.0)
    assert np.array_equal(plain.draw(0).vocals.shape, doubled.draw(0).vocals.shape)
    assert any(np.abs(plain.draw(i).accompaniment - doubled.draw(i).accompaniment).max() > 1e-3 for i in range(3))


@pytest.mark.parametrize("speed", [1.0, 0.8])
def test_notes_are_where_the_audio_has_them(speed):
    """Played more slowly they come later, are longer, and lower; frames of a recording without notes are unknown."""
    track = make_track("c/sung", "pitch", notes=(Note(0.5, 1.0, 57.0), Note(1.0, 1.6, 60.0)))
    labels = FrameLabels.unknown(300)
    times_s = 0.01 * np.arange(250) * speed
    labels.write(slice(0, 250), track, times_s, speed)
    frames = {second: round(second / speed / 0.01) for second in (0.5, 0.75, 1.0, 1.3, 1.6, 1.9)}
    shift = 12 * np.log2(speed)
    expected = {0.75: 57.0 + shift, 1.3: 60.0 + shift, 1.9: 0.0}
    assert all(labels.note_midi[frames[second]] == pytest.approx(midi) for second, midi in expected.items())
    assert all(labels.note_onset[frames[second]] > 0.9 for second in (0.5, 1.0))
    assert all(labels.note_offset[frames[second]] > 0.9 for second in (1.0, 1.6))
    assert labels.note_onset[frames[0.75]] < 0.01 and labels.note_offset[frames[0.5]] < 0.01
    assert labels.note_weight[:250].all() and not labels.note_weight[250:].any()
    without = FrameLabels.unknown(10)
    without.write(slice(0, 10), make_track("c/clip"), times_s[:10])
    assert not without.note_weight.any() and without.pitch_weight.any()
