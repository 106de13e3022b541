// The pitch of a voice while it sounds: the pitch estimator on the last moments, as often as the device manages.

import { PitchDecoder } from "./decoding.js";
import { Levels } from "./conditioning.js";
import { ResampleStream } from "./resampling.js";
import { concatenate } from "./waveforms.js";

const WINDOW_S = 0.32; // what the network sees; of shorter windows, pitch or voicing of some frames differ
export const LOOKAHEAD_S = 0.04; // what a frame needs behind it, likewise
const REST_S = 0.02; // least time between two runs, in new sound
const TARGET_DB = -14; // level at which the network was trained: that of conditioning.js, and its VOICE_DB
const MAX_GAIN_DB = 40; // a quiet room stays quiet

/** Takes sound at any rate; `read` returns the frames that have become known, once for each. */
export class PitchListener {
  constructor({ config, pitchEstimator }, samplingRate) {
    const { sampling_rate: rate, hop_length: hop } = config.pitch_estimator_config;
    this.pitchEstimator = pitchEstimator;
    this.rate = rate;
    this.hop = hop;
    this.resampler = new ResampleStream(samplingRate, rate);
    // Which path is best would be known much later; a single voice seldom needs it.
    this.decoder = new PitchDecoder({ ...config, pitch_decoder: "local_mean", voicing_policy: "threshold" });
    this.sound = new Float32Array(Math.round((WINDOW_S * rate) / hop) * hop); // the last moments
    this.numHeard = 0; // samples since the start
    this.numRead = 0; // frames since the start
    this.level = new RunningLevel(rate);
  }

  hear(block) {
    const heard = this.resampler.push(block, false);
    this.level.push(heard);
    this.numHeard += heard.length;
    this.sound = concatenate([this.sound, heard]).slice(-this.sound.length);
  }

  /** Whether there is enough new sound to run the network again. */
  isReady() {
    return this.numHeard >= (this.numRead * this.hop + (LOOKAHEAD_S + REST_S) * this.rate);
  }

  /** The new frames: all with enough sound behind them, those that were missed in between left out. */
  async read() {
    // The window ends on the centre of a frame, so that its frames are those of the stream.
    const late = this.numHeard % this.hop, length = this.sound.length - this.hop;
    const window = this.sound.subarray(this.sound.length - late - length, this.sound.length - late);
    const gain = this.level.gain();
    const end = (this.numHeard - late) / this.hop; // number of the frame at the end of the window
    const logits = await this.pitchEstimator(window.map((value) => Math.min(Math.max(value * gain, -1), 1)));
    const last = end - Math.round((LOOKAHEAD_S * this.rate) / this.hop); // that is known now
    const first = Math.max(this.numRead, last - (logits.length - 1) + 2, 0);
    if (last < first) return [];
    this.decoder.numFrames = first;
    this.numRead = last + 1;
    const start = end - (logits.length - 1);
    return this.decoder.push(logits.slice(first - start, last + 1 - start), false);
  }
}

/** The level of the loud moments so far, falling slowly, as a gain. */
class RunningLevel {
  constructor(rate) {
    this.frame = Math.round(rate / 10);
    this.levels = new Levels();
    this.sum = this.count = 0;
  }

  push(samples) {
    for (const value of samples) {
      this.sum += value * value;
      if (++this.count < this.frame) continue;
      this.levels.push(this.sum / this.count);
      this.sum = this.count = 0;
    }
  }

  gain() {
    return 10 ** (Math.min(TARGET_DB - this.levels.level, MAX_GAIN_DB) / 20);
  }
}
