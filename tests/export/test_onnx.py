"""Models exported to ONNX: the same results as torch's, the folder's own command line, no torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch

from majl_hf import separate
from majl_hf.checkpoints import find_checkpoint, licence_files
from majl_hf.checkpoints.loading import load_model
from majl_hf.cli.export import Weights, licence_sentence
from majl_hf.errors import MajlError
from majl_hf.evaluation import MajlSystem
from majl_hf.export import onnx_graph, onnx_main
from majl_hf.export.onnx_folder import export_onnx
from majl_hf.export.onnx_graph import Graph
from majl_hf.export.onnx_parts import Stft, part_graphs
from majl_hf.models.configuration_majl import MajlConfig
from majl_hf.models.modeling_majl import MajlModel
from majl_hf.models.onnx_majl import OnnxModel, is_onnx_folder
from majl_hf.models.spleeter_majl import ZeroUpConv

RATE = 16_000


@pytest.fixture(scope="module")
def model() -> MajlModel:
    """All parts that can be exported, tiny, with every addition of the separator and random weights throughout."""
    config = MajlConfig(
        separator_config={"preset": "spleeter-tiny", "num_channels": 2, "second_pass_frames": 3},
        pitch_estimator_config={"preset": "fcpe-tiny"},
        refiner_config={"n_fft": 512, "hop_length": 128, "num_bins": 104, "hidden_channels": 4},
        note_estimator_config={"num_mels": 16, "hidden_size": 8, "dilations": (1, 2)},
        window_s=1.0,
        margin_s=0.1,
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = MajlModel(config).eval()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 2.0)
            if isinstance(module, (ZeroUpConv, type(model.refiner.head))):
                module.weight.normal_(std=0.3)
        model.separator.upper_band_scale.fill_(0.4)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory) -> Path:
    temporary = tmp_path_factory.mktemp("exported")
    licence = temporary / "LICENSE"
    licence.write_text("Do what you like.")
    return export_onnx(model, temporary / "tiny", "tiny", "Random weights.", [licence])


def test_the_licence_travels_with_the_weights(folder):
    assert "Random weights." in (folder / "README.md").read_text()
    assert (folder / "LICENSE").read_text() == "Do what you like."
    assert "see LICENSE" in licence_sentence("majl-base") and licence_files(find_checkpoint("majl-base"))


@pytest.fixture(scope="module")
def exported(folder) -> OnnxModel:
    return OnnxModel(folder, threads=1)


@pytest.fixture
def song(tmp_path) -> Path:
    soundfile.write(tmp_path / "song.wav", _song(2.3).T, RATE, subtype="FLOAT")
    return tmp_path / "song.wav"


def _song(seconds: float, num_channels: int = 2) -> np.ndarray:
    times_s = np.arange(round(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 220 * k * times_s) / k for k in range(1, 8)) * (np.sin(3 * times_s) > -0.5)
    noise = np.random.default_rng(0).standard_normal((num_channels, len(times_s)))
    return (0.1 * voice + 0.05 * noise).astype(np.float32)


# Frames and hops that are powers of two or not, rows that are odd, bins that fill the rows or do not.
@pytest.mark.parametrize(
    ("n_fft", "hop_length", "num_bins"), [(512, 128, 104), (1024, 160, 513), (225, 75, 60), (480, 120, 240)]
)
def test_spectra_are_fourier_transforms_and_come_back(n_fft, hop_length, num_bins):
    num_frames = 7
    samples = np.random.default_rng(0).standard_normal((2, n_fft + (num_frames - 1) * hop_length)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft, axis=1)[:, ::hop_length]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    expected = np.fft.fft(frames * window, axis=2).transpose(0, 2, 1)

    g = Graph()
    stft = Stft(g, n_fft, hop_length, num_bins)
    real, imaginary = stft.frames("waveform")
    names = {"real": real, "imaginary": imaginary, "sum": stft.overlap_added(real, imaginary)}
    shapes = {name: ("count", "bins", "frames") for name in ("real", "imaginary")} | {"sum": ("count", "samples")}
    graph = g.model({"waveform": ("count", "num_samples")}, shapes, names).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    real, imaginary, total = session.run(None, {"waveform": samples})

    assert stft.rows * stft.columns == n_fft and num_bins <= stft.num_computed == real.shape[1]
    bins = np.arange(stft.num_computed)
    np.testing.assert_allclose(real + 1j * imaginary, expected[:, bins], atol=1e-4)
    # Each frame is the real part of the sum over the bins alone.
    waves = np.exp(2j * np.pi * np.outer(np.arange(n_fft), bins) / n_fft)
    back = np.real(waves @ expected[:, bins]) * 2 / n_fft * window[:, None]
    added = np.zeros_like(samples)
    for frame in range(num_frames):
        added[:, frame * hop_length : frame * hop_length + n_fft] += back[..., frame]
    np.testing.assert_allclose(total, added, atol=1e-4)


@pytest.mark.parametrize(("weights", "max_error"), [("float16", 1e-5), ("int8", 1e-3)])
def test_small_weights_change_results_little(model, exported, folder, tmp_path, monkeypatch, weights, max_error):
    monkeypatch.setattr(onnx_graph, "LEAST_ROUNDED", 1024)  # the tiny model's layers are small
    small = OnnxModel(export_onnx(model, tmp_path / "small", "tiny", "", weights=weights), threads=1)
    assert weights in (tmp_path / "small" / "README.md").read_text()
    name = "pitch_estimator.onnx"
    assert (tmp_path / "small" / name).stat().st_size < 0.95 * (folder / name).stat().st_size
    mixture = _song(0.5)[None]
    for part, inputs in (("separator", (mixture,)), ("pitch_estimator", (mixture[:, 0],))):
        exact, changed = getattr(exported.parts(), part)(*inputs), getattr(small.parts(), part)(*inputs)
        assert 0 < np.square(changed - exact).sum() < max_error * np.square(exact).sum()


def test_the_command_knows_all_types_of_weights():
    assert [str(choice) for choice in Weights] == list(onnx_graph.WEIGHTS)


def test_an_exported_model_can_be_evaluated(model, folder):
    system, mixture = MajlSystem.from_pretrained(str(folder), threads=1), _song(0.5)
    assert system.name == "tiny" and system.model.num_workers == 1
    output, expected = system(mixture, RATE), MajlSystem(model)(mixture, RATE)
    np.testing.assert_allclose(output.vocals, expected.vocals, atol=1e-4)
    np.testing.assert_allclose(output.pitch.voicing, expected.pitch.voicing, atol=1e-3)


def test_weights_in_int8_have_a_scale_for_each_output_channel():
    generator, inputs = np.random.default_rng(0), 700
    gains = np.logspace(-6, 3, 384)  # of the output channels
    matrix = generator.standard_normal((inputs, 384)) * gains
    matrix[:, 3] = 0
    kernels = matrix.T[:, :, None, None]

    def computed(weights: str) -> tuple[list[np.ndarray], onnx.ModelProto]:
        g = Graph(weights)
        names = {"rows": g.MatMul("row", matrix), "again": g.MatMul("row", matrix), "pixels": g.Conv("pixel", kernels)}
        shapes = {"rows": (1, 384), "again": (1, 384), "pixels": (1, 384, 1, 1)}
        model = g.model({"row": (1, inputs), "pixel": (1, inputs, 1, 1)}, shapes, names)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        row = np.ones((1, inputs), np.float32)
        return [array.ravel() for array in session.run(None, {"row": row, "pixel": row[..., None, None]})], model

    (exact, _), (rounded, model) = computed("float32"), computed("int8")
    step = np.abs(matrix).max(axis=0) / 127
    for before, after in zip(exact, rounded, strict=True):
        assert (np.abs(after - before) <= 6 * np.sqrt(inputs / 12) * step).all()  # a sum of uniform errors
        assert after[3] == 0
    assert len(model.SerializeToString()) < 1.1 * 2 * matrix.size  # both arrays once, a byte a weight


def test_runtimes_restore_weights_when_they_load_them(model, tmp_path, monkeypatch):
    """So that small weights cost no time: in the graph that is run, no weight is multiplied or converted any more."""
    monkeypatch.setattr(onnx_graph, "LEAST_ROUNDED", 1024)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    graph = part_graphs(model, "int8")["separator"]
    onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = [tensor.data_type for tensor in onnx.load(tmp_path / "run.onnx").graph.initializer]
    assert onnx.TensorProto.INT8 in [tensor.data_type for tensor in graph.graph.initializer]
    assert not {onnx.TensorProto.INT8, onnx.TensorProto.FLOAT16} & set(kinds)


# One sample, less than a frame, a multiple of the hops and of the network's block, a whole window, the rest of a song.
@pytest.mark.parametrize("num_samples", [1, 100, 320, 512, 1000, 17_920, 12_345])
@pytest.mark.parametrize("part", ["separator", "pitch_estimator", "refiner", "note_estimator"])
def test_a_part_equals_torch(model, exported, part, num_samples):
    mixture = _song(num_samples / RATE)[None]
    logits = 2 * np.random.default_rng(1).standard_normal((1, 1 + num_samples // 320, 360)).astype(np.float32)
    near = np.random.default_rng(2).standard_normal((1, 1 + num_samples // 128, 360)).astype(np.float32)
    inputs = {
        "separator": (mixture,),
        "pitch_estimator": (mixture[:, 0],),
        "refiner": (mixture, 0.5 * mixture, near),
        "note_estimator": (mixture[:, 0], logits),
    }[part]
    with torch.inference_mode():
        expected = getattr(model.parts(), part)(*inputs)
    actual = getattr(exported.parts(), part)(*inputs)
    several = part == "note_estimator"
    for one, other in zip(actual if several else [actual], expected if several else [expected], strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=1e-4, rtol=1e-4)


def test_windows_of_a_batch_are_independent(exported):
    batch = np.stack([_song(0.5), -0.3 * _song(0.5)[:, ::-1]])
    together = exported.separator(batch)
    np.testing.assert_allclose(together[1], exported.separator(batch[1:])[0], atol=1e-6)


def test_separate_takes_the_folder(model, folder, song):
    expected = separate(_song(2.3), RATE, model=model)
    for source, rate in ((_song(2.3), RATE), (song, None)):
        result = separate(source, rate, model=folder)
        assert result.keys() == expected.keys()
        np.testing.assert_allclose(result["vocals"], expected["vocals"], atol=1e-4)
        np.testing.assert_allclose(result["f0_hz"], expected["f0_hz"], rtol=1e-4)
    with pytest.raises(ValueError, match="sampling rate"):
        separate(_song(0.1), model=folder)


def test_the_folder_has_a_command_line(folder, model, song, tmp_path, capsys):
    out = tmp_path / "out"
    assert onnx_main.main(["separate", str(song), "-o", str(out), "--threads", "1"], folder) == 0
    vocals, rate = soundfile.read(out / "song.vocals.wav", dtype="float32")
    expected = separate(_song(2.3), RATE, model=model)
    assert rate == RATE
    np.testing.assert_allclose(vocals.T, expected["vocals"], atol=1e-4)
    f0_hz = np.loadtxt(out / "song.f0.csv", delimiter=",", skiprows=1)[:, 1]
    np.testing.assert_allclose(f0_hz, expected["f0_hz"], rtol=1e-4)
    assert onnx_main.main(["separate", str(song), "-o", str(out)], folder) == 1
    assert "--overwrite" in capsys.readouterr().err
    arguments = ["separate", str(song), "-o", str(out), "--stem", "accompaniment", "--format", "flac"]
    assert onnx_main.main(arguments, folder) == 0
    assert soundfile.info(out / "song.accompaniment.flac").subtype == "PCM_24"
    assert not list(out.glob(".*"))


def test_the_command_line_takes_other_rates_and_reports_bad_files(folder, tmp_path, capsys):
    out, bad = tmp_path / "out", tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    soundfile.write(tmp_path / "fast.wav", _song(1.0, 1)[0], 24_000)
    songs = [str(tmp_path / name) for name in ("bad.wav", "missing.wav", "fast.wav")]
    assert onnx_main.main(["separate", *songs, "-o", str(out)], folder) == 1
    assert soundfile.info(out / "fast.vocals.wav").frames == RATE
    errors = capsys.readouterr().err
    assert "bad.wav" in errors and "missing.wav" in errors
    assert sorted(path.name for path in out.iterdir()) == ["fast.accompaniment.wav", "fast.f0.csv", "fast.vocals.wav"]


def test_stopping_leaves_nothing_half_written(folder, song, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(onnx_main, "show_progress", stop)
    assert onnx_main.main(["separate", str(song), "-o", str(tmp_path / "out")], folder) == 130
    assert not list((tmp_path / "out").iterdir())


def test_nothing_imports_torch(folder, song, tmp_path):
    program = (
        "import sys\n"
        "from majl_hf.cli import app\n"
        "for verb in ('separate', 'pitch', 'transcribe'):\n"
        "    try: app([verb, sys.argv[1], '-o', sys.argv[3], '--overwrite', '--model', sys.argv[2]])\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "import majl_hf\n"
        "assert 'vocals' in majl_hf.separate(sys.argv[1], model=sys.argv[2])\n"
        "loaded = {'torch', 'transformers'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program, song, folder, tmp_path / "out"], check=True, timeout=120)
    assert (tmp_path / "out" / "song.vocals.wav").is_file()
    arguments = [sys.executable, folder, "pitch", song, "-o", tmp_path / "own", "--solo"]
    subprocess.run(arguments, check=True, timeout=60, cwd=tmp_path, env={})
    assert (tmp_path / "own" / "song.f0.csv").is_file()


def test_an_unknown_part_is_named(tiny_model_folder):
    with pytest.raises(MajlError, match=r"TinySeparator.*cannot be exported"):
        part_graphs(MajlModel.from_pretrained(tiny_model_folder))


def test_a_folder_is_replaced_only_where_asked(model, folder, tmp_path):
    with pytest.raises(MajlError, match="--overwrite"):
        export_onnx(model, folder, "tiny", "")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(MajlError, match="new folder"):
        export_onnx(model, tmp_path / "mine", "tiny", "", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "kept"


def test_a_damaged_folder_is_reported(model, tmp_path):
    folder = export_onnx(model, tmp_path / "damaged", "tiny", "")
    assert is_onnx_folder(folder) and json.loads((folder / "config.json").read_text())["frame_hop_s"] == 0.02
    (folder / "refiner.onnx").write_bytes(b"cut")
    with pytest.raises(MajlError, match=r"refiner\.onnx is missing or damaged"):
        load_model(folder)
