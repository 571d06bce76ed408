// What went wrong, in plain words.

const SENTENCES = {
  unreachable: "The server cannot be reached. Check that it runs and that you are connected.",
  broken_off: "The answer broke off before its end.",
  missing_api_key: "This server wants an API key. Enter it above.",
  invalid_api_key: "The server does not accept this API key.",
  queue_full: "The server is busy with other questions.",
  model_not_found: "The server no longer has this model. Reload the page.",
};

const BY_STATUS = {
  401: "This server wants an API key.",
  404: "The server does not know what was asked of it. Reload the page.",
  408: "The upload was too slow, and the server stopped waiting.",
  415: "The server cannot read this kind of file.",
  429: "The server is busy with other questions.",
  431: "The request’s headers are too large for the server. The API key may be too long.",
  500: "Something failed in the server. Its log says what.",
  502: "The server behind this address does not answer.",
  503: "No model is ready yet.",
  504: "The model took too long, and the server stopped it.",
};

/** { text, detail, again }: a sentence, what the server said beyond it, and whether asking again may help. */
export function inPlainWords(refusal) {
  const { status, code, message, retryAfterS } = refusal;
  const again = [0, 408, 429, 500, 502, 503, 504].includes(status);
  if (status === 413) return { text: tooLarge(message), detail: "", again: false };
  if (code === "invalid_image") {
    return { text: "The server cannot read this file as a picture.", detail: message, again: false };
  }
  const text = SENTENCES[code] || BY_STATUS[status] || "The server refused the request.";
  const known = SENTENCES[code] || status === 500;
  return { text: retryAfterS ? `${text} Try again in ${seconds(retryAfterS)}.` : text, detail: known ? "" : message, again };
}

function tooLarge(message) {
  const [, bytes] = /(\d+) bytes/.exec(message) || [];
  return `The file is too large for this server${bytes ? `: it takes up to ${size(Number(bytes))}` : ""}.`;
}

/** "1 second", "5 seconds". */
export function seconds(count) {
  return `${count} second${count === 1 ? "" : "s"}`;
}

/** Bytes for people: "12 KiB", "3.4 MiB". */
export function size(bytes) {
  if (bytes < 2 ** 20) return `${Math.ceil(bytes / 1024)} KiB`;
  return `${Number((bytes / 2 ** 20).toFixed(1))} MiB`;
}
