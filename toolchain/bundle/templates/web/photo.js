// From the bytes of a photo to a model's input, and from its output to probabilities, as
// contract.json says. The pixels are those of Python's Pillow; only JPEG decoders differ, by a step
// here and there.

// A canvas of more pixels than this stays empty on iPhones.
const MOST_PIXELS = 16_777_216;

/** A photo, upright by EXIF and on white, as ImageData at full size. */
export async function decode(blob) {
  // Training reads the stored numbers: no colour profile is applied, alpha is not multiplied in.
  const bitmap = await createImageBitmap(blob, {
    imageOrientation: "from-image",
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  try {
    return read(bitmap, bitmap.width, bitmap.height);
  } finally {
    bitmap.close();
  }
}

/** What a bitmap, a canvas or a video shows now, on white, as ImageData. */
export function read(source, width, height) {
  const shrink = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const canvas = document.createElement("canvas");
  canvas.width = Math.floor(width * shrink);
  canvas.height = Math.floor(height * shrink);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/**
 * The middle of ImageData stretched to size x size, RGB bytes [size * size * 3]: bilinear with
 * antialias, in the whole numbers and in the order of Pillow 13, so that not one byte differs.
 *
 * @param {{size: number, crop: number}} preprocessing of the contract.
 */
export function resize(image, { size, crop }) {
  let pixels = middle(image, crop);
  const { width, height } = pixels;
  // Pillow shrinks the rows first where that leaves much less to do, and rounds in between.
  const tall = height > size && height - size > 2 * (width - size);
  for (const pass of tall ? [down, across] : [across, down]) pixels = pass(pixels, size);
  return pixels.data;
}

/** The share `crop` of the width and of the height that lies around the middle. */
function middle({ data, width, height }, crop) {
  const [left, top] = [width, height].map((side) => Math.trunc((side * (1 - crop)) / 2 + 1e-6));
  const kept = { width: width - 2 * left, height: height - 2 * top, channels: 4 };
  const target = new Uint8ClampedArray(kept.width * kept.height * 4);
  for (let y = 0; y < kept.height; y++) {
    const start = ((y + top) * width + left) * 4;
    target.set(data.subarray(start, start + kept.width * 4), y * kept.width * 4);
  }
  return { data: target, ...kept };
}

function across({ data, width, height, channels }, size) {
  const target = new Uint8ClampedArray(size * height * 3);
  const weights = taps(width, size);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < size; x++) {
      mix(weights, x, data, y * width * channels, channels, target, (y * size + x) * 3);
    }
  }
  return { data: target, width: size, height, channels: 3 };
}

function down({ data, width, height, channels }, size) {
  const target = new Uint8ClampedArray(width * size * 3);
  const weights = taps(height, size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < width; x++) {
      mix(weights, y, data, x * channels, width * channels, target, (y * width + x) * 3);
    }
  }
  return { data: target, width, height: size, channels: 3 };
}

const BITS = 22;

/**
 * Which of `from` samples make each of `to`, and with which weights in units of 2^-22: a triangle
 * that is as wide as the samples are apart, in both directions.
 */
function taps(from, to) {
  const scale = from / to;
  const reach = Math.max(scale, 1);
  const most = Math.ceil(reach) * 2 + 1;
  const start = new Int32Array(to);
  const count = new Int32Array(to);
  const weights = new Int32Array(to * most);
  for (let at = 0; at < to; at++) {
    const centre = (at + 0.5) * scale;
    start[at] = Math.max(0, Math.trunc(centre - reach + 0.5));
    count[at] = Math.min(from, Math.trunc(centre + reach + 0.5)) - start[at];
    const shares = Array.from({ length: count[at] }, (_, x) =>
      Math.max(0, 1 - Math.abs((x + start[at] - centre + 0.5) * (1 / reach))),
    );
    const sum = shares.reduce((total, share) => total + share, 0);
    shares.forEach((share, x) => {
      weights[at * most + x] = Math.trunc((share / sum) * 2 ** BITS + 0.5);
    });
  }
  return { start, count, weights, most };
}

/** One pixel: three channels mixed from samples that lie `step` apart, rounded to bytes. */
function mix({ start, count, weights, most }, at, source, offset, step, target, place) {
  let red = 1 << (BITS - 1);
  let green = red;
  let blue = red;
  let from = offset + start[at] * step;
  for (let x = 0; x < count[at]; x++, from += step) {
    const weight = weights[at * most + x];
    red += source[from] * weight;
    green += source[from + 1] * weight;
    blue += source[from + 2] * weight;
  }
  target[place] = red >> BITS;
  target[place + 1] = green >> BITS;
  target[place + 2] = blue >> BITS;
}

/** RGB bytes as the input of the model: normalised for float32, as they are for uint8. */
export function toTensor(pixels, contract) {
  const { mean, std } = contract.preprocessing;
  const plane = pixels.length / 3;
  const planar = contract.layout === "NCHW";
  const raw = contract.input.dtype === "uint8";
  const tensor = raw ? new Uint8Array(pixels.length) : new Float32Array(pixels.length);
  for (let at = 0; at < pixels.length; at++) {
    const place = planar ? (at % 3) * plane + Math.floor(at / 3) : at;
    tensor[place] = raw ? pixels[at] : Math.fround(pixels[at] - Math.fround(mean)) / Math.fround(std);
  }
  return tensor;
}

/** The output of a model as probabilities: stored integers made real, softmax taken of logits. */
export function toProbabilities(raw, contract) {
  const { scale, zero_point: zero } = contract.output;
  const values = Array.from(raw, (value) => (scale === null ? value : (value - zero) * scale));
  if (contract.output_kind !== "logits") return values;
  const most = Math.max(...values);
  const powers = values.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}
