// Owns asking the broker: one request with its credential, its errors as the client's, and lists page by page.
// Refuses to own which broker that is (profiles.ts) and what is asked.
// Invariant: only what changes nothing, or was refused before anything was done, is asked again.
import { wasNotReached, WaybillError } from "../../api/client.ts";
import { urlsIn } from "./profiles.ts";
import type { Terminal } from "./terminal.ts";

/** Attempts at a request that the broker has no room for. */
const MAX_ATTEMPTS = 4;
/** Longest that is waited because the broker said so. */
const MAX_RETRY_AFTER_MS = 5_000;
const FIRST_WAIT_MS = 250;
const DEFAULT_TIMEOUT_MS = 30_000;
/** Of each page of a list. */
const PAGE_ENTRIES = 500;

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Ask {
  readonly query?: Query;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Statuses that are answers too, and no errors. */
  readonly accept?: readonly number[];
  readonly timeoutMs?: number;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

// deno-lint-ignore no-explicit-any -- the broker's answers are described by its OpenAPI document
export type Json = any;

export class BrokerApi {
  readonly #urls: readonly string[];
  #turn = 0;

  /** `broker.url`: of a cluster several, with commas between. */
  constructor(
    readonly broker: { readonly url: string; readonly token: string | null },
    private readonly terminal: Pick<Terminal, "now" | "pause" | "interrupted">,
  ) {
    this.#urls = urlsIn(broker.url);
  }

  get(path: string, query?: Query): Promise<Json> {
    return this.json("GET", path, query === undefined ? {} : { query });
  }

  post(path: string, body: unknown = {}): Promise<Json> {
    return this.json("POST", path, { body });
  }

  delete(path: string): Promise<Json> {
    return this.json("DELETE", path);
  }

  /** The JSON of an answer; null when it has no body. Rejects with WaybillErrors. */
  async json(method: string, path: string, ask: Ask = {}): Promise<Json> {
    const { text, status } = await this.ask(method, path, ask);
    if (text === "") return null;
    try {
      return JSON.parse(text);
    } catch {
      const detail = `what answers at ${this.broker.url} is not a Waybill broker`;
      throw new WaybillError("BAD_RESPONSE", detail, { retryable: false, status });
    }
  }

  /** Up to `limit` entries of a list, and whether there are more. */
  async list(
    path: string,
    plural: string,
    { limit, query = {} }: { limit: number; query?: Query },
  ): Promise<{ entries: Json[]; more: boolean }> {
    const entries: Json[] = [];
    let cursor: string | undefined;
    do {
      const page = Math.min(PAGE_ENTRIES, limit - entries.length);
      const answer = await this.get(path, { ...query, limit: page, cursor });
      entries.push(...answer[plural]);
      cursor = answer.nextCursor;
    } while (cursor !== undefined && entries.length < limit && !this.terminal.interrupted.aborted);
    return { entries, more: cursor !== undefined };
  }

  /** One request, asked again while the broker has no room for it. */
  async ask(method: string, path: string, ask: Ask = {}): Promise<RawAnswer> {
    for (let attempt = 1;; attempt++) {
      try {
        return await this.#once(method, path, ask);
      } catch (error) {
        const wait = error instanceof WaybillError ? waitBefore(error, attempt) : null;
        if (wait === null || this.terminal.interrupted.aborted) throw error;
        await this.terminal.pause(wait);
      }
    }
  }

  async #once(method: string, path: string, ask: Ask): Promise<RawAnswer> {
    const { headers, text, status } = await this.#exchange(method, path, ask);
    if ((status >= 200 && status < 300) || ask.accept?.includes(status)) {
      return { status, headers, text };
    }
    throw errorOf(status, headers, text);
  }

  /** At the broker that answered last; at the next where one is not reached, so that nothing can have happened. */
  async #exchange(method: string, path: string, ask: Ask): Promise<RawAnswer> {
    for (let tried = 1;; tried++) {
      const url = this.#urls[this.#turn]!;
      try {
        return await this.#exchangeAt(url, { ...ask, method, path });
      } catch (error) {
        const isNext = error instanceof WaybillError && wasNotReached(error);
        if (!isNext || tried === this.#urls.length) throw error;
        this.#turn = (this.#turn + 1) % this.#urls.length;
      }
    }
  }

  async #exchangeAt(
    url: string,
    { method, path, ...ask }: Ask & { readonly method: string; readonly path: string },
  ): Promise<RawAnswer> {
    const { token } = this.broker;
    const body = ask.body === undefined ? null : JSON.stringify(ask.body);
    const timeout = AbortSignal.timeout(ask.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    try {
      const response = await fetch(url + path + queryText(ask.query ?? {}), {
        method,
        headers: {
          accept: "application/json",
          ...(body === null ? {} : { "content-type": "application/json" }),
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...ask.headers,
        },
        body,
        signal: timeout,
        // A credential is for the broker that was named, and for none that it points to.
        redirect: "error",
      });
      return { status: response.status, headers: response.headers, text: await response.text() };
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      const detail = timeout.aborted ? "there was no answer in time" : why;
      throw new WaybillError(
        timeout.aborted ? "TIMEOUT" : "NETWORK_ERROR",
        `${method} ${url}${path}: ${detail}`,
        { retryable: true, cause: error },
      );
    }
  }
}

/** With its question mark; empty when nothing is given. */
export function queryText(query: Query): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  if (given.length === 0) return "";
  return `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`;
}

/** ms before the next attempt; null when there is none. */
function waitBefore(error: WaybillError, attempt: number): number | null {
  const hasNoRoom = error.retryable && (error.status === 429 || error.status === 503);
  if (!hasNoRoom || attempt >= MAX_ATTEMPTS) return null;
  const wait = error.retryAfterMs ?? FIRST_WAIT_MS * 2 ** (attempt - 1);
  return wait > MAX_RETRY_AFTER_MS ? null : wait;
}

function errorOf(status: number, headers: Headers, text: string): WaybillError {
  const retryAfter = Number(headers.get("retry-after"));
  const retryAfterMs = retryAfter > 0 ? retryAfter * 1_000 : undefined;
  const problem = problemOf(text);
  if (problem === null) {
    return new WaybillError("BAD_RESPONSE", `the answer has status ${status} and says no more`, {
      retryable: status === 429 || status >= 502,
      status,
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    });
  }
  const { code, detail, retryable, requestId, type: _type, status: _status, ...details } = problem;
  return new WaybillError(String(code), String(detail ?? code), {
    retryable: retryable === true,
    status,
    details,
    ...(typeof requestId === "string" ? { requestId } : {}),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function problemOf(text: string): Record<string, unknown> | null {
  try {
    const value = JSON.parse(text);
    return typeof value?.code === "string" ? value : null;
  } catch {
    return null;
  }
}
