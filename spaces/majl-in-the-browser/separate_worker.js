// Separates one song: `{root, channels, device, threads}` in; messages with `kind` out, the last one of which is
// `{kind: "done"}` or `{kind: "error", message}`. The page ends the worker to cancel.

import { loadParts } from "./engine/parts.js";
import { separateStream } from "./engine/streaming.js";
import { slice } from "./engine/waveforms.js";
import { WindowGrid } from "./engine/windows.js";

const BLOCK_S = 5;

self.onmessage = async ({ data: { root, channels, device, threads } }) => {
  try {
    const parts = await load(root, device, threads);
    const begin = performance.now();
    reportWindows(parts, channels[0].length);
    for await (const { vocals, frames } of separateStream(parts, blocks(channels, parts.config))) {
      const copies = vocals.map((channel) => channel.slice());
      postMessage({ kind: "chunk", vocals: copies, frames }, copies.map((channel) => channel.buffer));
    }
    postMessage({ kind: "done", seconds: (performance.now() - begin) / 1000 });
  } catch (error) {
    postMessage({ kind: "error", message: String(error?.message ?? error) });
  }
};

/** The model's parts on the device, or by WebAssembly where the device cannot run them. */
async function load(root, device, threads) {
  const names = ["separator", "pitch_estimator", "refiner"];
  const report = (done, total) => postMessage({ kind: "loading", done, total });
  let parts;
  try {
    parts = await loadParts(root, { names, device, threads, report });
    if (device === "webgpu") await tryOut(parts);
  } catch (error) {
    if (device !== "webgpu") throw error;
    device = "wasm";
    parts = await loadParts(root, { names, device, threads, report });
  }
  postMessage({ kind: "ready", device, threads });
  return parts;
}

/** Run a network once, which compiles it or fails. */
async function tryOut({ pitchEstimator, rate }) {
  const logits = await pitchEstimator(Float32Array.from({ length: rate }, (_, index) => Math.sin(0.1 * index)));
  if (!logits.every((frame) => frame.every(Number.isFinite))) throw new Error("the graphics card returned no numbers");
}

/** Make each run of a network report how much of the song is done. */
function reportWindows(parts, numSamples) {
  const { config } = parts;
  const durationS = numSamples / config.separator_config.sampling_rate;
  const names = { separator: "separator", pitchEstimator: "pitch_estimator", refiner: "refiner" };
  let done = 0, total = 0;
  for (const [name, configName] of Object.entries(names)) {
    const network = parts[name], part = config[`${configName}_config`];
    if (!network) continue;
    total += Math.ceil((durationS * part.sampling_rate) / WindowGrid.forPart(config, part).core);
    parts[name] = async (...inputs) => {
      const output = await network(...inputs);
      postMessage({ kind: "progress", share: Math.min(++done / total, 1) });
      return output;
    };
  }
}

function* blocks(channels, config) {
  const step = BLOCK_S * config.separator_config.sampling_rate;
  for (let start = 0; start < channels[0].length; start += step) yield slice(channels, start, start + step);
}
