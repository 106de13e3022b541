// How a recording is brought to the model, and its vocals back to the recording: conditioning_majl.py, which explains
// the method and its constants.
//
//     recording -> without offset and rumble -> at the level and balance that models are trained on -> model -> back
//
// Levels are mean squares over frames of about half a second, in dB; gains are linear in dB within a frame. What is
// measured of a frame is averaged over earlier frames and `LOOKAHEAD` later ones.

import { join, slice } from "./waveforms.js";
import { WindowCutter, WindowGrid } from "./windows.js";

const PASS_HZ = 40, STOP_HZ = 20;
const RUMBLE_DB = [-18, -12];
const LOW_RATE_HZ = 700;
const FRAME_S = 0.5;
const LOOKAHEAD = 4;
const RELEASE_DB = 0.05;
const FALL_DB = 15, FALL_FRAMES = 24, FAST_RELEASE_DB = 2;
const REFERENCE_DB = -17;
const PEAK = 1;
const SILENCE_DB = -120;
const VOICE_DB = 3;
const BALANCE_DB = [3, 5];
const ONE_SIDED_DB = [20, 26];
const UNLIKE_DB = [5, 8], UNLIKE = [0.4, 0.2];
const TINY = 1e-30;
const SIDE_RATIO = 4;
const MEMORY = 0.9;
const BALANCE_MEMORY = 0.7;
const UNRELATED = 0.2;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const lerp = (from, to, share) => from + share * (to - from);
const rise = (value, [zero, one]) => clamp((value - zero) / (one - zero), 0, 1);
const decibels = (power) => 10 * Math.log10(power);

/** The band below the voice, found with symmetric FIR filters: decimated, filtered, interpolated where it is needed. */
export class LowBand {
  constructor(samplingRate, numSamples) {
    this.step = Math.max(1, Math.round(samplingRate / LOW_RATE_HZ));
    const lowRate = samplingRate / this.step;
    this.frameLength = this.step * Math.ceil(numSamples / this.step);
    const kernel = lowPass(samplingRate, PASS_HZ, lowRate - PASS_HZ);
    const half = (kernel.length - 1) / 2;
    this.reach = Math.ceil(half / this.step); // samples at the low rate on both sides
    this.rows = 2 * this.reach + 1;
    this.phases = new Float64Array(this.rows * this.step); // (rows, step)
    this.phases.set(kernel, this.step * this.reach - half);
    for (let phase = 0; phase < this.step; phase++) { // so that a constant is interpolated as one
      let total = 0;
      for (let row = 0; row < this.rows; row++) total += this.phases[row * this.step + phase];
      for (let row = 0; row < this.rows; row++) this.phases[row * this.step + phase] /= total;
    }
    this.filter = lowPass(lowRate, STOP_HZ, PASS_HZ);
    this.margin = this.step * (2 * this.reach + (this.filter.length - 1) / 2);
  }

  /** A frame of one channel with its margins to its low band at the low rate. */
  find(samples) {
    const { step, phases, filter } = this;
    const low = new Float64Array(Math.floor(samples.length / step) - 2 * this.reach);
    for (let n = 0; n < low.length; n++) {
      let sum = 0;
      for (let tap = 0; tap < phases.length; tap++) sum += samples[n * step + tap] * phases[tap];
      low[n] = sum / step;
    }
    const found = new Float64Array(low.length - filter.length + 1);
    for (let n = 0; n < found.length; n++) {
      for (let tap = 0; tap < filter.length; tap++) found[n] += low[n + tap] * filter[tap];
    }
    return found;
  }

  /** The low band that `find` returned at the full rate, without margins. */
  interpolated(low) {
    const { step, rows, phases } = this;
    const samples = new Float64Array(this.frameLength);
    for (let position = 0; position < samples.length; position++) {
      const n = Math.floor(position / step), phase = position % step;
      for (let row = 0; row < rows; row++) samples[position] += low[n + row] * phases[(rows - 1 - row) * step + phase];
    }
    return samples;
  }
}

