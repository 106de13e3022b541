"""`majl evaluate` and `majl calibrate` on fabricated corpora."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from majl_hf import MajlConfig, evaluation
from majl_hf.cli import app
from majl_hf.evaluation.calibration import CALIBRATED
from majl_hf.mixing.config import FOLDERS
from majl_hf.rows.build import build_corpus


def majl(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_two_systems_on_three_corpora_in_one_file(mir1k_folder, stems_folder, tmp_path):
    output = tmp_path / "results.json"
    built = build_corpus(FOLDERS["mir1k"](folder=str(mir1k_folder)).load(), tmp_path / "built").out
    corpora = ["--mir1k", mir1k_folder, "--split-column", "my_split", "--split", "validation"]
    corpora += ["--stems", stems_folder, "--songs", "first"]
    result = majl("evaluate", "--system", "mixture", "--system", "oracle-mask", "-o", output, *corpora)
    assert result.exit_code == 0, result.output
    assert majl("evaluate", "--system", "mixture", "-o", output, "--rows", built, "--split", "train").exit_code == 0
    runs = json.loads(output.read_text())["runs"]
    assert sorted(runs) == [
        "mixture/MIR-1K/my_split=validation",
        "mixture/album/first",
        "mixture/built/train",
        "oracle-mask/MIR-1K/my_split=validation",
        "oracle-mask/album/first",
    ]
    assert runs["oracle-mask/album/first"]["metrics"]["nsdr_db"]["mean"] > 3
    assert "oracle-mask/album/first" in result.stdout and "SI-SDR, dB" in result.stdout


def test_a_trial_is_kept_apart(mir1k_folder, tmp_path):
    output = tmp_path / "results.json"
    assert majl("evaluate", "--system", "mixture", "--mir1k", mir1k_folder, "--limit", "1", "-o", output).exit_code == 0
    (key,) = json.loads(output.read_text())["runs"]
    assert key == "mixture/MIR-1K/all/first-1"


def test_a_folder_that_is_not_there_is_an_error_without_traceback(tmp_path):
    result = majl("evaluate", "--system", "mixture", "--mir1k", tmp_path / "none", "-o", tmp_path / "r.json")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert not (tmp_path / "r.json").exists()


def test_a_broken_results_file_is_refused_before_scoring(stems_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *_, **__: pytest.fail("scored"))
    output = tmp_path / "results.json"
    for content in (b"{", b"\xff", b"[]"):
        output.write_bytes(content)
        result = majl("evaluate", "--system", "mixture", "--stems", stems_folder, "-o", output)
        assert result.exit_code == 2 and "results" in result.stderr
        assert output.read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "--mir1k", "x"], "give --model or --system"),
        (["evaluate", "--system", "mixture"], "give --mir1k, --stems, --stem-file or --rows"),
        (["evaluate", "--system", "mixture", "--mir1k", "x", "--split", "test"], "must be given together"),
        (["evaluate", "--system", "mixture", "--mir1k", "x", "--split-column", "y"], "must be given together"),
        (["evaluate", "--system", "mixture", "--mir1k", "x", "--rows", "y", "--split", "test"], "given together; to"),
        (["evaluate", "--system", "mixture", "--rows", "x", "--split-column", "y"], "--split-column needs --mir1k"),
        (["evaluate", "--system", "mixture", "--stems", "x", "--split", "test"], "--split needs --mir1k or --rows"),
        (["evaluate", "--system", "mixture", "--mir1k", "x", "--songs", "y"], "--songs needs --stems"),
        (["evaluate", "--system", "mixture", "--mir1k", "x", "--voicing-threshold", "0.5"], "need a --model"),
        (["evaluate", "--model", "majl-base", "--mir1k", "x", "--voicing-threshold", "7"], "between 0 and 1"),
        (["evaluate", "--system", "mixture", "--mir1k", "x", "--name", "y"], "exactly one --model"),
        (["evaluate", "--system", "absent", "--mir1k", "x"], "no system 'absent'"),
        (["evaluate", "--system", "demucs", "--mir1k", "x"], "give `--weights demucs=PATH`"),
        (["evaluate", "--system", "demucs", "--weights", "x", "--mir1k", "x"], "--weights got 'x'; NAME=PATH"),
        (["evaluate", "--model", "majl-base", "--weights", "demucs=x", "--mir1k", "x"], "--weights needs a --system"),
        (["evaluate", "--model", "absent", "--mir1k", "x"], "no model 'absent'"),
        (["evaluate", "--model", "absent/absent", "--mir1k", "x"], "'absent/absent' cannot be loaded: "),
        (["calibrate", "folder"], "either --mir1k or --rows"),
        (["calibrate", "folder", "--rows", "x", "--split-column", "y"], "--split-column needs --mir1k"),
        (["calibrate", "folder", "--mir1k", "x"], "has no config.json"),
    ],
)
def test_arguments_that_make_no_sense(arguments, words):
    output = ["-o", "r.json"] if arguments[0] == "evaluate" else []
    result = majl(*arguments, *output)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_calibration_is_written_into_the_config_alone(tiny_model_folder, mir1k_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    arguments = ["calibrate", folder, "--mir1k", mir1k_folder, "--split-column", "my_split", "--keep-path"]
    before, weights = (folder / "config.json").read_text(), (folder / "model.safetensors").read_bytes()
    trial = majl(*arguments, "--dry-run")
    assert trial.exit_code == 0, trial.output
    assert (folder / "config.json").read_text() == before
    report = json.loads(majl(*arguments).stdout)
    assert report == json.loads(trial.stdout)
    assert report["clips"] == 2 and report["after"]["oa"] >= report["before"]["oa"]
    assert report["chosen"].keys() == set(CALIBRATED)
    written, untouched = (json.loads(text) for text in ((folder / "config.json").read_text(), before))
    assert {name: written[name] for name in CALIBRATED} == report["chosen"]
    changed = {name for name in written if written[name] != untouched.get(name)}
    assert changed <= {"voicing_scale", "voicing_bias", "voicing_threshold"}
    assert MajlConfig.from_pretrained(folder).voicing_threshold == report["chosen"]["voicing_threshold"]
    assert (folder / "model.safetensors").read_bytes() == weights
