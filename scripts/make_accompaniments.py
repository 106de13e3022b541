"""New accompaniments around labelled voices: a corpus of true stems and pitch that no one has recorded.

    python scripts/make_accompaniments.py --mir1k ~/corpora/mir1k --split-value train --versions 3 --output runs/fitted

Every clip's voice gets `--versions` accompaniments: chords that fit its melody (`majl_hf.data.harmony`), played in a
random style and tempo by MMA (Musical MIDI Accompaniment), with random instruments and often one that doubles the
melody, and rendered by FluidSynth. The output is a folder in MIR-1K's layout for each version, whose clips keep their
names, labels and splits; left + right is the mixture, the accompaniment mostly louder than the voice. Clips that are
there already are kept, so a run that was stopped goes on; the same seed gives the same files.

Needs the programs `mma` and `fluidsynth`, at least one soundfont (Debian: mma, fluidsynth, fluid-soundfont-gm,
musescore-general-soundfont, timgm6mb-soundfont, fluidr3mono-gm-soundfont) and the Python package `mido`.
"""

import argparse
import csv
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from rich.progress import track as with_progress

from majl_hf.data.harmony import harmonise
from majl_hf.data.mir1k import HOP_S, OFFSET_S, load_mir1k
from majl_hf.data.tracks import Track
from majl_hf.errors import MajlError

SOUNDFONT_FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"))
STYLE_FOLDERS = ("stdlib", "kara", "casio", "yamaha")  # of MMA's library
MMA_LIBRARY = Path("/usr/share/mma/lib")
BEATS_A_BAR = 4
TEMPO = (62.0, 136.0)
MAX_STYLES = 8  # tried until one sounds
RENDER_RATE = 44_100
NEW_INSTRUMENT_PROBABILITY = 0.35
DOUBLING_PROBABILITY = 0.6
RATIO_DB, RATIO_STD_DB = -3.0, 3.0  # vocals to accompaniment: rendered music is easier to remove than recorded music
FADE_S = 0.01
# General MIDI programs from 0 that karaoke tracks use: keys, guitars, strings and choirs of synthesisers, winds, leads.
PROGRAMS = (0, 1, 2, 4, 5, 6, 7, 10, 11, 12, 16, 17, 21, 22, 24, 25, 26, 27, 28, 29, 32, 33, 35, 40, 42, 44, 45, 46, 48)
PROGRAMS += (49, 50, 51, 56, 57, 60, 61, 62, 64, 65, 66, 68, 71, 73, 75, 79, 80, 81, 82, 88, 89, 90, 92, 95, 104, 107)
MELODY_PROGRAMS = (0, 4, 6, 10, 11, 12, 22, 24, 25, 40, 41, 48, 50, 56, 60, 64, 65, 66, 68, 69, 71, 73, 74, 75, 79, 80)
DRUM_CHANNEL = 9
MELODY_CHANNEL = 15
MIN_NOTE_S = 0.1


@cache
def styles() -> tuple[str, ...]:
    """Names of the grooves in four-four time of MMA's library, sorted."""
    found = set()
    for folder in STYLE_FOLDERS:
        for path in (MMA_LIBRARY / folder).glob("*.mma"):
            text = path.read_text(encoding="utf-8", errors="replace")
            if re.search(r"^\s*Time\s+4\b", text, re.MULTILINE | re.IGNORECASE):
                found.update(re.findall(r"^\s*DefGroove\s+([\w-]+)", text, re.MULTILINE | re.IGNORECASE))
    if not found:
        raise MajlError(f"No style of MMA's in {MMA_LIBRARY}. Install it (Debian: mma).")
    # Endings, introductions and fills are bars, not styles.
    return tuple(sorted(name for name in found if not re.search(r"(end|intro|fill)\d*$", name, re.IGNORECASE)))


@cache
def soundfonts() -> tuple[Path, ...]:
    """The soundfonts there are, each once."""
    found = {path.resolve() for folder in SOUNDFONT_FOLDERS for path in folder.glob("*.sf[23]")}
    if not found:
        raise MajlError("No soundfont was found. Install one (Debian: fluid-soundfont-gm).")
    return tuple(sorted(found))


