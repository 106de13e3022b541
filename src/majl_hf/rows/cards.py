"""Dataset cards of built and combined corpora: everything in them is counted in the rows.

The text is `templates/dataset_card.md.jinja`; the metadata block is made here: it names the files of each split, so
that `load_dataset(FOLDER)` and the Hub's viewer find them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..corpora.tracks import LABEL_KINDS
from ..system.files import write_atomically
from .index import Amount, Amounts, scan_folders
from .shards import SPLITS

CARD_FILE = "README.md"
TEMPLATE = Path(__file__).parent / "templates" / "dataset_card.md.jinja"
LABEL_KIND_TEXTS = {
    "full": "vocals, accompaniment, and the pitch of the vocals",
    "separation": "vocals and accompaniment, no pitch",
    "pitch": "a mixture and the pitch of its vocals, no stems",
    "vocals": "a solo voice, with or without pitch; to be mixed with music from elsewhere",
    "accompaniment": "music without voice; to be mixed with voices from elsewhere",
    "pseudo": "what is missing was added by a model, which `provenance` names",
}
# Identifiers that the Hub accepts; for all else the card says "other".
_HUB_LICENCES = frozenset(
    {"apache-2.0", "mit", "cc0-1.0", "gpl-2.0", "gpl-3.0", "artistic-2.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0"}
    | {f"cc-{kind}-4.0" for kind in ("by", "by-sa", "by-nc", "by-nd", "by-nc-nd", "by-nc-sa")}
    | {f"cc-{kind}-3.0" for kind in ("by-sa", "by-nc", "by-nc-nd", "by-nc-sa")}
    | {f"cc-{kind}-2.0" for kind in ("by-nc", "by-nc-sa")}
)
_SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"), (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip


class _Contents:
    """Counts of a folder's rows."""

    def __init__(self, folder: Path) -> None:
        rows = scan_folders(folder)
        self.amounts = Amounts(rows)
        self.num_bytes = sum(Path(file).stat().st_size for file in {row.file for row in rows})
        self.has_weights = any(row.sampling_weight is not None for row in rows)
        self.rates = {row.sampling_rate for row in rows}
        self.grids = {(row.corpus, row.f0_hop_s, row.f0_offset_s) for row in rows if row.has_pitch}
        self.licences: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            self.licences[row.corpus].add(row.licence or "none stated")

    @property
    def splits(self) -> list[str]:
        return [split for split in SPLITS if any(key[0] == split for key in self.amounts)]

    @property
    def corpora(self) -> list[str]:
        return sorted({key[1] for key in self.amounts})

    @property
    def kinds(self) -> list[str]:
        return [kind for kind in LABEL_KINDS if any(key[2] == kind for key in self.amounts)]


@dataclass(frozen=True)
class Origin:
    """Where published rows come from.

    Args:
        folder: the corpus, with the reports on how it was made.
        left_out: corpus -> number of its rows that may not be passed on.
    """

    folder: Path
    left_out: Mapping[str, int]


def write_dataset_card(folder: str | Path, address: str | None = None, origin: Origin | None = None) -> Path:
    """Write `README.md` of a built or combined corpus, replacing an existing one.

    Args:
        folder: contains `data/SPLIT-*.parquet`, and `build.json`, `combine.json` or `pseudo_labels.json` if this
            package made it.
        address: the repository's id, which the example loads; None for `PATH/TO/THIS/FOLDER`.
        origin: of published rows; None for the folder in which the corpus was made.

    Raises:
        CorpusError: no shard or no row, or a shard that cannot be read.
        AudioError: the card cannot be written.
    """
    folder = Path(folder)
    write_atomically(folder / CARD_FILE, make_dataset_card(folder, address, origin))
    return folder / CARD_FILE


def make_dataset_card(folder: str | Path, address: str | None = None, origin: Origin | None = None) -> str:
    """The card as text; see `write_dataset_card`."""
    from huggingface_hub import DatasetCard

    folder = Path(folder)
    reports = folder if origin is None else Path(origin.folder)
    contents = _Contents(folder)
    total = contents.amounts.total()
    corpora = [_describe_corpus(name, contents) for name in contents.corpora]
    title = corpora[0]["title"] if len(corpora) == 1 else "Singing with stems and pitch: " + _list(contents.corpora)
    if (reports / "pseudo_labels.json").is_file():
        title += ", pseudo-labelled"
    card = DatasetCard.from_template(
        card_data=_card_data(contents, title, address),
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        title=title,
        address=address or "PATH/TO/THIS/FOLDER",
        first_split=contents.splits[0],
        num_rows=f"{total.num_rows:,}",
        minutes=total.minutes,
        megabytes=contents.num_bytes / 1e6,
        sampling_rates=_list([f"{rate:,} Hz" for rate in sorted(contents.rates)]),
        amounts=_amounts_table(contents),
        label_kinds=[(kind, LABEL_KIND_TEXTS[kind]) for kind in contents.kinds],
        grids=_grids(contents),
        has_weights=contents.has_weights,
        corpora=corpora,
        how=_how(reports) + ("" if origin is None else _what_is_not_here(origin)),
    )
    return str(card).rstrip() + "\n"


