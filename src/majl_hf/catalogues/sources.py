"""Names and addresses of the songs of a catalogue: `find_songs(SOURCE)`.

    a folder, a glob         audio files, also in subfolders
    x.jsonl, x.csv, x.parquet
                             a manifest: a line for each song with its address in `audio_filepath` (or `path`, `file`,
                             `file_name`), and optionally its `name` or `id`; relative paths start at the manifest
    a dataset                a folder of `save_to_disk`, Parquet files with an audio column, `hf://datasets/OWNER/NAME`
    PROTOCOL://...           any of these in a store that fsspec opens

An address is a path, an address that fsspec opens, or a row of a dataset, `FILE#COLUMN[ROW]`: audio bytes of a dataset
are read only when their song is processed.
"""

from __future__ import annotations

import csv
import glob
import io
import itertools
import json
import os
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from ..audio import AUDIO_EXTENSIONS, local_path
from ..errors import MajlError
from ..songs.finding import Kind, kind_of
from ..system.files import counted, is_hidden, walk
from .dataset_rows import RowAddress, RowFile, row_address
from .retrying import retrying, without_secrets
from .stores import is_remote, missing_is_error, open_address, open_filesystem

ADDRESS_KEYS = ("audio_filepath", "path", "file", "file_name")
NAME_KEYS = ("name", "id")
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\\:*?"<>|\ud800-\udfff]')
_SAVED = ("dataset_dict.json", "state.json")  # of `save_to_disk`: of a DatasetDict, of a Dataset
_WEB = ("http://", "https://")
_LONGEST_PART = 150  # bytes of UTF-8 of a folder or file name, with room for the endings of results


class Entry(NamedTuple):
    """A song: the name of its results, a relative path that is unique in the catalogue, and where its audio is."""

    name: str
    address: str


def local_size(address: str) -> int | None:
    """Bytes of the file at an address; None if it is in a store, in a dataset, or missing."""
    if is_remote(address) or row_address(address) is not None:
        return None
    try:
        return os.stat(local_path(address)).st_size
    except OSError:
        return None


