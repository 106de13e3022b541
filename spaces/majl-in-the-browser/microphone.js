// The section of the page that shows the pitch of the microphone. listen_worker.js does the work; the sound reaches it
// from the AudioWorklet directly.

import { noteAndCents } from "./notes.js";
import { PitchPlot } from "./pitch_plot.js";

const SHOWN_S = 10;
const RANGE = [40, 84]; // notes that are shown, E2 to C6
const BLOCK_S = 0.011; // of microphone_worklet.js

const $ = (selector) => document.querySelector(selector);

const PROBLEMS = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it in the address bar, then try again.",
  NotFoundError: "No microphone was found. Connect one, then try again.",
  NotReadableError: "The microphone is used by another program. Close that, then try again.",
};
const INSECURE = "This page may only use a microphone over https or from localhost.";

/** Let the button start and stop listening. */
export function connectMicrophone({ root, device, threads, config }) {
  const plot = new PitchPlot($("#live-plot"));
  let session = null; // while it listens

  async function start() {
    showProblem(null);
    if (!navigator.mediaDevices) return showProblem(INSECURE);
    const own = (session = {});
    $("#listen").textContent = "Stop listening";
    $("#listen-status").textContent = "Waiting for the microphone";
    try {
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      own.stream = await navigator.mediaDevices.getUserMedia({ audio });
      own.context = new AudioContext({ latencyHint: "interactive" });
      await own.context.audioWorklet.addModule(new URL("microphone_worklet.js", root));
      if (session !== own) return end(own);
      listen(own);
    } catch (error) {
      end(own);
      if (session === own) stop();
      showProblem(PROBLEMS[error.name] ?? `The microphone cannot be used: ${error.message}.`);
    }
  }

  function listen(own) {
    const { port1, port2 } = new MessageChannel();
    const node = new AudioWorkletNode(own.context, "majl-microphone", { numberOfOutputs: 0 });
    node.port.postMessage(port1, [port1]);
    own.context.createMediaStreamSource(own.stream).connect(node);
    own.worker = new Worker(new URL("listen_worker.js", root), { type: "module" });
    const latencyS = (own.stream.getAudioTracks()[0].getSettings().latency ?? 0) + BLOCK_S / 2;
    const frames = [];
    const messages = {
      loading: ({ done, total }) =>
        ($("#listen-status").textContent = `Loading the model, ${Math.round((100 * done) / total)} %`),
      ready: () => {
        $("#listen-status").textContent = "Listening";
        $("#live").hidden = false;
      },
      frames: ({ frames: more, delayS }) => {
        frames.push(...more);
        frames.splice(0, frames.findIndex((frame) => frame.timeS > more.at(-1).timeS - SHOWN_S));
        showNote(more.at(-1));
        plot.follow(frames, SHOWN_S, RANGE);
        $("#delay").textContent = `${Math.round(1000 * (delayS + latencyS))} ms after it was sung`;
      },
      error: ({ message }) => {
        stop();
        showProblem(`The pitch cannot be read: ${message}.`);
      },
    };
    own.worker.onmessage = ({ data }) => session === own && messages[data.kind](data);
    own.worker.onerror = (event) => messages.error({ message: event.message || "the worker could not be started" });
    const samplingRate = own.context.sampleRate;
    own.worker.postMessage({ root, port: port2, samplingRate, device, threads }, [port2]);
  }

  function stop() {
    end(session);
    session = null;
    $("#listen").textContent = "Show my pitch";
    $("#listen-status").textContent = "";
  }

  function end(own) {
    own.worker?.terminate();
    own.context?.close();
    for (const track of own.stream?.getTracks() ?? []) track.stop();
    own.worker = own.context = own.stream = null;
  }

  $("#listen").addEventListener("click", () => (session ? stop() : start()));
  if (!config) $("#listen").disabled = true;
}

function showNote(frame) {
  $("#live-note").textContent = frame.voiced ? noteAndCents(frame.f0Hz) : "–";
  $("#live-note").classList.toggle("silent", !frame.voiced);
}

function showProblem(text) {
  $("#listen-error").hidden = text === null;
  $("#listen-error").textContent = text ?? "";
}
