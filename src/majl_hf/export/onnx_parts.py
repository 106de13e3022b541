"""The parts of a model as ONNX graphs, from waveforms to waveforms, logits or evidence.

The arithmetic is that of `models/`, rearranged where this saves work:

- Spectra are computed by a convolution and a product with a small matrix (`Stft`), in real numbers, and only the bins
  that a network sees. Bins above these are scaled by one factor a frame (separator) or left as they are (refiner),
  which is a gain in the time domain.
- These spectra have time last, so networks on images see frequency before time, with their kernels turned.
- Transposed convolutions are convolutions whose outputs are shuffled into place, which runtimes compute faster.

Lengths and batches are dynamic; constants are computed in float64.
"""

import math

import numpy as np
import onnx

from ..errors import MajlError
from ..models import fcpe_majl, note_estimator_majl, pitch_majl, refiner_majl, spleeter_majl
from .onnx_graph import Graph


def _array(tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()


class Stft:
    """Spectra of frames of `n_fft` samples, Hann window, as a convolution and a product with a small matrix.

    With n_fft = rows * columns, sample n = columns * i + j, and bin k = u + rows * v, the sum over i is a transform of
    `rows` samples for each j; the sum over j, after a turn by `exp(-2 pi sqrt(-1) j u / n_fft)`, one of `columns`
    samples for each u. The first, its window and the turn are a convolution over the columns as groups, whose stride is
    the hop; the second is a matrix for all u and frames. As samples are real, bins of u > rows / 2 are the conjugates
    of those of rows - u and columns - 1 - v, so half of the u are enough.

    Args:
        n_fft: Length of a frame in samples.
        hop_length: Samples from frame to frame.
        num_bins: Number of lowest bins wanted; rounded up to a multiple of the rows in `num_computed`.
    """

    def __init__(self, g: Graph, n_fft: int, hop_length: int, num_bins: int):
        self.g, self.n_fft, self.hop_length = g, n_fft, hop_length
        divisors = [d for d in range(1, n_fft + 1) if n_fft % d == 0 and hop_length % d == 0]
        self.columns = min(divisors, key=lambda d: d + n_fft // d)
        self.rows = n_fft // self.columns
        self.num_direct = self.rows // 2 + 1  # u, of which all but the first have a mirrored one or are their own
        self.num_mirrored = self.rows - self.num_direct
        self.blocks = -(-num_bins // self.rows)
        self.num_computed = self.rows * self.blocks
        sample = np.arange(self.rows) * self.columns + np.arange(self.columns)[:, None]  # (columns, rows)
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)  # periodic
        # (columns, direct u, rows of samples)
        turn = np.exp(-2j * np.pi * np.arange(self.num_direct)[:, None] * sample[:, None] / n_fft)
        windowed = self.window[sample][:, None] * turn
        self.kernels = np.stack([windowed.real, windowed.imag], axis=1).reshape(-1, 1, self.rows)
        blocks = np.arange(self.blocks)
        v = np.stack([blocks, self.columns - 1 - blocks])  # direct and mirrored
        across = np.exp(-2j * np.pi * v[:, :, None] * np.arange(self.columns) / self.columns)
        sign = np.array([1, -1])[:, None, None]
        real = [across.real, -across.imag]  # how a column's real and imaginary part add to those of a bin
        imaginary = [sign * across.imag, sign * across.real]
        self.matrix = np.stack([np.stack(real, axis=-1), np.stack(imaginary, axis=-1)])
        self.matrix = self.matrix.reshape(4 * self.blocks, 2 * self.columns)

    def frames(self, waveform: str) -> list[str]:
        """The spectra of all whole frames of `(count, num_samples)`, a multiple of the columns: real and imaginary
        parts, each `(count, num_computed, num_frames)`."""
        g = self.g
        pieces = g.Transpose(g.Reshape(waveform, [0, -1, self.columns]), perm=[0, 2, 1])
        hidden = g.Conv(pieces, g.exact(self.kernels), strides=[self.hop_length // self.columns], group=self.columns)
        num_frames = g.Shape(hidden, start=-1)
        hidden = g.Reshape(hidden, [0, 2 * self.columns, -1])
        bins = g.MatMul(g.exact(self.matrix), hidden)
        bins = g.Reshape(bins, g.vector(0, 4 * self.blocks, self.num_direct, num_frames))
        real, mirrored_real, imaginary, mirrored_imaginary = g.Split(bins, num_outputs=4, axis=1)
        shape = g.vector(0, self.num_computed, num_frames)
        parts = []
        for direct, mirrored in ((real, mirrored_real), (imaginary, mirrored_imaginary)):
            above = g.Slice(mirrored, [self.num_mirrored], [0], [2], [-1])
            parts.append(g.Reshape(g.Concat(direct, above, axis=2), shape))
        return parts

    def overlap_added(self, real: str, imaginary: str) -> str:
        """Parts of spectra, each `(count, num_computed, num_frames)`, to the sum of the windowed frames
        `(count, num_samples)`, each the real part of the sum over these bins alone, divided by `n_fft / 2`: halve bin 0
        before."""
        g, num_frames = self.g, self.g.Shape(real, start=-1)
        shape = g.vector(0, self.blocks, self.rows, num_frames)
        bins = []
        for part in (real, imaginary):
            part = g.Reshape(part, shape)
            bins.append(g.Slice(part, [0], [self.num_direct], 2))
            above = g.Slice(part, [self.rows - 1], [self.num_direct - 1], [2], [-1])
            after = self.num_direct - 1 - self.num_mirrored
            bins.append(g.Pad(above, [0, 0, 1, 0, 0, 0, after, 0]))
        bins = g.Reshape(g.Concat(*bins, axis=1), [0, 4 * self.blocks, -1])
        hidden = g.MatMul(g.exact(self.matrix.T), bins)
        hidden = g.Reshape(hidden, g.vector(0, len(self.kernels), num_frames))
        kernels, stride = g.exact(self.kernels * (2 / self.n_fft)), self.hop_length // self.columns
        pieces = g.ConvTranspose(hidden, kernels, strides=[stride], group=self.columns)
        return g.Reshape(g.Transpose(pieces, perm=[0, 2, 1]), [0, -1])

    def envelope(self, gains: str) -> str:
        """The sum of the frames' squared windows, each times its gain, `(count, num_frames)` to
        `(count, num_samples)`."""
        g, overlap = self.g, self.n_fft // self.hop_length
        padded = g.Pad(g.Unsqueeze(gains, [2]), [0, overlap - 1, 0, 0, overlap - 1, 0])
        num_hops = g.Add(g.size(gains, 1), overlap - 1)
        shifts = [g.Slice(padded, [shift], g.Add(num_hops, shift), 1) for shift in range(overlap)[::-1]]
        hops = g.MatMul(g.Concat(*shifts, axis=2), g.exact((self.window**2).reshape(overlap, self.hop_length)))
        return g.Reshape(hops, [0, -1])


class CentredStft(Stft):
    """Spectra of frames that are centred on multiples of the hop, which divides them, of waveforms as long as
    `waveform`, `(batch_size, num_channels, num_samples)`, and the way back."""

    def __init__(self, g: Graph, n_fft: int, hop_length: int, num_bins: int, waveform: str):
        if n_fft % hop_length:
            raise MajlError(
                f"A part has frames of {n_fft} samples at a hop of {hop_length}; the export to ONNX needs a hop that "
                "divides them."
            )
        super().__init__(g, n_fft, hop_length, num_bins)
        self.num_bins = num_bins
        self.num_samples = g.size(waveform, 2)
        self.leading = g.Shape(waveform, start=0, end=2)
        self.num_frames = g.Add(g.Div(self.num_samples, hop_length), 1)

    def planes(self, waveform: str) -> list[str]:
        """Real and imaginary parts, each `(batch_size, num_channels, num_bins, num_frames)`."""
        g, reach = self.g, self.n_fft // 2
        end = g.Add(g.Mul(g.Sub(self.num_frames, 1), self.hop_length), reach)
        padded = g.Pad(waveform, g.vector(0, 0, reach, 0, 0, g.Sub(end, self.num_samples)))
        shape = g.vector(self.leading, self.num_bins, self.num_frames)
        parts = self.frames(g.Reshape(padded, g.vector(-1, g.Add(end, reach))))
        if self.num_computed > self.num_bins:
            parts = [g.Slice(part, [0], [self.num_bins], 1) for part in parts]
        return [g.Reshape(part, shape) for part in parts]

    def waveform(self, real: str, imaginary: str) -> str:
        """The sum of the windowed frames of such planes, bin 0 halved, and silence in the bins above:
        `(batch_size, num_channels, num_samples)`."""
        g = self.g
        shape = g.vector(-1, self.num_bins, self.num_frames)
        parts = [g.Reshape(part, shape) for part in (real, imaginary)]
        if self.num_computed > self.num_bins:
            parts = [g.Pad(part, [0, 0, 0, 0, self.num_computed - self.num_bins, 0]) for part in parts]
        return self._trimmed(self.overlap_added(*parts), self.leading)

    def weight(self) -> str:
        """What such a sum is divided by, `(1, 1, num_samples)`."""
        return self._trimmed(self.envelope(self.g.Expand(1.0, self.g.vector(1, self.num_frames))), [1, 1])

    def gained(self, gains: str) -> str:
        """What the sum of the windowed frames multiplies each sample by if the frames have these gains:
        `(batch_size, num_channels, 1, num_frames)` to `(batch_size, num_channels, num_samples)`."""
        gains = self.g.Reshape(gains, self.g.vector(-1, self.num_frames))
        return self._trimmed(self.envelope(gains), self.leading)

    def _trimmed(self, padded: str, leading) -> str:
        reach = self.n_fft // 2
        inside = self.g.Slice(padded, [reach], self.g.Add(self.num_samples, reach), 1)
        return self.g.Reshape(inside, self.g.vector(leading, -1) if isinstance(leading, str) else [*leading, -1])


def _range(g: Graph, count: str) -> str:
    """0, 1, ... up to a count, int64."""
    zero, one, stop = g.Squeeze([0]), g.Squeeze([1]), g.Squeeze(count)
    return g.Range(zero, stop, one)


# --- separator --------------------------------------------------------------------------------------------------------


def _turned(conv) -> tuple[np.ndarray, np.ndarray]:
    """Kernels, frequency before time, and bias."""
    weight, bias = _weights(conv)
    return weight.swapaxes(2, 3), bias


def _batch_norm(g: Graph, hidden: str, norm, repeats: int = 1) -> str:
    weights = [_array(t).repeat(repeats) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    return g.BatchNormalization(hidden, *weights, epsilon=norm.eps)


def _joint_conv(g: Graph, inputs: list[str], kernels: np.ndarray, bias: np.ndarray, pads: list[int]) -> str:
    """The convolution of inputs joined along their channels, as a sum: joining them takes more time."""
    kernels = np.split(kernels, len(inputs), axis=1)
    total = g.Conv(inputs[-1], kernels[-1], bias, pads=pads)
    for hidden, kernel in zip(inputs[:-1], kernels, strict=False):
        total = g.Add(total, g.Conv(hidden, kernel, pads=pads))
    return total


def _up_block(g: Graph, inputs: list[str], block) -> str:
    """`UpBlock`. Each phase is a convolution without the taps that it does not use."""
    kernels, bias = block.conv.phase_kernels(), _array(block.conv.bias)

    def phase(row: int, column: int) -> str:
        kernel = _array(kernels[column][row]).swapaxes(2, 3)
        return _batch_norm(g, g.Relu(_joint_conv(g, inputs, kernel, bias, [1, 1, row, column])), block.norm)

    return _interleaved(g, [[phase(row, column) for column in (0, 1)] for row in (0, 1)])


def _interleaved(g: Graph, phases: list[list[str]]) -> str:
    """The phases of rows, and of columns in them, each `(batch_size, num_channels, height, width)`, as one image, twice
    as high and as wide. They are joined with channels last, which copies whole runs."""
    rows = [[g.Unsqueeze(g.Transpose(phase, perm=[0, 2, 3, 1]), [3]) for phase in row] for row in phases]
    image = g.Concat(*(g.Unsqueeze(g.Concat(*row, axis=3), [2]) for row in rows), axis=2)
    batch_size, height, width, num_channels = (g.Shape(image, start=axis, end=axis + 1) for axis in (0, 1, 3, 5))
    image = g.Reshape(image, g.vector(batch_size, g.Mul(height, 2), g.Mul(width, 2), num_channels))
    return g.Transpose(image, perm=[0, 3, 1, 2])


def _up_conv(g: Graph, inputs: list[str], conv) -> str:
    """`UpConv` to few channels: four phases for each, which `_shuffled` puts into place."""
    kernels = _array(conv.phases()).reshape(conv.out_channels, 2, 2, conv.in_channels, 3, 3)
    kernels = kernels.transpose(0, 2, 1, 3, 5, 4).reshape(-1, conv.in_channels, 3, 3)
    return _joint_conv(g, inputs, kernels, _array(conv.bias).repeat(4), [1] * 4)


def _shuffled(g: Graph, phases: str) -> str:
    return g.DepthToSpace(phases, blocksize=2, mode="CRD")


def _mask_network(g: Graph, network, magnitudes: str) -> tuple[str, list[str] | None]:
    """`MaskUNet`: magnitudes `(batch_size, num_channels, frequency, time)` to the phases of the mask, and those of the
    residual's real and imaginary parts."""
    skips, activated = [magnitudes], []
    for block in network.down:
        hidden = skips[-1]
        if block.norm is not None:
            hidden = g.LeakyRelu(_batch_norm(g, hidden, block.norm), alpha=0.2)
        activated.append(hidden)
        skips.append(g.Conv(hidden, *_turned(block.conv), strides=[2, 2], pads=[1, 1, 2, 2]))
    inputs, skips = [skips[-1]], skips[1:-1]
    for block in network.up[:-1]:
        decoded = _up_block(g, inputs, block)
        inputs = [skips.pop(), decoded]
    last = network.up[-1]
    phases = _batch_norm(g, g.Relu(_up_conv(g, inputs, last.conv)), last.norm, repeats=4)
    mask = g.Sigmoid(_mask_conv(g, phases, network.mask))
    if network.residual is None:
        return mask, None
    residual = g.Tanh(_up_conv(g, [activated[1], decoded], network.residual.conv))
    return mask, g.Split(residual, num_outputs=2, axis=1)


def _mask_conv(g: Graph, phases: str, conv) -> str:
    """`MaskConv` of the four phases of its input, to those of its outputs."""
    kernels = _array(conv.phase_kernels()).transpose(2, 1, 0, 4, 3, 6, 5)
    return g.Conv(phases, kernels.reshape(-1, 4, 5, 5), _array(conv.bias).repeat(4), pads=[2] * 4)


def _separator(g: Graph, part, mixture: str) -> str:
    """`SpleeterSeparator`: `(batch_size, num_channels, num_samples)` to vocals.

    The spectrum's product with the mask is split: below, where mask M and spectrum X are known, and everywhere, a
    factor u for each frame. istft(M X below, u X above) = istft((M - u) X below) + the frames of the waveform times u.
    """
    config = part.config
    stft = CentredStft(g, config.n_fft, config.hop_length, config.num_mask_bins, mixture)
    real, imaginary = stft.planes(mixture)
    num_inside = g.Max(g.Div(g.Add(stft.num_samples, config.hop_length - 1), config.hop_length), [1])
    magnitudes = g.Sqrt(g.Add(g.Mul(real, real), g.Mul(imaginary, imaginary)))
    magnitudes = g.Slice(magnitudes, [0], num_inside, 3)
    passes = [
        _masks(g, part, magnitudes, num_inside, num_before)
        for num_before in dict.fromkeys((0, config.second_pass_frames))
    ]
    mask, turning, upper = (
        # The frame at the very end uses the mask of that before it.
        _edge_repeated(g, _sum(g, planes), g.Sub(stft.num_frames, num_inside))
        for planes in zip(*passes, strict=True)
    )
    share = np.full((config.num_mask_bins, 1), 1 / len(passes))
    share[0] /= 2  # as `Stft.overlap_added` needs
    mask = g.Mul(mask if upper is None else g.Sub(mask, upper), share)
    vocals = g.Mul(mask, real), g.Mul(mask, imaginary)
    if turning is not None:
        turning = g.Mul(turning, share)
        vocals = g.Sub(vocals[0], g.Mul(turning, imaginary)), g.Add(vocals[1], g.Mul(turning, real))
    vocals = stft.waveform(*vocals)
    if upper is not None:
        vocals = g.Add(vocals, g.Mul(mixture, stft.gained(g.Mul(upper, 1 / len(passes)))))
    return g.Div(vocals, stft.weight())


def _masks(g: Graph, part, magnitudes: str, num_inside: str, num_before: int) -> tuple[str, str | None, str | None]:
    """`SpleeterSeparator._masks`: real and imaginary part of the mask, and the upper factor of the frames."""
    config = part.config
    block = 2 ** len(config.hidden_channels)
    blocks = g.Div(g.Add(num_inside, num_before + block - 1), block)
    behind = g.Sub(g.Mul(blocks, block), g.Add(num_inside, num_before))
    magnitudes = g.Pad(magnitudes, g.vector(0, 0, 0, num_before, 0, 0, 0, behind))
    mask, residual = _mask_network(g, part.vocals, magnitudes)
    if part.accompaniment is not None:
        other, _ = _mask_network(g, part.accompaniment, magnitudes)
        squared, others = g.Mul(mask, mask), g.Mul(other, other)
        mask = g.Div(g.Add(squared, 0.5e-10), g.Add(g.Add(squared, others), 1e-10))
    turning = upper = None
    if part.upper_band_scale is not None:
        num_rows = config.num_mask_bins // 2
        highest = g.ReduceMean(g.Slice(mask, [num_rows - num_rows // 4], [num_rows], 2), [2])
        highest = g.ReduceMean(g.Reshape(highest, [0, config.num_channels, 2, 2, -1]), [2], keepdims=0)
        highest = g.Reshape(g.Transpose(highest, perm=[0, 1, 3, 2]), [0, config.num_channels, 1, -1])
        upper = g.Mul(highest, float(part.upper_band_scale.detach().clamp(0, 1)))
    if residual is not None:
        mask, turning = g.Add(mask, residual[0]), _shuffled(g, residual[1])
    planes = (_shuffled(g, mask), turning, upper)
    inside = ([num_before], g.Add(num_inside, num_before), 3)
    return tuple(None if plane is None else g.Slice(plane, *inside) for plane in planes)


def _edge_repeated(g: Graph, plane: str | None, count: str) -> str | None:
    """With the last frame repeated `count` times."""
    return None if plane is None else g.Pad(plane, g.vector(0, 0, 0, 0, 0, 0, 0, count), mode="edge")


def _sum(g: Graph, values: tuple) -> str | None:
    if values[0] is None:
        return None
    total = values[0]
    for value in values[1:]:
        total = g.Add(total, value)
    return total


# --- pitch estimator --------------------------------------------------------------------------------------------------


def _pitch_estimator(g: Graph, part, waveform: str) -> str:
    """`FcpePitchEstimator`: `(batch_size, num_samples)` to logits `(batch_size, num_frames, num_bins)`.

    Its layers are convolutions of images one row high, `(batch_size, num_channels, 1, num_frames)`, which runtimes
    compute faster than products of matrices and convolutions of one dimension.
    """
    hidden = g.Unsqueeze(_log_mel(g, part.log_mel, waveform), [2])
    hidden = g.LeakyRelu(_group_norm(g, _row_conv(g, hidden, part.input_conv), part.input_norm), alpha=0.01)
    hidden = _row_conv(g, hidden, part.hidden_conv)
    for layer in part.layers:
        normalised = _normalised_channels(g, hidden, layer.norm.eps)
        weight, bias = _with_affine(layer.pointwise_in, layer.norm)
        (value_weight, gate_weight), (value_bias, gate_bias) = np.split(weight, 2), np.split(bias, 2)
        value, gate = g.Conv(normalised, value_weight, value_bias), g.Conv(normalised, gate_weight, gate_bias)
        mixed = _row_conv(g, g.Mul(value, g.Sigmoid(gate)), layer.depthwise)
        mixed = g.Mul(mixed, g.Sigmoid(mixed))
        hidden = g.Add(hidden, g.Conv(mixed, *_as_kernels(*_weights(layer.pointwise_out))))
    logits = g.Conv(_normalised_channels(g, hidden, part.norm.eps), *_with_affine(part.head, part.norm))
    return g.Transpose(g.Squeeze(logits, [2]), perm=[0, 2, 1])


def _row_conv(g: Graph, hidden: str, conv) -> str:
    """A convolution of one dimension along the only row, padded to the same length."""
    weight, bias = _weights(conv)
    reach = conv.kernel_size[0] // 2
    return g.Conv(hidden, weight[:, :, None], bias, pads=[0, reach, 0, reach], group=conv.groups)


def _normalised_channels(g: Graph, hidden: str, epsilon: float) -> str:
    """A layer norm over the channels without its weights."""
    centred = g.Sub(hidden, g.ReduceMean(hidden, [1]))
    variance = g.ReduceMean(g.Mul(centred, centred), [1])
    return g.Div(centred, g.Sqrt(g.Add(variance, epsilon)))


def _with_affine(layer, norm) -> tuple[np.ndarray, np.ndarray]:
    """Kernels and bias of a linear layer after the weights of a norm."""
    (weight, bias), (scale, shift) = _weights(layer), _weights(norm)
    return _as_kernels(weight * scale, bias + weight @ shift)


def _as_kernels(weight: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return weight[:, :, None, None], bias


def _log_mel(g: Graph, part, waveform: str) -> str:
    """`fcpe_majl.LogMel`: `(batch_size, num_mels, num_frames)`."""
    n_fft, hop_length = part.n_fft, part.hop_length
    before = (n_fft - hop_length) // 2
    num_samples = g.size(waveform, 1)
    behind = g.Max(g.Sub(n_fft - before, num_samples), [(n_fft - hop_length + 1) // 2])
    total = g.Add(g.Add(num_samples, behind), before)
    # Mirrored at the ends where the waveform is long enough, else silence.
    last, place = g.Sub(num_samples, 1), g.Sub(_range(g, total), before)
    mirrored = g.Sub(last, g.Abs(g.Sub(last, g.Abs(place))))
    padded = g.Gather(waveform, g.Max(g.Min(mirrored, last), [0]), axis=1)
    is_long = g.Less(behind, num_samples)
    is_inside = g.Equal(g.Max(g.Min(place, last), [0]), place)
    padded = g.Mul(padded, g.Cast(g.Or(is_long, is_inside), to=onnx.TensorProto.FLOAT))
    num_whole = g.Add(g.Div(g.Sub(total, n_fft), hop_length), 1)
    power = _power(g, Stft(g, n_fft, hop_length, n_fft // 2 + 1), padded, num_whole)
    mel = g.MatMul(_array(part.filters), g.Sqrt(g.Add(power, 1e-9)))
    mel = g.Log(g.Max(mel, 1e-5))
    num_frames = g.Add(g.Div(num_samples, hop_length), 1)
    return g.Pad(mel, g.vector(0, 0, 0, 0, 0, g.Sub(num_frames, num_whole)), mode="edge")


def _power(g: Graph, stft: Stft, waveform: str, num_frames: str) -> str:
    """The squared magnitudes of the first frames of `(batch_size, num_samples)`: `(batch_size, num_bins, num_frames)`
    with the lower half of the bins."""
    end = g.Add(g.Mul(g.Sub(num_frames, 1), stft.hop_length), stft.n_fft)
    real, imaginary = stft.frames(g.Slice(waveform, 0, end, 1))
    power = g.Add(g.Mul(real, real), g.Mul(imaginary, imaginary))
    return g.Slice(power, [0], [stft.n_fft // 2 + 1], 1)


def _weights(layer) -> tuple[np.ndarray, np.ndarray]:
    return _array(layer.weight), _array(layer.bias)


def _linear(g: Graph, hidden: str, layer) -> str:
    weight, bias = _weights(layer)
    return g.Add(g.MatMul(hidden, weight.T), bias)


def _layer_norm(g: Graph, hidden: str, norm) -> str:
    return g.LayerNormalization(hidden, *_weights(norm), axis=-1, epsilon=norm.eps)


def _group_norm(g: Graph, hidden: str, norm) -> str:
    """Of `(batch_size, num_channels, 1, num_frames)`."""
    groups = np.ones(norm.num_groups)
    grouped = g.Reshape(hidden, [0, norm.num_groups, -1])
    normalised = g.InstanceNormalization(grouped, groups, 0 * groups, epsilon=norm.eps)
    weight, bias = (values[:, None, None] for values in _weights(norm))
    return g.Add(g.Mul(g.Reshape(normalised, g.Shape(hidden)), weight), bias)


def _likeliest_pitch(g: Graph, logits: str, grid) -> tuple[str, str]:
    """`posteriors_majl.likeliest_pitch`: f0 in Hz and posterior, each `(batch_size, num_frames)`."""
    reach = round(pitch_majl.MEAN_CENTS / grid.bin_cents)
    highest = g.ArgMax(logits, axis=2, keepdims=1)
    near = g.Add(highest, list(range(-reach, reach + 1)))
    near = g.Max(g.Min(near, [grid.num_bins - 1]), [0])
    weights = g.Add(g.Sigmoid(g.GatherElements(logits, near, axis=2)), 1e-12)
    # The mean's distance from the highest bin, and that bin's frequency from a table: float32 has few digits for both.
    middle = g.Cast(highest, to=onnx.TensorProto.FLOAT)
    distance = g.Sub(g.Cast(near, to=onnx.TensorProto.FLOAT), middle)
    total = g.ReduceSum(g.Mul(distance, weights), [2], keepdims=0)
    bins = g.Add(g.Div(total, g.ReduceSum(weights, [2], keepdims=0)), g.Squeeze(middle, [2]))
    octaves = g.Add(g.Mul(bins, grid.bin_cents / pitch_majl.OCTAVE_CENTS), math.log2(grid.first_bin_hz))
    return g.Pow(2.0, octaves), g.Sigmoid(g.ReduceMax(logits, [2], keepdims=0))


# --- refiner ----------------------------------------------------------------------------------------------------------


def _refiner(g: Graph, part, grid, mixture: str, vocals: str, logits: str) -> str:
    """`HarmonicRefiner`: the refined vocals. The bins above the refined ones stay, so what is transformed back is only
    the change of those below."""
    config = part.config
    stft = CentredStft(g, config.n_fft, config.hop_length, config.num_bins, mixture)
    mixed, sung = stft.planes(mixture), stft.planes(vocals)
    means = [g.ReduceMean(plane, [1], keepdims=0) for plane in (*mixed, *sung)]
    features = _refiner_features(g, config, means, *_likeliest_pitch(g, logits, grid))
    behind = g.Sub(g.Mul(g.Div(g.Add(stft.num_frames, 3), 4), 4), stft.num_frames)
    features = g.Pad(features, g.vector(0, 0, 0, 0, 0, 0, 0, behind))
    correction = g.Slice(g.Tanh(_refiner_network(g, part, features)), [0], stft.num_frames, 3)
    halved = np.ones((config.num_bins, 1))
    halved[0] = 0.5  # as `Stft.overlap_added` needs
    of_vocals, turning_vocals, of_mixture, turning_mixture = g.Split(g.Mul(correction, halved), num_outputs=4, axis=1)
    real = g.Add(
        g.Sub(g.Mul(of_vocals, sung[0]), g.Mul(turning_vocals, sung[1])),
        g.Sub(g.Mul(of_mixture, mixed[0]), g.Mul(turning_mixture, mixed[1])),
    )
    imaginary = g.Add(
        g.Add(g.Mul(of_vocals, sung[1]), g.Mul(turning_vocals, sung[0])),
        g.Add(g.Mul(of_mixture, mixed[1]), g.Mul(turning_mixture, mixed[0])),
    )
    return g.Add(vocals, g.Div(stft.waveform(real, imaginary), stft.weight()))


def _refiner_features(g: Graph, config, means: list[str], f0_hz: str, confidence: str) -> str:
    """`HarmonicRefiner.features`, of real and imaginary parts of mixture and vocals, `(batch_size, num_bins, time)`:
    `(batch_size, NUM_FEATURES, num_bins, time)`."""
    mixed, turned_mixed, sung, turned_sung = means
    power = g.Add(g.Mul(mixed, mixed), g.Mul(turned_mixed, turned_mixed))
    magnitudes = g.Sqrt(power)
    sung_magnitudes = g.Sqrt(g.Add(g.Mul(sung, sung), g.Mul(turned_sung, turned_sung)))
    log_mixture = g.Log(g.Add(magnitudes, refiner_majl.MIN_MAGNITUDE))
    log_vocals = g.Log(g.Add(sung_magnitudes, refiner_majl.MIN_MAGNITUDE))
    level = _moving_average(g, g.ReduceMean(log_mixture, [1]), refiner_majl.LEVEL_FRAMES)
    floor = g.Max(power, refiner_majl.MIN_MAGNITUDE**2)
    # The size of vocals times the conjugate mixture is the product of their sizes.
    size = g.Div(g.Mul(sung_magnitudes, magnitudes), floor)
    scale = g.Div(g.Div(refiner_majl.MAX_RATIO, g.Max(size, refiner_majl.MAX_RATIO)), floor)
    real = g.Mul(g.Add(g.Mul(sung, mixed), g.Mul(turned_sung, turned_mixed)), scale)
    imaginary = g.Mul(g.Sub(g.Mul(turned_sung, mixed), g.Mul(sung, turned_mixed)), scale)
    frequencies_hz = np.arange(config.num_bins)[:, None] * config.sampling_rate / config.n_fft
    periods = g.Div(frequencies_hz, g.Unsqueeze(f0_hz, [1]))
    phase = g.Mul(g.Sub(periods, g.Round(periods)), 2.0 * math.pi)
    sure = g.Unsqueeze(confidence, [1])
    features = [
        g.Mul(g.Sub(log_mixture, level), 0.5),
        g.Mul(g.Sub(log_vocals, level), 0.5),
        real,
        imaginary,
        g.Mul(g.Cos(phase), sure),
        g.Mul(g.Sin(phase), sure),
        g.Expand(sure, g.Shape(phase)),
    ]
    return g.Concat(*(g.Unsqueeze(feature, [1]) for feature in features), axis=1)


def _moving_average(g: Graph, values: str, reach: int) -> str:
    """Over `reach` frames to each side, those that exist; `(batch_size, 1, num_frames)` in and out."""
    return g.AveragePool(values, kernel_shape=[2 * reach + 1], pads=[reach, reach], count_include_pad=0)


def _refiner_network(g: Graph, part, features: str) -> str:
    first = _conv_block(g, part.down[0], features)
    second = _residual(g, part.down[1][1], _conv_block(g, part.down[1][0], first))
    third = _conv_block(g, part.down[2][0], second)
    for block in part.down[2][1:]:
        third = _residual(g, block, third)
    rise = g.LeakyRelu(_transposed(g, part.up[0], third), alpha=0.1)
    second = _residual(g, part.middle, g.Add(second, rise))
    first = g.LeakyRelu(g.Add(first, _transposed(g, part.up[1], second)), alpha=0.1)
    return _correction_head(g, part.head, first)


def _conv_block(g: Graph, block, hidden: str) -> str:
    conv = block.conv
    padding = [*conv.padding, *conv.padding]
    return g.LeakyRelu(g.Conv(hidden, *_turned(conv), strides=list(conv.stride[::-1]), pads=padding), alpha=0.1)


def _residual(g: Graph, part, hidden: str) -> str:
    change = hidden
    for block in part.blocks:
        change = _conv_block(g, block, change)
    return g.Add(hidden, change)


def _transposed(g: Graph, conv, hidden: str) -> str:
    """A transposed convolution of kernel 4 and stride 2: output 2i sees the inputs i - 1 and i through
    the taps 3 and 1, output 2i + 1 the inputs i and i + 1 through 2 and 0."""
    weight, bias = _turned(conv)
    kernels, taps = weight.swapaxes(0, 1), ([3, 1], [2, 0])

    def phase(row: int, column: int) -> str:
        kernel = kernels[:, :, taps[row]][:, :, :, taps[column]]
        return g.Conv(hidden, kernel, bias, pads=[1 - row, 1 - column, row, column])

    return _interleaved(g, [[phase(row, column) for column in (0, 1)] for row in (0, 1)])


def _correction_head(g: Graph, conv, hidden: str) -> str:
    """`CorrectionHead`: along frequency, outputs 2i - 1 and 2i see the inputs i - 1 and i through the taps 2, 0 and
    3, 1; along time, an output sees the inputs around it."""
    weight, bias = _turned(conv)
    kernel = weight.swapaxes(0, 1)[:, :, :, ::-1]
    kernels = np.concatenate([kernel[:, :, [2, 0]], kernel[:, :, [3, 1]]])
    outputs = g.Conv(hidden, kernels, np.tile(bias, 2), pads=[1] * 4)
    size = g.Shape(outputs, start=2, end=4)
    pairs = g.Transpose(g.Reshape(outputs, g.vector(0, 2, len(bias), size)), perm=[0, 2, 3, 1, 4])
    outputs = g.Reshape(pairs, g.vector(0, 0, -1, g.Shape(outputs, start=3)))
    return g.Slice(outputs, [1], [-1], [2])


# --- note estimator ---------------------------------------------------------------------------------------------------


def _note_estimator(g: Graph, part, grid, waveform: str, logits: str) -> list[str]:
    """`NoteEstimator`: onset, offset, active and deviation, each `(batch_size, num_frames)`."""
    f0_hz, confidence = _likeliest_pitch(g, logits, grid)
    features = _spectrum_features(g, part, waveform)
    hidden = g.Conv(features, *_weights(part.enter_spectrum), pads=[2, 2])
    pitch = g.Conv(_pitch_features(g, f0_hz, confidence), *_weights(part.enter_pitch), pads=[1, 1])
    hidden = g.Transpose(g.Add(hidden, pitch), perm=[0, 2, 1])
    for block in part.blocks:
        conv = block.conv
        change = g.Transpose(_layer_norm(g, hidden, block.norm), perm=[0, 2, 1])
        change = g.Conv(change, *_weights(conv), pads=[*conv.padding, *conv.padding], dilations=list(conv.dilation))
        value, gate = g.Split(change, num_outputs=2, axis=1)
        gated = g.Transpose(g.Mul(value, g.Sigmoid(gate)), perm=[0, 2, 1])
        hidden = g.Add(hidden, _linear(g, gated, block.project))
    output = g.Split(_linear(g, _layer_norm(g, hidden, part.norm), part.head), num_outputs=4, axis=2)
    onset, offset, active, deviation = (g.Squeeze(values, [2]) for values in output)
    return [onset, offset, active, g.Mul(g.Tanh(deviation), note_estimator_majl.MAX_DEVIATION_CENTS)]


def _spectrum_features(g: Graph, part, waveform: str) -> str:
    """`NoteEstimator._spectrum_features`: `(batch_size, 2 * num_mels, num_frames)`."""
    config = part.config
    num_frames = g.Add(g.Div(g.size(waveform, 1), config.hop_length), 1)
    reach = config.n_fft // 2
    padded = g.Pad(waveform, [0, reach, 0, reach])
    power = _power(g, Stft(g, config.n_fft, config.hop_length, config.n_fft // 2 + 1), padded, num_frames)
    mel = g.MatMul(_array(part.mel.filters).T, g.Sqrt(power))
    mel = g.Log(g.Add(mel, note_estimator_majl.MIN_MAGNITUDE))
    level = _moving_average(g, g.ReduceMean(mel, [1]), note_estimator_majl.LEVEL_FRAMES)
    before = g.Max(g.Sub(_range(g, num_frames), 2), [0])
    change = g.Sub(mel, g.Gather(mel, before, axis=2))
    return g.Concat(g.Mul(g.Sub(mel, level), 0.5), change, axis=1)


def _pitch_features(g: Graph, f0_hz: str, confidence: str) -> str:
    """`note_estimator_majl._pitch_features`: `(batch_size, num_features, num_frames)`."""
    cents = g.Mul(g.Log(f0_hz), 1200.0 / math.log(2.0))
    limited = g.Min(g.Max(confidence, 1e-3), 1.0 - 1e-3)
    features = [confidence, g.Mul(g.Log(g.Div(limited, g.Sub(1.0, limited))), 0.25)]
    num_frames = g.size(f0_hz, 1)
    last = g.Sub(num_frames, 1)
    max_step = note_estimator_majl.MAX_STEP_CENTS
    for offset in (*(-o for o in note_estimator_majl.F0_OFFSETS), *note_estimator_majl.F0_OFFSETS):
        places = g.Max(g.Min(g.Add(_range(g, num_frames), offset), last), [0])
        step = g.Sub(g.Gather(cents, places, axis=1), cents)
        step = g.Mul(g.Min(g.Max(step, -max_step), max_step), 0.01)
        both = g.Min(confidence, g.Gather(confidence, places, axis=1))
        features += [g.Mul(step, both), both]
    return g.Concat(*(g.Unsqueeze(feature, [1]) for feature in features), axis=1)


# --- all --------------------------------------------------------------------------------------------------------------


def part_graphs(model, weights: str = "float32") -> dict[str, onnx.ModelProto]:
    """The graphs of a `MajlModel`'s parts by name: `separator`, `pitch_estimator`, `refiner`, `note_estimator`, those
    that it has, with weights stored in a type of `onnx_graph.WEIGHTS`.

    Raises:
        MajlError: a part of a type that cannot be exported.
    """
    grid = model.config.pitch_estimator_config
    graphs = {}
    if model.separator is not None:
        _check(model.separator, spleeter_majl.SpleeterSeparator, "separator")
        shape = ("batch_size", model.config.num_channels, "num_samples")
        g = Graph(weights)
        vocals = _separator(g, model.separator, "mixture")
        graphs["separator"] = g.model({"mixture": shape}, {"vocals": shape}, {"vocals": vocals})
    if model.pitch_estimator is not None:
        _check(model.pitch_estimator, fcpe_majl.FcpePitchEstimator, "pitch estimator")
        g = Graph(weights)
        logits = _pitch_estimator(g, model.pitch_estimator, "waveform")
        shapes = {"waveform": ("batch_size", "num_samples")}, {"logits": ("batch_size", "num_frames", grid.num_bins)}
        graphs["pitch_estimator"] = g.model(*shapes, {"logits": logits})
    if model.refiner is not None:
        shape = ("batch_size", "num_channels", "num_samples")
        g = Graph(weights)
        refined = _refiner(g, model.refiner, grid, "mixture", "vocals", "logits")
        inputs = {"mixture": shape, "vocals": shape, "logits": ("batch_size", "num_frames", grid.num_bins)}
        graphs["refiner"] = g.model(inputs, {"refined": shape}, {"refined": refined})
    if model.note_estimator is not None:
        g = Graph(weights)
        evidence = _note_estimator(g, model.note_estimator, grid, "waveform", "logits")
        names = ("onset", "offset", "active", "deviation_cents")
        inputs = {
            "waveform": ("batch_size", "num_samples"),
            "logits": ("batch_size", "num_frames", grid.num_bins),
        }
        outputs = {name: ("batch_size", "num_frames") for name in names}
        graphs["note_estimator"] = g.model(inputs, outputs, dict(zip(names, evidence, strict=True)))
    return graphs


def _check(part, known: type, kind: str) -> None:
    if type(part) is not known:
        raise MajlError(
            f"The {kind} {type(part).__name__} (model type {part.config.model_type!r}) cannot be exported to ONNX; "
            f"{known.__name__} can."
        )