/** A Blackman-windowed low-pass filter of odd length and gain 1. */
function lowPass(rate, passHz, stopHz) {
  const half = Math.ceil((2.75 * rate) / (stopHz - passHz));
  const kernel = new Float64Array(2 * half + 1);
  let total = 0;
  for (let index = 0; index < kernel.length; index++) {
    const angle = (Math.PI * index) / half;
    const x = Math.PI * ((passHz + stopHz) / rate) * (index - half);
    const blackman = 0.42 - 0.5 * Math.cos(angle) + 0.08 * Math.cos(2 * angle);
    kernel[index] = (x === 0 ? 1 : Math.sin(x) / x) * blackman;
    total += kernel[index];
  }
  return kernel.map((value) => value / total);
}

/**
 * The level of a recording in dB, as it changes from frame to frame: that of the loudest frames up to `LOOKAHEAD`
 * frames ahead; afterwards it falls slowly, or fast where the recording stays much quieter.
 */
export class Levels {
  constructor() {
    this.powers = []; // of the latest frames, in dB
    this.recent = [];
    this.level = -Infinity;
    this.coming = [];
    this.ahead = [];
    this.starts = []; // levels at the starts of frames
  }

  /** The mean square of the next frame. */
  push(power) {
    this.powers = [...this.powers, decibels(Math.max(power, 10 ** (SILENCE_DB / 10)))].slice(-3);
    if (this.powers.length > 1) {
      this.follow(this.powers);
      if (this.coming.length > LOOKAHEAD) this.startFrame();
    }
  }

  /** There are no more frames. */
  finish() {
    if (!this.powers.length) return;
    this.follow(this.powers.slice(-2));
    while (this.coming.length) this.startFrame();
    this.starts.push(this.starts.at(-1)); // where the last frame ends
  }

  /** Whether the levels at both ends of the next frame are known. */
  isKnown() {
    return this.starts.length > 1;
  }

  /** The levels at both ends of the next frame. */
  pop() {
    return [this.starts.shift(), this.starts[0]];
  }

  follow(neighbours) {
    const median = [...neighbours].sort((a, b) => a - b)[Math.floor((neighbours.length - 1) / 2)];
    this.recent = [...this.recent, median].slice(-FALL_FRAMES);
    const hasFallen = this.recent.length === FALL_FRAMES && Math.max(...this.recent) < this.level - FALL_DB;
    this.level = Math.max(median, this.level - (hasFallen ? FAST_RELEASE_DB : RELEASE_DB));
    this.coming.push(this.level);
  }

  startFrame() {
    this.ahead = [...this.ahead, Math.max(...this.coming)].slice(-(LOOKAHEAD + 1));
    this.coming.shift();
    this.starts.push(this.ahead.reduce((sum, level) => sum + level, 0) / this.ahead.length);
  }
}

/** Measurements of frames, averaged with a memory of some seconds and looked at `LOOKAHEAD` frames later. */
class Averages {
  constructor(memory) {
    this.memory = memory;
    this.total = null;
    this.waiting = [];
  }

  push(values) {
    const total = this.total ?? values.map(() => 0);
    this.total = values.map((value, index) => this.memory * total[index] + value);
    this.waiting.push(this.total);
  }

  /** The averages at both ends of the next frame. */
  pop() {
    const last = this.waiting.length - 1;
    const ends = [this.waiting[Math.min(LOOKAHEAD, last)], this.waiting[Math.min(LOOKAHEAD + 1, last)]];
    this.waiting.shift();
    return ends;
  }
}

/**
 * What is done to the channels of a frame, from the level and the products left * left, right * right, left * right at
 * both of its ends. Each entry of a channel is a pair, for the frame's start and end: `gainsDb`; `fill`, how much of it
 * is replaced by the other channel; `shares`, what it has in common with the other one, as a factor of that one.
 */
function balanceOf(levels, products, numChannels) {
  const ends = products.map((values, end) => {
    const powers = values.slice(0, numChannels), both = values[numChannels] ?? 0;
    const powersDb = powers.map((power) => decibels(power + TINY));
    const correlation = Math.abs(both) / (Math.sqrt(powers.reduce((a, b) => a * b)) + TINY);
    return powers.map((_, channel) => {
      const weaker = Math.min(Math.max(...powersDb) - powersDb[channel], ONE_SIDED_DB[1]);
      const leftDb = (BALANCE_DB[0] / (BALANCE_DB[1] - BALANCE_DB[0])) * Math.max(BALANCE_DB[1] - weaker, 0);
      return {
        gainDb: REFERENCE_DB - levels[end] + Math.max(weaker - leftDb, 0),
        fill: Math.max(rise(weaker, ONE_SIDED_DB), rise(correlation, UNLIKE) * rise(weaker, UNLIKE_DB)),
        share: both / (powers[powers.length - 1 - channel] + TINY),
      };
    });
  });
  const pairs = (name) => ends[0].map((_, channel) => ends.map((end) => end[channel][name]));
  const fill = pairs("fill");
  return { gainsDb: pairs("gainDb"), shares: pairs("share"), fill: fill.flat().some(Boolean) ? fill : null };
}

