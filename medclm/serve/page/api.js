// The server: requests with the API key, refusals as errors, server-sent events as objects.

let key = "";

/** Use this API key from now on. It is kept in this variable only. */
export function useKey(value) {
  key = value.trim();
}

/** A request that was refused or did not get through. `status` is 0 where no answer came. */
export class Refusal extends Error {
  constructor(status, code, message = "", retryAfterS = 0) {
    super(message);
    Object.assign(this, { status, code, retryAfterS });
  }
}

/** Names of the models that this server has. */
export async function models() {
  const body = await (await request("v1/models")).json();
  return body.data.map((model) => model.id);
}

/** One frame of a file as the model would see it, the middle one for null: see POST /v1/render. */
export async function render(file, frame, signal) {
  const form = new FormData();
  form.append("file", file);
  if (frame !== null) form.append("frame", String(frame));
  return (await request("v1/render", { method: "POST", body: form, signal })).json();
}

/** Ask; yields the chunks of the streamed completion. */
export async function* complete({ model, question, mode, picture }, signal) {
  const content = [
    { type: "text", text: question },
    { type: "image_url", image_url: { url: picture } },
  ];
  const body = JSON.stringify({ model, mode, stream: true, messages: [{ role: "user", content }] });
  const headers = { "Content-Type": "application/json" };
  const response = await request("v1/chat/completions", { method: "POST", body, headers, signal });
  for await (const chunk of events(response.body)) {
    if (chunk.error) throw new Refusal(chunk.error.type === "server_error" ? 500 : 400, chunk.error.code, chunk.error.message);
    yield chunk;
  }
}

async function request(path, options = {}) {
  if (/[^\x21-\x7e]/.test(key)) throw new Refusal(401, "invalid_api_key");
  const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
  const response = await reached(fetch(path, { ...options, headers }));
  if (!response.ok) throw await refusal(response);
  return response;
}

async function refusal(response) {
  const retryAfterS = Number(response.headers.get("Retry-After")) || 0;
  const isJson = (response.headers.get("Content-Type") || "").includes("json");
  const error = (isJson && (await response.json()).error) || {};
  return new Refusal(response.status, error.code, error.message, retryAfterS);
}

async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reached(reader.read());
    if (done) throw new Refusal(0, "broken_off");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: /, "");
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function reached(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "unreachable", error.message);
  }
}
