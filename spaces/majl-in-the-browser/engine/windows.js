// Audio cut on one fixed grid of windows, anchored at the start of the file: windows_majl.py.
//
// Each window contributes its core to the output; its margins are computed and discarded. Results do not depend on the
// blocks in which audio arrives.

import { join, roundHalfEven, slice } from "./waveforms.js";

/** Window k has the core `[k * core, (k + 1) * core)` and `margin` more samples to each side, clipped to the audio. */
export class WindowGrid {
  constructor(core, margin) {
    this.core = core;
    this.margin = margin;
  }

  /** Grid of the part with the config `part`. A pitch estimator's windows start on frame centres. */
  static forPart(config, part) {
    const alignment = part === config.pitch_estimator_config ? part.hop_length : part.alignment;
    const core = Math.max(1, roundHalfEven((config.window_s * part.sampling_rate) / alignment)) * alignment;
    const margin = Math.max(Math.trunc(config.margin_s * part.sampling_rate), part.context ?? 0);
    return new WindowGrid(core, Math.ceil(margin / alignment) * alignment);
  }
}

/**
 * Cuts a stream into windows; keeps no more than one window and its margins.
 *
 * A window is `{samples, offset, start, stop, isLast}`: a waveform whose first sample is number `offset` of the stream
 * and whose core is `[start, stop)`.
 */
export class WindowCutter {
  constructor(grid) {
    this.grid = grid;
    this.pending = null;
    this.offset = 0; // of the pending samples in the stream
    this.coreStart = 0; // of the next window in the stream
  }

  /** Windows that are complete; with `last`, also the rest, cut where the audio ends. */
  push(block, last) {
    this.pending = this.pending === null ? block : join([this.pending, block]);
    const { core, margin } = this.grid;
    const end = this.offset + this.pending[0].length;
    const windows = [];
    // A window is complete once audio beyond its margin has arrived: only then it cannot be the last one.
    while (this.coreStart + core + margin < end) windows.push(this.cut(this.coreStart + core + margin, false));
    if (last) {
      while (this.coreStart + core < end) windows.push(this.cut(end, false));
      if (this.coreStart < end) windows.push(this.cut(end, true));
    }
    return windows;
  }

  cut(stop, isLast) {
    const { core, margin } = this.grid;
    const offset = Math.max(0, this.coreStart - margin);
    const window = {
      samples: slice(this.pending, offset - this.offset, stop - this.offset),
      offset,
      start: this.coreStart - offset,
      stop: Math.min(this.coreStart + core, stop) - offset,
      isLast,
    };
    this.coreStart += core;
    const keep = Math.max(0, this.coreStart - margin) - this.offset;
    this.pending = slice(this.pending, keep);
    this.offset += keep;
    return window;
  }
}