def registered_corpus(name: str):
    """The entry of `corpora.CORPORA` for a corpus of this name; None for a user's own corpora."""
    from ..corpora.registry import CORPORA

    return CORPORA.get(name)


def _card_data(contents: _Contents, title: str, address: str | None):
    from huggingface_hub import DatasetCardData, constants

    num_rows = contents.amounts.total().num_rows
    licences = sorted(set().union(*contents.licences.values()))
    if len(licences) == 1 and licences[0].lower() in _HUB_LICENCES:
        licence = {"license": licences[0].lower()}
    else:
        # The Hub takes a URL here, or the name of a file that is called LICENSE.
        link = address and f"{constants.ENDPOINT}/datasets/{address}#corpora-and-licences"
        licence = {"license": "other", "license_name": "per-row", "license_link": link}
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in contents.splits]
    return DatasetCardData(
        **licence,
        pretty_name=title,
        task_categories=["audio-to-audio"],
        size_categories=[next(size for limit, size in _SIZES if num_rows < limit)],
        tags=["majl", "music-source-separation", "singing-voice", "pitch-estimation", "f0", "vocals"],
        configs=[{"config_name": "default", "data_files": files}],
    )


def _amounts_table(contents: _Contents) -> str:
    lines = ["| split | corpus | label kind | recordings | minutes |", "|---|---|---|---:|---:|"]

    def add(split: str, corpus: str, kind: str, amount: Amount) -> None:
        lines.append(f"| {split} | {corpus} | {kind} | {amount.num_rows:,} | {amount.minutes:.1f} |")

    for split in contents.splits:
        keys = sorted(key for key in contents.amounts if key[0] == split)
        for key in keys:
            add(f"`{key[0]}`", f"`{key[1]}`", f"`{key[2]}`", contents.amounts[key])
        if len(keys) > 1:
            add(f"**`{split}`**", "all", "all", contents.amounts.total(split))
    add("**all**", "all", "all", contents.amounts.total())
    return "\n".join(lines)


def _describe_corpus(name: str, contents: _Contents) -> dict:
    corpus = registered_corpus(name)
    if corpus is None or not (corpus.licence or corpus.redistributable):
        passed_on = "as the rows' licences say"
    else:
        passed_on = "yes" if corpus.redistributable else "no"
    return {
        "name": name,
        "title": name if corpus is None else corpus.title,
        "citation": "" if corpus is None else corpus.citation.strip(),
        "num_rows": f"{contents.amounts.total(corpus=name).num_rows:,}",
        "licences": "; ".join(sorted(contents.licences[name])),
        "redistributable": passed_on,
    }


def _grids(contents: _Contents) -> str:
    def milliseconds(value_s: float) -> str:
        return f"{1000 * value_s:.6g} ms"

    return "; ".join(
        f"`{corpus}` has a hop of {milliseconds(hop_s)} and an offset of {milliseconds(offset_s)}"
        for corpus, hop_s, offset_s in sorted(contents.grids)
    )


def _how(folder: Path) -> str:
    if (folder / "combine.json").is_file():
        facts = json.loads((folder / "combine.json").read_text(encoding="utf-8"))
        dropped, moved = facts["dropped"], facts["moved"]
        return (
            f"Combined by `majl_hf` {facts['majl_hf']} (`majl data combine`) from "
            f"{_list([name for entry in facts['inputs'] for name in entry['corpora']])}. "
            f"{len(dropped)} recordings that corpora have in common were dropped, "
            f"{sum(row['because'] == 'name' for row in dropped)} found by name and "
            f"{sum(row['because'] == 'audio' for row in dropped)} by audio fingerprint. {len(moved)} training "
            "recordings that share a song, a singer or audio with validation or test were moved to `unused`. "
            "`combine.json` lists them all. Rows of `train` are stored in a shuffled order."
        )
    if (folder / "pseudo_labels.json").is_file():
        return json.loads((folder / "pseudo_labels.json").read_text(encoding="utf-8"))["card"]
    version = ""
    if (folder / "build.json").is_file():
        version = f" {json.loads((folder / 'build.json').read_text(encoding='utf-8')).get('majl_hf', '')}".rstrip()
    return f"Built by `majl_hf`{version} (`majl data build`) from a copy of the corpus; every row was checked."


def _what_is_not_here(origin: Origin) -> str:
    sentences = []
    if any((Path(origin.folder) / name).is_file() for name in ("combine.json", "pseudo_labels.json")):
        sentences.append("The report named here is not published, because it names rows.")
    if origin.left_out:
        counts = _list([f"{count:,} of `{corpus}`" for corpus, count in origin.left_out.items()])
        sentences.append(f"Rows that may not be passed on are left out ({counts}); this section's figures count them.")
    return "\n\n" + " ".join(sentences) if sentences else ""


def _list(names: Iterable[str]) -> str:
    names = list(names)
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
