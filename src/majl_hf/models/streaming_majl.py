"""The engine of pipeline, command and demo: blocks of a song in, vocals, accompaniment and pitch out, in order.

    blocks at the file's rate -> model's rate, level and balance -> separator's windows -> vocals
    vocals -> pitch estimator's windows -> logits -> decoder -> f0, voicing
    vocals, f0, voicing -> note estimator's windows -> evidence -> decoder -> notes; where they are wanted

A refiner comes behind both, where there is one: mixture, vocals, logits -> its windows -> vocals.

Memory does not grow with the length of the song. The pieces keep the input's rate, channels and length, and
`vocals + accompaniment` is the mixture to one float32 ulp of its peak. Where the model's rate is lower than the
input's, frequencies above the model's band stay in the accompaniment.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np

from .conditioning_majl import Conditioner, VoiceMix, are_unlike, cancels
from .decoding_majl import PitchDecoder, PitchFrames
from .note_decoding_majl import (
    EVIDENCE_FRAMES,
    NoteDecoder,
    NoteEvidence,
    evidence_of_network,
    evidence_of_pitch,
    voice_level_db,
)
from .notes_majl import SungNote
from .parts_majl import HasParts, OrderedCalls, Parts, nearest_pitch_frames
from .pitch_majl import hz_to_midi
from .resampling_majl import ResampleStream
from .samples_majl import check_sampling_rate, float_samples
from .windows_majl import Window, WindowCutter, WindowGrid

NOTE_WINDOWS = 3  # of the model's in one of the note estimator's, whose margins are as long


@dataclass
class MajlChunk:
    """A piece of the result. Concatenated, the pieces are the whole file.

    Args:
        mixture, vocals, accompaniment (`np.ndarray` of shape `(num_channels, num_samples)`): float32, at the input's
            rate.
        frames (`PitchFrames`): The pitch frames that became final with this piece; they trail the audio.
        logits (`np.ndarray` of shape `(num_frames, num_bins)`, *optional*): The pitch estimator's logits of `frames`,
            float32; left out by `separate_array`.
        notes (`list[SungNote]`, *optional*): The notes that became final with this piece; `None` where they were not
            asked for.
        evidence (`NoteEvidence`, *optional*): Of the notes, for frames that became final with this piece and trail
            `frames`: a `NoteDecoder` with other settings finds other notes in it. Left out by `separate_array`, and
            `None` where notes were not asked for.
    """

    mixture: np.ndarray
    vocals: np.ndarray
    accompaniment: np.ndarray
    frames: PitchFrames
    logits: np.ndarray | None = None
    notes: list[SungNote] | None = None
    evidence: NoteEvidence | None = None


class _BatchedWindows:
    """Cuts a stream into windows and runs `forward` on `batch_size` of them together; a batch fills however small the
    blocks are."""

    def __init__(
        self, grid: WindowGrid, batch_size: int, forward: Callable[[np.ndarray], np.ndarray], calls: OrderedCalls
    ):
        self.cutter, self.batch_size, self.forward, self.calls = WindowCutter(grid), batch_size, forward, calls
        self.waiting: list[Window] = []

    def push(self, block: np.ndarray, last: bool) -> Iterator[tuple[Window, np.ndarray]]:
        """The windows whose batch is done, in order, with what `forward` made of them; with `last`, all."""
        self.waiting += self.cutter.push(block, last)
        while self.waiting and (last or len(self.waiting) >= self.batch_size):
            # Windows at the ends of the stream are shorter.
            alike = [window.samples.shape == self.waiting[0].samples.shape for window in self.waiting]
            count = min([*alike, False].index(False), self.batch_size)
            batch, self.waiting = self.waiting[:count], self.waiting[count:]
            self.calls.submit(self._run, batch, is_final=last and not self.waiting)
        for batch, outputs in self.calls.results(last):
            yield from zip(batch, outputs, strict=True)

    def _run(self, batch: list[Window]) -> tuple[list[Window], np.ndarray]:
        return batch, self.forward(np.stack([window.samples for window in batch]))


class _SeparatorStream:
    """Mixture `(num_channels, num_samples)` at the model's rate to vocals of the same layout."""

    def __init__(self, parts: Parts, batch_size: int, condition: bool, calls: OrderedCalls):
        self.parts, self.condition = parts, condition
        grid = WindowGrid.for_part(parts.config, parts.config.separator_config)
        self.windows = _BatchedWindows(grid, batch_size, self._forward, calls)

    def push(self, block: np.ndarray, last: bool) -> np.ndarray:
        parts = [block[:, :0]]
        for window, vocals in self.windows.push(block, last):
            parts.append(vocals[:, window.start : window.stop])
        return np.concatenate(parts, axis=1)

    def _forward(self, mixture: np.ndarray) -> np.ndarray:
        """`(batch_size, num_channels, num_samples)` in and out, for any number of channels."""
        if mixture.shape[1] != self.parts.config.num_channels:
            return self._each_channel(mixture)
        vocals = self.parts.separator(mixture)
        if self.condition and mixture.shape[1] == 2:
            for number, (mixed, sung) in enumerate(zip(mixture, vocals, strict=True)):
                if are_unlike(mixed, sung):
                    vocals[number] = self._each_channel(mixed[None])[0]
        return vocals

    def _each_channel(self, mixture: np.ndarray) -> np.ndarray:
        """The same with each channel on its own: repeated where the model takes more, averaged back afterwards."""
        single = np.repeat(mixture.reshape(-1, 1, mixture.shape[2]), self.parts.config.num_channels, axis=1)
        return self.parts.separator(single).mean(axis=1).reshape(mixture.shape)


