"""scripts/benchmark.py: its input, its measurements, and what it writes."""

import contextlib
import json
import resource
import sys

import numpy as np
import pytest
import soundfile
import yaml

from majl_hf.checkpoints import SHIPPED


@pytest.fixture(scope="module")
def benchmark(load_script):
    return load_script("benchmark")


def test_the_song_has_its_length_and_comes_from_its_seed(benchmark, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        benchmark.make_song(str(tmp_path / name) + ".wav", 5.3, seed)
    audio, rate = soundfile.read(tmp_path / "a.wav")
    assert (audio.shape, rate) == ((round(5.3 * 44100), 2), 44100)
    assert 0.2 < np.abs(audio).max() < 0.99
    assert np.abs(audio[:, 0] - audio[:, 1]).max() > 0.01
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "c.wav").read_bytes()


def test_peak_memory_and_time_are_the_childs(benchmark):
    program = (
        "import time; block = bytearray({}) ; block[::4096] = bytes(len(block[::4096])); time.sleep(0.3); print(7)"
    )
    small, text = benchmark.run_process([sys.executable, "-c", program.format(1)], None)
    # A child's peak is at least that of the process which started it, and the tests' process is large: more than that.
    own_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
    large, _ = benchmark.run_process([sys.executable, "-c", program.format((own_mib + 200) * 2**20)], None)
    assert text.strip() == "7"
    assert large["peak_memory_mib"] > own_mib + 200
    assert large["peak_memory_mib"] > small["peak_memory_mib"]
    assert 0.3 < small["process_s"] < 30


def test_a_process_that_fails_is_reported_with_its_words(benchmark):
    with pytest.raises(RuntimeError, match=r"(?s)exited with 3.*out of luck"):
        benchmark.run_process([sys.executable, "-c", "import sys; print('out of luck'); sys.exit(3)"], None)


def test_functions_run_in_a_process_of_their_own(benchmark, tmp_path):
    measured, returned = benchmark.call(benchmark.make_song, str(tmp_path / "song.wav"), 0.1)
    assert returned is None
    assert soundfile.info(tmp_path / "song.wav").frames == 4410
    assert measured["peak_memory_mib"] > 1


def test_speed_and_memory_are_written_beside_other_sections(
    benchmark, tiny_model_folder, tmp_path, capsys, monkeypatch
):
    # Only the command line runs in its own process here: each start costs seconds.
    monkeypatch.setattr(benchmark, "call", lambda function, *arguments, **_: ({}, function(*arguments)))
    output = tmp_path / "benchmark.json"
    output.write_text('{"training": {"kept": true}}')
    arguments = ["--model", str(tiny_model_folder), "--duration-s", "3", "--repeat", "1", "--threads", "1"]
    assert benchmark.main([*arguments, "--skip-rivals", "--output", str(output), "--workdir", str(tmp_path)]) == 0
    results = json.loads(output.read_text())
    assert results["training"] == {"kept": True}
    inference = results["inference"]
    majl = inference["results"]["majl"]
    assert list(inference["results"]) == ["majl"]
    assert majl["real_time_factor"] == pytest.approx(majl["wall_s"] / 3)
    assert 0 < majl["wall_s"] < majl["process_s"]
    assert majl["peak_memory_mib"] > 100
    assert len(inference["checkpoint_sha256"]) == 64
    assert inference["packages"]["torch"]
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.json"]
    assert "majl, run 1 of 1" in capsys.readouterr().out


def test_two_trees_take_turns_and_the_times_of_the_stages_are_counted(
    benchmark, tiny_model_folder, tmp_path, capsys, monkeypatch
):
    order = []

    @contextlib.contextmanager
    def trees(commit):
        yield {"now": None, commit: tmp_path}

    def run_cli(options, path, folder, tree=None):
        order.append(tree)
        seconds = 2.0 if tree is None else 8.0
        return {"wall_s": seconds, "processor_s": seconds, "peak_memory_mib": 100.0, "process_s": seconds}

    monkeypatch.setattr(benchmark, "trees", trees)
    monkeypatch.setattr(benchmark, "run_cli", run_cli)
    monkeypatch.setattr(
        benchmark, "call", lambda function, *_, **__: ({}, {"wall_s": 1.0, "stages_s": {"refiner": 0.5}})
    )
    output = tmp_path / "benchmark.json"
    assert benchmark.main(["--against", "abc", "--repeat", "2", "--output", str(output)]) == 0
    results = json.loads(output.read_text())["against"]["results"]
    assert order == [None, tmp_path, None, tmp_path]
    assert results["ratio"] == {"wall_s": 0.25, "processor_s": 0.25, "peak_memory_mib": 1.0}
    assert len(results["abc"]["runs"]) == 2 and results["abc"]["profile"]["stages_s"] == {"refiner": 0.5}
    assert "wall_s 0.25" in capsys.readouterr().out


