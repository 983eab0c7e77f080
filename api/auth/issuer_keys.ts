// Owns the public keys of an issuer of tokens (JWKS): fetching them, how often, and telling when that fails.
// Refuses to own verifying (jwt.ts) and where keys are fetched from (configuration).
// Invariant: a token is refused for its key only after the issuer was asked for that token; before, the fault is ours.
import {
  createRemoteJWKSet,
  customFetch,
  errors,
  type FlattenedJWSInput,
  type JWTHeaderParameters,
} from "jose";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";

const TIMEOUT_MS = 5_000;
/** Keys are fetched at most this often for tokens that name one we do not know. */
const COOLDOWN_MS = 5_000;
const MAX_AGE_MS = 600_000;
const MAX_BYTES = 1_048_576;
/** A fault that lasts is told again after this. */
const TOLD_AGAIN_MS = 300_000;

export interface IssuerKeysOptions {
  readonly url: URL;
  readonly clock: Clock;
  readonly fetch: typeof fetch;
}

/** Something to tell whoever runs this broker. */
export interface IssuerNews {
  readonly level: "info" | "warning";
  readonly message: string;
  readonly error?: unknown;
}

export class IssuerKeys {
  readonly #options: IssuerKeysOptions;
  readonly #keys: ReturnType<typeof createRemoteJWKSet>;
  #report: (news: IssuerNews) => void = () => {};
  /** Requests to the issuer that were sent. */
  #asked = 0;
  #failures = 0;
  /** Monotonic; when keys were last fetched. */
  #fetchedAtMs = 0;
  /** Null: the last fetch was well. */
  #failing: { readonly sinceMs: number; toldAtMs: number } | null = null;

  constructor(options: IssuerKeysOptions) {
    this.#options = options;
    this.#keys = createRemoteJWKSet(options.url, {
      timeoutDuration: TIMEOUT_MS,
      cooldownDuration: COOLDOWN_MS,
      cacheMaxAge: MAX_AGE_MS,
      [customFetch]: this.#fetch.bind(this),
    });
  }

  /** Fetches that brought no keys, since the start. */
  get failures(): number {
    return this.#failures;
  }

  /** Tells `report` of faults, the first and then each five minutes, and of their end. */
  watch(report: (news: IssuerNews) => void): void {
    this.#report = report;
  }

  /**
   * The key that a token's header names. Rejects with IDENTITY_UNAVAILABLE where it may exist and cannot be had now, and
   * with errors of jose where it does not fit.
   */
  async find(header: JWTHeaderParameters, token: FlattenedJWSInput) {
    const before = this.#asked;
    try {
      const key = await this.#keys(header, token);
      if (this.#asked > before) this.#fetched();
      return key;
    } catch (error) {
      if (isIssuers(error)) throw this.#failed(error);
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      if (this.#asked > before) {
        this.#fetched();
        throw error;
      }
      throw this.#tooEarly();
    }
  }

  #fetched(): void {
    const { clock, url } = this.#options;
    this.#fetchedAtMs = clock.monotonic();
    if (this.#failing === null) return;
    const seconds = Math.round((clock.monotonic() - this.#failing.sinceMs) / 1_000);
    this.#failing = null;
    const message = `keys of tokens can be fetched from ${shown(url)} again, after ${seconds} s`;
    this.#report({ level: "info", message });
  }

  #failed(error: unknown): BrokerError {
    const { clock, url } = this.#options;
    const now = clock.monotonic();
    this.#failures++;
    const failing = this.#failing ??= { sinceMs: now, toldAtMs: -Infinity };
    if (now - failing.toldAtMs >= TOLD_AGAIN_MS) {
      failing.toldAtMs = now;
      const message = `keys of tokens cannot be fetched from ${shown(url)}: tokens whose key is ` +
        "not known, or was fetched ten minutes ago, get 503";
      this.#report({ level: "warning", message, error: causeOf(error) });
    }
    const detail = "the keys of the token's issuer cannot be fetched at the moment";
    return new BrokerError("IDENTITY_UNAVAILABLE", detail, {}, { cause: error });
  }

  /** The issuer may have made the key since it was asked. */
  #tooEarly(): BrokerError {
    const sinceMs = this.#options.clock.monotonic() - this.#fetchedAtMs;
    const detail = "the key of the bearer token is not known yet: its issuer is asked again soon";
    const retryAfterMs = Math.max(1, Math.ceil(COOLDOWN_MS - sinceMs));
    return new BrokerError("IDENTITY_UNAVAILABLE", detail, { retryAfterMs });
  }

  /** Follows no redirect and reads no endless answer. */
  async #fetch(url: string, init: RequestInit): Promise<Response> {
    this.#asked++;
    try {
      const response = await this.#options.fetch(url, { ...init, redirect: "manual" });
      const bytes = await boundedBytes(response);
      if (response.status !== 200) throw new Error(`the answer was ${response.status}`);
      return new Response(bytes, { status: response.status });
    } catch (cause) {
      if (cause instanceof DOMException && cause.name === "TimeoutError") throw cause;
      throw new UnreachableIssuer("the issuer's keys cannot be fetched", { cause });
    }
  }
}

class UnreachableIssuer extends Error {
  override name = "UnreachableIssuer";
}

function isIssuers(error: unknown): boolean {
  return error instanceof errors.JWKSTimeout || error instanceof errors.JWKSInvalid ||
    error instanceof UnreachableIssuer || isUnexpectedAnswer(error);
}

/** An answer that is not JSON has no class of its own. */
function isUnexpectedAnswer(error: unknown): boolean {
  return error instanceof errors.JOSEError && error.code === "ERR_JOSE_GENERIC";
}

function causeOf(error: unknown): unknown {
  return error instanceof UnreachableIssuer ? error.cause : error;
}

/** Without what may be secret in it. */
function shown({ origin, pathname }: URL): string {
  return `${origin}${pathname}`;
}

async function boundedBytes(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.length;
    if (size > MAX_BYTES) throw new Error(`more than ${MAX_BYTES} bytes of keys`);
    chunks.push(chunk);
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
