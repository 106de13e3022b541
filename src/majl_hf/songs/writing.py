"""The results of one song as files."""

from dataclasses import dataclass
from pathlib import Path

from ..audio import ENCODINGS, AudioReader, AudioWriter, Quantiser, Tags, check_encoding, read_tags
from ..export.f0_csv import F0CsvWriter
from ..system.files import AtomicWriter, commit_together


@dataclass(frozen=True)
class Job:
    """One file to process.

    Args:
        source: The file.
        name: Of its results, without their endings, relative to the output folder.
        outputs: What is written (`"vocals"`, ...), and where.
    """

    source: Path
    name: Path
    outputs: dict[str, Path]


@dataclass(frozen=True)
class AudioFormat:
    """How stems are stored: a name of `ENCODINGS`, and kbit/s for those that are lossy.

    Raises:
        AudioError: it cannot be written here.
    """

    encoding: str = "wav-float"
    bit_rate: int | None = None

    def __post_init__(self):
        check_encoding(self.encoding, self.bit_rate)


class SongWriter:
    """The files of one song; either all of them appear or none.

    Integer encodings round. So that the written stems still add up to the rounded mixture, exactly and not to within a
    step, the vocals are rounded here and the accompaniment is the rounded mixture minus these.

    Args:
        job: The song, whose tags the stems get, and where the results go.
        song: The same, opened; the results have its rate and channels.
        overwrite, unvoiced_as_zero: As of the writers.
        format: Of the stems.

    Attributes:
        facts (dict): What to report of the results, by name.
        warnings (list of str): What is stored differently; complete after `commit`.
    """

    def __init__(
        self,
        job: Job,
        song: AudioReader,
        overwrite: bool,
        format: AudioFormat = AudioFormat(),
        unvoiced_as_zero: bool = False,
    ):
        self.facts: dict = {}
        bits = ENCODINGS[format.encoding].bits
        self._rounding = (Quantiser(bits), Quantiser(bits, seed=1)) if bits else None  # of mixture and vocals
        expected = song.num_samples or round((song.duration_s or 0) * song.sampling_rate)
        tags = read_tags(job.source) if {*job.outputs} - {"f0"} else Tags()
        self._stems: dict[str, AudioWriter] = {}
        self._f0: F0CsvWriter | None = None
        try:
            for what, path in job.outputs.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                if what == "f0":
                    self._f0 = F0CsvWriter(path, overwrite, unvoiced_as_zero)
                    continue
                self._stems[what] = AudioWriter(
                    path, song.sampling_rate, song.num_channels, format.encoding, overwrite, expected,
                    bit_rate=format.bit_rate, tags=tags.of_stem(what),
                )  # fmt: skip
        except BaseException:
            self.discard()
            raise

    @property
    def warnings(self) -> list[str]:
        notes = [note for writer in self._stems.values() for note in writer.notes]
        clipped = [
            f"{what}: {writer.clipped_samples} samples beyond full scale were clipped; --format wav-float keeps them"
            for what, writer in self._stems.items()
            if writer.clipped_samples
        ]
        return list(dict.fromkeys(notes)) + clipped

    def write(self, chunk) -> None:
        """Append a `MajlChunk`."""
        stems = {"vocals": chunk.vocals, "accompaniment": chunk.accompaniment}
        if self._rounding and self._stems:
            mixture, vocals = (
                rounded(block) for rounded, block in zip(self._rounding, (chunk.mixture, chunk.vocals), strict=True)
            )
            stems = {"vocals": vocals, "accompaniment": mixture - vocals}
        for what, writer in self._stems.items():
            writer.write(stems[what])
        if self._f0 is not None:
            self._f0.write(chunk.frames)

    def commit(self) -> None:
        commit_together(self.writers)

    def discard(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        for writer in self.writers:
            writer.discard()

    @property
    def writers(self) -> list[AtomicWriter]:
        return [*self._stems.values(), *([self._f0] if self._f0 else [])]
