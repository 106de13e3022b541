// The page: a song in; players, pitch and downloads out. The work is done by separate_worker.js.

import { bestDevice, numThreads } from "./engine/parts.js";
import { f0Csv, save, wavFile } from "./downloads.js";
import { isolated } from "./isolation.js";
import { connectMicrophone } from "./microphone.js";
import { clock, hzToMidi, noteAndCents, noteName } from "./notes.js";
import { PitchPlot } from "./pitch_plot.js";
import { Player } from "./player.js";

const MAX_MINUTES = 30; // an hour of stereo in 32-bit floats is 1.3 GB, twice
const ICONS = { play: "M8 5v14l11-7z", pause: "M7 5h4v14H7zM13 5h4v14h-4z" };
const MIN_LEVEL_DB = -40; // the lowest position of a fader is silence

const $ = (selector) => document.querySelector(selector);
const root = new URL("./", import.meta.url).href;
const options = new URLSearchParams(location.search); // ?device=wasm&threads=1, for comparison

/** A problem that is explained to the person in front of the page. */
class Problem extends Error {}

let job = 0; // number of the latest song; results of earlier ones are ignored
let worker = null;
let result = null; // of the song that is shown: name, rate, stems, frames
let player = null;

await isolated();
const device = options.get("device") ?? (await bestDevice());
const threads = Number(options.get("threads")) || numThreads();
const config = await (await fetch(new URL("model/config.json", root))).json().catch(() => null);
const plot = new PitchPlot($("#plot"));

// ---- a song is chosen

/** Separate a file and show the result, or say why not. */
async function take(file) {
  cancel();
  const number = ++job;
  showProblem(null);
  $("#status").textContent = "";
  try {
    if (!config) throw new Problem("The model is missing beside this page: its folder has no model/config.json.");
    showProgress(`Reading “${file.name}”`, null);
    const mixture = await decoded(file, config.separator_config.sampling_rate);
    if (number !== job) return;
    const separated = await separate(mixture, number);
    if (number === job) show({ name: file.name.replace(/\.[^.]+$/, ""), ...separated });
  } catch (error) {
    if (number === job) showProblem(inWords(error));
  } finally {
    if (number === job) showProgress(null);
  }
}

/** Stop working on a song. */
function cancel() {
  job += 1;
  worker?.terminate();
  worker = null;
  showProgress(null);
}

/** The song as an AudioBuffer of one or two channels at the model's rate. */
async function decoded(file, rate) {
  const minutes = (await durationOf(file)) / 60;
  if (minutes > MAX_MINUTES) {
    throw new Problem(
      `“${file.name}” lasts ${Math.round(minutes)} minutes, and a browser has memory for ${MAX_MINUTES}. Cut it into ` +
        "pieces, or use the package majl_hf, which takes songs of any length.",
    );
  }
  const bytes = await file.arrayBuffer();
  const context = new OfflineAudioContext(2, 1, rate);
  let song;
  try {
    song = await context.decodeAudioData(bytes);
  } catch {
    throw new Problem(`“${file.name}” is not audio that this browser can decode. Try wav, mp3, flac or m4a.`);
  }
  if (!song.length) throw new Problem(`“${file.name}” contains no sound.`);
  return song.numberOfChannels > 2 ? mixedDown(song) : song;
}

/** Seconds as the file says, or 0 where they are not known before it is decoded. */
function durationOf(file) {
  const element = new Audio();
  element.preload = "metadata";
  element.src = URL.createObjectURL(file);
  return new Promise((resolve) => {
    element.onloadedmetadata = () => resolve(Number.isFinite(element.duration) ? element.duration : 0);
    element.onerror = () => resolve(0);
  }).finally(() => URL.revokeObjectURL(element.src));
}

/** Surround sound as stereo. */
function mixedDown(song) {
  const context = new OfflineAudioContext(2, song.length, song.sampleRate);
  const source = new AudioBufferSourceNode(context, { buffer: song });
  source.connect(context.destination);
  source.start();
  return context.startRendering();
}

