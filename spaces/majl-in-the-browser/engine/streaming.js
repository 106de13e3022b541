// Blocks of a song in, vocals and pitch out, in order: streaming_majl.py.
//
//     blocks at the model's rate -> level and balance -> separator's windows -> vocals
//     vocals -> pitch estimator's windows -> logits -> decoder -> f0, voicing
//     mixture, vocals, logits -> refiner's windows -> vocals, where there is a refiner
//
// Memory does not grow with the length of the song.

import { areUnlike, cancels, Conditioner, VoiceMix } from "./conditioning.js";
import { PitchDecoder } from "./decoding.js";
import { ResampleStream } from "./resampling.js";
import { join, roundHalfEven, slice } from "./waveforms.js";
import { WindowCutter, WindowGrid } from "./windows.js";

/** Mixture at the model's rate to vocals. */
class SeparatorStream {
  constructor({ config, separator }) {
    this.separator = separator;
    this.numChannels = config.separator_config.num_channels;
    this.cutter = new WindowCutter(WindowGrid.forPart(config, config.separator_config));
  }

  async push(block, last) {
    const parts = [slice(block, 0, 0)];
    for (const { samples, start, stop } of this.cutter.push(block, last)) {
      parts.push(slice(await this.separated(samples), start, stop));
    }
    return join(parts);
  }

  async separated(mixture) {
    if (mixture.length !== this.numChannels) return this.eachChannel(mixture);
    const vocals = await this.separator(mixture);
    return mixture.length === 2 && areUnlike(mixture, vocals) ? this.eachChannel(mixture) : vocals;
  }

  /** Each channel on its own: repeated where the model takes more, averaged back afterwards. */
  async eachChannel(mixture) {
    const vocals = [];
    for (const channel of mixture) vocals.push(mean(await this.separator(Array(this.numChannels).fill(channel))));
    return vocals;
  }
}

/** The mean of a waveform's channels. */
function mean(waveform) {
  return waveform[0].map((_, index) => waveform.reduce((sum, channel) => sum + channel[index], 0) / waveform.length);
}

/** A voice at the pitch estimator's rate, one channel, to pitch logits, an array over the bins for each frame. */
class PitchStream {
  constructor({ config, pitchEstimator }) {
    this.pitchEstimator = pitchEstimator;
    const part = config.pitch_estimator_config;
    this.hopLength = part.hop_length;
    this.cutter = new WindowCutter(WindowGrid.forPart(config, part));
  }

  async push(voice, last) {
    const frames = [];
    for (const { samples, start, stop, isLast } of this.cutter.push([voice], last)) {
      const logits = await this.pitchEstimator(samples[0]);
      // A frame belongs to the core that its centre lies in; one on the very end of the file to the last core.
      const end = Math.floor(stop / this.hopLength) + Number(isLast);
      frames.push(...logits.slice(Math.floor(start / this.hopLength), end));
    }
    return frames;
  }
}

/** Mixture, vocals (which trail it) and pitch logits (which trail these) to refined vocals. */
class RefinerStream {
  constructor({ config, refiner }) {
    this.refiner = refiner;
    this.part = config.refiner_config;
    const { hop_length: hop, sampling_rate: rate } = config.pitch_estimator_config;
    this.frameHopS = hop / rate;
    this.cutter = new WindowCutter(WindowGrid.forPart(config, this.part));
    this.mixture = null; // what waits for its vocals
    this.windows = []; // which wait for their pitch
    this.logits = [];
    this.firstFrame = 0; // number of the first pitch frame that is kept
  }

  async push(mixture, vocals, logits, last) {
    const waiting = this.mixture === null ? mixture : join([this.mixture, mixture]);
    const numSamples = vocals[0].length;
    this.logits.push(...logits);
    this.windows.push(...this.cutter.push([...slice(waiting, 0, numSamples), ...vocals], last));
    this.mixture = slice(waiting, numSamples);
    const parts = [slice(vocals, 0, 0)];
    while (this.windows.length) {
      const refined = await this.refined(this.windows[0], last);
      if (refined === null) break;
      parts.push(refined);
      this.windows.shift();
    }
    return join(parts);
  }

  /** The refined core of a window; null while the pitch at its end is not known. */
  async refined({ samples, offset, start, stop }, last) {
    const numbers = this.nearestPitchFrames(samples[0].length, offset);
    if (!last && numbers.at(-1) >= this.firstFrame + this.logits.length) return null;
    this.logits.splice(0, numbers[0] - this.firstFrame); // windows come in order, so these are not needed again
    this.firstFrame = numbers[0];
    const logits = numbers.map((number) => this.logits[Math.min(number - this.firstFrame, this.logits.length - 1)]);
    const mixture = samples.slice(0, samples.length / 2), vocals = samples.slice(samples.length / 2);
    // The refiner sees the mean of the channels, in which some voices cancel.
    const apart = vocals.length === 2 && cancels(vocals);
    const refined = apart ? [] : await this.refiner(mixture, vocals, logits);
    for (let channel = 0; apart && channel < 2; channel++) {
      refined.push(...(await this.refiner([mixture[channel]], [vocals[channel]], logits)));
    }
    return slice(refined, start, stop);
  }

  /** Numbers of the pitch frames next to the frames in which the refiner sees samples from number `offset` on. */
  nearestPitchFrames(numSamples, offset) {
    const { hop_length: hop, sampling_rate: rate } = this.part;
    const first = Math.floor(offset / hop), count = 1 + Math.floor(numSamples / hop);
    const nearest = (frame) => roundHalfEven((frame * (hop / rate)) / this.frameHopS);
    return Array.from({ length: count }, (_, index) => nearest(first + index));
  }
}

/**
 * Separate a song and read its pitch, piece by piece.
 *
 * `parts` are the model's, see parts.js; `blocks` an array or iterator of waveforms of one or two channels at the
 * model's rate. Yields `{vocals, frames}`; concatenated, the vocals have exactly the length of the input.
 */
export async function* separateStream(parts, blocks) {
  const { config } = parts;
  const rate = config.separator_config.sampling_rate;
  const separator = new SeparatorStream(parts), pitch = new PitchStream(parts), decoder = new PitchDecoder(config);
  const refiner = parts.refiner ? new RefinerStream(parts) : null;
  const mix = new VoiceMix(rate), resampler = new ResampleStream(rate, config.pitch_estimator_config.sampling_rate);
  let conditioner = null;
  for (const [block, last] of withLast(blocks)) {
    conditioner ??= new Conditioner(rate, block.length);
    const mixture = conditioner.push(block, last);
    let vocals = await separator.push(mixture, last);
    const logits = await pitch.push(resampler.push(mix.push(vocals, last)[0], last), last);
    const frames = decoder.push(logits, last);
    if (refiner) vocals = await refiner.push(mixture, vocals, logits, last);
    yield { vocals: conditioner.restore(vocals), frames };
  }
}

/** Each item with whether it is the last one. */
function* withLast(items) {
  let waiting = null;
  for (const item of items) {
    if (waiting) yield [waiting, false];
    waiting = item;
  }
  if (waiting) yield [waiting, true];
}
