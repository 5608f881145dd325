// The two runtimes behind one function: onnxruntime-web for .onnx, LiteRT.js for .tflite. Both are
// loaded from vendor/ when they are first needed, and run on the processor.

const VENDOR = new URL("./vendor/", import.meta.url).href;
const OPENERS = { onnx: openOnnx, tflite: openTflite };

/**
 * Opens a model file.
 *
 * @param {string} url of the file.
 * @param {object} contract what contract.json says of it.
 * @param {number} threads of one run; the first call decides, for the runtime is loaded once.
 * @returns {Promise<{runtime: string, run: (tensor) => Promise<TypedArray>, close: () => void}>}
 */
export function open(url, contract, threads) {
  return OPENERS[contract.format](url, contract, threads);
}

async function openOnnx(url, contract, threads) {
  // This entry carries no second copy of the code for graphics processors: 14 MB instead of 28.
  const ort = await import(`${VENDOR}onnxruntime-web/ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = `${VENDOR}onnxruntime-web/`;
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(url, { executionProviders: ["wasm"] });
  const { name, dtype } = contract.input;
  return {
    runtime: "onnxruntime-web",
    async run(tensor) {
      const answer = await session.run({ [name]: new ort.Tensor(dtype, tensor, one(contract)) });
      return answer[contract.output.name].data;
    },
    close: () => session.release(),
  };
}

let liteRt;

async function openTflite(url, contract, threads) {
  const { Tensor, loadAndCompile, loadLiteRt } = await import(`${VENDOR}litertjs/core.js`);
  liteRt ??= loadLiteRt(`${VENDOR}litertjs/wasm/`, { threads: threads > 1 });
  await liteRt;
  const model = await loadAndCompile(url, { accelerator: "wasm", cpuOptions: { numThreads: threads } });
  return {
    runtime: "LiteRT.js",
    async run(tensor) {
      const input = new Tensor(tensor, one(contract));
      const outputs = await model.run(input);
      const answer = await outputs[0].data();
      // They lie in the memory of WebAssembly, which nobody collects.
      [input, ...outputs].forEach((each) => each.delete());
      return answer;
    },
    close: () => model.delete(),
  };
}

/** The shape of an input that holds one photo. */
function one(contract) {
  return [1, ...contract.input.shape.slice(1)];
}
