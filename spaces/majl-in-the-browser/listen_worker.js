// Reads the pitch of what arrives on a port: `{root, port, samplingRate, device, threads}` in; messages with `kind`
// out.

import { LOOKAHEAD_S, PitchListener } from "./engine/listening.js";
import { loadParts } from "./engine/parts.js";

self.onmessage = async ({ data: { root, port, samplingRate, device, threads } }) => {
  try {
    const report = (done, total) => postMessage({ kind: "loading", done, total });
    const parts = await loadParts(root, { names: ["pitch_estimator"], device, threads, report });
    const listener = new PitchListener(parts, samplingRate);
    let arrived = 0, wake = null; // when the newest sound arrived
    port.onmessage = ({ data: block }) => {
      listener.hear(block);
      arrived = performance.now();
      if (listener.isReady()) wake?.();
    };
    postMessage({ kind: "ready" });
    for (;;) {
      if (!listener.isReady()) await new Promise((resolve) => (wake = resolve));
      const heard = arrived, frames = await listener.read();
      // Of the last frame: what it waited for behind it, and the time from then to now.
      const delayS = LOOKAHEAD_S + (performance.now() - heard) / 1000;
      if (frames.length) postMessage({ kind: "frames", frames, delayS });
      await new Promise((resolve) => setTimeout(resolve)); // sound arrives in between
    }
  } catch (error) {
    postMessage({ kind: "error", message: String(error?.message ?? error) });
  }
};
