"""From folders to scores."""

import numpy as np
import pytest
from audio_files import write_aac
from corpus_files import MIR1K_RATE as RATE

from majl_hf.errors import CorpusError, EvaluationError
from majl_hf.evaluation import (
    MixtureSystem,
    OracleMaskSystem,
    PitchTrack,
    SystemOutput,
    evaluate,
)
from majl_hf.mixing.config import FOLDERS, FolderCorpus, RowsCorpus
from majl_hf.rows.build import build_corpus


class Perfect:
    """Returns the true vocals, and f0 from what the fixture's clips sing, on a 10 ms grid."""

    name = "perfect"
    needs_vocals = True

    def __init__(self, delay_s=0.0):
        self.delay_s = delay_s

    def __call__(self, mixture, sampling_rate, *, vocals):
        times_s = np.arange(101) * 0.01
        label_s = times_s - self.delay_s
        # Labels are voiced at 0.32 ... 0.68 s, 20 ms apart.
        return SystemOutput(vocals, PitchTrack(times_s, np.full(101, 220.0), (label_s > 0.311) & (label_s < 0.699)))


def mir1k(folder) -> FolderCorpus:
    return FOLDERS["mir1k"](folder=str(folder), split_column="my_split", split_value="validation")


def test_mir1k_is_left_plus_right_against_right(mir1k_folder):
    evaluation = evaluate(MixtureSystem(), mir1k(mir1k_folder))
    assert (evaluation.dataset, evaluation.split) == ("MIR-1K", "my_split=validation")
    first, second = evaluation.items
    assert (first.id, second.id) == ("mir1k/anna_1_01", "mir1k/anna_1_02")
    assert first.duration_s == 1.0
    # Power of five harmonics of 0.2 / k for 0.4 of the second, over that of noise at 0.1.
    expected = 10 * np.log10(0.4 * 0.02 * sum(1 / k**2 for k in range(1, 6)) / 0.01)
    assert first.scores["sdr_db"] == pytest.approx(expected, abs=0.1)
    assert first.scores["nsdr_db"] == 0.0
    assert second.scores == {} and "silent" in second.skipped["separation"]
    assert evaluation.skipped("sdr_db") == 1
    assert evaluation.summary()["sdr_db"].count == 1


def test_labels_are_read_at_their_times(mir1k_folder):
    perfect = evaluate(Perfect(), mir1k(mir1k_folder))
    assert perfect.items[0].scores["oa"] == 1.0
    assert perfect.items[0].scores["vr"] == 1.0
    assert "no voiced frame" in perfect.items[1].skipped["melody"]
    assert perfect.skipped("rpa") == 1
    # A frame of delay leaves one sung frame uncalled and calls one unsung: 48 of 50 (mir_eval adds one at 0 s).
    late = evaluate(Perfect(delay_s=0.02), mir1k(mir1k_folder))
    assert late.items[0].scores["oa"] == pytest.approx(48 / 50)


def test_an_exact_estimate_is_counted_as_not_finite(mir1k_folder):
    evaluation = evaluate(Perfect(), mir1k(mir1k_folder))
    assert evaluation.items[0].scores["sdr_db"] == np.inf
    assert "sdr_db" not in evaluation.summary()
    assert evaluation.gnsdr_db is None
    assert evaluation.summary()["rpa"].count == 1


def test_all_clips_and_a_limit(mir1k_folder):
    seen = []
    everything = evaluate(MixtureSystem(), FOLDERS["mir1k"](folder=str(mir1k_folder)), on_item=seen.append)
    assert [item.id for item in seen] == ["mir1k/anna_1_01", "mir1k/anna_1_02", "mir1k/bob_1_01"]
    assert everything.split == "all" and everything.items == seen
    assert len(evaluate(MixtureSystem(), FOLDERS["mir1k"](folder=str(mir1k_folder)), limit=2).items) == 2
    with pytest.raises(EvaluationError, match="limit is 0"):
        evaluate(MixtureSystem(), FOLDERS["mir1k"](folder=str(mir1k_folder)), limit=0)


def test_gnsdr_weighs_by_length():
    from majl_hf.evaluation.runner import Evaluation, ItemScores

    items = [
        ItemScores("a", "", "", 1.0, 0.0, {"nsdr_db": 1.0}),
        ItemScores("b", "", "", 3.0, 0.0, {"nsdr_db": 5.0}),
        ItemScores("c", "", "", 9.0, 0.0, {}),
        ItemScores("d", "", "", 9.0, 0.0, {"nsdr_db": np.inf}),
    ]
    assert Evaluation("s", "d", "x", "p", None, items).gnsdr_db == pytest.approx(4.0)