def test_a_commit_that_does_not_exist_is_reported(benchmark, tmp_path, capsys):
    arguments = ["--viterbi", "--against", "no-such-commit", "--output", str(tmp_path / "benchmark.json")]
    assert benchmark.main(arguments) == 1
    assert "'no-such-commit' cannot be checked out" in capsys.readouterr().err


def test_songs_an_hour_leave_out_loading_the_model(benchmark, tmp_path, monkeypatch):
    def run_cli(options, path, folder, tree=None):
        seconds = 10.0 + 1.5 * len(list(path.iterdir()))
        return {"wall_s": 1.5, "all_s": seconds, "processor_s": seconds, "peak_memory_mib": 100.0}

    monkeypatch.setattr(benchmark, "run_cli", run_cli)
    monkeypatch.setattr(benchmark, "call", lambda function, *arguments, **_: ({}, function(*arguments)))
    output = tmp_path / "benchmark.json"
    arguments = ["--songs", "3", "--duration-s", "3", "--repeat", "1", "--output", str(output)]
    monkeypatch.setattr(benchmark, "provenance", lambda model: {})
    assert benchmark.main(arguments) == 0
    run = json.loads(output.read_text())["songs"]["results"]["now"]["runs"][0]
    assert (run["songs_an_hour"], run["real_time_factor"]) == (pytest.approx(2400), pytest.approx(0.5))


def test_decoding_is_timed_with_its_parts(benchmark, monkeypatch):
    from majl_hf.models.decoding_majl import PitchDecoder
    from majl_hf.models.viterbi_majl import Viterbi

    monkeypatch.setattr(PitchDecoder, "push", PitchDecoder.push)  # is wrapped, and restored after the test
    monkeypatch.setattr(Viterbi, "push", Viterbi.push)
    monkeypatch.setattr(
        benchmark, "STAGES", {name: benchmark.STAGES[name] for name in ("decode the pitch", "of which Viterbi")}
    )
    measured = benchmark.measure_decoding(500)
    stages = measured["stages_s"]
    assert 0 < stages["of which Viterbi"] < stages["decode the pitch"] <= measured["wall_s"]


def test_start_up_is_printed(benchmark, capsys):
    assert benchmark.main(["--start-up", "--repeat", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["import majl_hf", "majl --help"]
    assert all(0 < float(line.rpartition(": ")[2].removesuffix(" s")) < 60 for line in lines)


def test_training_throughput(benchmark, tiny_model_folder, mir1k_folder, tmp_path):
    config = {
        "model": str(tiny_model_folder),
        "data": {
            "segment_samples": 8000,
            "sources": [{"kind": "mir1k", "folder": str(mir1k_folder), "full": {"original_probability": 1.0}}],
        },
        "arguments": {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 1000,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 3,
            "use_cpu": True,
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    measured = benchmark.measure_training(str(tmp_path / "config.yaml"), 2, 1, None, bf16=False)
    assert (measured["num_steps"], measured["items_per_step"], measured["segment_s"]) == (2, 6, 0.5)
    assert measured["audio_s_per_s"] == pytest.approx(2 * 6 * 0.5 / measured["wall_s"])
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(5400)
@pytest.mark.skipif("majl-base" not in SHIPPED, reason="the checkpoint majl-base is not in this installation")
def test_two_hours_take_no_more_memory_than_ten_minutes(benchmark, tmp_path):
    output = tmp_path / "benchmark.json"
    assert benchmark.main(["--minutes", "10", "120", "--output", str(output), "--workdir", str(tmp_path)]) == 0
    memory = json.loads(output.read_text())["memory"]["results"]
    assert memory["longest_to_shortest"] <= 1.1
    assert [run["num_samples"] for run in memory["by_minutes"].values()] == [600 * 44_100, 7200 * 44_100]
