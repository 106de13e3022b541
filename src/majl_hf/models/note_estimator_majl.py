"""The note estimator: where sung notes begin and end, and which pitch they have, from the voice and its f0.

Singers glide into notes, sing vibrato and repeat a pitch on a new syllable, so notes can be read neither from f0 alone
nor from loudness alone. A small convolutional network sees both: the voice's log-mel spectrum, and f0 relative to that
of the frames around it. Nothing else depends on f0, so a melody gets the same notes in every key. Its output is
evidence by frame, from which `note_decoding_majl.NoteDecoder` makes notes.

It takes a waveform and f0, so it fits any separator and any pitch estimator. No gradient flows through f0.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .layers_majl import Filterbank, mel_filters
from .pitch_estimator_majl import num_pitch_frames

F0_OFFSETS = (1, 2, 4, 8, 16, 32)  # frames before and after, to which f0 is compared
MAX_STEP_CENTS = 300.0  # larger differences of f0 count as this
MAX_DEVIATION_CENTS = 150.0  # of a note's pitch from f0
MIN_MAGNITUDE = 1e-3  # of a mel band, about 80 dB below a loud one
LEVEL_FRAMES = 128  # to each side, over which the level is the mean


class NoteEstimatorConfig(PreTrainedConfig):
    """Configuration of `NoteEstimator`.

    Args:
        sampling_rate (`int`): Rate in Hz of the voice, the same as the pitch estimator's.
        hop_length (`int`): Samples from one frame to the next, the same as the pitch estimator's.
        n_fft (`int`): STFT size in samples.
        num_mels (`int`): Number of mel bands.
        hidden_size (`int`): Width of the network.
        dilations (`tuple[int, ...]`): Frames between the taps of each residual block's convolution.
        dropout (`float`): Share of the hidden values that are dropped in training.
    """

    model_type = "majl-note-estimator"

    sampling_rate: int = 16_000
    hop_length: int = 160
    n_fft: int = 512
    num_mels: int = 64
    hidden_size: int = 96
    dilations: tuple[int, ...] | list[int] = (1, 2, 4, 8, 16, 1, 2, 4, 8, 16)
    dropout: float = 0.1

    @property
    def alignment(self) -> int:
        """Windows start on frame centres."""
        return self.hop_length

    @property
    def context(self) -> int:
        """Samples that the network looks to each side."""
        frames = LEVEL_FRAMES + max(F0_OFFSETS) + 2 + sum(2 * dilation for dilation in self.dilations)
        return frames * self.hop_length + self.n_fft


@dataclass
class NoteEstimatorOutput(ModelOutput):
    """Evidence of notes by frame, each `(batch_size, num_frames)`.

    Args:
        onset (`torch.FloatTensor`): Logit of a note's beginning in this frame.
        offset (`torch.FloatTensor`): Logit of a note's end in this frame.
        active (`torch.FloatTensor`): Logit of the frame being part of a note.
        deviation_cents (`torch.FloatTensor`): Pitch of the frame's note minus its f0.
    """

    onset: torch.FloatTensor | None = None
    offset: torch.FloatTensor | None = None
    active: torch.FloatTensor | None = None
    deviation_cents: torch.FloatTensor | None = None


class MelFilters(Filterbank):
    """The mel bands of a config."""

    @staticmethod
    def make_filters(config: NoteEstimatorConfig) -> torch.Tensor:
        """`(n_fft // 2 + 1, num_mels)`."""
        return mel_filters(config, 50.0, config.sampling_rate / 2, "slaney") * config.sampling_rate / config.n_fft


class ResidualBlock(nn.Module):
    """Dilated convolution over time, gated, with a residual connection and layer normalisation."""

    def __init__(self, width: int, dilation: int, dropout: float):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv1d(width, 2 * width, kernel_size=5, dilation=dilation, padding=2 * dilation)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_frames, width)` in and out."""
        gated = nn.functional.glu(self.conv(self.norm(hidden).transpose(1, 2)), dim=1).transpose(1, 2)
        return hidden + self.dropout(self.project(gated))


