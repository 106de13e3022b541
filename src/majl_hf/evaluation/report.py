"""A page about an evaluation: every clip's scores, where errors are, and the worst clips to hear and to see.

One HTML file that needs nothing else. `Report` is an observer of `evaluate`; it keeps the worst clips in memory, so a
corpus of any size can be reported.

Levels are those of the vocals over the accompaniment in the clip, in dB. Registers are octaves of the reference's
pitch; each of its sung frames counts once: right (less than 50 cents off), an octave off, otherwise wrong; and apart
from that, whether the estimate calls it sung.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import math
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..audio import AudioWriter
from ..export.spectrogram import HIGHEST_HZ, LOWEST_HZ, as_mono, spectrogram_jpeg
from ..metrics.statistics import summarise
from ..mixing.clips import ValidationClip, loudest_part
from ..models.pitch_majl import midi_to_hz, note_name
from .runner import METRICS, ItemScores
from .systems import SystemOutput

NUM_WORST = 10
EXCERPT_S = 20.0  # of a worst clip, where it is worst
LEVELS_DB = (-10.0, -5.0, 0.0, 5.0, 10.0)  # between the groups
REGISTERS_MIDI = (48, 60, 72, 84)  # C3 to C6, between the groups
LEFT_OUT = ("nsdr_db", "si_sdr_db")  # of tables of means, which would be too wide
WORST_BY = ("sdr_db", "oa", "rca")  # the first that a clip has
BIT_RATE = 96
SILENT = 1e-10


class Register(NamedTuple):
    """Sung frames of the reference in a range of pitch, and what became of them."""

    count: int = 0
    right: int = 0
    octave: int = 0
    sung: int = 0

    def plus(self, other: Register) -> Register:
        return Register(*map(sum, zip(self, other, strict=True)))


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The part of a clip that is shown: samples `(num_channels, num_samples)`, and curves from its start on."""

    item: ItemScores
    sampling_rate: int
    start_s: float
    sounds: dict[str, np.ndarray]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]


@dataclass
class Report:
    """What was observed of one system on one corpus."""

    items: list[ItemScores] = field(default_factory=list)
    levels_db: dict[str, float] = field(default_factory=dict)
    registers: list[Register] = field(default_factory=lambda: [Register()] * (len(REGISTERS_MIDI) + 1))
    protocol: str = ""
    _worst: list[tuple[float, int, Excerpt]] = field(default_factory=list)

    def observe(self, clip: ValidationClip, output: SystemOutput, item: ItemScores) -> None:
        """Add a clip that has been scored."""
        self.items.append(item)
        if clip.vocals is not None and (level := level_db(clip)) is not None:
            self.levels_db[item.id] = level
        if clip.label is not None and output.pitch is not None and clip.label.octave_reliable:
            found = registers(clip, output)
            self.registers = [ours.plus(theirs) for ours, theirs in zip(self.registers, found, strict=True)]
        score = next((item.scores[name] for name in WORST_BY if name in item.scores), math.nan)
        if math.isfinite(score) and (len(self._worst) < NUM_WORST or -score > self._worst[0][0]):
            heapq.heappush(self._worst, (-score, len(self.items), excerpt(clip, output, item)))
            if len(self._worst) > NUM_WORST:
                heapq.heappop(self._worst)

    @property
    def worst(self) -> list[Excerpt]:
        """The worst clips, the worst first."""
        return [part for _, _, part in sorted(self._worst, reverse=True)]


def level_db(clip: ValidationClip) -> float | None:
    """Level of the vocals over the accompaniment in dB; None if one of them is silent."""
    vocals, accompaniment = (
        float(np.square(part, dtype=np.float64).mean()) for part in (clip.vocals, clip.mixture - clip.vocals)
    )
    return 10 * math.log10(vocals / accompaniment) if min(vocals, accompaniment) > SILENT else None


