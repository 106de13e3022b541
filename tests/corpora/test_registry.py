"""The registry: every corpus is complete, and has a title, licence and documentation for its card."""

import inspect

import pytest
from corpus_files import tone, write

from majl_hf.corpora.registry import CORPORA
from majl_hf.corpora.tracks import LABEL_KINDS
from majl_hf.errors import CorpusError
from majl_hf.rows.convert import track_to_row

NAMES = "folder medleydb mir1k mir_st500 musdb18 musdb18_hq music ssvd stem-file stems ultrastar voices"


def test_names():
    assert sorted(CORPORA) == NAMES.split()
    assert all(corpus.name == name for name, corpus in CORPORA.items())


@pytest.mark.parametrize("name", NAMES.split())
def test_every_corpus_describes_itself(name):
    corpus = CORPORA[name]
    assert corpus.title and set(corpus.label_kinds) <= set(LABEL_KINDS) and corpus.splits
    options = inspect.signature(corpus.load).parameters
    assert options["corpus"].default == name
    assert bool(corpus.licence) or "licence" in options or name == "ultrastar"
    assert inspect.getdoc(corpus.load).count("Raises:") == 1
    headings = ["\nConventions\n", "\nTraps\n", "\nLicence\n", "\nRaises:\n"]
    assert [corpus.documentation.count(heading) for heading in headings] == [1, 1, 1, 1]


@pytest.mark.parametrize("name", NAMES.split())
def test_zero_files_and_no_folder_are_refused(name, tmp_path):
    with pytest.raises(CorpusError, match=r"No |needs|missing"):
        CORPORA[name].load(tmp_path)
    with pytest.raises(CorpusError, match="does not exist"):
        CORPORA[name].load(tmp_path / "nowhere")


def test_folders_of_a_kind_carry_their_licence_into_rows(tmp_path):
    write(tmp_path / "a" / "vocals.wav", tone(300, 0.5, 8000), 8000)
    write(tmp_path / "a" / "accompaniment.wav", tone(200, 0.5, 8000), 8000)
    for name, kind, count in (("stems", "separation", 1), ("voices", "vocals", 2), ("music", "accompaniment", 2)):
        options = {"min_duration_s": 0.1} if name == "music" else {}
        tracks = CORPORA[name].load(tmp_path, corpus="mine", licence="CC0-1.0", **options)
        rows = [track_to_row(track) for track in tracks]
        assert len(rows) == count and {row["label_kind"] for row in rows} == {kind}
        assert all(row["licence"] == "CC0-1.0" and row["provenance"] and row["corpus"] == "mine" for row in rows)
