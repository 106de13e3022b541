// Band-limited resampling of a stream: resampling_majl.py.
//
// A windowed sinc (Kaiser) evaluated at every phase of the reduced ratio: `orig` input samples give `created` output
// samples per step. Output sample j lies at time `j / new_rate` of the input, so nothing is delayed.

import { concatenate } from "./waveforms.js";

const ZERO_CROSSINGS = 24; // of the sinc to each side
const ROLLOFF = 0.95; // cutoff relative to the lower Nyquist frequency
const KAISER_BETA = 10; // about 100 dB of stop-band attenuation

/** The modified Bessel function of order 0. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-17 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/** For each output phase its first input sample in a step, counted from `width` samples before it, and its taps. */
function kernel(orig, created) {
  const cutoff = Math.min(orig, created) * ROLLOFF;
  const width = Math.ceil((ZERO_CROSSINGS * orig) / cutoff);
  const phases = Array.from({ length: created }, (_, phase) => {
    const taps = [];
    let first = 0;
    for (let position = -width; position < width + orig; position++) {
      const time = (position / orig - phase / created) * cutoff;
      if (Math.abs(time) >= ZERO_CROSSINGS) continue;
      if (!taps.length) first = position + width;
      const taper = bessel(KAISER_BETA * Math.sqrt(1 - (time / ZERO_CROSSINGS) ** 2)) / bessel(KAISER_BETA);
      const sinc = time === 0 ? 1 : Math.sin(Math.PI * time) / (Math.PI * time);
      taps.push((sinc * taper * cutoff) / orig);
    }
    return { first, taps: Float32Array.from(taps) };
  });
  return { phases, width };
}

/** The greatest common divisor. */
const gcd = (a, b) => (b ? gcd(b, a % b) : a);

/** Resamples one channel that arrives in blocks: the same samples for any block sizes. */
export class ResampleStream {
  constructor(origRate, newRate) {
    const divisor = gcd(origRate, newRate);
    this.orig = origRate / divisor;
    this.created = newRate / divisor;
    if (this.orig !== this.created) {
      Object.assign(this, kernel(this.orig, this.created));
      this.pending = new Float32Array(this.width);
    }
    this.numIn = this.numOut = 0;
  }

  /** Take samples, return the resampled ones that are final; with `last`, all the rest. */
  push(block, last) {
    if (this.orig === this.created) return block;
    const { orig, created, width } = this;
    this.numIn += block.length;
    this.pending = concatenate([this.pending, block, new Float32Array(last ? width + orig : 0)]);
    const numSteps = Math.max(0, Math.floor((this.pending.length - 2 * width) / orig));
    let resampled = new Float32Array(numSteps * created);
    for (let step = 0; step < numSteps; step++) {
      for (let phase = 0; phase < created; phase++) {
        const { first, taps } = this.phases[phase], start = step * orig + first;
        let sum = 0;
        for (let tap = 0; tap < taps.length; tap++) sum += this.pending[start + tap] * taps[tap];
        resampled[step * created + phase] = sum;
      }
    }
    this.pending = this.pending.slice(numSteps * orig);
    if (last) resampled = resampled.subarray(0, Math.ceil((this.numIn * created) / orig) - this.numOut);
    this.numOut += resampled.length;
    return resampled;
  }
}
