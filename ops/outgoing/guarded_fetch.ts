// Owns calls to addresses that users of the broker have named: webhooks.
// Refuses to own whom one may call (rules.ts), and calls of the operator's own choice (JWKS, archives).
// Invariant: the connection goes to the very address that was checked; a redirect is an answer like any other, never
// followed; an answer is bounded in bytes and time.
import { lookup as systemLookup } from "node:dns/promises";
import { type ClientRequest, type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { LookupFunction } from "node:net";
import { ipText, parseIp } from "../ip_address.ts";
import { OutgoingRefusedError, type OutgoingRules, type Target } from "./rules.ts";

const MAX_ANSWER_BYTES = 65_536;
const DEFAULT_TIMEOUT_MS = 10_000;
const CHOSEN_BY_US = new Set(["host", "connection", "content-length", "transfer-encoding"]);

export interface OutgoingCall {
  readonly url: string;
  readonly method: "GET" | "POST" | "PUT";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** For all of it. */
  readonly timeoutMs?: number;
}

export interface OutgoingAnswer {
  readonly status: number;
  /** The first `MAX_ANSWER_BYTES` of it. */
  readonly body: Uint8Array;
  readonly isCut: boolean;
}

export interface GuardedFetchOptions {
  readonly rules: OutgoingRules;
  /** All addresses of a name; default: as this system resolves it. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
  /** PEM certificates to trust besides none: default the system's own. */
  readonly trusted?: readonly string[];
}

export type GuardedFetch = (call: OutgoingCall) => Promise<OutgoingAnswer>;

/** A `fetch` for calls that others name. Rejects with OutgoingRefusedError before anything is sent, or as the call fails. */
export function guardedFetch(options: GuardedFetchOptions): GuardedFetch {
  const { rules, resolve = addressesOf, trusted } = options;
  return async (call) => {
    const deadline = AbortSignal.timeout(call.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    const target = rules.target(call.url);
    const address = await checkedAddress(target, { rules, resolve, deadline });
    return await send(call, target, { address, deadline, trusted });
  };
}

async function addressesOf(host: string): Promise<readonly string[]> {
  return (await systemLookup(host, { all: true })).map(({ address }) => address);
}

/** Every address of the name has to pass, since whoever owns the name orders them. */
async function checkedAddress(
  target: Target,
  { rules, resolve, deadline }: {
    rules: OutgoingRules;
    resolve: (host: string) => Promise<readonly string[]>;
    deadline: AbortSignal;
  },
): Promise<string> {
  const { host } = target;
  const found = parseIp(host) !== null ? [host] : await beforeAbort(resolve(host), deadline);
  if (found.length === 0) throw new OutgoingRefusedError(`host ${host} has no address`);
  for (const address of found) rules.checkAddress(target, address);
  return ipText(parseIp(found[0]!)!);
}

async function beforeAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function send(
  { method, headers, body }: OutgoingCall,
  { url, host, port, isTls }: Target,
  { address, deadline, trusted }: {
    address: string;
    deadline: AbortSignal;
    trusted: readonly string[] | undefined;
  },
): Promise<OutgoingAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<OutgoingAnswer>();
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const request: ClientRequest = (isTls ? httpsRequest : httpRequest)({
    host,
    port,
    method,
    path: `${url.pathname}${url.search}`,
    headers: headersOf(headers, bytes),
    // A connection of its own, to the address that was checked; the certificate is that of the name.
    agent: false,
    lookup: pinned(address),
    ...(trusted === undefined ? {} : { ca: [...trusted] }),
  }, (response) => collect(response).then(resolve, reject));
  const abort = () => request.destroy(deadline.reason);
  if (deadline.aborted) abort();
  deadline.addEventListener("abort", abort, { once: true });
  promise.catch(() => {}).finally(() => deadline.removeEventListener("abort", abort));
  request.on("error", reject);
  request.end(bytes);
  return promise.finally(() => request.destroy());
}

function headersOf(
  asked: Readonly<Record<string, string>> | undefined,
  body: Uint8Array | undefined,
): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(asked ?? {})) {
    if (!CHOSEN_BY_US.has(name.toLowerCase())) headers[name] = value;
  }
  if (body !== undefined) headers["content-length"] = String(body.length);
  return headers;
}

function pinned(address: string): LookupFunction {
  const family = parseIp(address)!.length === 4 ? 4 : 6;
  return (_host, { all }, answer) =>
    all === true ? answer(null, [{ address, family }]) : answer(null, address, family);
}

async function collect(response: IncomingMessage): Promise<OutgoingAnswer> {
  const body = new Uint8Array(MAX_ANSWER_BYTES);
  let size = 0;
  const status = response.statusCode ?? 0;
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    const room = MAX_ANSWER_BYTES - size;
    body.set(chunk.subarray(0, room), size);
    size += Math.min(room, chunk.length);
    if (chunk.length > room) return { status, body, isCut: true };
  }
  return { status, body: body.slice(0, size), isCut: false };
}