/** Stems and pitch of a song; its buffer becomes that of the accompaniment. */
function separate(mixture, number) {
  const durationS = mixture.duration, numChannels = mixture.numberOfChannels;
  const channels = Array.from({ length: numChannels }, (_, channel) => mixture.getChannelData(channel));
  const { length, sampleRate } = mixture;
  const vocals = new AudioBuffer({ length, numberOfChannels: numChannels, sampleRate });
  const copies = channels.map((channel) => channel.slice());
  const frames = [];
  let position = 0, begin = 0;
  worker = new Worker(new URL("separate_worker.js", root), { type: "module" });
  return new Promise((resolve, reject) => {
    const messages = {
      loading({ done, total }) {
        const megabytes = (bytes) => Math.round(bytes / 1e6);
        showProgress(`Loading the model, ${megabytes(done)} of ${megabytes(total)} MB`, done / total);
      },
      ready({ device, threads }) {
        begin = performance.now();
        showDevice(device, threads);
        showProgress(`0 of ${Math.round(durationS)} s of audio done`, 0);
      },
      progress({ share }) {
        const left = ((performance.now() - begin) / 1000 / share) * (1 - share);
        const rest = share > 0.1 && left >= 1 ? `, about ${Math.ceil(left)} s left` : "";
        showProgress(`${Math.round(share * durationS)} of ${Math.round(durationS)} s of audio done${rest}`, share);
      },
      chunk({ vocals: piece, frames: more }) {
        piece.forEach((samples, channel) => vocals.copyToChannel(samples, channel, position));
        position += piece[0].length;
        for (const frame of more) frames.push(frame);
      },
      done({ seconds }) {
        worker.terminate();
        worker = null;
        channels.forEach((samples, channel) => subtract(samples, vocals.getChannelData(channel)));
        resolve({ stems: { vocals, accompaniment: mixture }, frames, seconds });
      },
      error: ({ message }) => reject(new Error(message)),
    };
    worker.onmessage = ({ data }) => number === job && messages[data.kind](data);
    worker.onerror = (event) => reject(new Error(event.message || "the worker could not be started"));
    worker.postMessage({ root, channels: copies, device, threads }, copies.map((channel) => channel.buffer));
  });
}

function subtract(samples, others) {
  for (let index = 0; index < samples.length; index++) samples[index] -= others[index];
}

/** What went wrong, for people. */
function inWords(error) {
  if (error instanceof Problem) return error.message;
  if (error instanceof RangeError || /memory|allocat/i.test(error.message)) {
    return "The song is too long for this browser's memory. Close other tabs, or cut it into pieces.";
  }
  if (!self.WebAssembly) return "This browser has no WebAssembly, with which the model computes. Use a newer one.";
  return `The song could not be separated: ${error.message}.`;
}

// ---- progress and problems