/** Brings a stream to the model's conditions, and the vocals that the model finds in it back to the stream's. */
export class Conditioner {
  constructor(samplingRate, numChannels) {
    this.numChannels = numChannels;
    this.lowBand = new LowBand(samplingRate, Math.round(FRAME_S * samplingRate));
    this.frameLength = this.lowBand.frameLength;
    this.cutter = new WindowCutter(new WindowGrid(this.frameLength, this.lowBand.margin));
    this.found = []; // frames and their low band
    this.clean = []; // frames without rumble
    this.bands = new Averages(MEMORY);
    this.products = new Averages(BALANCE_MEMORY);
    this.levels = new Levels();
    this.balances = []; // of frames that are not restored yet
    this.numRestored = 0; // samples of the first of them
  }

  /** What of the stream is ready for the model; with `last`, all of it. */
  push(block, last) {
    for (const window of this.cutter.push(block, last)) this.findLowBand(window);
    while (this.found.length > LOOKAHEAD + 1 || (last && this.found.length)) this.removeRumble();
    if (last) this.levels.finish();
    const parts = [slice(block, 0, 0)];
    while (this.clean.length && this.levels.isKnown()) {
      const balance = balanceOf(this.levels.pop(), this.products.pop(), this.numChannels);
      this.balances.push(balance);
      const gained = this.scaled(this.clean.shift(), balance.gainsDb, 0, PEAK);
      parts.push(balance.fill ? this.filled(gained, balance.fill, 0, null) : gained);
    }
    return join(parts);
  }

  /** The next vocals of the model, at the level and balance of the stream. */
  restore(vocals) {
    const parts = [slice(vocals, 0, 0)], numSamples = vocals[0].length;
    for (let position = 0; position < numSamples;) {
      const balance = this.balances[0], start = this.numRestored;
      const stop = Math.min(this.frameLength, start + numSamples - position);
      const lossesDb = balance.gainsDb.map((ends) => ends.map((gainDb) => -gainDb));
      const part = this.scaled(slice(vocals, position, position + stop - start), lossesDb, start, Infinity);
      parts.push(balance.fill ? this.filled(part, balance.fill, start, balance.shares) : part);
      position += stop - start;
      this.numRestored = stop % this.frameLength;
      if (!this.numRestored) this.balances.shift();
    }
    return join(parts);
  }

  /** Samples from number `start` of a frame on, with gains in dB on lines over the frame, clipped to `peak`. */
  scaled(samples, gainsDb, start, peak) {
    return samples.map((channel, number) => {
      const [from, to] = gainsDb[number].map((gainDb) => gainDb * (Math.LN10 / 20));
      return channel.map((value, index) =>
        clamp(value * Math.exp(lerp(from, to, (start + index) / this.frameLength)), -peak, peak),
      );
    });
  }

  /** The same with shares of each channel replaced by the other one, times its factor in `shares`. */
  filled(samples, fill, start, shares) {
    return samples.map((channel, number) => {
      const other = samples[samples.length - 1 - number];
      return channel.map((value, index) => {
        const place = (start + index) / this.frameLength;
        const factor = shares === null ? 1 : lerp(...shares[number], place);
        return lerp(value, factor * other[index], lerp(...fill[number], place));
      });
    });
  }

  findLowBand({ samples, start, stop }) {
    const margin = this.lowBand.margin, length = samples[0].length;
    const before = margin - start, after = start + this.frameLength + margin - length;
    const padded = before || after ? samples.map((channel) => mirrored(channel, before, after)) : samples;
    const low = padded.map((channel) => this.lowBand.find(channel));
    const frame = slice(samples, start, stop);
    const { reach, step } = this.lowBand;
    const numLow = Math.ceil((stop - start) / step);
    const power = meanSquare(slice(low, reach, reach + numLow));
    this.bands.push([Math.max(meanSquare(frame) - power, 0), power]);
    this.found.push([frame, low]);
  }