def test_stems_are_summed_with_their_channels(stems_folder):
    evaluation = evaluate(MixtureSystem(), FOLDERS["stems"](folder=str(stems_folder), include=("second",)))
    assert [item.id for item in evaluation.items] == ["stems/second"]
    assert evaluation.items[0].duration_s == 0.5
    assert evaluation.items[0].scores["sdr_db"] == pytest.approx(0.0, abs=0.2)  # two noises of one level
    assert (evaluation.dataset, evaluation.split) == ("album", "second")
    both = evaluate(OracleMaskSystem(), FOLDERS["stems"](folder=str(stems_folder)))
    assert len(both.items) == 2 and both.split == "all"
    assert both.summary()["nsdr_db"].mean > 3
    with pytest.raises(CorpusError, match="no song 'third'"):
        evaluate(MixtureSystem(), FOLDERS["stems"](folder=str(stems_folder), include=("third",)))


def test_rows_of_a_built_corpus_score_as_the_recordings_they_are_made_of(mir1k_folder, tmp_path):
    corpus = FOLDERS["mir1k"](folder=str(mir1k_folder))
    built = RowsCorpus(folder=str(build_corpus(corpus.load(), tmp_path / "built").out))
    rows, clips = (evaluate(OracleMaskSystem(), of).items for of in (built, corpus))
    assert {item.id: item.scores for item in rows} == {item.id: pytest.approx(item.scores, abs=0.01) for item in clips}
    assert evaluate(OracleMaskSystem(), built).dataset == "built"


def test_only_the_requested_metrics(mir1k_folder):
    (item, _) = evaluate(Perfect(), mir1k(mir1k_folder), ("sdr_db", "oa")).items
    assert item.scores.keys() == {"sdr_db", "oa"}
    with pytest.raises(EvaluationError, match=r"no metrics \['loudness'\]; the metrics are sdr_db"):
        evaluate(Perfect(), mir1k(mir1k_folder), ("loudness",))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (SystemOutput(), "neither vocals nor pitch"),
        (SystemOutput(vocals=np.zeros((1, 5), dtype=np.float32)), r"\(1, 5\)"),
        (SystemOutput(vocals=np.full((1, RATE), np.nan)), "NaN"),
        (SystemOutput(pitch=PitchTrack(np.arange(2.0), np.array([0.0, 1.0]), np.ones(2))), "0 Hz"),
    ],
)
def test_a_system_that_fails_stops_the_run_by_name(mir1k_folder, output, words):
    class Broken:
        name = "broken"

        def __call__(self, mixture, sampling_rate):
            return output

    with pytest.raises(EvaluationError, match=f"(?s)'broken' on clip 'mir1k/anna_1_01'.*{words}"):
        evaluate(Broken(), FOLDERS["mir1k"](folder=str(mir1k_folder)))


def write_stem_file(folder, levels) -> str:
    """A `.stem.mp4` with one second of noise in each of the given number of stereo streams, at these levels."""
    generator = np.random.default_rng(1)
    path = folder / "Some Band - Söng.stem.mp4"
    streams = [(level * generator.standard_normal((2, 44100))).astype(np.float32) for level in levels]
    write_aac(path, streams, bit_rate=256_000)
    return str(path)


def test_stem_file_sums_its_stems_and_takes_the_fifth_as_vocals(tmp_path):
    # The mix stream (0.5) is none of them. Vocals 0.1 against drums + bass + other at 0.02, 0.04, 0.04.
    evaluation = evaluate(
        MixtureSystem(), FOLDERS["stem-file"](folder=write_stem_file(tmp_path, [0.5, 0.02, 0.04, 0.04, 0.1]))
    )
    (item,) = evaluation.items
    assert item.id == "stem-file/Some Band - Söng" and evaluation.split == "Some Band - Söng"
    assert item.duration_s == pytest.approx(1.0, abs=0.1)
    expected = 10 * np.log10(0.1**2 / (0.02**2 + 2 * 0.04**2))
    assert item.scores["sdr_db"] == pytest.approx(expected, abs=0.6)  # the codec takes some of the noise


def test_stem_file_needs_five_streams(tmp_path):
    with pytest.raises(CorpusError, match=r"has 2 audio stream\(s\); a stem file has 5"):
        evaluate(MixtureSystem(), FOLDERS["stem-file"](folder=write_stem_file(tmp_path, [0.1, 0.1])))


def test_stem_file_that_is_none(tmp_path):
    (tmp_path / "song.stem.mp4").write_text("not a film")
    with pytest.raises(CorpusError, match="cannot be read as a stem file"):
        evaluate(MixtureSystem(), FOLDERS["stem-file"](folder=str(tmp_path / "song.stem.mp4")))