def registers(clip: ValidationClip, output: SystemOutput) -> list[Register]:
    """The frames of a clip in each register."""
    times_s, reference_hz = clip.label.times_s, clip.label.f0_hz
    pitch = output.pitch
    frame = np.interp(times_s, pitch.times_s, np.arange(len(pitch.times_s))).round().astype(int)  # the nearest
    sung = reference_hz > 0
    cents = 1200 * np.log2(np.asarray(pitch.f0_hz)[frame][sung] / reference_hz[sung])
    right = np.abs(cents) < 50
    octave = ~right & (np.abs((cents + 600) % 1200 - 600) < 50)
    voiced = np.asarray(pitch.voiced)[frame][sung]
    group = np.digitize(reference_hz[sung], [midi_to_hz(midi) for midi in REGISTERS_MIDI])
    return [
        Register(*(int(part[group == number].sum()) for part in (np.ones_like(right), right, octave, voiced)))
        for number in range(len(REGISTERS_MIDI) + 1)
    ]


def excerpt(clip: ValidationClip, output: SystemOutput, item: ItemScores) -> Excerpt:
    """The part of a clip in which the vocals are furthest from the reference; without vocals, its beginning."""
    rate, num_samples = clip.sampling_rate, clip.mixture.shape[1]
    length, first = min(num_samples, round(EXCERPT_S * rate)), 0
    sounds = {"mixture": clip.mixture}
    if clip.vocals is not None:
        sounds["true vocals"] = clip.vocals
    if output.vocals is not None:
        sounds["estimated vocals"] = output.vocals
    if clip.vocals is not None and output.vocals is not None and length < num_samples:
        first = loudest_part(output.vocals - clip.vocals, length)
    start_s, end_s = first / rate, (first + length) / rate
    curves = {}
    if clip.label is not None:
        curves["label"] = clip.label.times_s, clip.label.f0_hz
    if output.pitch is not None:
        curves["estimate"] = output.pitch.times_s, np.where(output.pitch.voiced, output.pitch.f0_hz, 0.0)
    inside = {}
    for name, (times_s, f0_hz) in curves.items():
        part = (times_s >= start_s) & (times_s < end_s)
        inside[name] = np.asarray(times_s)[part] - start_s, np.asarray(f0_hz)[part]
    parts = {name: sound[:, first : first + length].copy() for name, sound in sounds.items()}
    return Excerpt(item, rate, start_s, parts, inside)


