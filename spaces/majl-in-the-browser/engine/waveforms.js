// Waveforms: arrays of channels, each a Float32Array of the same length.

/** Several Float32Arrays or Float64Arrays as one. */
export function concatenate(arrays) {
  const joined = new arrays[0].constructor(arrays.reduce((length, array) => length + array.length, 0));
  let position = 0;
  for (const array of arrays) {
    joined.set(array, position);
    position += array.length;
  }
  return joined;
}

/** Waveforms one after the other. */
export function join(waveforms) {
  if (waveforms.length === 1) return waveforms[0];
  return waveforms[0].map((_, channel) => concatenate(waveforms.map((waveform) => waveform[channel])));
}

/** The samples `[start, stop)` of all channels, not copied. */
export function slice(waveform, start, stop) {
  return waveform.map((channel) => channel.subarray(start, stop));
}

/** Python's `round`: to the nearest integer, halves to the even one. */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
