// Owns plain calls of a broker's HTTP API, for end-to-end tests that look at every answer.
// Refuses to own load (numbered_load.ts) and judgement. Invariant: every call is bounded in time and reads its answer whole.

const CALL_TIMEOUT_MS = 30_000;

/** What came back; `body` is parsed JSON, or the text where it is none. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // deno-lint-ignore no-explicit-any -- tests look into answers of every shape
  readonly body: any;
  readonly ms: number;
}

export interface CallOptions {
  readonly method?: string;
  /** Sent as JSON. */
  readonly json?: unknown;
  /** Sent as it is, with `headers`. */
  readonly body?: BodyInit;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** One request. Rejects when there is no answer in time. */
export async function call(url: string, path: string, options: CallOptions = {}): Promise<Answer> {
  const { json, body, headers, method, timeoutMs = CALL_TIMEOUT_MS } = options;
  const sends = json !== undefined || body !== undefined;
  const start = performance.now();
  const response = await fetch(url + path, {
    method: method ?? (sends ? "POST" : "GET"),
    headers: json === undefined ? headers : { "content-type": "application/json", ...headers },
    body: json === undefined ? body : JSON.stringify(json),
    signal: AbortSignal.timeout(timeoutMs),
  });
  const text = await response.text();
  const ms = performance.now() - start;
  return { status: response.status, headers: response.headers, body: parsed(text), ms };
}

/** Publishes `values` to one partition, 0 unless told. */
export function publish(
  url: string,
  topic: string,
  values: readonly string[],
  options: { partition?: number; timeoutMs?: number } = {},
): Promise<Answer> {
  const { partition = 0, timeoutMs } = options;
  const messages = values.map((value) => ({ value }));
  return call(url, "/api/messages:publish", { json: { topic, partition, messages }, timeoutMs });
}

/** Resolves when `check` does not throw any more; rejects with what it last threw after `timeoutMs`. */
export async function eventually<T>(timeoutMs: number, check: () => Promise<T>): Promise<T> {
  const givenUpAt = performance.now() + timeoutMs;
  while (true) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > givenUpAt) throw error;
    }
    await pause(50);
  }
}

/** Real time: what is waited for is another process. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