class _VoiceStream:
    """Vocals `(num_channels, num_samples)` at the model's rate to a voice `(num_samples,)` at the pitch estimator's."""

    def __init__(self, config, condition: bool):
        self.mix = VoiceMix(config.sampling_rate) if condition else None
        self.resampler = ResampleStream(config.sampling_rate, config.pitch_estimator_config.sampling_rate)

    def push(self, vocals: np.ndarray, last: bool) -> np.ndarray:
        voice = vocals.mean(axis=0) if self.mix is None else self.mix.push(vocals, last)
        return self.resampler.push(voice, last)


class _PitchStream:
    """A voice `(num_samples,)` to pitch logits `(num_frames, num_bins)`."""

    def __init__(self, parts: Parts, batch_size: int, calls: OrderedCalls):
        part = parts.config.pitch_estimator_config
        self.hop_length, self.num_bins = part.hop_length, part.num_bins
        grid = WindowGrid.for_part(parts.config, part)
        self.windows = _BatchedWindows(grid, batch_size, parts.pitch_estimator, calls)

    def push(self, voice: np.ndarray, last: bool) -> np.ndarray:
        parts = [np.zeros((0, self.num_bins), dtype=np.float32)]
        for window, logits in self.windows.push(voice, last):
            # A frame belongs to the core that its centre lies in; one on the very end of the file to the last core.
            first = window.start // self.hop_length
            stop = window.stop // self.hop_length + 1 if window.is_last else window.stop // self.hop_length
            parts.append(logits[first:stop])
        return np.concatenate(parts)


