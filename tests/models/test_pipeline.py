"""`pipeline("majl-separation-pitch")`: what it takes, what it returns, what it refuses."""

import io

import numpy as np
import pytest
import soundfile
from transformers import pipeline

from majl_hf import MajlPipeline
from majl_hf.audio import AudioError

KEYS = {"vocals", "accompaniment", "sampling_rate", "times_s", "f0_hz", "voicing", "voiced", "confidence"}


@pytest.fixture(scope="module")
def separate(tiny_model_folder) -> MajlPipeline:
    result = pipeline("majl-separation-pitch", model=tiny_model_folder)
    assert isinstance(result, MajlPipeline)
    return result


def noise(shape, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def check(output: dict, audio: np.ndarray, rate: int) -> None:
    """The promises that hold for every input."""
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


def test_lists_mix_what_they_like(separate):
    songs = [noise(5_000), noise((2, 300), 1), noise((1, 20_000), 2)]
    rates = [16_000, 44_100, 8_000]
    outputs = separate([{"array": song, "sampling_rate": rate} for song, rate in zip(songs, rates, strict=True)])
    for output, song, rate in zip(outputs, songs, rates, strict=True):
        check(output, song, rate)


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
        ({"array": np.zeros(100, dtype=np.int16), "sampling_rate": 16_000}, ValueError, "int16.*32768"),
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
