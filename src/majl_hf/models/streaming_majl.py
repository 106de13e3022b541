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
from dataclasses import dataclass, replace

import numpy as np
import torch

from .conditioning_majl import Conditioner, VoiceMix, are_unlike, cancels
from .decoding_majl import PitchDecoder, PitchFrames
from .modeling_majl import MajlModel, nearest_pitch_frames
from .note_decoding_majl import (
    EVIDENCE_FRAMES,
    NoteDecoder,
    NoteEvidence,
    evidence_of_network,
    evidence_of_pitch,
    voice_level_db,
)
from .note_estimator_majl import NoteEstimatorOutput
from .notes_majl import SungNote
from .pitch_majl import hz_to_midi, likeliest_pitch
from .resampling_majl import ResampleStream
from .running_majl import check_fork, evaluating, run_part
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


def _run(model: MajlModel, part: torch.nn.Module, *inputs: torch.Tensor):
    """The output of a model's part on the model's device, in evaluation mode, whichever mode the model is in."""
    with evaluating(model):
        return run_part(part, *(values.to(model.device) for values in inputs))


class _BatchedWindows:
    """Cuts a stream into windows and runs `forward` on `batch_size` of them together; a batch fills however small the
    blocks are."""

    def __init__(self, grid: WindowGrid, batch_size: int, forward: Callable[[torch.Tensor], torch.Tensor]):
        self.cutter, self.batch_size, self.forward = WindowCutter(grid), batch_size, forward
        self.waiting: list[Window] = []

    def push(self, block: torch.Tensor, last: bool) -> Iterator[tuple[Window, torch.Tensor]]:
        """The windows whose batch is full, in order, with what `forward` made of them; with `last`, all."""
        self.waiting += self.cutter.push(block, last)
        while self.waiting and (last or len(self.waiting) >= self.batch_size):
            # Windows at the ends of the stream are shorter.
            alike = [window.samples.shape == self.waiting[0].samples.shape for window in self.waiting]
            count = min([*alike, False].index(False), self.batch_size)
            batch, self.waiting = self.waiting[:count], self.waiting[count:]
            yield from zip(batch, self.forward(torch.stack([window.samples for window in batch])), strict=True)