class _NoteStream:
    """A voice `(num_samples,)`, its logits (which trail it) and decoded pitch (which trails these) to notes.

    The windows are cut from columns, one for each frame: the samples from its centre to the next one's, its logits, and
    its decoded pitch.
    """

    def __init__(self, parts: Parts, decoder: NoteDecoder, calls: OrderedCalls):
        config = parts.config
        self.parts, self.decoder, self.calls = parts, decoder, calls
        self.hop_length = config.pitch_estimator_config.hop_length
        part = config.note_estimator_config
        margin = EVIDENCE_FRAMES if part is None else -(-part.context // self.hop_length)
        core = max(1, round(NOTE_WINDOWS * config.window_s / config.frame_hop_s))
        self.cutter = WindowCutter(WindowGrid(core, margin))
        self.voice = np.zeros(0, dtype=np.float32)  # that waits for its decoded pitch, as these logits do
        self.logits = np.zeros((0, config.pitch_estimator_config.num_bins), dtype=np.float32)

    def push(
        self, voice: np.ndarray, logits: np.ndarray, frames: PitchFrames, last: bool
    ) -> tuple[list[SungNote], list[NoteEvidence]]:
        self.voice, self.logits = np.concatenate([self.voice, voice]), np.concatenate([self.logits, logits])
        count, decoded = len(frames), np.array([frames.f0_hz, frames.voicing], dtype=np.float32)
        samples, self.voice = np.split(self.voice, [count * self.hop_length])
        samples = np.pad(samples, (0, count * self.hop_length - len(samples)))
        known, self.logits = np.split(self.logits, [count])
        columns = np.concatenate([samples.reshape(count, self.hop_length).T, known.T, decoded])
        for window in self.cutter.push(columns, last):
            self.calls.submit(self._evidence, window, is_final=window.is_last)
        notes, evidence = [], []
        for window, found in self.calls.results(last):
            evidence.append(found[window.start : window.stop])
            notes += self.decoder.push(evidence[-1], window.is_last)
        return notes, evidence

    def _evidence(self, window: Window) -> tuple[Window, NoteEvidence]:
        samples, logits, (decoded_hz, voicing) = np.split(window.samples, [self.hop_length, len(window.samples) - 2])
        waveform = samples.T.reshape(-1)
        level_db = voice_level_db(waveform, len(decoded_hz), self.hop_length)
        pitch = (hz_to_midi(decoded_hz), voicing.astype(float), level_db)
        if self.parts.note_estimator is None:
            return window, evidence_of_pitch(*pitch, self.parts.config.frame_hop_s)
        # Without the frame at the very end.
        output = self.parts.note_estimator(waveform[None, :-1], np.ascontiguousarray(logits.T)[None])
        return window, evidence_of_network([values[0] for values in output], *pitch)


class _RefinerStream:
    """Mixture, vocals (which trail it) and pitch logits (which trail these) to refined vocals; all waveforms are
    `(num_channels, num_samples)` at the model's rate."""

    def __init__(self, parts: Parts, condition: bool, calls: OrderedCalls):
        self.parts, self.condition, self.calls = parts, condition, calls
        config = parts.config
        self.cutter = WindowCutter(WindowGrid.for_part(config, config.refiner_config))
        self.mixture: list[np.ndarray] = []  # what waits for its vocals
        self.windows: list[Window] = []  # which wait for their pitch
        self.logits = np.zeros((0, config.pitch_estimator_config.num_bins), dtype=np.float32)
        self.first_frame = 0  # number of the first pitch frame whose logits are kept

    def push(self, mixture: np.ndarray, vocals: np.ndarray, logits: np.ndarray, last: bool) -> np.ndarray:
        self.mixture.append(mixture)
        num_samples = vocals.shape[1]
        if not (num_samples or len(logits) or last):
            return vocals
        self.logits = np.concatenate([self.logits, logits])
        waiting = np.concatenate(self.mixture, axis=1)
        self.windows += self.cutter.push(np.concatenate([waiting[:, :num_samples], vocals]), last)
        self.mixture = [waiting[:, num_samples:]]
        while self.windows and (pitch := self._pitch(self.windows[0], last)) is not None:
            window = self.windows.pop(0)
            self.calls.submit(self._refined, window, pitch, is_final=window.is_last)
        return np.concatenate([vocals[:, :0], *self.calls.results(last)], axis=1)

    def _pitch(self, window: Window, last: bool) -> np.ndarray | None:
        """The logits of the first window that waits; None while those at its end are not known."""
        numbers = nearest_pitch_frames(self.parts.config, window.samples.shape[1], window.offset)
        if not last and numbers[-1] >= self.first_frame + len(self.logits):
            return None
        passed = numbers[0] - self.first_frame  # windows come in order, so these frames are not needed again
        self.logits, self.first_frame = self.logits[passed:], numbers[0]
        return self.logits[np.minimum(numbers - self.first_frame, len(self.logits) - 1)]

    def _refined(self, window: Window, logits: np.ndarray) -> np.ndarray:
        """The refined core of a window."""
        mixture, vocals = np.split(window.samples, 2)
        # The refiner sees the mean of the channels, in which some voices cancel.
        apart = self.condition and len(vocals) == 2 and cancels(vocals)
        channels = [slice(0, 1), slice(1, 2)] if apart else [slice(None)]
        refined = [self.parts.refiner(mixture[None, some], vocals[None, some], logits[None])[0] for some in channels]
        return np.concatenate(refined)[:, window.start : window.stop]


class _Fifo:
    """Samples `(num_channels, num_samples)` that wait for their counterpart."""

    def __init__(self, num_channels: int):
        self.parts = [np.zeros((num_channels, 0), dtype=np.float32)]
        self.length = 0

    def push(self, block: np.ndarray) -> None:
        self.parts.append(block)
        self.length += block.shape[1]

    def pop(self, num_samples: int) -> np.ndarray:
        joined = np.concatenate(self.parts, axis=1)
        self.parts, self.length = [joined[:, num_samples:]], self.length - num_samples
        return joined[:, :num_samples]


def _checked(blocks: Iterable[np.ndarray], sampling_rate: int) -> Iterator[np.ndarray]:
    """The blocks as float32 `(num_channels, num_samples)`, or `ValueError` at the first that cannot be used."""
    position, num_channels = 0, None
    for block in blocks:
        block = float_samples(block)
        if block.ndim != 2 or block.shape[0] not in (1, 2):
            raise ValueError(
                f"Audio of shape {block.shape} was given; (num_channels, num_samples) with one or two channels is "
                "needed. Mix more channels down to two first, and transpose (samples, channels) arrays."
            )
        if num_channels not in (None, block.shape[0]):
            raise ValueError(f"A block of {block.shape[0]} channels follows blocks of {num_channels} channels.")
        num_channels = block.shape[0]
        finite = np.isfinite(block)
        if not finite.all():
            first = int(np.argmin(finite.all(axis=0)))
            raise ValueError(
                f"The audio contains {block.size - int(finite.sum())} samples that are NaN or infinite, the first at "
                f"{(position + first) / sampling_rate:.3f} s. Repair or cut the recording there."
            )
        position += block.shape[1]
        if block.shape[1]:
            yield block
    if position == 0:
        raise ValueError("The audio contains no samples; at least one is needed.")


def separate_stream(
    model: HasParts,
    blocks: Iterable[np.ndarray],
    sampling_rate: int,
    *,
    batch_size: int = 1,
    make_resampler: Callable | None = None,
    policy: str | None = None,
    threshold: float | None = None,
    separate: bool = True,
    read_pitch: bool = True,
    read_notes: bool = False,
    note_threshold: float | None = None,
    min_note_s: float | None = None,
    condition: bool = True,
) -> Iterator[MajlChunk]:
    """Separate a song and read its pitch, piece by piece.

    Args:
        model: A `MajlModel`, which is used in evaluation mode and keeps its own, or an exported one.
        blocks: Arrays of shape `(num_channels, num_samples)`, one or two channels, of any lengths; see `float_samples`.
        sampling_rate: Their rate in Hz.
        batch_size: Windows that share a forward pass: speed against memory; results do not depend on it.
        make_resampler: `(orig_rate, target_rate, num_channels)` to an object whose `push(block, last)` resamples a
            stream; needed where `sampling_rate` is not the model's.
        policy: Voicing policy, see `PitchDecoder`.
        threshold: Voicing threshold, see `PitchDecoder`.
        separate: Whether the input is a mixture. `False` takes it for a solo voice: vocals = mixture.
        read_pitch: Whether pitch is wanted. `False` leaves frames and logits empty; the pitch estimator then runs only
            where a refiner needs it.
        read_notes: Whether notes are wanted; pitch is then read, too.
        note_threshold, min_note_s: Of the notes, see `NoteDecoder`.
        condition: Whether level, balance, polarity and offset of the recording are evened out for the model, see
            `conditioning_majl`. `False` gives it the recording as it is.

    Yields:
        `MajlChunk`: pieces whose concatenation has exactly the length of the input.

    Raises:
        ValueError: no samples, NaN or infinite samples, a layout or rate that is not supported, or a part that is
            needed and that the model lacks.
        RuntimeError: a forked process in which torch would hang, see `check_fork`.
    """
    parts = model.parts()
    config = parts.config
    sampling_rate = check_sampling_rate(sampling_rate)
    model_rate = config.sampling_rate
    if sampling_rate != model_rate and make_resampler is None:
        raise ValueError(
            f"The audio has a sampling rate of {sampling_rate} Hz and the model works at {model_rate} Hz. Resample it "
            "first, or use the package majl_hf, which does."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; at least 1 is needed.")
    if separate and parts.separator is None:
        raise ValueError("The model has no separator; give it one, or a solo voice with separate=False.")
    if read_pitch and parts.pitch_estimator is None:
        raise ValueError("The model has no pitch estimator; give it one, or leave pitch out with read_pitch=False.")
    read_pitch = read_pitch or read_notes
    with parts.executor() as executor:
        calls = partial(OrderedCalls, executor, parts.num_ahead)
        separator = _SeparatorStream(parts, batch_size, condition, calls()) if separate else None
        refiner = _RefinerStream(parts, condition, calls()) if separate and parts.refiner is not None else None
        voice = _VoiceStream(config, condition)
        pitch = _PitchStream(parts, batch_size, calls()) if read_pitch or refiner is not None else None
        decoder = PitchDecoder(config, policy, threshold) if read_pitch else None
        note_reader = (
            _NoteStream(parts, NoteDecoder(config, note_threshold, min_note_s), calls()) if read_notes else None
        )
        logits = undecided = np.zeros(
            (0, config.pitch_estimator_config.num_bins), dtype=np.float32
        )  # of frames not final
        frames = PitchFrames.concatenate([])
        notes: list[SungNote] = []
        evidence: list[NoteEvidence] = []
        into = out_of = waiting = conditioner = None

        for block, following in itertools.pairwise(itertools.chain(_checked(blocks, sampling_rate), [None])):
            last = following is None
            if waiting is None:
                waiting = _Fifo(block.shape[0])
                conditioner = Conditioner(model_rate, block.shape[0]) if condition else None
                if sampling_rate != model_rate:
                    into = make_resampler(sampling_rate, model_rate, block.shape[0])
                    out_of = make_resampler(model_rate, sampling_rate, block.shape[0])
            waiting.push(block)
            mixture = block if into is None else into.push(block, last)
            mixture = np.ascontiguousarray(mixture, dtype=np.float32)
            if conditioner is not None:
                mixture = conditioner.push(mixture, last)
            vocals = separator.push(mixture, last) if separate else mixture
            if pitch is not None:
                sung = voice.push(vocals, last)
                logits = pitch.push(sung, last)
            if read_pitch:
                undecided = np.concatenate([undecided, logits])
                frames = decoder.push(logits, last)
            if note_reader is not None:
                new_notes, new_evidence = note_reader.push(sung, logits, frames, last)
                notes, evidence = notes + new_notes, evidence + new_evidence
            if refiner is not None:
                vocals = refiner.push(mixture, vocals, logits, last)
            if separate:
                vocals = vocals if conditioner is None else conditioner.restore(vocals)
                vocals = vocals if out_of is None else out_of.push(vocals, last)
            else:
                vocals = block
            if last:  # two conversions of the rate may round the length by a sample
                vocals = vocals[:, : waiting.length]
                vocals = np.pad(vocals, ((0, 0), (0, waiting.length - vocals.shape[1])))
            vocals = vocals[:, : waiting.length]
            if vocals.shape[1] or len(frames) or last:
                mixture = waiting.pop(vocals.shape[1])
                final = (notes, NoteEvidence.concatenate(evidence)) if read_notes else ()
                yield MajlChunk(mixture, vocals, mixture - vocals, frames, undecided[: len(frames)], *final)
                undecided, notes, evidence = undecided[len(frames) :], [], []


def separate_array(model: HasParts, audio: np.ndarray, sampling_rate: int, **arguments) -> MajlChunk:
    """The whole of one array `(num_channels, num_samples)` as one `MajlChunk` without logits and evidence;
    arguments as of `separate_stream`."""
    chunks = [
        replace(chunk, logits=None, evidence=None)
        for chunk in separate_stream(model, [audio], sampling_rate, **arguments)
    ]
    return MajlChunk(
        *(
            np.concatenate([getattr(c, name) for c in chunks], axis=1)
            for name in ("mixture", "vocals", "accompaniment")
        ),
        frames=PitchFrames.concatenate([chunk.frames for chunk in chunks]),
        notes=None if chunks[0].notes is None else [note for chunk in chunks for note in chunk.notes],
    )


def as_dict(result: MajlChunk, shape: tuple[int, ...], sampling_rate: int) -> dict:
    """The dict that the pipeline returns for a whole recording of `shape`, `(num_channels, num_samples)` or
    `(num_samples,)`."""
    frames = result.frames
    notes = {} if result.notes is None else {"notes": [asdict(note) for note in result.notes]}
    return {
        "vocals": result.vocals.reshape(shape),
        "accompaniment": result.accompaniment.reshape(shape),
        "sampling_rate": sampling_rate,
        "times_s": frames.times_s,
        "f0_hz": frames.f0_hz,
        "voicing": frames.voicing,
        "voiced": frames.voiced,
        "confidence": frames.confidence,
        **notes,
    }
