"""The page of `majl evaluate --html`: its figures, its curves, and that it needs nothing else."""

import base64
import io
import json
import re

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from majl_hf.cli import app
from majl_hf.corpora.labels import PitchLabel
from majl_hf.evaluation import PitchTrack, SystemOutput
from majl_hf.evaluation.report import NUM_WORST, Register, Report, level_db, registers, write_page
from majl_hf.evaluation.runner import ItemScores
from majl_hf.mixing.clips import ValidationClip

RATE = 8000


def clip_of(name: str, f0_hz, seconds: float = 1.0, gain: float = 1.0) -> ValidationClip:
    """A clip of noise, whose label is f0 every 10 ms."""
    generator = np.random.default_rng(0)
    vocals, other = 0.1 * generator.standard_normal((2, 1, round(seconds * RATE))).astype(np.float32)
    label = PitchLabel(np.asarray(f0_hz, dtype=float), hop_s=0.01)
    return ValidationClip(
        name, "song", name[0], RATE, vocals * np.float32(gain) + other, vocals * np.float32(gain), label
    )


def output_of(clip: ValidationClip, f0_hz, voiced=True, hop_s: float = 0.01) -> SystemOutput:
    f0_hz = np.asarray(f0_hz, dtype=float)
    track = PitchTrack(np.arange(len(f0_hz)) * hop_s, f0_hz, np.broadcast_to(voiced, f0_hz.shape))
    return SystemOutput(0.5 * clip.mixture, track)


def scored(clip: ValidationClip, **scores) -> ItemScores:
    return ItemScores(clip.id, clip.song, clip.singer, 1.0, 0.1, scores)


def test_registers_count_what_became_of_the_labels_frames():
    label = [0.0] * 10 + [100.0] * 20 + [220.0] * 40 + [1200.0] * 30
    estimate = [300.0] * 10 + [200.0] * 20 + [221.0] * 20 + [250.0] * 20 + [1200.0] * 30
    clip = clip_of("a", label)
    found = registers(clip, output_of(clip, estimate, voiced=np.arange(100) < 90))
    assert found == [Register(20, 0, 20, 20), Register(40, 20, 0, 40), Register(), Register(), Register(30, 30, 0, 20)]
    coarse = registers(clip, output_of(clip, estimate[::2], hop_s=0.02))
    assert [part.count for part in coarse] == [20, 40, 0, 0, 30] and abs(coarse[1].right - 20) <= 1


@pytest.mark.parametrize("gain, expected", [(1.0, 0.0), (10**0.5, 10.0), (0.1, -20.0)])
def test_levels(gain, expected):
    assert level_db(clip_of("a", [0.0], gain=gain)) == pytest.approx(expected, abs=0.2)
    assert level_db(clip_of("a", [0.0], gain=0.0)) is None


def test_the_worst_clips_are_kept_where_they_are_worst():
    report = Report()
    for number in np.random.default_rng(0).permutation(3 * NUM_WORST):
        clip = clip_of(f"{number:02d}", [220.0] * 100)
        report.observe(clip, output_of(clip, [220.0] * 100), scored(clip, sdr_db=float(number)))
    assert [part.item.scores["sdr_db"] for part in report.worst] == list(range(NUM_WORST))
    long = clip_of("long", [220.0] * 6000, seconds=60.0)
    output = output_of(long, [220.0] * 6000)
    output = SystemOutput(long.vocals.copy(), output.pitch)
    output.vocals[:, 45 * RATE : 46 * RATE] += 0.3
    report.observe(long, output, scored(long, sdr_db=-9.0))
    worst = report.worst[0]
    assert worst.item.id == "long" and worst.start_s < 45 < 46 <= worst.start_s + 20
    assert {sound.shape for sound in worst.sounds.values()} == {(1, 20 * RATE)}
    for times_s, _ in worst.curves.values():
        assert times_s[0] == pytest.approx(0, abs=0.011) and times_s[-1] == pytest.approx(20, abs=0.011)


def test_a_page(tmp_path):
    report = Report(protocol="a test")
    for name, sdr_db in (("anna <1>", 3.0), ("anna 2", 5.0), ("bob", 9.0)):
        clip = clip_of(name, [0.0] * 50 + [440.0] * 50)
        report.observe(
            clip, output_of(clip, [440.0] * 100), scored(clip, sdr_db=sdr_db, nsdr_db=1.25, rpa=0.5, oa=float("nan"))
        )
    write_page(tmp_path / "page.html", {"model/corpus/all": report})
    page = (tmp_path / "page.html").read_text()
    assert "anna &lt;1&gt;" in page and "<1>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    assert ["all clips", "3"] in [row[:2] for row in cells] and "<td>5.67 [" in page
    assert ["a", "2", "4.00 [3.00, 5.00]"] in [row[:3] for row in cells if row]
    assert ["C4 to C5", "150", "100.0", "0.0", "0.0", "0.0"] in cells
    assert ["bob", "9.00", "1.25", "50.0", ""] in cells
    label, estimate = re.findall(r'<path class="(?:label|estimate)" d="(.*?)"', page)[:2]
    assert label.startswith("M500.0 ") and label.count("M") == 1 and estimate.startswith("M0.0 ")
    height = 1000 * (1 - np.log(440 / 60) / np.log(2000 / 60))
    assert float(label.split("L")[0].split()[1]) == pytest.approx(height, abs=0.1)
    sound = base64.b64decode(re.search(r'src="data:audio/mpeg;base64,(.*?)"', page)[1])
    with av.open(io.BytesIO(sound)) as container:
        assert container.streams.audio[0].rate == RATE
    assert base64.b64decode(re.search(r'src="data:image/jpeg;base64,(.*?)"', page)[1]).startswith(b"\xff\xd8")


def test_the_command_writes_it(mir1k_folder, stems_folder, tmp_path):
    arguments = ["--system", "mixture", "--mir1k", mir1k_folder, "--stems", stems_folder]
    arguments += ["-o", tmp_path / "results.json", "--html", tmp_path / "page.html"]
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert re.findall(r"<h2>(.*?)</h2>", page) == list(runs)
    assert f"{runs['mixture/album/all']['metrics']['sdr_db']['mean']:.2f} [" in page
    assert page.count("<article>") == 4