function showProgress(text, share = 0) {
  $("#progress").hidden = text === null;
  $("#drop").hidden = text !== null;
  if (text === null) return;
  $("#progress-text").textContent = text;
  if (share === null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function showProblem(text) {
  $("#error").hidden = text === null;
  $("#error").textContent = text ?? "";
}

function showDevice(device, threads) {
  const count = `${threads} thread${threads === 1 ? "" : "s"}`;
  const how = device === "webgpu" ? "the graphics card (WebGPU)" : `WebAssembly, ${count}`;
  const slow = device === "wasm" && threads === 1 && !crossOriginIsolated;
  const why = slow ? " Only one: this browser or server does not isolate the page, as more threads need." : "";
  $("#about").textContent = `Computed by ${how}.${why}`;
}

// ---- the result

function show(song) {
  result = song;
  const { vocals, accompaniment } = song.stems, durationS = vocals.duration;
  player?.close();
  player = new Player({ vocals, accompaniment });
  for (const strip of document.querySelectorAll(".strip")) applyLevel(strip);
  for (const name of ["play", "pause", "seek"]) player.addEventListener(name, showTime);
  $("#result").hidden = false;
  $("#name").textContent = song.name;
  $("#seek").max = durationS;
  const facts = factsOf(song.frames);
  $("#facts").textContent = facts;
  const label = `The sung pitch over ${clock(durationS)} minutes. ${facts} Arrow keys move it, plus and minus zoom.`;
  $("#plot").setAttribute("aria-label", label);
  plot.show(song.frames, durationS);
  const factor = (durationS / song.seconds).toFixed(1);
  const [audio, computing] = [durationS, song.seconds].map(Math.round);
  $("#status").dataset.seconds = `${durationS} ${song.seconds}`;
  $("#status").textContent = `Done: ${audio} s of audio in ${computing} s, ${factor} times as fast as it plays.`;
  $("#saved").textContent = "";
  showTime();
}

/** How much is sung, and between which notes. */
function factsOf(frames) {
  const sung = frames.filter((frame) => frame.voiced).map((frame) => frame.f0Hz).sort((a, b) => a - b);
  if (!sung.length) return "No singing was found.";
  const note = (share) => noteName(hzToMidi(sung[Math.floor(share * (sung.length - 1))]));
  const share = Math.round((100 * sung.length) / frames.length);
  return `${share} % of the time is sung, mostly between ${note(0.05)} and ${note(0.95)}.`;
}

function showTime() {
  const time = player.currentTime;
  $("#play path").setAttribute("d", player.paused ? ICONS.play : ICONS.pause);
  $("#play").setAttribute("aria-label", player.paused ? "Play" : "Pause");
  $("#seek").value = time;
  $("#seek").setAttribute("aria-valuetext", `${clock(time)} of ${clock(player.duration)}`);
  $("#clock").textContent = `${clock(time)} / ${clock(player.duration)}`;
  const frame = plot.frameAt(time);
  $("#note-now").textContent = frame?.voiced ? noteAndCents(frame.f0Hz) : "not sung";
  plot.setPlayhead(time, !player.paused);
  if (!player.paused) requestAnimationFrame(showTime);
}

function applyLevel(strip) {
  const fader = strip.querySelector("input"), mute = strip.querySelector(".mute");
  const muted = mute.getAttribute("aria-pressed") === "true";
  const db = Number(fader.value), silent = db <= MIN_LEVEL_DB;
  const text = silent ? "off" : `${db < 0 ? "−" : db > 0 ? "+" : ""}${Math.abs(db)} dB`;
  strip.querySelector(".level").textContent = text;
  fader.setAttribute("aria-valuetext", text);
  player?.setLevel(strip.dataset.track, muted || silent ? 0 : 10 ** (db / 20));
}

function download(what) {
  const { name, stems, frames } = result;
  if (what === "f0") {
    save(f0Csv(frames), `${name}.f0.csv`);
    $("#saved").textContent = `${name}.f0.csv was saved.`;
    return;
  }
  const buffer = stems[what];
  const waveform = Array.from({ length: buffer.numberOfChannels }, (_, channel) => buffer.getChannelData(channel));
  const { blob, numClipped } = wavFile(waveform, buffer.sampleRate, $("#format").value);
  save(blob, `${name}.${what}.wav`);
  const clipped = numClipped ? ` ${numClipped} samples were clipped; 32-bit float keeps them.` : "";
  $("#saved").textContent = `${name}.${what}.wav was saved.${clipped}`;
}

// ---- connections

$("#file").addEventListener("change", ({ target }) => {
  if (target.files.length) take(target.files[0]);
  target.value = "";
});
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    $("#drop").classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
$("#cancel").addEventListener("click", () => {
  cancel();
  $("#status").textContent = "Cancelled.";
  $("#file").focus();
});
$("#play").addEventListener("click", () => (player.paused ? player.play() : player.pause()));
$("#seek").addEventListener("input", ({ target }) => (player.currentTime = Number(target.value)));
plot.addEventListener("seek", ({ detail }) => (player.currentTime = detail));
for (const strip of document.querySelectorAll(".strip")) {
  strip.querySelector("input").addEventListener("input", () => applyLevel(strip));
  const mute = strip.querySelector(".mute");
  mute.addEventListener("click", () => {
    mute.setAttribute("aria-pressed", String(mute.getAttribute("aria-pressed") !== "true"));
    applyLevel(strip);
  });
}
const views = {
  earlier: () => plot.pan(-0.5), later: () => plot.pan(0.5), in: () => plot.zoom(0.5, zoomCentre()),
  out: () => plot.zoom(2), all: () => plot.view(0, plot.duration),
};
const zoomCentre = () => (plot.playhead > plot.range[0] && plot.playhead < plot.range[1] ? plot.playhead : undefined);
for (const button of document.querySelectorAll("[data-view]")) {
  button.addEventListener("click", views[button.dataset.view]);
}
for (const button of document.querySelectorAll("[data-save]")) {
  button.addEventListener("click", () => download(button.dataset.save));
}
showDevice(device, threads);
connectMicrophone({ root, device, threads, config });
document.body.dataset.ready = "yes";
