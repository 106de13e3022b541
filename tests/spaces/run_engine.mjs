// Runs a piece of the browser's engine on input from Python: node run_engine.mjs ENGINE < CASE.json > RESULT.json
//
// A case is `{piece, config, rates, blocks}`; blocks are lists of waveforms, or of frames of logits for the decoder.

import { readFileSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";

const engine = pathToFileURL(`${process.argv[2]}/`);
const load = (name) => import(new URL(`${name}.js`, engine));

const waveform = (channels) => channels.map((channel) => Float32Array.from(channel));
const numbers = (channels) => channels.map((channel) => Array.from(channel));

/** What `push` returns for each block, as one list of channels. */
function pushed(blocks, push) {
  const parts = blocks.map((block, index) => numbers(push(waveform(block), index === blocks.length - 1)));
  return parts[0].map((_, channel) => parts.flatMap((part) => part[channel]));
}

const pieces = {
  /** The stream at the model's conditions, and brought back. */
  async conditioner({ rates, blocks }) {
    const { Conditioner } = await load("conditioning");
    const conditioner = new Conditioner(rates[0], blocks[0].length);
    const conditioned = [], restored = [];
    for (const [index, block] of blocks.entries()) {
      const ready = conditioner.push(waveform(block), index === blocks.length - 1);
      conditioned.push(ready);
      restored.push(conditioner.restore(ready));
    }
    const { join } = await load("waveforms");
    return { conditioned: numbers(join(conditioned)), restored: numbers(join(restored)) };
  },

  async voice({ rates, blocks }) {
    const { VoiceMix } = await load("conditioning");
    const mix = new VoiceMix(rates[0]);
    return pushed(blocks, (block, last) => mix.push(block, last));
  },

  async resampled({ rates, blocks }) {
    const { ResampleStream } = await load("resampling");
    const stream = new ResampleStream(...rates);
    return pushed(blocks, (block, last) => [stream.push(block[0], last)]);
  },

  async decoded({ config, blocks }) {
    const { PitchDecoder } = await load("decoding");
    const decoder = new PitchDecoder(config);
    return blocks.flatMap((frames, index) => decoder.push(frames, index === blocks.length - 1));
  },

  /** The whole engine around networks that are simple functions, the same as in the test. */
  async streamed({ config, blocks }) {
    const { separateStream } = await load("streaming");
    const bins = config.pitch_estimator_config.num_bins, hop = config.pitch_estimator_config.hop_length;
    const parts = {
      config,
      separator: (mixture) => mixture.map((channel) => channel.map((value, index) => value * (1 - (index % 7) / 10))),
      pitchEstimator: (voice) =>
        Array.from({ length: 1 + Math.floor(voice.length / hop) }, (_, frame) => {
          const place = Math.floor(1e4 * Math.abs(voice[Math.min(frame * hop, voice.length - 1)])) % bins;
          return Float32Array.from({ length: bins }, (_, bin) => 4 - 2 * Math.abs(bin - place));
        }),
      refiner: (mixture, vocals, logits) =>
        vocals.map((channel, number) =>
          channel.map((value, index) => {
            const frame = logits[Math.floor(index / config.refiner_config.hop_length)];
            return 0.5 * value + 0.25 * mixture[number][index] * frame.indexOf(Math.max(...frame)) / bins;
          }),
        ),
    };
    const vocals = [], frames = [];
    for await (const chunk of separateStream(parts, blocks.map(waveform))) {
      vocals.push(chunk.vocals);
      frames.push(...chunk.frames);
    }
    const { join } = await load("waveforms");
    return { vocals: numbers(join(vocals)), frames };
  },
};

const task = JSON.parse(readFileSync(0, "utf8"));
writeSync(1, JSON.stringify(await pieces[task.piece](task)));
