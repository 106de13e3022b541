"""What the weights of frames do where the true labels are known: on tones, of whose pseudo labels some are wrong."""

import json
import shutil

import numpy as np
from built_corpora import make_rows, write_built


def test_wrong_labels_are_counted(tmp_path, tiny_model_folder, load_script, capsys):
    full = make_rows({"full": 3}, duration_s=1.5)
    pseudo = [{**row, "label_kind": "pseudo", "f0_hz": np.zeros_like(row["f0_hz"])} for row in full[:2]]
    shutil.copytree(tiny_model_folder, tmp_path / "run/stage_1")
    write_built(tmp_path / "run/pseudo_labels", pseudo)
    rows = str(write_built(tmp_path / "rows", full))
    output = tmp_path / "weights.json"
    given = ["--run", str(tmp_path / "run"), "--rows", rows, "--labelled", rows, "--output", str(output)]
    assert load_script("experiments/measure_weights").main(given) == 0
    result = json.loads(output.read_text())
    labels, sung = result["labels"], np.mean([np.mean(row["f0_hz"] > 0) for row in full[:2]])
    assert result["num_songs"] == 2 and sung > 0
    assert abs(labels["wrong"]["mean"] - sung) < 0.05
    assert labels["wrong"] == labels["sung, called unvoiced"] and labels["unvoiced, called sung"]["mean"] == 0
    assert result["gradients"]["separation, separator"]["equal"]["cosine"]["mean"] > 0.999
    assert output.with_suffix(".md").read_text() in capsys.readouterr().out
    assert load_script("experiments/measure_weights").main([*given[:3], str(tmp_path / "absent"), *given[4:]]) == 1
