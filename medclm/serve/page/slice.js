// One slice of a file: the picture that the server made of it and, where it is deep, its grey values. These are windowed
// here, so that another window asks the server nothing. The result is an uncompressed bitmap: quick to make, and never
// falsified, as what is read back from a canvas is by browsers that hide from trackers.

const HEAD = 14 + 40 + 4 * 256; // bytes of a bitmap before its pixels: two headers and the grey levels

/** A slice from what POST /v1/render says; `grey.data` becomes `grey.values`, row by row. */
export async function sliceOf({ grey, ...about }) {
  return { ...about, grey: grey && { inverted: grey.inverted, values: await inflated(grey.data) } };
}

/**
 * The slice as it is shown in a window { center, width, name }, or, with null, as the server shows it. With a `step`
 * only every step-th pixel of every step-th row is there, for a picture that is about to be replaced.
 */
export async function windowed({ image, grey }, window, step = 1) {
  if (!window || !grey) return image;
  const values = step > 1 ? thinned(grey.values, image, step) : grey.values;
  const [width, height] = [Math.ceil(image.width / step), Math.ceil(image.height / step)];
  return { ...image, window, data: await address(bitmap(levels(values, grey.inverted, window), width, height)) };
}

/** Values as 0 to 255: DICOM PS3.3 C.11.2.1.2 LINEAR, rounded as the server does; LINEAR_EXACT for widths below 1. */
function levels(values, inverted, { center, width }) {
  const [middle, span] = width < 1 ? [center, width] : [center - 0.5, width - 1];
  const shown = new Uint8Array(values.length); // what is no number becomes 0
  for (let n = 0; n < shown.length; n++) {
    const share = Math.min(Math.max((values[n] - middle) / span + 0.5, 0), 1);
    shown[n] = Math.floor((inverted ? 1 - share : share) * 255 + 0.5);
  }
  return shown;
}

function thinned(values, { width, height }, step) {
  const kept = new Float32Array(Math.ceil(width / step) * Math.ceil(height / step));
  let n = 0;
  for (let row = 0; row < height; row += step) {
    for (let place = row * width; place < (row + 1) * width; place += step) kept[n++] = values[place];
  }
  return kept;
}

/** A Windows bitmap of grey levels: rows from the bottom up, each filled up to whole words. */
function bitmap(levels, width, height) {
  const stride = Math.ceil(width / 4) * 4;
  const bytes = new Uint8Array(HEAD + stride * height);
  const head = new DataView(bytes.buffer);
  const words = [[2, bytes.length], [10, HEAD], [14, 40], [18, width], [22, height], [26, 1 + (8 << 16)]];
  bytes.set([0x42, 0x4d]); // "BM"
  for (const [place, value] of words) head.setUint32(place, value, true);
  for (let level = 0; level < 256; level++) bytes.fill(level, 54 + 4 * level, 57 + 4 * level);
  for (let row = 0; row < height; row++) {
    bytes.set(levels.subarray(row * width, (row + 1) * width), HEAD + (height - 1 - row) * stride);
  }
  return new Blob([bytes], { type: "image/bmp" });
}

/** Numbers from base64 of deflated 32-bit floats. */
async function inflated(text) {
  const letters = atob(text);
  const packed = new Uint8Array(letters.length);
  for (let n = 0; n < packed.length; n++) packed[n] = letters.charCodeAt(n); // Uint8Array.from takes 30 times as long
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Float32Array(await new Response(stream).arrayBuffer());
}

function address(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => done(reader.result));
    reader.addEventListener("error", () => failed(reader.error));
    reader.readAsDataURL(blob);
  });
}
