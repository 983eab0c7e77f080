// Owns one HTTP exchange with the broker: address, credential, timeout, body read to its end, error answers.
// Refuses to own retries (sender.ts, admin.ts) or what bodies mean.
// Invariant: a call settles within its timeout, as an answer of status 2xx or as a WaybillError.
import type { Clock, Timers } from "../../storage/ports.ts";
import { errorFromAnswer, tlsFaultOf, WaybillError } from "./errors.ts";
import type { Fetch } from "./ports.ts";

export const BATCH_CONTENT_TYPE = "application/vnd.waybill.batch";

export interface TransportRequest {
  readonly method: "GET" | "POST" | "PATCH" | "PUT" | "DELETE";
  /** Path and query, from `/`. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** Node id of the broker that can answer without asking another. */
  readonly leader?: string;
}

export interface TransportAnswer {
  readonly status: number;
  readonly header: (name: string) => string | null;
  readonly body: Uint8Array;
}

/** Errors: the broker's own codes, TLS_FAILED, NETWORK_ERROR, TIMEOUT (both: the outcome is unknown), BAD_RESPONSE. */
export interface Transport {
  send(request: TransportRequest): Promise<TransportAnswer>;
  /** Brokers that are named where something is described: more than one mean that there is a cluster to learn of. */
  sighted?(nodeIds: Iterable<string>): void;
  /** Finds out once, in the background, whether there are more brokers, where nothing else would tell. */
  explore?(topic: string): void;
}

export interface FetchTransportOptions {
  /** Address of the broker, for example `http://127.0.0.1:8080`. */
  readonly url: string;
  readonly token?: Credential | undefined;
  readonly fetch: Fetch;
  readonly clock: Clock;
  readonly timers: Timers;
}

const decoder = new TextDecoder();

/** An API key or JWT, or who is asked for it at each request and each connection: it keeps one that still holds. */
export type Credential = string | (() => string | Promise<string>);

/** The token of now. Rejects with NO_TOKEN, retryable: whoever is asked may have it later. */
export async function tokenOf(credential: Credential | undefined): Promise<string | undefined> {
  if (typeof credential !== "function") return credential;
  try {
    return await credential();
  } catch (cause) {
    if (cause instanceof WaybillError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new WaybillError("NO_TOKEN", `there is no token: ${why}`, { retryable: true, cause });
  }
}

/** The transport over `fetch`, in every runtime that has one. */
export class FetchTransport implements Transport {
  readonly #base: string;
  readonly #options: FetchTransportOptions;

  constructor(options: FetchTransportOptions) {
    this.#options = options;
    this.#base = options.url.replace(/\/+$/, "");
  }

  async send(request: TransportRequest): Promise<TransportAnswer> {
    const abort = new AbortController();
    let timedOut = false;
    const cancelTimeout = this.#options.timers.after(request.timeoutMs, () => {
      timedOut = true;
      abort.abort();
    });
    const onAbort = () => abort.abort();
    request.signal?.addEventListener("abort", onAbort, { once: true });
    if (request.signal?.aborted) abort.abort();
    try {
      return await this.#exchange(request, abort.signal);
    } catch (error) {
      throw lostExchange(request, error, timedOut);
    } finally {
      cancelTimeout();
      request.signal?.removeEventListener("abort", onAbort);
    }
  }

  async #exchange(request: TransportRequest, signal: AbortSignal): Promise<TransportAnswer> {
    const token = await tokenOf(this.#options.token);
    const authorization: Record<string, string> = token === undefined
      ? {}
      : { authorization: `Bearer ${token}` };
    const response = await this.#options.fetch(this.#base + request.path, {
      method: request.method,
      headers: { ...authorization, ...request.headers },
      // The cast only narrows `ArrayBufferLike`: no body is ever backed by shared memory.
      body: (request.body ?? null) as BodyInit | null,
      signal,
      redirect: "error",
    });
    const body = new Uint8Array(await response.arrayBuffer());
    const header = (name: string) => response.headers.get(name);
    if (response.ok) return { status: response.status, header, body };
    throw errorFromAnswer({
      status: response.status,
      header,
      text: decoder.decode(body),
      now: this.#options.clock.now(),
    });
  }
}

/** JSON of an answer. BAD_RESPONSE when it is none. */
export function parseJson<T>(answer: TransportAnswer): T {
  try {
    return JSON.parse(decoder.decode(answer.body)) as T;
  } catch (cause) {
    throw new WaybillError("BAD_RESPONSE", "the broker's answer is not JSON", {
      retryable: false,
      status: answer.status,
      requestId: answer.header("x-request-id") ?? undefined,
      cause,
    });
  }
}

function lostExchange(request: TransportRequest, cause: unknown, timedOut: boolean): WaybillError {
  if (cause instanceof WaybillError) return cause;
  const what = `${request.method} ${request.path.split("?")[0]}`;
  if (timedOut) {
    const detail = `${what} had no answer within ${request.timeoutMs} ms`;
    return new WaybillError("TIMEOUT", detail, { retryable: true, cause });
  }
  if (request.signal?.aborted) {
    return new WaybillError("CLIENT_CLOSED", `${what} was given up`, { retryable: false, cause });
  }
  const fault = tlsFaultOf(cause);
  if (fault !== null) {
    const detail = `${what} failed for its certificate, or one side alone speaks TLS: ${fault}`;
    return new WaybillError("TLS_FAILED", detail, { retryable: false, cause });
  }
  const why = cause instanceof Error ? cause.message : String(cause);
  return new WaybillError("NETWORK_ERROR", `${what} failed: ${why}`, { retryable: true, cause });
}
