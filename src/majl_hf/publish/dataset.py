"""Upload a built corpus to the Hub, without the rows that must not be redistributed.

If a row's corpus has a licence in `corpora.CORPORA`, that decides. Otherwise, as for a folder of your own recordings,
the row's licence decides: Creative Commons and public domain may be redistributed, "research only" and "no
redistribution" may not, and anything else is refused until you confirm its corpus.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from ..errors import PushError
from ..rows.cards import Origin, registered_corpus, write_dataset_card
from ..rows.index import open_parquet, scan_folders
from ..rows.shards import SPLITS, shard_name, split_of
from ..rows.writing import ShardWriter
from ..system.files import link
from .hub import PushReport, Target, push_folder

PICTURE_FILE = "confidences.png"
_FREE = re.compile(r"(cc0|cc-by(-nc)?(-sa|-nd)?)-\d\.\d|pddl-1\.0|cc-pddc|public domain", re.IGNORECASE)
_FORBIDDEN = re.compile(r"research[- ]only|no redistribution|all rights reserved", re.IGNORECASE)


def push_dataset(folder: str | Path, target: Target, allow: Collection[str] = ()) -> PushReport:
    """Upload the rows that may be redistributed, with their own card; shards of an earlier upload are replaced.

    Reports of building, combining and pseudo-labelling are not uploaded, because they name rows that are left out.

    Args:
        folder: the built, combined or pseudo-labelled corpus.
        allow: corpora of unknown licence that you confirm may be redistributed.

    Raises:
        PushError: a corpus of unknown licence that `allow` does not name, `allow` names one that forbids it, or no row
            is left; the Hub refuses.
        CorpusError: no shard, or one that cannot be read.
    """
    folder = Path(folder)
    shards: dict[Path, list[Source]] = defaultdict(list)
    for row in scan_folders(folder):
        shards[Path(row.file)].append((row.corpus, row.licence))
    counts = Counter(source for sources in shards.values() for source in sources)
    passed_on = _choose(counts, allow)
    left_out: Counter[str] = Counter()
    for (corpus, licence), count in sorted(counts.items()):
        if (corpus, licence) not in passed_on:
            left_out[corpus] += count
    with tempfile.TemporaryDirectory(prefix="majl-push-") as temporary:
        staged = Path(temporary)
        (staged / "data").mkdir()
        _gather(shards, passed_on, staged / "data")
        write_dataset_card(staged, target.repo_id, Origin(folder, left_out))
        if (folder / PICTURE_FILE).is_file():  # which the card of pseudo labels shows
            link(folder / PICTURE_FILE, staged / PICTURE_FILE)
        report = push_folder(staged, "dataset", target, message="Upload rows and their card", delete=["data/*.parquet"])
    report.left_out, report.num_rows = dict(left_out), sum(counts[source] for source in passed_on)
    return report


Source = tuple[str, str]  # corpus and licence of a row


def _choose(counts: Counter[Source], allow: Collection[str]) -> set[Source]:
    """What may be uploaded."""
    corpora = {corpus for corpus, _ in counts}
    if absent := sorted(set(allow) - corpora):
        raise PushError(f"allow names {absent}, but the rows are from {sorted(corpora)}. Correct the names.")
    verdicts = {source: _may_be_passed_on(*source) for source in counts}
    refused = sorted({corpus for (corpus, _), verdict in verdicts.items() if verdict is False} & set(allow))
    if refused:
        raise PushError(f"{refused} must not be redistributed (see their licence), so allow cannot name them.")
    if unknown := sorted({corpus for (corpus, _), v in verdicts.items() if v is None and corpus not in allow}):
        licences = sorted({source[1] for source, verdict in verdicts.items() if verdict is None})
        raise PushError(
            f"Whether the rows of {unknown} may be redistributed is not known (licences: {licences}). If their licence "
            "permits it, name them in allow; otherwise build the corpus without them."
        )
    passed_on = {source for source, verdict in verdicts.items() if verdict is not False}
    if not passed_on:
        raise PushError(
            f"Nothing is left to upload: all {counts.total()} rows are from {sorted(corpora)}, which must not be "
            "redistributed. Others can build them from their own copy of the corpus."
        )
    return passed_on


def _may_be_passed_on(corpus: str, licence: str) -> bool | None:
    """None if unknown."""
    registered = registered_corpus(corpus)
    if registered is not None and (registered.redistributable or registered.licence):
        return registered.redistributable
    if _FORBIDDEN.search(licence):
        return False
    return True if _FREE.fullmatch(licence.strip()) else None


def _gather(shards: dict[Path, list[Source]], passed_on: set[Source], target: Path) -> None:
    """Put the shards into `target`: links if all rows may be redistributed, otherwise copies without the others."""
    for split in SPLITS:
        kept = [path for path, sources in shards.items() if split_of(path) == split and passed_on & set(sources)]
        for number, path in enumerate(kept):
            new = target / shard_name(split, number, len(kept))
            if set(shards[path]) <= passed_on:
                link(path, new)
            else:
                _filter(path, passed_on, new)


def _filter(path: Path, passed_on: set[Source], new: Path) -> None:
    with open_parquet(path) as file, ShardWriter(new, file.schema_arrow) as writer:
        for number in range(file.num_row_groups):
            group = file.read_row_group(number)
            sources = zip(group["corpus"].to_pylist(), group["licence"].to_pylist(), strict=True)
            group = group.filter(pa.array([(corpus, licence or "") in passed_on for corpus, licence in sources]))
            if group.num_rows:
                writer.write(group)