class Songs:
    """The songs of a source in its order; `left_out` counts, by kind, what is there and is not a song.

    Args:
        source: See this module's docstring.
        column: The audio column of a dataset; default: the first.
        shard: `(number, count)`, number from 1: only songs that fall into this share, by a hash of their names, so that
            it does not depend on what else is there.

    Raises:
        MajlError: while iterating: nothing is there, or a manifest cannot be read.
    """

    def __init__(self, source: str, column: str | None = None, shard: tuple[int, int] | None = None):
        self.source, self.column, self.shard = source, column, shard
        self.left_out: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Entry]:
        self.left_out.clear()
        taken: set[str] = set()
        addresses: set[bytes] = set()
        found = False
        for name, address in self._found():
            found = True
            identity = _digest(address)
            if identity in addresses:
                self.left_out["listed twice"] += 1
                continue
            addresses.add(identity)
            name = _unique(safe_name(name), taken)
            if self.shard is None or share_of(name, self.shard[1]) == self.shard[0]:
                yield Entry(name, address)
        if not found:
            what = f" ({counted(self.left_out.elements())} left out)" if self.left_out else ""
            raise MajlError(
                f"{without_secrets(self.source)} contains no songs{what}; give a folder, glob, manifest or dataset of "
                "songs."
            )

    def _found(self) -> Iterator[tuple[str, str]]:
        source = self.source
        if is_remote(source):
            yield from self._in_store(source)
            return
        path = Path(local_path(source))
        if path.is_dir():
            yield from self._in_folder(path)
        elif path.is_file():
            yield from self._in_file(str(path.absolute()), path.name)
        elif glob.has_magic(source):
            root = Path(*Path(source).parts[: _plain_parts(source)]).absolute()
            for match in sorted(glob.iglob(source, recursive=True)):
                if os.path.isfile(match):
                    match = os.path.abspath(match)
                    yield from self._in_file(match, os.path.relpath(match, root), is_manifest=False)
        elif re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", source):
            yield from self._in_store(f"hf://datasets/{source}")
        else:
            raise MajlError(f"{source} does not exist; give a folder, glob, manifest, dataset or address of songs.")

    def _in_folder(self, folder: Path) -> Iterator[tuple[str, str]]:
        for name in _SAVED:
            if (folder / name).is_file():
                yield from self._in_saved(str(folder.absolute()), name)
                return
        problems: list[OSError] = []
        rows: list[Path] = []
        found = False
        for parent, folders, names in walk(folder, problems.append):
            folders[:] = [name for name in folders if not is_hidden(name)]
            for name in names:
                kind = kind_of(name, skip_own_outputs=True)
                if kind is Kind.SONG:
                    found = True
                    yield (parent / name).relative_to(folder).as_posix(), _portable(os.path.abspath(parent / name))
                elif name.endswith(".parquet"):
                    rows.append(parent / name)
                elif kind is not Kind.NOTHING:
                    self.left_out[kind.described(name)] += 1
        if problems:
            raise MajlError(f"{problems[0].filename} cannot be read: {problems[0].strerror}.")
        if not found:
            for path in rows:
                yield from self._in_dataset(str(path.absolute()))

    def _in_saved(self, folder: str, description: str) -> Iterator[tuple[str, str]]:
        """Rows of a folder of `save_to_disk`, in the order of its description."""
        with open_address(f"{folder}/{description}") as file:
            facts = json.load(file)
        if description == _SAVED[0]:
            for split in facts["splits"]:
                for name, address in self._in_saved(f"{folder}/{split}", _SAVED[1]):
                    yield f"{split}/{name}", address
        else:
            for file in facts["_data_files"]:
                yield from self._in_dataset(f"{folder}/{file['filename']}")

    def _in_store(self, address: str) -> Iterator[tuple[str, str]]:
        files, root = open_filesystem(address)
        if _has_magic(address):
            with missing_is_error(address):
                paths = retrying(lambda: files.glob(root), address)
            root = "/".join(root.split("/")[: _plain_parts(root)])
        else:
            with missing_is_error(address):
                is_file = retrying(lambda: files.info(root), address)["type"] == "file"
                paths = [] if is_file else retrying(lambda: files.find(root), address)
            if is_file:
                yield from self._in_file(address, posixpath.basename(_path_of(address)))
                return
            for name in _SAVED:
                if f"{root.rstrip('/')}/{name}" in paths:
                    yield from self._in_saved(address.rstrip("/"), name)
                    return
        songs, rows = [], []
        for path in sorted(paths):
            name = posixpath.basename(path)
            kind = kind_of(name, skip_own_outputs=True)
            if kind is Kind.SONG:
                songs.append(path)
            elif name.endswith(".parquet"):
                rows.append(path)
            elif kind is not Kind.NOTHING:
                self.left_out[kind.described(name)] += 1
        del paths
        for path in songs or rows:
            relative = path.removeprefix(root).lstrip("/")
            yield from self._in_file(files.unstrip_protocol(path), relative, is_manifest=False)

    def _in_file(self, address: str, name: str, is_manifest: bool = True) -> Iterator[tuple[str, str]]:
        """The songs of one file: itself, or what it lists or contains."""
        extension = posixpath.splitext(_path_of(address))[1].lower()
        if extension in (".jsonl", ".json", ".csv", ".tsv") and is_manifest:
            yield from self._in_manifest(address)
        elif extension in (".parquet", ".arrow"):
            yield from self._in_dataset(address)
        elif is_manifest or extension in AUDIO_EXTENSIONS:
            yield name, address if is_remote(address) else _portable(address)
        else:
            self.left_out[extension or "without an extension"] += 1

    def _in_manifest(self, address: str) -> Iterator[tuple[str, str]]:
        with open_address(address) as file:
            lines = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            extension = posixpath.splitext(_path_of(address))[1].lower()
            numbered = _table_lines(lines) if extension in (".csv", ".tsv") else _json_lines(lines, address)
            try:
                for number, row in numbered:
                    yield self._listed(row, address, f"{without_secrets(address)}, line {number}")
            except UnicodeDecodeError as error:
                raise MajlError(
                    f"{without_secrets(address)} is not text in UTF-8 ({error}); save it as such."
                ) from error

    def _listed(self, row: Mapping, manifest: str, where: str) -> tuple[str, str]:
        target = next((row[key] for key in ADDRESS_KEYS if row.get(key)), None)
        if target is None:
            raise MajlError(f"{where} has none of {', '.join(ADDRESS_KEYS)}; one of them has to be the song's address.")
        if not isinstance(target, str):
            raise MajlError(f"{where}: the address {target!r} is not text.")
        if row.get("offset") not in (None, "", 0, "0", "0.0"):
            raise MajlError(f"{where} has an offset; whole files are needed. Cut the segments into files first.")
        given = next((str(row[key]) for key in NAME_KEYS if row.get(key)), None)
        folder = posixpath.dirname(_path_of(manifest)) if is_remote(manifest) else os.path.dirname(manifest)
        if is_remote(target):
            return given or without_secrets(_path_of(target)).partition("://")[2], target
        if is_remote(manifest) and not os.path.isabs(target):
            protocol, _, path = f"{folder}/{target}".partition("://")
            return given or target, f"{protocol}://{posixpath.normpath(path)}"
        target = local_path(target)
        path = os.path.normpath(os.path.join(folder, target))
        inside = os.path.relpath(path, folder)
        return given or (path.lstrip("/\\") if inside.startswith("..") else inside), _portable(path)

    def _in_dataset(self, address: str) -> Iterator[tuple[str, str]]:
        """Rows of a Parquet or Arrow file with audio, or a manifest in Parquet."""
        import pyarrow as pa

        with RowFile(address) as rows:
            column = self.column or _audio_column(rows.schema)
            names = rows.schema.names
            if column is None:
                keys = [key for key in (*ADDRESS_KEYS, *NAME_KEYS, "offset") if key in names]
                if not set(keys) & set(ADDRESS_KEYS):
                    raise MajlError(
                        f"{without_secrets(address)} has neither an audio column nor one of "
                        f"{', '.join(ADDRESS_KEYS)}; name the column with --column."
                    )
                for number, row in enumerate(rows.values(keys)):
                    yield self._listed(row, address, f"{without_secrets(address)}, row {number}")
                return
            if column not in names or not pa.types.is_struct(rows.schema.field(column).type):
                raise MajlError(
                    f"{without_secrets(address)} has no audio column {column!r}; its columns are {', '.join(names)}."
                )
            stem = posixpath.splitext(posixpath.basename(address.replace(os.sep, "/")))[0]
            key = next((key for key in ("id", "name") if key in names), None)
            wanted = [name for name in (key, f"{column}.path") if name]
            for number, row in enumerate(rows.values(wanted)):
                path = (row[column] or {}).get("path")
                name = (key and row[key]) or (path and posixpath.basename(path)) or f"{stem}/{number:08d}"
                yield str(name), str(RowAddress(address, column, number))


