// The networks of a model as functions, run by onnxruntime-web: an ONNX folder that `majl export onnx` wrote.

/** Where the networks can be run: `"webgpu"` with a graphics card that the browser offers, else `"wasm"`. */
export async function bestDevice() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return adapter && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter) ? "webgpu" : "wasm";
}

/** Threads that WebAssembly may use here: one where the page is not isolated from other origins. */
export function numThreads() {
  return self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
}

/**
 * Load the parts called `names` ("separator", "pitch_estimator", "refiner"); the config decides which of them exist.
 *
 * `root` is the URL of the folder with `model/` and `vendor/`. `report(done, total)` is called with bytes. Returns
 * `{config, separator, pitchEstimator, refiner}`, whose functions take and return waveforms; logits are an array over
 * the bins for each frame.
 */
export async function loadParts(root, { names, device, threads, report = () => {} }) {
  const model = new URL("model/", root), vendor = new URL("vendor/", root);
  const config = await (await fetched(new URL("config.json", model))).json();
  const present = names.filter((name) => config[`${name}_config`]);
  const { default: ort } = await import(new URL(`ort.${device}.min.mjs`, vendor));
  ort.env.wasm.wasmPaths = vendor.href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";

  const responses = await Promise.all(present.map((name) => fetched(new URL(`${name}.onnx`, model))));
  const total = responses.reduce((sum, response) => sum + Number(response.headers.get("content-length") ?? 0), 0);
  let done = 0;
  const sessions = {};
  for (const [index, name] of present.entries()) {
    const graph = await readAll(responses[index], (count) => report((done += count), total));
    sessions[name] = await ort.InferenceSession.create(graph, { executionProviders: [device] });
  }

  const { sampling_rate: rate, hop_length: hop, num_bins: numBins } = config.pitch_estimator_config;
  const tensor = (data, ...shape) => new ort.Tensor("float32", data, shape);
  const audio = (waveform) => tensor(flattened(waveform), 1, waveform.length, waveform[0].length);
  const run = async (name, ...inputs) => {
    const session = sessions[name];
    const feeds = Object.fromEntries(session.inputNames.map((input, index) => [input, inputs[index]]));
    const results = await session.run(feeds);
    return results[session.outputNames[0]];
  };
  const parts = { config, rate, hop };
  if (sessions.separator) {
    parts.separator = async (mixture) => rows(await run("separator", audio(mixture)));
  }
  if (sessions.pitch_estimator) {
    parts.pitchEstimator = async (voice) => rows(await run("pitch_estimator", tensor(voice.slice(), 1, voice.length)));
  }
  if (sessions.refiner) {
    parts.refiner = async (mixture, vocals, logits) =>
      rows(await run("refiner", audio(mixture), audio(vocals), tensor(flattened(logits), 1, logits.length, numBins)));
  }
  return parts;
}

async function fetched(url) {
  const response = await fetch(url);
  const name = url.pathname.split("/").at(-1);
  if (!response.ok) throw new Error(`${name} is missing beside this page (${response.status})`);
  return response;
}

/** The bytes of a response; `count(bytes)` is called as they arrive. */
async function readAll(response, count) {
  const pieces = [];
  for (let reader = response.body.getReader();;) {
    const { done, value } = await reader.read();
    if (done) break;
    pieces.push(value);
    count(value.length);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

/** Arrays of equal length one after the other. */
function flattened(arrays) {
  const flat = new Float32Array(arrays.length * arrays[0].length);
  arrays.forEach((array, index) => flat.set(array, index * array.length));
  return flat;
}

/** The rows of a tensor of shape `(1, num_rows, num_columns)`. */
function rows({ data, dims: [, numRows, numColumns] }) {
  return Array.from({ length: numRows }, (_, row) => data.subarray(row * numColumns, (row + 1) * numColumns));
}
