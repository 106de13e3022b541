// Files to download: stems as wav, the pitch as CSV in the format of `majl pitch`.

const FORMATS = { "wav-16": [1, 2], "wav-24": [1, 3], "wav-float": [3, 4] }; // wav's number of the format, bytes
const SAMPLES_AT_ONCE = 1 << 18;

/**
 * A wav file of a waveform. Samples beyond full scale are clipped in integer formats; 16 bits are dithered where a
 * sample is not already on a step. Returns `{blob, numClipped}`.
 */
export function wavFile(waveform, rate, format) {
  const [formatNumber, width] = FORMATS[format];
  const numChannels = waveform.length, numSamples = waveform[0].length, numBytes = numSamples * numChannels * width;
  const pieces = [wavHeader(formatNumber, numChannels, rate, width, numBytes)];
  let numClipped = 0;
  for (let start = 0; start < numSamples; start += SAMPLES_AT_ONCE) {
    const stop = Math.min(start + SAMPLES_AT_ONCE, numSamples);
    const view = new DataView(new ArrayBuffer((stop - start) * numChannels * width));
    let position = 0;
    for (let index = start; index < stop; index++) {
      for (const channel of waveform) {
        if (format === "wav-float") view.setFloat32(position, channel[index], true);
        else numClipped += writeInteger(view, position, channel[index], width);
        position += width;
      }
    }
    pieces.push(view.buffer);
  }
  return { blob: new Blob(pieces, { type: "audio/wav" }), numClipped };
}

/** Write a sample as an integer of `width` bytes; whether it was clipped. */
function writeInteger(view, position, value, width) {
  const fullScale = 2 ** (8 * width - 1), steps = value * fullScale;
  let rounded = Math.round(steps);
  if (width === 2 && rounded !== steps) rounded = Math.round(steps + Math.random() - Math.random());
  const clipped = Math.min(Math.max(rounded, -fullScale), fullScale - 1);
  view.setInt16(position + width - 2, clipped >> (8 * width - 16), true);
  if (width === 3) view.setUint8(position, clipped & 0xff);
  return Number(Math.abs(clipped - rounded) > 1);
}

function wavHeader(formatNumber, numChannels, rate, width, numBytes) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (position, letters) => {
    for (const [index, letter] of [...letters].entries()) view.setUint8(position + index, letter.charCodeAt(0));
  };
  text(0, "RIFF");
  view.setUint32(4, 36 + numBytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, formatNumber, true);
  view.setUint16(22, numChannels, true);
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * numChannels * width, true);
  view.setUint16(32, numChannels * width, true);
  view.setUint16(34, 8 * width, true);
  text(36, "data");
  view.setUint32(40, numBytes, true);
  return view.buffer;
}

/** Pitch frames as CSV: time_s, f0_hz (positive in every row), voicing, confidence. */
export function f0Csv(frames) {
  const rows = frames.map(
    ({ timeS, f0Hz, voicing, confidence }) =>
      `${timeS.toFixed(6).replace(/000$/, "")},${f0Hz.toFixed(3)},${voicing.toFixed(4)},${confidence.toFixed(4)}\n`,
  );
  return new Blob(["time_s,f0_hz,voicing,confidence\n", ...rows], { type: "text/csv" });
}

/** Offer a blob as a file of this name. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
