"""Dataset cards: metadata that the libraries read, and figures that are those of the rows."""

import pytest
from built_corpora import make_track, write_built
from huggingface_hub import DatasetCard

from majl_hf.errors import CorpusError
from majl_hf.rows.cards import make_dataset_card, write_dataset_card
from majl_hf.rows.combine import combine_corpora


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    tracks = [
        make_track("mir1k/x", licence="research only, no redistribution"),
        make_track("mir1k/y", licence="research only, no redistribution", split="test"),
        make_track("own/z", "pitch", song="z", licence="CC-BY-4.0"),
    ]
    return write_built(tmp_path_factory.mktemp("cards") / "built", tracks)


def test_metadata_names_the_files_of_each_split(built):
    data = DatasetCard(make_dataset_card(built)).data.to_dict()
    assert data["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "data/train-*.parquet"},
                {"split": "test", "path": "data/test-*.parquet"},
            ],
        }
    ]
    assert (data["license"], data["license_name"]) == ("other", "per-row")
    assert "license_link" not in data  # a folder has no address
    data = DatasetCard(make_dataset_card(built, "owner/name")).data.to_dict()
    assert data["license_link"] == "https://huggingface.co/datasets/owner/name#corpora-and-licences"
    assert "## Corpora and licences" in make_dataset_card(built)
    assert data["task_categories"] == ["audio-to-audio"] and data["size_categories"] == ["n<1K"]
    assert "mir1k" in data["pretty_name"] and "own" in data["pretty_name"]


def test_one_licence_is_the_datasets(tmp_path):
    folder = write_built(tmp_path / "built", [make_track("own/x", licence="CC0-1.0")])
    data = DatasetCard(make_dataset_card(folder)).data
    assert data.license == "cc0-1.0" and data.pretty_name == "own"


def test_counts_minutes_and_licences_are_those_of_the_rows(built):
    text = make_dataset_card(built)
    for line in (
        "| `train` | `mir1k` | `full` | 1 | 0.1 |",
        "| `train` | `own` | `pitch` | 1 | 0.1 |",
        "| **`train`** | all | all | 2 | 0.1 |",
        "| `test` | `mir1k` | `full` | 1 | 0.1 |",
        "| **all** | all | all | 3 | 0.2 |",
        "| MIR-1K (`mir1k`) | 2 | research only, no redistribution | no |",
        "| own (`own`) | 1 | CC-BY-4.0 | as the rows' licences say |",
        "3 recordings, 0.2 minutes, 8,000 Hz, stored as FLAC in Parquet",
        "`mir1k` has a hop of 20 ms and an offset of 20 ms",
        "| `pitch` | a mixture and the pitch of its vocals, no stems |",
        'load_dataset("PATH/TO/THIS/FOLDER", split="train", streaming=True)',
    ):
        assert line in text, line
    assert "`vocals` | a solo" not in text and "sampling_weight" not in text
    assert "Hsu" in text  # the citation of MIR-1K
    assert "{{" not in text and "{%" not in text and "\n\n\n" not in text


def test_card_is_written_in_place_and_the_same_again(built):
    path = write_dataset_card(built, address="owner/name")
    first = path.read_text()
    assert path.name == "README.md" and 'load_dataset("owner/name"' in first
    assert write_dataset_card(built, address="owner/name").read_text() == first


def test_combined_card_states_what_was_dropped_and_moved(tmp_path):
    one = write_built(tmp_path / "one", [make_track("a/x", song="s"), make_track("a/y", song="t", singer="anna")])
    other = write_built(
        tmp_path / "two",
        [make_track("b/x", "pitch", song="S"), make_track("b/y", song="u", singer="Anna", split="test")],
    )
    combine_corpora([one, other], tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    flat = " ".join(text.split())
    assert "from a and b. 1 recordings that corpora have in common were dropped, 1 found by name and 0 by" in flat
    assert "1 training recordings that share" in flat and "`sampling_weight`" in text


def test_nothing_to_describe_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"has no \*\.parquet"):
        write_dataset_card(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(CorpusError, match=r"train-00000-of-00001\.parquet cannot be read"):
        write_dataset_card(tmp_path)