class _SeparatorStream:
    """Mixture `(num_channels, num_samples)` at the model's rate to vocals of the same layout."""

    def __init__(self, model: MajlModel, batch_size: int, condition: bool):
        self.model, self.condition = model, condition
        grid = WindowGrid.for_part(model.config, model.config.separator_config)
        self.windows = _BatchedWindows(grid, batch_size, self._forward)

    def push(self, block: torch.Tensor, last: bool) -> torch.Tensor:
        parts = [block[:, :0]]
        for window, vocals in self.windows.push(block, last):
            parts.append(vocals[:, window.start : window.stop])
        return torch.cat(parts, dim=1)

    def _forward(self, mixture: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_channels, num_samples)` in and out, for any number of channels."""
        if mixture.shape[1] != self.model.config.num_channels:
            return self._each_channel(mixture)
        vocals = _run(self.model, self.model.separator, mixture).vocals.float().cpu()
        if self.condition and mixture.shape[1] == 2:
            for number, (mixed, sung) in enumerate(zip(mixture, vocals, strict=True)):
                if are_unlike(mixed, sung):
                    vocals[number] = self._each_channel(mixed[None])[0]
        return vocals

    def _each_channel(self, mixture: torch.Tensor) -> torch.Tensor:
        """The same with each channel on its own: repeated where the model takes more, averaged back afterwards."""
        single = mixture.reshape(-1, 1, mixture.shape[2]).expand(-1, self.model.config.num_channels, -1)
        vocals = _run(self.model, self.model.separator, single.contiguous()).vocals.mean(dim=1)
        return vocals.reshape(mixture.shape).float().cpu()


class _VoiceStream:
    """Vocals `(num_channels, num_samples)` at the model's rate to a voice `(num_samples,)` at the pitch estimator's."""

    def __init__(self, model: MajlModel, condition: bool):
        self.mix = VoiceMix(model.config.sampling_rate) if condition else None
        self.resampler = ResampleStream(model.config.sampling_rate, model.config.pitch_estimator_config.sampling_rate)

    def push(self, vocals: torch.Tensor, last: bool) -> torch.Tensor:
        voice = vocals.mean(dim=0) if self.mix is None else self.mix.push(vocals, last)
        return self.resampler.push(voice, last)


class _PitchStream:
    """A voice `(num_samples,)` to pitch logits `(num_frames, num_bins)`."""

    def __init__(self, model: MajlModel, batch_size: int):
        self.model = model
        part = model.config.pitch_estimator_config
        self.hop_length = part.hop_length
        self.windows = _BatchedWindows(WindowGrid.for_part(model.config, part), batch_size, self._forward)

    def push(self, voice: torch.Tensor, last: bool) -> torch.Tensor:
        parts = [torch.zeros(0, self.model.config.pitch_estimator_config.num_bins)]
        for window, logits in self.windows.push(voice, last):
            # A frame belongs to the core that its centre lies in; one on the very end of the file to the last core.
            first = window.start // self.hop_length
            stop = window.stop // self.hop_length + 1 if window.is_last else window.stop // self.hop_length
            parts.append(logits[first:stop])
        return torch.cat(parts)

    def _forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return _run(self.model, self.model.pitch_estimator, waveform).logits.float().cpu()


class _NoteStream:
    """A voice `(num_samples,)`, its logits (which trail it) and decoded pitch (which trails these) to notes.

    The windows are cut from columns, one for each frame: the samples from its centre to the next one's, the pitch that
    the note estimator gets, and the decoded one.
    """

    def __init__(self, model: MajlModel, decoder: NoteDecoder):
        config = model.config
        self.model, self.decoder = model, decoder
        self.hop_length = config.pitch_estimator_config.hop_length
        part = config.note_estimator_config
        margin = EVIDENCE_FRAMES if part is None else -(-part.context // self.hop_length)
        core = max(1, round(NOTE_WINDOWS * config.window_s / config.frame_hop_s))
        self.cutter = WindowCutter(WindowGrid(core, margin))
        self.voice, self.pitch = torch.zeros(0), torch.zeros(2, 0)  # that wait for their decoded pitch

    def push(
        self, voice: torch.Tensor, logits: torch.Tensor, frames: PitchFrames, last: bool
    ) -> tuple[list[SungNote], list[NoteEvidence]]:
        self.voice = torch.cat([self.voice, voice])
        pitch = likeliest_pitch(logits[None], self.model.config.pitch_estimator_config)
        self.pitch = torch.cat([self.pitch, torch.cat(pitch)], dim=1)
        count, decoded = len(frames), torch.tensor(np.array([frames.f0_hz, frames.voicing]), dtype=torch.float32)
        samples, self.voice = self.voice.tensor_split([count * self.hop_length])
        samples = torch.nn.functional.pad(samples, (0, count * self.hop_length - len(samples)))
        known, self.pitch = self.pitch.tensor_split([count], dim=1)
        columns = torch.cat([samples.view(count, self.hop_length).T, known, decoded])
        notes, evidence = [], []
        windows = self.cutter.push(columns, last)
        for window in windows:
            evidence.append(self._evidence(window.samples)[window.start : window.stop])
            notes += self.decoder.push(evidence[-1], last and window is windows[-1])
        return notes, evidence

    def _evidence(self, columns: torch.Tensor) -> NoteEvidence:
        samples, (f0_hz, confidence, decoded_hz, voicing) = columns[:-4], columns[-4:]
        waveform = samples.T.reshape(-1)
        level_db = voice_level_db(waveform, len(f0_hz), self.hop_length)
        pitch = (hz_to_midi(decoded_hz), voicing.numpy().astype(float), level_db)
        if self.model.note_estimator is None:
            return evidence_of_pitch(*pitch, self.model.config.frame_hop_s)
        inputs = (waveform[None, :-1], f0_hz[None], confidence[None])  # without the frame at the very end
        output = _run(self.model, self.model.note_estimator, *inputs)
        return evidence_of_network(
            NoteEstimatorOutput(*(values[0].float().cpu().numpy() for values in output.to_tuple())), *pitch
        )


class _RefinerStream:
    """Mixture, vocals (which trail it) and pitch logits (which trail these) to refined vocals; all waveforms are
    `(num_channels, num_samples)` at the model's rate."""

    def __init__(self, model: MajlModel, condition: bool):
        self.model, self.condition = model, condition
        self.cutter = WindowCutter(WindowGrid.for_part(model.config, model.config.refiner_config))
        self.mixture: list[torch.Tensor] = []  # what waits for its vocals
        self.windows: list[Window] = []  # which wait for their pitch
        self.f0_hz, self.confidence = torch.zeros(0), torch.zeros(0)
        self.first_frame = 0  # number of the first pitch frame that is kept

    def push(self, mixture: torch.Tensor, vocals: torch.Tensor, logits: torch.Tensor, last: bool) -> torch.Tensor:
        self.mixture.append(mixture)
        num_samples = vocals.shape[1]
        if not (num_samples or len(logits) or last):
            return vocals
        f0_hz, confidence = likeliest_pitch(logits[None], self.model.config.pitch_estimator_config)
        self.f0_hz = torch.cat([self.f0_hz, f0_hz[0]])
        self.confidence = torch.cat([self.confidence, confidence[0]])
        waiting = torch.cat(self.mixture, dim=1)
        self.windows += self.cutter.push(torch.cat([waiting[:, :num_samples], vocals]), last)
        self.mixture = [waiting[:, num_samples:]]
        parts = [vocals[:, :0]]
        while self.windows and (refined := self._refined(self.windows[0], last)) is not None:
            parts.append(refined)
            del self.windows[0]
        return torch.cat(parts, dim=1)

    def _refined(self, window: Window, last: bool) -> torch.Tensor | None:
        """The refined core of the first window that waits; None while the pitch at its end is not known."""
        numbers = nearest_pitch_frames(self.model.config, window.samples.shape[1], window.offset)
        if not last and int(numbers[-1]) >= self.first_frame + len(self.f0_hz):
            return None
        passed = int(numbers[0]) - self.first_frame  # windows come in order, so these frames are not needed again
        self.f0_hz, self.confidence = self.f0_hz[passed:], self.confidence[passed:]
        self.first_frame += passed
        frames = (numbers - self.first_frame).clamp(max=len(self.f0_hz) - 1)
        pitch = (self.f0_hz[frames], self.confidence[frames])
        channels = torch.stack(window.samples.chunk(2))
        # The refiner sees the mean of the channels, in which some voices cancel.
        cancel = self.condition and channels.shape[1] == 2 and cancels(channels[1])
        parts = channels.split(1, dim=1) if cancel else [channels]
        refined = [self._run(*part, *pitch) for part in parts]
        return torch.cat(refined)[:, window.start : window.stop]

    def _run(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The refined vocals of one window, from mixture, vocals, f0 and confidence."""
        return _run(self.model, self.model.refiner, *(values[None] for values in inputs))[0].float().cpu()


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


@torch.inference_mode()
def separate_stream(
    model: MajlModel,
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
        model: The model; it is used in evaluation mode and keeps its own.
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
    check_fork()
    sampling_rate = check_sampling_rate(sampling_rate)
    model_rate = model.config.sampling_rate
    if sampling_rate != model_rate and make_resampler is None:
        raise ValueError(
            f"The audio has a sampling rate of {sampling_rate} Hz and the model works at {model_rate} Hz. Resample it "
            "first, or use the package majl_hf, which does."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; at least 1 is needed.")
    if separate and model.separator is None:
        raise ValueError("The model has no separator; give it one, or a solo voice with separate=False.")
    if read_pitch and model.pitch_estimator is None:
        raise ValueError("The model has no pitch estimator; give it one, or leave pitch out with read_pitch=False.")
    read_pitch = read_pitch or read_notes
    separator = _SeparatorStream(model, batch_size, condition) if separate else None
    refiner = _RefinerStream(model, condition) if separate and model.refiner is not None else None
    voice = _VoiceStream(model, condition)
    pitch = _PitchStream(model, batch_size) if read_pitch or refiner is not None else None
    decoder = PitchDecoder(model.config, policy, threshold) if read_pitch else None
    note_reader = _NoteStream(model, NoteDecoder(model.config, note_threshold, min_note_s)) if read_notes else None
    logits = torch.zeros(0, model.config.pitch_estimator_config.num_bins)
    undecided = logits.numpy()  # logits of frames that are not final yet
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
        mixture = torch.from_numpy(np.ascontiguousarray(mixture, dtype=np.float32))
        if conditioner is not None:
            mixture = conditioner.push(mixture, last)
        vocals = separator.push(mixture, last) if separate else mixture
        if pitch is not None:
            sung = voice.push(vocals, last)
            logits = pitch.push(sung, last)
        if read_pitch:
            undecided = np.concatenate([undecided, logits.numpy()])
            frames = decoder.push(logits.numpy(), last)
        if note_reader is not None:
            new_notes, new_evidence = note_reader.push(sung, logits, frames, last)
            notes, evidence = notes + new_notes, evidence + new_evidence
        if refiner is not None:
            vocals = refiner.push(mixture, vocals, logits, last)
        if separate:
            vocals = vocals if conditioner is None else conditioner.restore(vocals)
            vocals = vocals.numpy() if out_of is None else out_of.push(vocals.numpy(), last)
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


def separate_array(model: MajlModel, audio: np.ndarray, sampling_rate: int, **arguments) -> MajlChunk:
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
