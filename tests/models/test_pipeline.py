"""`pipeline("majl-separation-pitch")`: what it takes, what it returns, what it refuses."""

import io

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from listening import RATE, listening_model, melody
from transformers import pipeline

import majl_hf
from majl_hf import MajlModel, MajlPipeline
from majl_hf.audio import AudioError
from majl_hf.models.notes_majl import SungNote
from majl_hf.models.streaming_majl import separate_array

KEYS = {"notes", "vocals", "accompaniment", "sampling_rate", "times_s", "f0_hz", "voicing", "voiced", "confidence"}


@pytest.fixture(scope="module")
def separate(tiny_model_folder) -> MajlPipeline:
    result = pipeline("majl-separation-pitch", model=tiny_model_folder)
    assert isinstance(result, MajlPipeline)
    return result


def noise(shape, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def check(output: dict, audio: np.ndarray, rate: int) -> None:
    """What is true for every input."""
    assert output.keys() == KEYS and output["sampling_rate"] == rate
    for name in ("vocals", "accompaniment"):
        assert output[name].shape == audio.shape and output[name].dtype == np.float32
    ulp = np.spacing(np.abs(audio).max())
    assert np.abs(output["vocals"] + output["accompaniment"] - audio).max() <= ulp
    frames = {name: output[name] for name in ("times_s", "f0_hz", "voicing", "voiced", "confidence")}
    assert len({values.shape for values in frames.values()}) == 1
    assert (frames["f0_hz"] > 0).all() and frames["voiced"].dtype == bool
    assert ((frames["voicing"] >= 0) & (frames["voicing"] <= 1)).all()
    # 20 ms frames over the whole of the audio, whatever its rate
    assert abs(len(frames["f0_hz"]) - (1 + audio.shape[-1] / rate / 0.02)) <= 1
    np.testing.assert_allclose(frames["times_s"], np.arange(len(frames["times_s"])) * 0.02, atol=1e-9)


def test_notes_unless_they_are_not_wanted():
    separate = MajlPipeline(listening_model())
    song = {"array": melody([60, 64, 62]), "sampling_rate": RATE}
    output = separate(song)
    assert output.keys() == KEYS and separate(song, notes=False).keys() == KEYS - {"notes"}
    assert MajlPipeline(separate.model, notes=False)(song).keys() == KEYS - {"notes"}
    assert [SungNote(**note) for note in output["notes"]] == separate_array(
        separate.model, song["array"], RATE, read_notes=True
    ).notes
    assert [round(note["midi"]) for note in output["notes"]] == [60, 64, 62]
    assert majl_hf.separate(song, model=separate.model)["notes"] == output["notes"]
    assert len(separate(song, min_note_s=1.5)["notes"]) < 3
    with pytest.raises(ValueError, match="note_threshold is 2"):
        separate(song, note_threshold=2)


@pytest.mark.parametrize("num_channels", [None, 1, 2])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("length", [1, 2, 319, 320, 321, 10_007])
def test_rates_channels_and_lengths_are_kept(separate, length, rate, num_channels):
    audio = noise(length if num_channels is None else (num_channels, length))
    check(separate({"array": audio, "sampling_rate": rate}), audio, rate)


def test_files_in_every_form(separate, tmp_path):
    audio = noise((2, 9_000))
    path = tmp_path / "Lied für „Zoë“ 1.wav"
    soundfile.write(path, audio.T, 22_050, subtype="FLOAT")
    expected = separate({"array": audio, "sampling_rate": 22_050})
    with open(path, "rb") as stream:
        forms = [str(path), path, path.read_bytes(), stream, io.BytesIO(path.read_bytes())]
        outputs = separate(forms)
    assert len(outputs) == len(forms)
    for output in outputs:
        check(output, audio, 22_050)
        assert np.array_equal(output["vocals"], expected["vocals"])
        assert np.array_equal(output["f0_hz"], expected["f0_hz"])


def test_lists_may_mix_kinds_of_input(separate):
    songs = [noise(5_000), noise((2, 300), 1), noise((1, 20_000), 2)]
    rates = [16_000, 44_100, 8_000]
    outputs = separate([{"array": song, "sampling_rate": rate} for song, rate in zip(songs, rates, strict=True)])
    for output, song, rate in zip(outputs, songs, rates, strict=True):
        check(output, song, rate)


class Samples:
    """As torchcodec's decoder returns them."""

    def __init__(self, data, sample_rate: int):
        self.data, self.sample_rate = data, sample_rate


class Decoder(Samples):
    """As torchcodec's `AudioDecoder`, which `datasets` returns."""

    def get_all_samples(self) -> Samples:
        return Samples(self.data, self.sample_rate)


def test_what_datasets_returns_is_taken(separate, tmp_path):
    audio = noise((2, 9_000))
    path = tmp_path / "song.wav"
    soundfile.write(path, audio.T, 22_050, subtype="FLOAT")
    tensor = torch.from_numpy(audio)
    table = Dataset.from_dict({"audio": [str(path)] * 2}).cast_column("audio", Audio(decode=False))
    forms = [
        {"array": audio, "sampling_rate": 22_050, "path": None},
        {"array": tensor.requires_grad_(), "sampling_rate": torch.tensor(22_050)},
        {"array": audio.tolist(), "sampling_rate": "22050"},
        {"array": audio.astype(np.float64), "sampling_rate": 22_050.0},
        {"bytes": path.read_bytes(), "path": "song.wav"},
        {"bytes": None, "path": str(path)},
        table[0]["audio"],
        Decoder(tensor, 22_050),
        Samples(tensor, 22_050),
    ]
    expected = separate(forms[0])
    for outputs in (separate(forms), separate(tuple(forms[1:3])), separate(table["audio"])):
        for output in outputs:
            check(output, audio, 22_050)
            assert output["sampling_rate"] == 22_050 and isinstance(output["sampling_rate"], int)
            np.testing.assert_array_equal(output["vocals"], expected["vocals"])
    assert len(separate(table["audio"])) == 2 and separate([]) == [] and separate(()) == []


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float16", "bfloat16", "float64"])
def test_samples_are_scaled_by_their_type(separate, dtype):
    audio = noise(5_000)
    is_integer = "int" in dtype
    scale = 2.0 ** (torch.iinfo(getattr(torch, dtype)).bits - 1) if is_integer else 1.0
    samples = torch.from_numpy(audio.astype(np.float64) * scale + (scale if dtype == "uint8" else 0.0))
    samples = samples.to(getattr(torch, dtype))
    output = separate({"array": samples, "sampling_rate": 16_000})
    mixture = output["vocals"] + output["accompaniment"]
    assert mixture.dtype == np.float32
    assert np.abs(mixture - audio).max() <= {"uint8": 1 / 128, "int8": 1 / 128, "bfloat16": 2e-3}.get(dtype, 3e-4)


def test_a_model_in_training_mode_is_used_in_evaluation_mode(tiny_model_folder):
    model = MajlModel.from_pretrained(tiny_model_folder)
    model.separator.head = torch.nn.Sequential(model.separator.head, torch.nn.Dropout(0.5))
    separate, song = MajlPipeline(model), {"array": noise(8_000), "sampling_rate": 16_000}
    expected = separate(song)
    model.train()
    model.pitch_estimator.eval()
    found = separate(song)
    np.testing.assert_array_equal(found["vocals"], expected["vocals"])
    np.testing.assert_array_equal(found["f0_hz"], expected["f0_hz"])
    assert model.training and model.separator.head[1].training and not model.pitch_estimator.training


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_weights_of_any_type(tiny_model_folder, separate, dtype):
    song = {"array": noise(8_000), "sampling_rate": 16_000}
    expected, found = separate(song), pipeline("majl-separation-pitch", model=tiny_model_folder, dtype=dtype)(song)
    assert found["vocals"].dtype == np.float32
    assert np.abs(found["vocals"] - expected["vocals"]).max() < 1e-2 * np.abs(song["array"]).max()
    assert np.median(np.abs(1200 * np.log2(found["f0_hz"] / expected["f0_hz"]))) < 5


def test_batch_size_changes_nothing(tiny_model_folder):
    audio = {"array": noise(16_000 * 50), "sampling_rate": 16_000}
    outputs = [pipeline("majl-separation-pitch", model=tiny_model_folder, batch_size=size)(audio) for size in (1, 3)]
    np.testing.assert_allclose(outputs[0]["vocals"], outputs[1]["vocals"], atol=1e-5, rtol=0)
    assert np.abs(1200 * np.log2(outputs[0]["f0_hz"] / outputs[1]["f0_hz"])).max() < 1


def test_voicing_can_be_chosen(separate):
    audio = {"array": noise(8_000), "sampling_rate": 16_000}
    assert separate(audio, voicing_policy="always")["voiced"].all()
    output = separate(audio, voicing_threshold=0.9)
    assert np.array_equal(output["voiced"], output["voicing"] >= 0.9)


def test_digital_silence_is_fine(separate):
    audio = np.zeros((2, 5_000), dtype=np.float32)
    output = separate({"array": audio, "sampling_rate": 16_000})
    assert not output["vocals"].any() and np.isfinite(output["f0_hz"]).all()


def test_clipping_is_kept(separate):
    audio = np.clip(noise((2, 5_000)) * 40, -2.0, 2.0)
    check(separate({"array": audio, "sampling_rate": 16_000}), audio, 16_000)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"array": noise((100, 2)), "sampling_rate": 16_000}, ValueError, r"\(100, 2\).*transpose it"),
        ({"array": noise((6, 100)), "sampling_rate": 16_000}, ValueError, r"\(6, 100\).*mix its channels down"),
        ({"array": noise((1, 1, 9)), "sampling_rate": 16_000}, ValueError, r"\(1, 1, 9\)"),
        ({"array": noise(100)}, ValueError, "sampling_rate"),
        ({"array": noise(100), "sampling_rate": None}, ValueError, "sampling_rate"),
        ({"array": noise(100), "sampling_rate": 1_000}, ValueError, "1000 Hz"),
        ({"raw": noise(100), "sampling_rate": 16_000}, ValueError, r"\['raw', 'sampling_rate'\]"),
        ({"array": np.zeros(100, dtype=np.int64), "sampling_rate": 16_000}, ValueError, "int64.*int16"),
        ({"array": [[0.0], [0.0, 0.0]], "sampling_rate": 16_000}, ValueError, "equal lengths"),
        ({"array": noise(100), "sampling_rate": "fast"}, ValueError, "'fast'; a whole number of Hz"),
        ({"bytes": None, "path": None}, ValueError, r"\['bytes', 'path'\]"),
        (noise(100), ValueError, "without a sampling rate"),
        ({"array": np.zeros(0, dtype=np.float32), "sampling_rate": 16_000}, ValueError, "no samples"),
        ({"array": np.array([0, np.nan], dtype=np.float32), "sampling_rate": 16_000}, ValueError, "NaN"),
        ({"array": np.array([0, np.inf], dtype=np.float32), "sampling_rate": 16_000}, ValueError, "infinite"),
        (b"", AudioError, "empty"),
        (b"this is no music at all, only text", AudioError, "not audio"),
        ("missing.wav", AudioError, "missing.wav"),
    ],
)
def test_bad_input_is_named(separate, inputs, error, message):
    with pytest.raises(error, match=message):
        separate(inputs)


def test_unknown_arguments_are_refused(separate):
    with pytest.raises(TypeError, match="volume"):
        separate({"array": noise(100), "sampling_rate": 16_000}, volume=11)


def test_a_batch_size_below_1_is_refused(separate, tiny_model_folder):
    audio = {"array": noise(100), "sampling_rate": 16_000}
    for call in (
        lambda: separate(audio, batch_size=0),
        lambda: pipeline("majl-separation-pitch", model=tiny_model_folder, batch_size=0)(audio),
        lambda: majl_hf.separate(audio, model=separate.model, batch_size=0),
    ):
        with pytest.raises(ValueError, match="batch_size is 0; at least 1 is needed"):
            call()