def share_of(name: str, count: int) -> int:
    """Which of `count` shards, from 1, a song belongs to."""
    return 1 + int.from_bytes(_digest(name), "little") % count


def safe_name(name: str) -> str:
    """A name as a relative path for every file system and store, without the extension of an audio file."""
    stem, extension = posixpath.splitext(name)
    if extension.lower() in AUDIO_EXTENSIONS:
        name = stem
    parts = []
    for part in name.replace(os.sep, "/").split("/"):
        part = _UNSAFE.sub("_", part).rstrip(" .")
        if part.startswith("."):
            part = "_" + part[1:]
        encoded = part.encode()
        if len(encoded) > _LONGEST_PART:
            part = f"{encoded[:_LONGEST_PART].decode(errors='ignore')}~{_digest(part).hex()}"
        if part:
            parts.append(part)
    return "/".join(parts) or "_"


def _unique(name: str, taken: set[str]) -> str:
    """The name, or with a number where an earlier song has it. Neither capitals nor how an accent is composed make a
    difference, as on some systems."""
    candidate, number = name, 1
    while (key := unicodedata.normalize("NFC", candidate).casefold()) in taken:
        number += 1
        candidate = f"{name}~{number}"
    taken.add(key)
    return candidate


def _digest(text: str) -> bytes:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()


def _portable(path: str) -> str:
    """A path, or its `file:` address if it is not valid text."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return Path(path).as_uri()
    return path


def _path_of(address: str) -> str:
    """An address without the query that those of web servers may have."""
    return re.split("[?#]", address, maxsplit=1)[0] if address.startswith(_WEB) else address


def _has_magic(address: str) -> bool:
    """Whether an address is a pattern; the question mark of a web server's is not meant as one."""
    return glob.has_magic(_path_of(address))


def _plain_parts(pattern: str) -> int:
    """How many folders of a pattern come before its first wildcard."""
    parts = pattern.split("/") if "/" in pattern else list(Path(pattern).parts)
    return next((number for number, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)


def _audio_column(schema) -> str | None:
    """The first column with audio: `datasets` writes what its columns are beside their types, and those of pictures
    have the same type."""
    import pyarrow as pa

    described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = described.get("info", {}).get("features", {})
    for field in schema:
        if pa.types.is_struct(field.type) and {"bytes", "path"} <= {f.name for f in field.type}:
            feature = features.get(field.name)
            if not isinstance(feature, dict) or feature.get("_type", "Audio") == "Audio":
                return field.name
    return None


def _table_lines(lines) -> Iterator[tuple[int, Mapping]]:
    """Rows of a table with commas, semicolons (of spreadsheets in many languages) or tabs, as its header has them."""
    header = next(lines, "")
    delimiter = max(",;\t", key=header.count)
    rows = csv.DictReader(itertools.chain([header], lines), delimiter=delimiter)
    for row in rows:
        if any(row.values()):
            yield rows.line_num, row


def _json_lines(lines, address: str) -> Iterator[tuple[int, Mapping]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise MajlError(
                f"{without_secrets(address)}, line {number} is not JSON ({error}); one object a line is needed."
            ) from error
        if not isinstance(row, dict):
            raise MajlError(f"{without_secrets(address)}, line {number} is not a JSON object with audio_filepath.")
        yield number, row