def melody_notes(f0_hz: np.ndarray, hop_s: float, offset_s: float) -> list[tuple[int, float, float]]:
    """The melody as (MIDI note, onset in s, duration in s): runs of one nearest semitone of at least `MIN_NOTE_S`."""
    semitones = np.where(f0_hz > 0, np.round(69 + 12 * np.log2(np.maximum(f0_hz, 1.0) / 440.0)), 0).astype(int)
    edges = np.flatnonzero(np.diff(semitones, prepend=-1, append=-1))
    return [
        (int(semitones[begin]), offset_s + begin * hop_s, (end - begin) * hop_s)
        for begin, end in pairwise(edges)
        if semitones[begin] > 0 and (end - begin) * hop_s >= MIN_NOTE_S
    ]


def orchestrate(path: Path, notes: list[tuple[int, float, float]], rng: np.random.Generator) -> None:
    """Exchange instruments of a MIDI file at random and, now and then, double the melody, `notes` in its seconds."""
    import mido

    midi = mido.MidiFile(path)
    tempo = next((m.tempo for t in midi.tracks for m in t if m.type == "set_tempo"), 500_000)
    exchanged = {}
    for midi_track in midi.tracks:
        for message in midi_track:
            if message.type == "program_change" and message.channel != DRUM_CHANNEL:
                if message.channel not in exchanged:
                    takes_new = rng.random() < NEW_INSTRUMENT_PROBABILITY
                    exchanged[message.channel] = int(rng.choice(PROGRAMS)) if takes_new else None
                if exchanged[message.channel] is not None:
                    message.program = exchanged[message.channel]
    if notes and rng.random() < DOUBLING_PROBABILITY:
        shift, late_s, velocity = int(rng.choice([-12, 0, 0, 12])), rng.uniform(0, 0.08), int(rng.integers(45, 100))
        events = [
            (0.0, mido.Message("program_change", channel=MELODY_CHANNEL, program=int(rng.choice(MELODY_PROGRAMS))))
        ]
        for note, onset_s, duration_s in notes:
            message = partial(mido.Message, channel=MELODY_CHANNEL, note=min(max(note + shift, 0), 127))
            events.append((onset_s + late_s, message("note_on", velocity=velocity)))
            events.append((onset_s + late_s + 0.95 * duration_s, message("note_off")))
        ticks = 0
        doubling = mido.MidiTrack()
        for time_s, message in sorted(events, key=lambda event: event[0]):
            at = round(mido.second2tick(time_s, midi.ticks_per_beat, tempo))
            doubling.append(message.copy(time=at - ticks))
            ticks = at
        midi.tracks.append(doubling)
    midi.save(path)


def make_accompaniment(track: Track, rng: np.random.Generator) -> np.ndarray:
    """Accompaniment of a track with a pitch label, `(num_samples,)` float32 at the track's rate and length.

    Raises:
        MajlError: a program fails, or nothing that was tried sounds.
    """
    tempo = rng.uniform(*TEMPO)
    bar_s = BEATS_A_BAR * 60.0 / tempo
    num_bars = int(np.ceil(track.duration_s / bar_s))
    times_s = track.label.offset_s + np.arange(len(track.label.f0_hz)) * track.label.hop_s
    halves = np.floor(times_s / (bar_s / 2)).astype(int)
    chords = harmonise([track.label.f0_hz[halves == half] for half in range(2 * num_bars)], rng)
    if rng.random() < 0.5:  # a chord a bar
        chords = [chords[half - half % 2] for half in range(2 * num_bars)]
    bars = [f"{chords[2 * bar].name} / {chords[2 * bar + 1].name}" for bar in range(num_bars)]
    lead_in = int(rng.integers(1, 5))  # bars before the clip begins, so that clips do not begin as styles do
    bars = [bars[index % num_bars] for index in range(lead_in)] + bars
    notes = melody_notes(track.label.f0_hz, track.label.hop_s, track.label.offset_s + lead_in * bar_s)
    num_samples = round(track.duration_s * track.sampling_rate)
    for _ in range(MAX_STYLES):
        with tempfile.TemporaryDirectory() as folder:
            source, midi, audio = (Path(folder) / name for name in ("song.mma", "song.mid", "song.wav"))
            lines = [
                f"Tempo {tempo:.2f}",
                f"Groove {rng.choice(styles())}",
                *(f"{i + 1} {b}" for i, b in enumerate(bars)),
            ]
            source.write_text("\n".join(lines) + "\n")
            made = subprocess.run(["mma", source, "-f", midi], capture_output=True, text=True, check=False)
            if made.returncode != 0 or not midi.exists():
                continue  # a style that wants what was not given
            orchestrate(midi, notes, rng)
            font, reverb, chorus = (
                soundfonts()[int(rng.integers(len(soundfonts())))],
                rng.random() < 0.7,
                rng.random() < 0.5,
            )
            settings = ["-R", str(int(reverb)), "-C", str(int(chorus)), "-g", "0.4", "-r", str(RENDER_RATE), "-q"]
            command = ["fluidsynth", "-ni", "-o", "synth.dynamic-sample-loading=1", *settings, "-F", audio, font, midi]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            if made.returncode != 0 or not audio.exists():
                raise MajlError(f"fluidsynth failed with {font}: {made.stderr[-300:].strip()}")
            rendered, rate = soundfile.read(audio, dtype="float32", always_2d=True)
        begin = round(lead_in * bar_s * rate)
        mono = soxr.resample(rendered[begin:].mean(axis=1), rate, track.sampling_rate)
        mono = np.pad(mono, (0, max(0, num_samples - len(mono))))[:num_samples]
        if np.sqrt(np.mean(mono**2)) > 1e-3:
            return mono.astype(np.float32)
    raise MajlError(f"{track.id}: none of {MAX_STYLES} styles made a sound.")


