"""scripts/evaluate.py on fabricated corpora."""

import json

import pytest


@pytest.fixture(scope="module")
def script(load_script):
    return load_script("evaluate")


def test_two_systems_on_two_corpora_in_one_file(script, mir1k_folder, stems_folder, tmp_path, capsys):
    output = tmp_path / "results.json"
    arguments = ["--system", "mixture", "--system", "oracle-mask", "--output", str(output)]
    corpora = ["--mir1k", str(mir1k_folder), "--split-column", "my_split", "--split", "validation"]
    assert script.main([*arguments, *corpora, "--stems", str(stems_folder), "--songs", "first"]) == 0
    runs = json.loads(output.read_text())["runs"]
    assert sorted(runs) == [
        "mixture/MIR-1K/my_split=validation",
        "mixture/album/first",
        "oracle-mask/MIR-1K/my_split=validation",
        "oracle-mask/album/first",
    ]
    assert runs["oracle-mask/album/first"]["metrics"]["nsdr_db"]["mean"] > 3
    printed = capsys.readouterr().out
    assert "oracle-mask/album/first" in printed and "SI-SDR, dB" in printed


def test_a_trial_is_kept_apart(script, mir1k_folder, tmp_path):
    output = tmp_path / "results.json"
    arguments = ["--system", "mixture", "--mir1k", str(mir1k_folder), "--limit", "1", "--output", str(output)]
    assert script.main(arguments) == 0
    (key,) = json.loads(output.read_text())["runs"]
    assert key == "mixture/MIR-1K/all/first-1"


def test_a_folder_that_is_not_there_is_an_error_without_traceback(script, tmp_path, capsys):
    arguments = ["--system", "mixture", "--mir1k", str(tmp_path / "none"), "--output", str(tmp_path / "r.json")]
    assert script.main(arguments) == 2
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mir1k", "x"], "give --model or --system"),
        (["--system", "mixture"], "give --mir1k, --stems or --stem-file"),
        (["--system", "mixture", "--mir1k", "x", "--split", "test"], "belong together"),
        (["--system", "mixture", "--mir1k", "x", "--name", "y"], "exactly one --model"),
    ],
)
def test_arguments_that_make_no_sense(script, arguments, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        script.main([*arguments, "--output", "r.json"])
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err