class NoteEstimator(PreTrainedModel):
    """Evidence of sung notes; see the docstring of this file."""

    config_class = NoteEstimatorConfig
    base_model_prefix = "note_estimator"
    main_input_name = "waveform"
    input_modalities = "audio"

    def __init__(self, config: NoteEstimatorConfig):
        super().__init__(config)
        width = config.hidden_size
        self.mel = MelFilters(config)
        self.enter_spectrum = nn.Conv1d(2 * config.num_mels, width, kernel_size=5, padding=2)
        self.enter_pitch = nn.Conv1d(4 * len(F0_OFFSETS) + 2, width, kernel_size=3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, d, config.dropout) for d in config.dilations))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 4)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, MelFilters):
            init.copy_(module.filters, module.make_filters(self.config))
        elif isinstance(module, (nn.Conv1d, nn.Linear)):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5.0))
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self, waveform: torch.Tensor, f0_hz: torch.Tensor, confidence: torch.Tensor, **kwargs
    ) -> NoteEstimatorOutput:
        r"""
        Args:
            waveform (`torch.Tensor` of shape `(batch_size, num_samples)`):
                One voice at `config.sampling_rate`, full scale at 1.
            f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`):
                Its f0 in Hz, positive in every frame; frame i is centred at sample `i * hop_length`.
            confidence (`torch.Tensor` of shape `(batch_size, num_frames)`):
                Posterior in [0, 1] of that pitch, low where nothing is sung.

        Returns:
            `NoteEstimatorOutput`.

        Raises:
            ValueError: shapes that do not fit.
        """
        num_frames = num_pitch_frames(waveform.shape[-1], self.config.hop_length)
        if waveform.ndim != 2 or not f0_hz.shape == confidence.shape == (len(waveform), num_frames):
            raise ValueError(
                f"A waveform (batch_size, num_samples) with f0 and confidence (batch_size, 1 + num_samples // "
                f"{self.config.hop_length}) is needed, but the shapes are {tuple(waveform.shape)}, "
                f"{tuple(f0_hz.shape)} and {tuple(confidence.shape)}."
            )
        with torch.autocast(waveform.device.type, enabled=False):  # logarithms of small numbers
            spectrum, pitch = self._spectrum_features(waveform), _pitch_features(f0_hz.detach(), confidence.detach())
        hidden = self.enter_spectrum(spectrum) + self.enter_pitch(pitch)
        output = self.head(self.norm(self.blocks(hidden.transpose(1, 2))))
        onset, offset, active, deviation = output.unbind(dim=2)
        deviation = MAX_DEVIATION_CENTS * torch.tanh(deviation)
        return NoteEstimatorOutput(onset=onset, offset=offset, active=active, deviation_cents=deviation)

    def _spectrum_features(self, waveform: torch.Tensor) -> torch.Tensor:
        """`(batch_size, 2 * num_mels, num_frames)`: log-mel levels relative to the surroundings, and their change."""
        n_fft = self.config.n_fft
        window = torch.hann_window(n_fft, device=waveform.device, dtype=waveform.dtype)
        spectrum = torch.stft(
            waveform, n_fft, self.config.hop_length, window=window, pad_mode="constant", return_complex=True
        )
        magnitudes = spectrum.abs().transpose(1, 2) @ self.mel.filters.to(waveform.dtype)
        mel = torch.log(magnitudes + MIN_MAGNITUDE).transpose(1, 2)
        level = nn.functional.avg_pool1d(
            mel.mean(dim=1, keepdim=True), 2 * LEVEL_FRAMES + 1, 1, LEVEL_FRAMES, count_include_pad=False
        )
        change = mel - nn.functional.pad(mel, (2, 0), mode="replicate")[..., :-2]
        return torch.cat([(mel - level) / 2.0, change], dim=1)


def _pitch_features(f0_hz: torch.Tensor, confidence: torch.Tensor) -> torch.Tensor:
    """`(batch_size, num_features, num_frames)`: steps of f0 to frames around, where both are sung; confidence."""
    cents = 1200.0 * torch.log2(f0_hz)
    features = [confidence, torch.logit(confidence, eps=1e-3) / 4.0]
    num_frames = f0_hz.shape[1]
    for offset in (*(-o for o in F0_OFFSETS), *F0_OFFSETS):
        places = (torch.arange(num_frames, device=f0_hz.device) + offset).clamp(0, num_frames - 1)
        step = (cents[:, places] - cents).clamp(-MAX_STEP_CENTS, MAX_STEP_CENTS) / 100.0
        both = torch.minimum(confidence, confidence[:, places])
        features += [step * both, both]
    return torch.stack(features, dim=1).to(f0_hz.dtype)


AutoConfig.register(NoteEstimatorConfig.model_type, NoteEstimatorConfig, exist_ok=True)
AutoModel.register(NoteEstimatorConfig, NoteEstimator, exist_ok=True)
