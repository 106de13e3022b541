"""The parts of a model as ONNX graphs, from waveforms to waveforms, logits or evidence.

The arithmetic is that of `models/`, rearranged where this saves work:

- Spectra are computed as products with small matrices (`FactorisedDft`), in real numbers, and only the bins that a
  network sees. Bins above these are scaled by one factor a frame (separator) or left as they are (refiner), which is a
  gain in the time domain.
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


class FactorisedDft:
    """The discrete Fourier transform of `n_fft` samples as two products with small matrices.

    With n_fft = rows * columns, sample n = columns * i + j, and bin k = u + rows * v, the sum over i is a transform of
    `rows` samples for each j; the sum over j, after a turn by `exp(-2 pi sqrt(-1) j u / n_fft)`, one of `columns`
    samples for each u. The window and the turn are in the first product's matrices, one for each j.

    Args:
        n_fft: Length of a frame in samples.
        hop_length: Samples from frame to frame; the columns divide it.
        num_bins: Number of lowest bins wanted; rounded up to a multiple of the rows in `num_computed`.
    """

    def __init__(self, n_fft: int, hop_length: int, num_bins: int):
        self.n_fft, self.hop_length = n_fft, hop_length
        divisors = [d for d in range(1, n_fft + 1) if n_fft % d == 0 and hop_length % d == 0]
        self.columns = min(divisors, key=lambda d: d + n_fft // d)
        self.rows = n_fft // self.columns
        self.blocks = -(-num_bins // self.rows)
        self.num_computed = self.rows * self.blocks
        sample = np.arange(self.rows)[None, :] * self.columns + np.arange(self.columns)[:, None]  # (columns, rows)
        self.window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)  # Hann, periodic
        # (columns, rows of samples, rows of bins)
        turn = np.exp(-2j * np.pi * sample[:, :, None] * np.arange(self.rows) / n_fft)
        self._windowed = self.window[sample][:, :, None] * turn
        # (blocks of bins, columns)
        self._across = np.exp(-2j * np.pi * np.outer(np.arange(self.blocks), np.arange(self.columns)) / self.columns)

    def spectrum(self, g: Graph, frames: str) -> str:
        """Frames `(columns, count, rows)` to `(count, 2, num_computed)`, real and imaginary parts."""
        first = np.concatenate([self._windowed.real, self._windowed.imag], axis=2)
        hidden = g.Transpose(g.MatMul(frames, first), perm=[1, 0, 2])
        hidden = g.Reshape(hidden, [-1, 2 * self.columns, self.rows])
        pairs = np.stack([[self._across.real, -self._across.imag], [self._across.imag, self._across.real]])
        second = pairs.transpose(0, 2, 3, 1).reshape(2 * self.blocks, 2 * self.columns)
        return g.Reshape(g.MatMul(second, hidden), [-1, 2, self.num_computed])

    def signal(self, g: Graph, spectrum: str) -> str:
        """`(count, 2, num_computed)` to windowed frames `(columns, count, rows)`, the real part of the sum over these
        bins alone divided by `n_fft / 2`: halve bin 0 before."""
        pairs = np.stack([[self._across.real, self._across.imag], [-self._across.imag, self._across.real]])
        first = pairs.transpose(3, 0, 1, 2).reshape(2 * self.columns, 2 * self.blocks)
        hidden = g.MatMul(first, g.Reshape(spectrum, [-1, 2 * self.blocks, self.rows]))
        hidden = g.Reshape(hidden, [-1, self.columns, 2 * self.rows])
        windowed = self._windowed.transpose(0, 2, 1) * (2 / self.n_fft)
        second = np.concatenate([windowed.real, windowed.imag], axis=1)
        return g.MatMul(g.Transpose(hidden, perm=[1, 0, 2]), second)

    def gathered_frames(self, g: Graph, waveform: str, num_frames: str) -> str:
        """The first frames of `(batch_size, num_samples)` as `(columns, batch_size * num_frames, rows)`."""
        end = g.Add(g.Mul(g.Sub(num_frames, 1), self.hop_length), self.n_fft)
        pieces = g.Reshape(g.Slice(waveform, 0, end, 1), [0, -1, self.columns])
        starts = g.Mul(_range(g, num_frames), self.hop_length // self.columns)
        rows = g.Add(g.Unsqueeze(starts, 1), list(range(self.rows)))
        frames = g.Transpose(g.Gather(pieces, rows, axis=1), perm=[3, 0, 1, 2])
        return g.Reshape(frames, [self.columns, -1, self.rows])


class OverlapAdd(FactorisedDft):
    """Frames of `n_fft` samples at a hop that divides it: cut from a waveform, and added up to one again."""

    def __init__(self, g: Graph, n_fft: int, hop_length: int, num_bins: int, waveform: str):
        """`waveform` `(batch_size, num_channels, num_samples)`; its frames are centred on multiples of the hop."""
        if n_fft % hop_length:
            raise MajlError(
                f"A part has frames of {n_fft} samples at a hop of {hop_length}; the export to ONNX needs a hop that "
                "divides them."
            )
        super().__init__(n_fft, hop_length, num_bins)
        self.g, self.overlap = g, n_fft // hop_length
        self.num_samples = g.size(waveform, 2)
        self.leading = g.Shape(waveform, start=0, end=2)
        self.num_frames = g.Add(g.Div(self.num_samples, hop_length), 1)
        self.num_hops = g.Add(self.num_frames, self.overlap - 1)
        self.num_padded = g.Mul(self.num_hops, hop_length)

    def padded(self, waveform: str) -> str:
        """With silence around it, so that the frames are whole: `(batch_size, num_channels, num_padded)`."""
        g, before = self.g, self.n_fft // 2
        behind = g.Sub(g.Sub(self.num_padded, self.num_samples), before)
        return g.Pad(waveform, g.vector(0, 0, before, 0, 0, behind))

    def trimmed(self, padded: str) -> str:
        before = [self.n_fft // 2]
        return self.g.Slice(padded, before, self.g.Add(self.num_samples, before), 2)

    def stft(self, padded: str) -> str:
        """`(batch_size * num_channels * num_frames, 2, num_computed)`."""
        g, width = self.g, self.hop_length // self.columns
        hops = g.Transpose(g.Reshape(padded, [-1, self.n_fft // self.rows]), perm=[1, 0])
        hops = g.Reshape(hops, g.vector(self.columns, -1, self.num_hops, width))
        shifted = [self._shifted(hops, shift) for shift in range(self.overlap)]
        return self.spectrum(g, g.Reshape(g.Concat(*shifted, axis=3), [self.columns, -1, self.rows]))

    def _shifted(self, hops: str, shift: int) -> str:
        return self.g.Slice(hops, [shift], self.g.Add(self.num_frames, shift), 2)

    def overlap_added(self, spectrum: str) -> str:
        """`(batch_size * num_channels * num_frames, 2, num_computed)`, bin 0 halved, to the sum of the windowed frames
        `(batch_size, num_channels, num_padded)`."""
        g, width = self.g, self.hop_length // self.columns
        frames = g.Reshape(self.signal(g, spectrum), g.vector(self.columns, -1, self.num_frames, self.rows))
        total = None
        for shift, hop in enumerate(g.Split(frames, num_outputs=self.overlap, axis=3)):
            pads = [0, 0, shift, 0, 0, 0, self.overlap - 1 - shift, 0]
            hop = g.Pad(hop, pads)
            total = hop if total is None else g.Add(total, hop)
        total = g.Reshape(total, g.vector(self.columns, -1, g.Mul(self.num_hops, width)))
        return g.Reshape(g.Transpose(total, perm=[1, 2, 0]), g.vector(self.leading, self.num_padded))

    def envelope(self, gains: str) -> str:
        """The sum of the frames' squared windows, each times its gain; `(..., num_frames)` to
        `(rows of gains, num_padded)`."""
        g, reach = self.g, self.overlap - 1
        padded = g.Pad(g.Reshape(gains, g.vector(-1, self.num_frames, 1)), [0, reach, 0, 0, reach, 0])
        shifted = [
            g.Slice(padded, [reach - shift], g.Add(self.num_hops, reach - shift), 1) for shift in range(self.overlap)
        ]
        squared = (self.window**2).reshape(self.overlap, self.hop_length)
        return g.Reshape(g.MatMul(g.Concat(*shifted, axis=2), squared), g.vector(-1, self.num_padded))


def _range(g: Graph, count: str) -> str:
    """0, 1, ... up to a count, int64."""
    zero, one, stop = g.Squeeze([0]), g.Squeeze([1]), g.Squeeze(count)
    return g.Range(zero, stop, one)


# --- separator --------------------------------------------------------------------------------------------------------


def _batch_norm(g: Graph, hidden: str, norm) -> str:
    weights = [_array(t) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    return g.BatchNormalization(hidden, *weights, epsilon=norm.eps)


def _up_conv(g: Graph, hidden: str, conv) -> str:
    """Kernel 5, stride 2, of which all but the first and the last row and column are kept."""
    kernels, bias = _array(conv._phases()), _array(conv.bias).repeat(4)
    return _shuffled(g, g.Conv(hidden, kernels, bias, pads=[1, 1, 1, 1]))


def _shuffled(g: Graph, hidden: str) -> str:
    return g.DepthToSpace(hidden, blocksize=2, mode="CRD")


def _mask_network(g: Graph, network, magnitudes: str) -> tuple[str, str | None]:
    """`MaskUNet`: magnitudes `(batch_size, num_channels, time, frequency)` to the mask and the residual, its real parts
    before its imaginary parts."""
    skips, activated = [magnitudes], []
    for block in network.down:
        hidden = skips[-1]
        if block.norm is not None:
            hidden = g.LeakyRelu(_batch_norm(g, hidden, block.norm), alpha=0.2)
        activated.append(hidden)
        skips.append(
            g.Conv(hidden, _array(block.conv.weight), _array(block.conv.bias), strides=[2, 2], pads=[1, 1, 2, 2])
        )
    hidden, decoded, skips = skips[-1], None, skips[1:-1]
    for block in network.up:
        if decoded is not None:
            hidden = g.Concat(skips.pop(), decoded, axis=1)
            lowest = g.Concat(activated[1], decoded, axis=1) if not skips else None
        decoded = _batch_norm(g, g.Relu(_up_conv(g, hidden, block.conv)), block.norm)
    parities = g.SpaceToDepth(g.Pad(decoded, [0, 0, 3, 3, 0, 0, 3, 3]), blocksize=2)
    kernel = _array(network.mask.weight)[:, :, None] * np.eye(4, dtype=np.float32)[:, :, None, None]
    mask = g.Conv(parities, kernel.reshape(-1, 4, 4, 4), _array(network.mask.bias).repeat(4))
    mask = g.Sigmoid(_shuffled(g, mask))
    residual = None if network.residual is None else g.Tanh(_up_conv(g, lowest, network.residual.conv))
    return mask, residual


def _separator(g: Graph, part, mixture: str) -> str:
    """`SpleeterSeparator`: `(batch_size, num_channels, num_samples)` to vocals.

    The spectrum's product with the mask is split: below, where mask M and spectrum X are known, and everywhere, a
    factor u for each frame. istft(M X below, u X above) = istft((M - u) X below) + the frames of the waveform times u.
    """
    config = part.config
    num_bins = config.num_mask_bins
    windows = OverlapAdd(g, config.n_fft, config.hop_length, num_bins, mixture)
    padded = windows.padded(mixture)
    shape = g.vector(windows.leading, windows.num_frames, num_bins)
    real, imaginary = _planes(g, windows.stft(padded), num_bins)
    magnitudes = g.Reshape(g.Sqrt(g.Add(g.Mul(real, real), g.Mul(imaginary, imaginary))), shape)
    num_inside = g.Max(g.Div(g.Add(windows.num_samples, config.hop_length - 1), config.hop_length), [1])
    last = g.Sub(num_inside, 1)
    frames = g.Min(_range(g, windows.num_frames), last)  # one at the very end uses the mask of that before it
    magnitudes = g.Slice(magnitudes, [0], num_inside, 2)
    passes = [
        _masks(g, part, magnitudes, num_inside, frames, num_before)
        for num_before in dict.fromkeys((0, config.second_pass_frames))
    ]
    mask, residual, upper = (_sum(g, planes) for planes in zip(*passes, strict=True))
    share = np.full(num_bins, 1 / len(passes))
    share[0] /= 2  # as `FactorisedDft.signal` needs
    if upper is not None:
        mask = g.Sub(mask, upper)
    mask = g.Reshape(g.Mul(mask, share), [-1, 1, num_bins])
    if residual is None:
        vocals = g.Concat(g.Mul(mask, real), g.Mul(mask, imaginary), axis=1)
    else:
        turned, turning = (
            g.Reshape(g.Mul(plane, share), [-1, 1, num_bins]) for plane in g.Split(residual, num_outputs=2, axis=1)
        )
        mask = g.Add(mask, turned)
        vocals = g.Concat(
            g.Sub(g.Mul(mask, real), g.Mul(turning, imaginary)),
            g.Add(g.Mul(mask, imaginary), g.Mul(turning, real)),
            axis=1,
        )
    vocals = windows.trimmed(windows.overlap_added(_padded_bins(g, vocals, windows.num_computed - num_bins)))
    envelope = windows.envelope(g.Expand(1.0, windows.num_frames))
    if upper is not None:
        gains = windows.envelope(g.Mul(upper, 1 / len(passes)))
        gains = g.Reshape(gains, g.vector(windows.leading, windows.num_padded))
        vocals = g.Add(vocals, g.Mul(mixture, windows.trimmed(gains)))
    return g.Div(vocals, g.Squeeze(windows.trimmed(g.Unsqueeze(envelope, 0)), 0))


def _masks(g: Graph, part, magnitudes: str, num_inside: str, frames: str, num_before: int):
    """`SpleeterSeparator._masks`: mask, residual and the upper factor for `frames`, which counts from the first."""
    config = part.config
    block = 2 ** len(config.hidden_channels)
    blocks = g.Div(g.Add(num_inside, num_before + block - 1), block)
    behind = g.Sub(g.Mul(blocks, block), g.Add(num_inside, num_before))
    magnitudes = g.Pad(magnitudes, g.vector(0, 0, num_before, 0, 0, 0, behind, 0))
    mask, residual = _mask_network(g, part.vocals, magnitudes)
    if part.accompaniment is not None:
        other, _ = _mask_network(g, part.accompaniment, magnitudes)
        squared, others = g.Mul(mask, mask), g.Mul(other, other)
        mask = g.Div(g.Add(squared, 0.5e-10), g.Add(g.Add(squared, others), 1e-10))
    if num_before:
        frames = g.Add(frames, num_before)
    mask = g.Gather(mask, frames, axis=2)
    if residual is not None:
        residual = g.Gather(residual, frames, axis=2)
    upper = None
    if part.upper_band_scale is not None:
        first = config.num_mask_bins - config.num_mask_bins // 4
        highest = g.ReduceMean(g.Slice(mask, [first], [config.num_mask_bins], 3), [3])
        upper = g.Mul(highest, float(part.upper_band_scale.detach().clamp(0, 1)))
    return mask, residual, upper


def _planes(g: Graph, spectrum: str, num_bins: int) -> list[str]:
    """Real and imaginary part of `(count, 2, num_computed)`, each `(count, 1, num_bins)`."""
    return g.Split(g.Slice(spectrum, [0], [num_bins], 2), num_outputs=2, axis=1)


def _padded_bins(g: Graph, spectrum: str, count: int) -> str:
    return g.Pad(spectrum, [0, 0, 0, 0, 0, count]) if count else spectrum


def _sum(g: Graph, values: tuple) -> str | None:
    if values[0] is None:
        return None
    total = values[0]
    for value in values[1:]:
        total = g.Add(total, value)
    return total


# --- pitch estimator --------------------------------------------------------------------------------------------------


def _pitch_estimator(g: Graph, part, waveform: str) -> str:
    """`FcpePitchEstimator`: `(batch_size, num_samples)` to logits `(batch_size, num_frames, num_bins)`."""
    hidden = g.Conv(_log_mel(g, part.log_mel, waveform), *_weights(part.input_conv), pads=[1, 1])
    hidden = g.LeakyRelu(_group_norm(g, hidden, part.input_norm), alpha=0.01)
    hidden = g.Transpose(g.Conv(hidden, *_weights(part.hidden_conv), pads=[1, 1]), perm=[0, 2, 1])
    for layer in part.layers:
        value, gate = g.Split(_linear(g, _layer_norm(g, hidden, layer.norm), layer.pointwise_in), num_outputs=2, axis=2)
        gated = g.Transpose(g.Mul(value, g.Sigmoid(gate)), perm=[0, 2, 1])
        reach = layer.depthwise.kernel_size[0] // 2
        mixed = g.Conv(gated, *_weights(layer.depthwise), pads=[reach, reach], group=layer.depthwise.groups)
        mixed = g.Transpose(g.Mul(mixed, g.Sigmoid(mixed)), perm=[0, 2, 1])
        hidden = g.Add(hidden, _linear(g, mixed, layer.pointwise_out))
    return _linear(g, _layer_norm(g, hidden, part.norm), part.head)


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
    power = _power(g, padded, FactorisedDft(n_fft, hop_length, n_fft // 2 + 1), num_whole)
    mel = _mel(g, g.Sqrt(g.Add(power, 1e-9)), _array(part.filters).T, num_whole)
    mel = g.Log(g.Max(mel, 1e-5))
    frames = g.Min(_range(g, g.Add(g.Div(num_samples, hop_length), 1)), g.Sub(num_whole, 1))
    return g.Transpose(g.Gather(mel, frames, axis=1), perm=[0, 2, 1])


def _power(g: Graph, waveform: str, dft: FactorisedDft, num_frames: str) -> str:
    """The squared magnitudes of the frames of `(batch_size, num_samples)`, `(count, num_computed)`."""
    spectrum = dft.spectrum(g, dft.gathered_frames(g, waveform, num_frames))
    return g.ReduceSum(g.Mul(spectrum, spectrum), [1], keepdims=0)


def _mel(g: Graph, magnitudes: str, filters: np.ndarray, num_frames: str) -> str:
    """`(count, num_computed)` times `(num_bins, num_mels)` as `(batch_size, num_frames, num_mels)`."""
    num_bins, num_mels = filters.shape
    magnitudes = g.Slice(magnitudes, [0], [num_bins], 1)
    return g.Reshape(g.MatMul(magnitudes, filters), g.vector(-1, num_frames, num_mels))


def _weights(layer) -> tuple[np.ndarray, np.ndarray]:
    return _array(layer.weight), _array(layer.bias)


def _linear(g: Graph, hidden: str, layer) -> str:
    weight, bias = _weights(layer)
    return g.Add(g.MatMul(hidden, weight.T), bias)


def _layer_norm(g: Graph, hidden: str, norm) -> str:
    return g.LayerNormalization(hidden, *_weights(norm), axis=-1, epsilon=norm.eps)


def _group_norm(g: Graph, hidden: str, norm) -> str:
    """Of `(batch_size, num_channels, num_frames)`."""
    groups = np.ones(norm.num_groups)
    grouped = g.Reshape(hidden, [0, norm.num_groups, -1])
    normalised = g.InstanceNormalization(grouped, groups, 0 * groups, epsilon=norm.eps)
    weight, bias = (values[:, None] for values in _weights(norm))
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
    windows = OverlapAdd(g, config.n_fft, config.hop_length, config.num_bins, mixture)
    shape = g.vector(windows.leading, windows.num_frames, config.num_bins)
    mixed, sung = (
        [g.Reshape(plane, shape) for plane in _planes(g, windows.stft(windows.padded(waveform)), config.num_bins)]
        for waveform in (mixture, vocals)
    )
    means = [g.ReduceMean(plane, [1], keepdims=0) for plane in (*mixed, *sung)]
    features = _refiner_features(g, config, means, *_likeliest_pitch(g, logits, grid))
    behind = g.Sub(g.Mul(g.Div(g.Add(windows.num_frames, 3), 4), 4), windows.num_frames)
    features = g.Pad(features, g.vector(0, 0, 0, 0, 0, 0, behind, 0))
    correction = g.Slice(g.Tanh(_refiner_network(g, part, features)), [0], windows.num_frames, 2)
    halved = np.ones(config.num_bins)
    halved[0] = 0.5  # as `FactorisedDft.signal` needs
    of_vocals, turning_vocals, of_mixture, turning_mixture = g.Split(g.Mul(correction, halved), num_outputs=4, axis=1)
    real = g.Add(
        g.Sub(g.Mul(of_vocals, sung[0]), g.Mul(turning_vocals, sung[1])),
        g.Sub(g.Mul(of_mixture, mixed[0]), g.Mul(turning_mixture, mixed[1])),
    )
    imaginary = g.Add(
        g.Add(g.Mul(of_vocals, sung[1]), g.Mul(turning_vocals, sung[0])),
        g.Add(g.Mul(of_mixture, mixed[1]), g.Mul(turning_mixture, mixed[0])),
    )
    change = g.Concat(*(g.Reshape(plane, [-1, 1, config.num_bins]) for plane in (real, imaginary)), axis=1)
    change = windows.overlap_added(_padded_bins(g, change, windows.num_computed - config.num_bins))
    envelope = g.Unsqueeze(windows.envelope(g.Expand(1.0, windows.num_frames)), 0)
    return g.Add(vocals, g.Div(windows.trimmed(change), windows.trimmed(envelope)))


def _refiner_features(g: Graph, config, means: list[str], f0_hz: str, confidence: str) -> str:
    """`HarmonicRefiner.features`, of real and imaginary parts of mixture and vocals, `(batch_size, time, num_bins)`."""
    mixed, turned_mixed, sung, turned_sung = means
    power = g.Add(g.Mul(mixed, mixed), g.Mul(turned_mixed, turned_mixed))
    magnitudes = g.Sqrt(power)
    sung_magnitudes = g.Sqrt(g.Add(g.Mul(sung, sung), g.Mul(turned_sung, turned_sung)))
    log_mixture = g.Log(g.Add(magnitudes, refiner_majl.MIN_MAGNITUDE))
    log_vocals = g.Log(g.Add(sung_magnitudes, refiner_majl.MIN_MAGNITUDE))
    level = g.ReduceMean(log_mixture, [2])
    level = _moving_average(g, level, refiner_majl.LEVEL_FRAMES)
    floor = g.Max(power, refiner_majl.MIN_MAGNITUDE**2)
    # The size of vocals times the conjugate mixture is the product of their sizes.
    size = g.Div(g.Mul(sung_magnitudes, magnitudes), floor)
    scale = g.Div(g.Div(refiner_majl.MAX_RATIO, g.Max(size, refiner_majl.MAX_RATIO)), floor)
    real = g.Mul(g.Add(g.Mul(sung, mixed), g.Mul(turned_sung, turned_mixed)), scale)
    imaginary = g.Mul(g.Sub(g.Mul(turned_sung, mixed), g.Mul(sung, turned_mixed)), scale)
    frequencies_hz = np.arange(config.num_bins) * config.sampling_rate / config.n_fft
    periods = g.Div(frequencies_hz, g.Unsqueeze(f0_hz, [2]))
    phase = g.Mul(g.Sub(periods, g.Round(periods)), 2.0 * math.pi)
    sure = g.Unsqueeze(confidence, [2])
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
    """Over `reach` frames to each side, those that exist; `(batch_size, num_frames, 1)` in and out."""
    average = g.AveragePool(
        g.Transpose(values, perm=[0, 2, 1]),
        kernel_shape=[2 * reach + 1],
        pads=[reach, reach],
        count_include_pad=0,
    )
    return g.Transpose(average, perm=[0, 2, 1])


def _refiner_network(g: Graph, part, features: str) -> str:
    first = _conv_block(g, part.down[0], features)
    second = _residual(g, part.down[1][1], _conv_block(g, part.down[1][0], first))
    third = _conv_block(g, part.down[2][0], second)
    for block in part.down[2][1:]:
        third = _residual(g, block, third)
    rise = g.LeakyRelu(_transposed(g, part.up[0], third), alpha=0.1)
    second = _residual(g, part.middle, g.Add(second, rise))
    first = g.LeakyRelu(g.Add(first, _transposed(g, part.up[1], second)), alpha=0.1)
    return _transposed(g, part.head, first)


def _conv_block(g: Graph, block, hidden: str) -> str:
    conv = block.conv
    padding = [*conv.padding, *conv.padding]
    return g.LeakyRelu(g.Conv(hidden, *_weights(conv), strides=list(conv.stride), pads=padding), alpha=0.1)


def _residual(g: Graph, part, hidden: str) -> str:
    change = hidden
    for block in part.blocks:
        change = _conv_block(g, block, change)
    return g.Add(hidden, change)


def _transposed(g: Graph, conv, hidden: str) -> str:
    return g.ConvTranspose(hidden, *_weights(conv), strides=list(conv.stride), pads=[*conv.padding, *conv.padding])


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
    dft = FactorisedDft(config.n_fft, config.hop_length, config.n_fft // 2 + 1)
    reach = config.n_fft // 2
    # What the last frame sees, and hops that make whole rows of columns.
    padded = g.Pad(waveform, [0, reach, 0, reach])
    magnitudes = g.Sqrt(_power(g, padded, dft, num_frames))
    mel = g.Log(g.Add(_mel(g, magnitudes, _array(part.mel.filters), num_frames), note_estimator_majl.MIN_MAGNITUDE))
    level = _moving_average(g, g.ReduceMean(mel, [2]), note_estimator_majl.LEVEL_FRAMES)
    before = g.Max(g.Sub(_range(g, num_frames), 2), [0])
    change = g.Sub(mel, g.Gather(mel, before, axis=1))
    return g.Transpose(g.Concat(g.Mul(g.Sub(mel, level), 0.5), change, axis=2), perm=[0, 2, 1])


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


def part_graphs(model) -> dict[str, onnx.ModelProto]:
    """The graphs of a `MajlModel`'s parts by name: `separator`, `pitch_estimator`, `refiner`, `note_estimator`, those
    that it has.

    Raises:
        MajlError: a part of a type that cannot be exported.
    """
    grid = model.config.pitch_estimator_config
    graphs = {}
    if model.separator is not None:
        _check(model.separator, spleeter_majl.SpleeterSeparator, "separator")
        shape = ("batch_size", model.config.num_channels, "num_samples")
        g = Graph()
        vocals = _separator(g, model.separator, "mixture")
        graphs["separator"] = g.model({"mixture": shape}, {"vocals": shape}, {"vocals": vocals})
    if model.pitch_estimator is not None:
        _check(model.pitch_estimator, fcpe_majl.FcpePitchEstimator, "pitch estimator")
        g = Graph()
        logits = _pitch_estimator(g, model.pitch_estimator, "waveform")
        shapes = {"waveform": ("batch_size", "num_samples")}, {"logits": ("batch_size", "num_frames", grid.num_bins)}
        graphs["pitch_estimator"] = g.model(*shapes, {"logits": logits})
    if model.refiner is not None:
        shape = ("batch_size", "num_channels", "num_samples")
        g = Graph()
        refined = _refiner(g, model.refiner, grid, "mixture", "vocals", "logits")
        inputs = {"mixture": shape, "vocals": shape, "logits": ("batch_size", "num_frames", grid.num_bins)}
        graphs["refiner"] = g.model(inputs, {"refined": shape}, {"refined": refined})
    if model.note_estimator is not None:
        g = Graph()
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