def write_page(path: str | Path, reports: dict[str, Report]) -> None:
    """Write the page about one or more runs, by their keys in the results file.

    Raises:
        AudioError: the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader

    from ..system.files import write_atomically

    loader = PackageLoader(__package__, "templates")
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    sections = [_section(key, report) for key, report in reports.items()]
    write_atomically(path, environment.get_template("report.html.jinja").render(sections=sections))


def _section(key: str, report: Report) -> dict:
    names = [name for name in METRICS if any(name in item.scores for item in report.items)]
    compared = [name for name in names if name not in LEFT_OUT]
    return {
        "key": key,
        "protocol": report.protocol,
        "num_clips": len(report.items),
        "minutes": sum(item.duration_s for item in report.items) / 60,
        "metrics": [_heading(name) for name in names],
        "compared": [_heading(name) for name in compared],
        "summary": [_means("all clips", report.items, compared)],
        "groups": [
            ("By singer", "singer", _grouped(report.items, compared, lambda item: item.singer or None)),
            ("By song", "song", _grouped(report.items, compared, lambda item: item.song or None)),
            ("By level of the vocals over the accompaniment", "level", _by_level(report, compared)),
        ],
        "registers": [_register_row(number, part) for number, part in enumerate(report.registers) if part.count],
        "worst": [_shown(part) for part in report.worst],
        "clips": [[item.id, *(_format(name, item.scores.get(name)) for name in names)] for item in report.items],
    }


def _heading(metric: str) -> str:
    name, unit = METRICS[metric]
    return f"{name}, {'%' if unit == 'fraction' else unit}"


def _means(name: str, items: Sequence[ItemScores], names: Sequence[str]) -> list[str]:
    """A row: name, number of clips, and mean and interval of each metric."""
    cells = [name, str(len(items))]
    for metric in names:
        values = [item.scores[metric] for item in items if math.isfinite(item.scores.get(metric, math.nan))]
        cells.append(_mean(metric, values) if values else "")
    return cells


def _mean(metric: str, values: Sequence[float]) -> str:
    """`mean [low, high]`, without the interval for a single value."""
    summary = summarise(values)
    if summary.low is None:
        return _format(metric, summary.mean)
    return f"{_format(metric, summary.mean)} [{_format(metric, summary.low)}, {_format(metric, summary.high)}]"


def _grouped(
    items: Iterable[ItemScores], names: Sequence[str], group_of: Callable[[ItemScores], str | None]
) -> list[list[str]]:
    groups: dict[str, list[ItemScores]] = defaultdict(list)
    for item in items:
        if (group := group_of(item)) is not None:
            groups[group].append(item)
    return [_means(group, groups[group], names) for group in sorted(groups)] if len(groups) > 1 else []


def _by_level(report: Report, names: Sequence[str]) -> list[list[str]]:
    edges = (-math.inf, *LEVELS_DB, math.inf)
    rows = []
    for low, high in itertools.pairwise(edges):
        inside = [item for item in report.items if low <= report.levels_db.get(item.id, math.nan) < high]
        if inside:
            name = f"below {high:g} dB" if low == -math.inf else f"{low:g} dB and more" if high == math.inf else (
                f"{low:g} to {high:g} dB"
            )  # fmt: skip
            rows.append(_means(name, inside, names))
    return rows


def _register_row(number: int, part: Register) -> list[str]:
    edges = [note_name(midi) for midi in REGISTERS_MIDI]
    name = f"below {edges[0]}" if number == 0 else f"from {edges[-1]}" if number == len(edges) else (
        f"{edges[number - 1]} to {edges[number]}"
    )  # fmt: skip
    wrong = part.count - part.right - part.octave
    shares = (part.right, part.octave, wrong, part.count - part.sung)
    return [name, f"{part.count:,}", *(f"{100 * share / part.count:.1f}" for share in shares)]


def _format(metric: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"{100 * value:.1f}" if METRICS[metric][1] == "fraction" else f"{value:.2f}"


def _shown(part: Excerpt) -> dict:
    drawn = next(name for name in ("true vocals", "mixture") if name in part.sounds)
    rate, length_s = part.sampling_rate, part.sounds["mixture"].shape[1] / part.sampling_rate
    scores = {name: _format(name, value) for name, value in part.item.scores.items()}
    return {
        "id": part.item.id,
        "scores": ", ".join(f"{METRICS[name][0]} {value}" for name, value in scores.items() if value),
        "from_s": part.start_s,
        "to_s": part.start_s + length_s,
        "drawn": drawn,
        "picture": _data_url("image/jpeg", spectrogram_jpeg(as_mono(part.sounds[drawn], rate), rate)),
        "curves": [(name, _path(times_s / length_s, f0_hz)) for name, (times_s, f0_hz) in part.curves.items()],
        "sounds": [(name, _data_url("audio/mpeg", _mp3(sound, rate))) for name, sound in part.sounds.items()],
    }


def _path(share: np.ndarray, f0_hz: np.ndarray) -> str:
    """Points of an SVG path in a box of 1000 by 1000, over the spectrogram; interrupted where nothing is sung."""
    sung = f0_hz > 0
    height = 1 - np.log(np.where(sung, f0_hz, LOWEST_HZ) / LOWEST_HZ) / math.log(HIGHEST_HZ / LOWEST_HZ)
    points, is_down = [], False
    for x, y, is_sung in zip(1000 * share, 1000 * height, sung, strict=True):
        if is_sung:
            points.append(f"{'L' if is_down else 'M'}{x:.1f} {y:.1f}")
        is_down = bool(is_sung)
    return "".join(points)


def _mp3(sound: np.ndarray, sampling_rate: int) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound.mp3")
        with AudioWriter(path, sampling_rate, len(sound), "mp3", bit_rate=BIT_RATE) as writer:
            writer.write(np.clip(sound, -1, 1))
        return path.read_bytes()


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
