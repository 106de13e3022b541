"""Tiny corpora in their published layouts: tones and noise written to disk."""

from pathlib import Path

import numpy as np
import soundfile

MIR1K_RATE = 16000
VOICE_HZ, MUSIC_HZ = 220.0, 3000.0


def tone(frequency_hz: float, duration_s: float, sampling_rate: int, level: float = 0.3) -> np.ndarray:
    return (
        level * np.sin(2 * np.pi * frequency_hz * np.arange(round(duration_s * sampling_rate)) / sampling_rate)
    ).astype(np.float32)


def write(path: Path, audio: np.ndarray, sampling_rate: int) -> Path:
    """`audio` (num_samples,) or (num_channels, num_samples)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subtype = "FLOAT" if path.suffix == ".wav" else None
    soundfile.write(str(path), audio.T, sampling_rate, subtype=subtype)
    return path


def sung_note(f0_hz: float, num_samples: int, sampling_rate: int = MIR1K_RATE) -> np.ndarray:
    """Five harmonics, peak below 0.5; shape (num_samples,) float32."""
    time_s = np.arange(num_samples) / sampling_rate
    return (0.2 * sum(np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 6))).astype(np.float32)


def write_mir1k(
    folder: Path,
    clips: dict[str, tuple[np.ndarray, np.ndarray]],
    labels: dict[str, np.ndarray] | None = None,
    splits: dict[str, str] | None = None,
    split_column: str = "singer_split",
) -> Path:
    """`clips`: name -> (accompaniment, vocals) at 16 kHz; labels in semitones, by default 220 Hz in every frame; splits
    are written to clips.csv."""
    for name, (accompaniment, vocals) in clips.items():
        write(folder / "Wavfile" / f"{name}.wav", np.stack([accompaniment, vocals]), MIR1K_RATE)
        frames = int(len(vocals) / MIR1K_RATE / 0.02 + 1e-6) - 1
        semitones = (labels or {}).get(name, np.full(frames, 57.0))
        write_label(folder, name, semitones)
    if splits is not None:
        rows = [f"{name},{name.split('_')[0]},{name[:-3]},{split}\n" for name, split in splits.items()]
        (folder / "clips.csv").write_text(f"clip,singer,song,{split_column}\n" + "".join(rows))
    return folder


def write_label(folder: Path, name: str, semitones: np.ndarray) -> Path:
    path = folder / "PitchLabel" / f"{name}.pv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{value:.6f}\n" for value in semitones))
    return path


def steady_clip(duration_s: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Accompaniment at 3 kHz, voice at 220 Hz (MIDI 57)."""
    return tone(MUSIC_HZ, duration_s, MIR1K_RATE), tone(VOICE_HZ, duration_s, MIR1K_RATE)


def dominant_hz(audio: np.ndarray, sampling_rate: int) -> float:
    """Frequency of the strongest sinusoid in `audio` (num_samples,): windowed spectrum, parabola through the peak."""
    size = 8 * len(audio)
    magnitude = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)), size)) + 1e-12)
    peak = int(magnitude.argmax())
    left, centre, right = magnitude[peak - 1 : peak + 2]
    return (peak + 0.5 * (left - right) / (left - 2 * centre + right)) * sampling_rate / size


def cents(a_hz: float, b_hz: float) -> float:
    return 1200 * np.log2(a_hz / b_hz)
