// Talks to the gateway. Every failure becomes an ApiError with a sentence for people.

export class ApiError extends Error {
  constructor(message, { code = "UNKNOWN", hint = "", retry = false } = {}) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.retry = retry;
  }
}

const HINTS = {
  UNAVAILABLE: "It may be starting or busy.",
  DEADLINE_EXCEEDED: "It may be busy.",
  NOT_FOUND: "Choose another model above.",
  UNAUTHENTICATED: "The gateway needs a token for this server.",
};

export async function classify(file, choice, signal) {
  return post("/v1/classify", file, choice, signal);
}

export async function explain(file, choice, labelId, signal) {
  return post("/v1/explain", file, { ...choice, label_id: labelId }, signal);
}

export async function models() {
  return (await answered(fetchOrExplain("/v1/models"))).models;
}

// A server that does not serve says so with 503 and the same members.
export async function health() {
  const response = await fetchOrExplain("/v1/health");
  const told = await response.clone().json().catch(() => ({}));
  return typeof told.serving === "boolean" ? told : answered(response);
}

export async function exampleNames() {
  return (await answered(fetchOrExplain("/examples"))).examples;
}

export async function exampleFile(name) {
  const response = await fetchOrExplain(`/examples/${encodeURIComponent(name)}`);
  if (!response.ok) throw new ApiError("The example is gone.");
  const blob = await response.blob();
  return new File([blob], name, { type: blob.type });
}

function post(path, file, choice, signal) {
  const query = new URLSearchParams(Object.entries(choice).filter(([, value]) => value));
  const headers = { "content-type": "application/octet-stream" };
  const url = query.size ? `${path}?${query}` : path;
  return answered(fetchOrExplain(url, { method: "POST", body: file, headers, signal }));
}

async function fetchOrExplain(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The gateway cannot be reached.", {
      code: "UNAVAILABLE", hint: "Is this machine online, and `python -m client web` still running?", retry: true,
    });
  }
}

async function answered(promise) {
  const response = await promise;
  const body = await response.json().catch(() => ({}));
  if (response.ok) return body;
  const { code = "UNKNOWN", message = `HTTP ${response.status}` } = body.error ?? {};
  throw new ApiError(sentence(message), {
    code, hint: HINTS[code] ?? "", retry: response.status >= 429,
  });
}

// The server names the field that is wrong; people have but one photo.
function sentence(message) {
  const plain = message.replace(/^image(\.encoded)?(?= )/, "the photo");
  const start = plain.charAt(0).toUpperCase() + plain.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
