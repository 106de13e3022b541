// From pitch logits to f0, voicing and confidence, as a stream: decoding_majl.py, which explains the method.
//
// Frames are `{timeS, f0Hz, voicing, confidence, voiced}`: every frame has a pitch, sung or not.

const HYSTERESIS = 0.2;
const MERGE_INTERVAL = 64; // frames between two checks whether the paths have merged
const MAX_PENDING = 6000; // frames after which the best path so far is taken as final
const TOLERANCE_CENTS = 50;
const OCTAVE_CENTS = 1200;
const MEAN_CENTS = 60;

export const sigmoid = (x) => 0.5 * (1 + Math.tanh(0.5 * x));

/** A fractional bin number as a frequency in Hz. */
export const binToHz = (bin, grid) => grid.first_bin_hz * 2 ** ((bin * grid.bin_cents) / OCTAVE_CENTS);

/** The number of the greatest value; the first of several. */
function highest(values) {
  let best = 0;
  for (let index = 1; index < values.length; index++) if (values[index] > values[best]) best = index;
  return best;
}

/** Each frame's highest bin; final at once. */
class LocalMaximum {
  push(posteriors) {
    return posteriors.map(highest);
  }
}

/**
 * Exact Viterbi path over the bins, emitted where all surviving paths have merged. A step's cost is proportional to its
 * size, up to that of a jump, so the forward step takes time linear in the number of bins.
 */
class Viterbi {
  constructor(config) {
    const grid = config.pitch_estimator_config;
    this.floor = config.viterbi_floor;
    this.jumpCost = config.viterbi_jump_cost;
    this.binCost = (config.viterbi_step_cost * grid.bin_cents) / 100;
    this.scores = []; // of the best path into each bin, for each pending frame
    this.nextLook = MERGE_INTERVAL;
  }

  /** Take posteriors of frames, return the bins of the frames that are final. */
  push(posteriors, last) {
    const decided = [];
    for (const frame of posteriors) {
      this.scores.push(this.forward(frame));
      if (this.scores.length >= this.nextLook) decided.push(...this.merged());
    }
    if (last && this.scores.length) {
      decided.push(...this.trace(highest(this.scores.at(-1)), this.scores.length));
      this.scores = [];
    }
    return decided;
  }

  forward(posteriors) {
    const scores = Float64Array.from(posteriors, (posterior) => Math.log(posterior + this.floor));
    const before = this.scores.at(-1);
    if (!before) return scores;
    const reached = Float64Array.from(before), last = reached.length - 1;
    for (let bin = 1; bin <= last; bin++) reached[bin] = Math.max(reached[bin], reached[bin - 1] - this.binCost);
    for (let bin = last - 1; bin >= 0; bin--) reached[bin] = Math.max(reached[bin], reached[bin + 1] - this.binCost);
    const jump = before[highest(before)] - this.jumpCost;
    for (let bin = 0; bin <= last; bin++) scores[bin] += Math.max(reached[bin], jump);
    const best = scores[highest(scores)];
    return scores.map((score) => score - best);
  }

  /** The bin in the frame before `frame` of the best path into its `bin`. */
  origin(frame, bin) {
    const before = this.scores[frame - 1];
    let best = -Infinity, origin = 0;
    for (let from = 0; from < before.length; from++) {
      const score = before[from] - Math.min(Math.abs(from - bin) * this.binCost, this.jumpCost);
      if (score > best) [best, origin] = [score, from];
    }
    return origin;
  }

  /** Bins of the first `numFrames` pending frames on the path that is at bin `end` in the last of them. */
  trace(end, numFrames) {
    const path = new Array(numFrames);
    path[numFrames - 1] = end;
    for (let frame = numFrames - 1; frame > 0; frame--) path[frame - 1] = this.origin(frame, path[frame]);
    return path;
  }

  /** Bins of the frames before which all paths have met. */
  merged() {
    let bins = [...this.scores[0].keys()];
    for (let frame = this.scores.length - 1; frame > 0; frame--) {
      bins = [...new Set(bins.map((bin) => this.origin(frame, bin)))];
      if (bins.length === 1) {
        const path = this.trace(bins[0], frame);
        this.scores.splice(0, frame);
        this.nextLook = this.scores.length + MERGE_INTERVAL;
        return path;
      }
    }
    if (this.scores.length >= MAX_PENDING) {
      const path = this.trace(highest(this.scores.at(-1)), this.scores.length).slice(0, -1);
      this.scores.splice(0, this.scores.length - 1);
      this.nextLook = MERGE_INTERVAL;
      return path;
    }
    // Where paths do not merge, as in silence, ever rarer checks keep the work linear in the number of frames.
    this.nextLook = Math.min(2 * this.scores.length, MAX_PENDING);
    return [];
  }
}