  removeRumble() {
    let [frame, low] = this.found.shift();
    const shares = this.bands.pop().map(([rest, rumble]) => rise(decibels((rumble + TINY) / (rest + TINY)), RUMBLE_DB));
    if (shares.some(Boolean)) {
      frame = frame.map((channel, number) => {
        const rumble = this.lowBand.interpolated(low[number]);
        return channel.map((value, index) => value - lerp(...shares, index / this.frameLength) * rumble[index]);
      });
    }
    const products = productsOf(frame);
    this.products.push(products);
    this.levels.push(Math.max(...products.slice(0, this.numChannels)) / frame[0].length);
    this.clean.push(frame);
  }
}

/** Samples with `before` and `after` more, mirrored, so that an offset does not start or stop at the ends. */
function mirrored(samples, before, after) {
  const length = samples.length;
  return Float32Array.from({ length: before + length + after }, (_, index) => {
    const place = (((index - before) % (2 * length)) + 2 * length) % (2 * length);
    return samples[Math.min(place, 2 * length - 1 - place)];
  });
}

function meanSquare(samples) {
  let sum = 0;
  for (const channel of samples) for (const value of channel) sum += value * value;
  return sum / Math.max(samples.length * samples[0].length, 1);
}

/** The sums of left * left, right * right and left * right over a frame; of one channel, of its square. */
function productsOf(frame) {
  const [left, right] = frame, products = frame.length === 2 ? [0, 0, 0] : [0];
  for (let index = 0; index < left.length; index++) {
    products[0] += left[index] * left[index];
    if (!right) continue;
    products[1] += right[index] * right[index];
    products[2] += left[index] * right[index];
  }
  return products;
}

/**
 * Whether two channels have to be separated each on its own, because models are trained on voices that are alike in
 * both: what was found there cancels in their mean, or the mixture's channels are unrelated.
 */
export function areUnlike(mixture, vocals) {
  const [left, right, both] = productsOf(mixture);
  return cancels(vocals) || Math.abs(both) < UNRELATED * Math.sqrt(left * right);
}

/** Whether nearly all of a voice on two channels is in their difference instead of their mean. */
export function cancels(vocals) {
  const [meanPower, sidePower] = meanAndSide(vocals);
  return sidePower > SIDE_RATIO * meanPower;
}

/** The energies of two channels' sum and difference. */
function meanAndSide(stereo) {
  const [left, right, both] = productsOf(stereo);
  return [Math.max(left + right + 2 * both, 0), Math.max(left + right - 2 * both, 0)];
}

/**
 * One channel to read the pitch from, `VOICE_DB` louder: the mean of the vocals' channels, or half their difference
 * while most of the voice cancels in the mean.
 */
export class VoiceMix {
  constructor(samplingRate) {
    this.cutter = new WindowCutter(new WindowGrid(Math.round(FRAME_S * samplingRate), 0));
    this.meanPower = this.sidePower = 0;
    this.isSide = null;
  }

  /** Vocals to a waveform of one channel, delayed by up to a frame. */
  push(vocals, last) {
    const gain = 10 ** (VOICE_DB / 20);
    const louder = vocals.map((channel) => channel.map((value) => gain * value));
    if (louder.length === 1) return louder;
    const parts = [[new Float32Array(0)]];
    for (const { samples } of this.cutter.push(louder, last)) parts.push([this.mixed(samples)]);
    return join(parts);
  }

  mixed([left, right]) {
    const [meanPower, sidePower] = meanAndSide([left, right]);
    this.meanPower = MEMORY * this.meanPower + meanPower;
    this.sidePower = MEMORY * this.sidePower + sidePower;
    const isSide = this.sidePower > this.meanPower;
    const wasSide = this.isSide ?? isSide;
    this.isSide = isSide;
    const step = 1 / Math.max(left.length - 1, 1);
    return left.map((value, index) => {
      const sign = 1 - 2 * lerp(Number(wasSide), Number(isSide), index * step);
      return (value + sign * right[index]) / 2;
    });
  }
}