def write_clip(track: Track, folder: Path, label: Path, seed: int) -> None:
    """Write one clip of a version, unless it is there: audio last, whole or not at all."""
    clip = track.id.rpartition("/")[2]
    path = folder / "Wavfile" / f"{clip}.flac"
    if path.exists():
        return
    rng = np.random.default_rng([seed, zlib.crc32(clip.encode())])
    vocals = track.vocals.read(0, track.vocals.num_samples)[0]
    accompaniment = make_accompaniment(track, rng)[: len(vocals)]
    fade = round(FADE_S * track.sampling_rate)
    accompaniment[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    ratio_db = rng.normal(RATIO_DB, RATIO_STD_DB)
    accompaniment *= 10 ** (-ratio_db / 20) * np.sqrt(np.mean(vocals**2) / np.mean(accompaniment**2))
    stereo = np.stack([accompaniment, vocals], axis=1)
    peak = np.abs(stereo).max()
    if peak > 1.0:
        stereo /= peak
    shutil.copyfile(label, folder / "PitchLabel" / f"{clip}.pv")
    unfinished = path.with_name(f"{clip}.flac.unfinished")
    soundfile.write(unfinished, stereo, track.sampling_rate, format="FLAC", subtype="PCM_16")
    os.replace(unfinished, path)


def copy_rows(source: Path, target: Path, clips: set[str]) -> None:
    """The rows of `clips.csv` that are about these clips."""
    with source.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["clip"] in clips]
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--mir1k", required=True, help="folder in MIR-1K's layout, with clips.csv")
    parser.add_argument("--split-column", default="singer_split")
    parser.add_argument("--split-value", default="train")
    parser.add_argument("--versions", type=int, default=1, help="accompaniments a clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True, help="folder for version-1, version-2, ...")
    arguments = parser.parse_args()
    for program in ("mma", "fluidsynth"):
        if shutil.which(program) is None:
            raise MajlError(f"The program {program} is needed. Install it (Debian: apt-get install {program}).")
    tracks = load_mir1k(arguments.mir1k, arguments.split_column, arguments.split_value)
    labels = Path(os.path.expandvars(os.path.expanduser(arguments.mir1k)))
    assert tracks[0].label.hop_s == HOP_S and tracks[0].label.offset_s == OFFSET_S
    jobs = []
    for version in range(1, arguments.versions + 1):
        folder = arguments.output / f"version-{version}"
        for name in ("Wavfile", "PitchLabel"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        copy_rows(labels / "clips.csv", folder / "clips.csv", {track.id.rpartition("/")[2] for track in tracks})
        seed = 1000 * arguments.seed + version
        for track in tracks:
            jobs.append((track, folder, labels / "PitchLabel" / f"{track.id.rpartition('/')[2]}.pv", seed))
    with ProcessPoolExecutor(arguments.processes) as pool:
        for _ in with_progress(pool.map(write_clip, *zip(*jobs, strict=True)), "clips", total=len(jobs)):
            pass
    minutes = arguments.versions * sum(track.duration_s for track in tracks) / 60
    print(f"{len(jobs)} clips, {minutes:.1f} min, in {arguments.output}")


if __name__ == "__main__":
    try:
        main()
    except MajlError as error:
        raise SystemExit(f"make_accompaniments: {error}") from None