const DECODERS = { viterbi: Viterbi, local_mean: LocalMaximum };

/** Decoder of one file: takes logits as they come, returns the frames that are final. */
export class PitchDecoder {
  constructor(config) {
    this.config = config;
    this.grid = config.pitch_estimator_config;
    this.threshold = config.voicing_threshold;
    this.path = new DECODERS[config.pitch_decoder](config);
    this.posteriors = []; // of frames whose bin is not decided yet
    this.held = []; // frames of a stretch that hysteresis has not decided yet
    this.numFrames = 0;
  }

  /** Take the logits of frames, each an array over the bins, return the frames that are final; with `last`, all. */
  push(logits, last) {
    const posteriors = logits.map((frame) => Float64Array.from(frame, sigmoid));
    this.posteriors.push(...posteriors);
    const bins = this.path.push(posteriors, last);
    const frames = this.posteriors.splice(0, bins.length).map((frame, index) => this.frame(frame, bins[index]));
    return this.decide(frames, last);
  }

  /** Refine the decoded bin; voicing and confidence. */
  frame(posteriors, bin) {
    const { bin_cents: binCents, num_bins: numBins, hop_length: hop, sampling_rate: rate } = this.grid;
    const reach = Math.round(MEAN_CENTS / binCents);
    let weighted = 0, weights = 0;
    for (let offset = -reach; offset <= reach; offset++) { // a bin at the end of the grid counts repeatedly
      const near = Math.min(Math.max(bin + offset, 0), numBins - 1), weight = posteriors[near] + 1e-12;
      weighted += near * weight;
      weights += weight;
    }
    const position = weighted / weights;
    let within = 0, total = 1e-12, peak = 0;
    for (const [number, posterior] of posteriors.entries()) {
      total += posterior;
      peak = Math.max(peak, posterior);
      const isNear = Math.abs(number - bin) <= reach && Math.abs(number - position) * binCents <= TOLERANCE_CENTS;
      if (isNear) within += posterior;
    }
    peak = Math.min(Math.max(peak, 1e-7), 1 - 1e-7);
    const voicing = sigmoid(this.config.voicing_scale * Math.log(peak / (1 - peak)) + this.config.voicing_bias);
    return {
      timeS: (this.numFrames++ * hop) / rate,
      f0Hz: binToHz(position, this.grid),
      voicing,
      confidence: within / total,
      voiced: voicing >= this.threshold,
    };
  }

  /** Apply the config's voicing policy; hysteresis delays a stretch until it ends. */
  decide(frames, last) {
    const policy = this.config.voicing_policy;
    if (policy === "always") for (const frame of frames) frame.voiced = true;
    if (policy !== "hysteresis") return frames;
    this.held.push(...frames);
    let numFinal = this.held.length;
    if (!last) {
      const low = Math.max(this.threshold - HYSTERESIS, 0.5 * this.threshold);
      numFinal = this.held.findLastIndex((frame) => frame.voicing < low) + 1;
      if (this.held.length - numFinal >= MAX_PENDING) numFinal = this.held.length;
    }
    const final = this.held.splice(0, numFinal);
    decideByHysteresis(final, this.threshold);
    return final;
  }
}

/** Voiced are stretches above `threshold - HYSTERESIS` that reach `threshold + HYSTERESIS` somewhere. */
function decideByHysteresis(frames, threshold) {
  const high = Math.min(threshold + HYSTERESIS, 0.5 * (1 + threshold));
  const low = Math.max(threshold - HYSTERESIS, 0.5 * threshold);
  for (let start = 0; start < frames.length;) {
    let stop = start;
    while (stop < frames.length && frames[stop].voicing >= low) stop++;
    const stretch = frames.slice(start, stop), voiced = stretch.some((frame) => frame.voicing >= high);
    for (const frame of stretch) frame.voiced = voiced;
    if (stop < frames.length) frames[stop].voiced = false;
    start = stop + 1;
  }
}
