// Owns one request to one endpoint of etcd's JSON gateway: its time limit, its TLS, and what its answer says.
// Refuses to try again or elsewhere (etcd_requests.ts).
// Invariant: every request ends: with an answer, a refusal, or an EtcdSilence after its time.
import type { Timers } from "../ports.ts";
import { EtcdRefusal, EtcdSilence } from "./etcd_errors.ts";

/** PEM texts, not paths. */
export interface EtcdTls {
  /** What the members' certificates must be signed by; without it the platform's authorities. */
  readonly caCert?: string;
  /** The certificate this client shows, with its key, where etcd asks for one (`--client-cert-auth`). */
  readonly cert?: string;
  readonly key?: string;
}

/** As the platform's `fetch`; what a test may put between. */
export type EtcdFetch = (
  url: string,
  init: RequestInit & { client?: Deno.HttpClient },
) => Promise<Response>;

export interface EtcdCall {
  readonly endpoint: string;
  /** For example `/v3/kv/range`. */
  readonly path: string;
  readonly body: unknown;
  readonly token: string | null;
  /** Until the answer is whole; of a stream, until it has begun. */
  readonly timeoutMs: number;
  /** Ends it before, or a stream later. */
  readonly signal?: AbortSignal;
}

export class EtcdHttp {
  readonly #client: Deno.HttpClient;
  readonly #underWay = new Set<AbortController>();
  #isClosed = false;

  constructor(
    private readonly options: { tls?: EtcdTls; fetch?: EtcdFetch; timers: Timers },
  ) {
    const { caCert, cert, key } = options.tls ?? {};
    this.#client = Deno.createHttpClient({
      http2: false,
      ...(caCert === undefined ? {} : { caCerts: [caCert] }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    });
  }

  /** The answer. Rejects with EtcdRefusal or EtcdSilence. */
  async ask<Answer>(call: EtcdCall): Promise<Answer> {
    return await this.#within(call, async (signal) => {
      const response = await this.#send(call, signal);
      const answer = JSON.parse(await response.text());
      // Of a call that streams, the failure comes as its last message.
      const { message, grpc_code: code } = answer.error ?? {};
      if (code !== undefined) throw new EtcdRefusal(String(message), Number(code));
      return answer as Answer;
    });
  }

  /**
   * The bytes of a stream that has begun. Rejects as `ask`. Whoever reads it cancels it too when `call.signal` aborts: an
   * abort does not reach the body of every answer.
   */
  async stream(call: EtcdCall): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    return await this.#within(call, async (signal) => {
      const body = (await this.#send(call, signal)).body!;
      // Nobody waits any more.
      if (signal.aborted) await body.cancel();
      return body;
    });
  }

  /** Ends all that is under way, but streams that have begun. */
  close(): void {
    this.#isClosed = true;
    for (const each of this.#underWay) each.abort(closedMeanwhile());
    this.#client.close();
  }

  async #within<T>(call: EtcdCall, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { endpoint, timeoutMs } = call;
    if (this.#isClosed) throw closedMeanwhile();
    const attempt = new AbortController();
    const { signal } = attempt;
    this.#underWay.add(attempt);
    const stop = () => attempt.abort(new EtcdSilence(`${endpoint} was left`, false));
    call.signal?.addEventListener("abort", stop, { once: true });
    if (call.signal?.aborted) stop();
    const late = () => new EtcdSilence(`${endpoint} gave no answer in ${timeoutMs} ms`, false);
    const cancel = this.options.timers.after(timeoutMs, () => attempt.abort(late()));
    try {
      return await Promise.race([aborted(signal), run(signal)]);
    } catch (error) {
      throw asEtcdError(endpoint, signal.aborted ? signal.reason : error);
    } finally {
      cancel();
      this.#underWay.delete(attempt);
    }
  }

  async #send(call: EtcdCall, signal: AbortSignal): Promise<Response> {
    const { fetch: send = fetch } = this.options;
    const response = await send(call.endpoint + call.path, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        // A member that has lost its leader says so at once, before it does anything.
        "grpc-metadata-hasleader": "true",
        ...(call.token === null ? {} : { authorization: call.token }),
      },
      body: JSON.stringify(call.body),
      redirect: "error",
      signal,
      client: this.#client,
    });
    if (!response.ok) throw await refusal(response);
    return response;
  }
}

/** Rejects once `signal` aborts: a fetch may go on, for whatever its own part of the signal was worth. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

function closedMeanwhile(): EtcdSilence {
  return new EtcdSilence("the metadata store was closed meanwhile", false);
}

async function refusal(response: Response): Promise<Error> {
  const text = await response.text();
  try {
    const { error, message, code } = JSON.parse(text);
    return new EtcdRefusal(String(error ?? message), Number(code));
  } catch {
    const shown = `status ${response.status}, ${JSON.stringify(text.slice(0, 200))}`;
    return new EtcdSilence(`no answer of an etcd: ${shown}`, false);
  }
}

function asEtcdError(endpoint: string, error: unknown): Error {
  if (error instanceof EtcdRefusal || error instanceof EtcdSilence) return error;
  const reasons: string[] = [];
  for (let each = error; each instanceof Error && reasons.length < 4; each = each.cause) {
    reasons.push(each.message);
  }
  const reason = reasons.at(-1) ?? String(error);
  // What the platform says when no connection came about: nothing was sent.
  const isUnsent = /client error \(Connect\)/.test(reason);
  return new EtcdSilence(`${endpoint}: ${reason}`, isUnsent, { cause: error });
}
