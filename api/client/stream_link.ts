// Owns the connection of one consumer: opening, heartbeats, noticing silence, coming back after a loss, at another broker
// where there is one, leaving.
// Refuses to own what frames mean beyond `welcome`, and every message.
// Invariant: at most one socket is in use; a fault that another attempt cannot cure ends it for good.
import type { Cancel } from "../../storage/ports.ts";
import { backoffMs, type BackoffPolicy } from "./backoff.ts";
import type { Brokers } from "./brokers.ts";
import { asWaybillError, WaybillError } from "./errors.ts";
import {
  type ClientFrame,
  parseServerFrame,
  type ServerFrame,
  type WelcomeFrame,
} from "./frames.ts";
import { base64Of } from "./base64.ts";
import type { ClientPorts, WebSocketClass, WebSocketLike } from "./ports.ts";
import { type Credential, tokenOf, type Transport } from "./transport.ts";

/** Subprotocol of the stream; the token travels as another one, since browsers can set no header. */
const PROTOCOL = "waybill.v1";
/** Close code: the broker ends, or starts anew; others of its cluster do not. */
const CLOSED_RESTART = 1012;
/** Close code: the broker has no room, or cannot reach who decides for the group. */
const CLOSED_TRY_AGAIN = 1013;
/** Close code: another connection has taken this member over. */
const CLOSED_REPLACED = 4002;
/** Close code: the credential has ended, or may not do this any more; the error frame before it says which. */
const CLOSED_REFUSED = 4003;
/** Close codes after which the same broker is as good as any: it closed for what this side did, or did not. */
const STAYS = new Set([1000, 1002, 1003, 1007, 1008, 1009, 4001]);
/** What a subprotocol may be called (RFC 7230, token); tokens of another form travel in base64url. */
const SUBPROTOCOL_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const BASE64URL: Readonly<Record<string, string>> = { "+": "-", "/": "_", "=": "" };
const HEARTBEATS_PER_SESSION = 3;
const DEFAULT_SESSION_TIMEOUT_MS = 30_000;

/** Codes of which a connection that lasts is told before it is closed with `CLOSED_REFUSED`. */
const REFUSALS = new Set(["UNAUTHENTICATED", "FORBIDDEN"]);

export interface StreamLinkOptions {
  readonly brokers: Brokers;
  /** Asked for at each connection. */
  readonly token: Credential | undefined;
  readonly group: string;
  /** Query of the stream but `memberId`. */
  readonly query: Readonly<Record<string, string>>;
  readonly WebSocket: WebSocketClass;
  /** Asks why a handshake was refused: a WebSocket does not tell. */
  readonly transport: Transport;
  readonly ports: ClientPorts;
  readonly backoff: BackoffPolicy;
  /** From opening the socket to `welcome`. */
  readonly connectTimeoutMs: number;
  readonly closeTimeoutMs: number;
}

export interface StreamLinkEvents {
  /** Connected. `resumed`: the broker still knew this member, which keeps what it had. */
  readonly onWelcome: (welcome: WelcomeFrame, resumed: boolean) => void;
  /** Any frame after that. */
  readonly onFrame: (frame: ServerFrame) => void;
  /** Not connected any more, or still not; it goes on trying. */
  readonly onDown: (error: WaybillError) => void;
  /** It has given up. */
  readonly onFatal: (error: WaybillError) => void;
}

export class StreamLink {
  readonly #options: StreamLinkOptions;
  readonly #events: StreamLinkEvents;
  #socket: WebSocketLike | null = null;
  /** Of the broker that is connected, or was tried last. */
  #url: string;
  #memberId: string | null = null;
  #isWelcome = false;
  #ended = false;
  #attempt = 0;
  /** Counts askings for a token, so that a late one is not used. */
  #tokenAttempt = 0;
  #lastError: WaybillError | null = null;
  #lastHeardAt = 0;
  #sessionTimeoutMs = DEFAULT_SESSION_TIMEOUT_MS;
  readonly #timers = new Map<"connect" | "retry" | "heartbeat", Cancel>();
  #onClosed: (() => void) | null = null;

  constructor(options: StreamLinkOptions, events: StreamLinkEvents) {
    this.#options = options;
    this.#events = events;
    this.#url = options.brokers.next;
  }

  get connected(): boolean {
    return this.#isWelcome;
  }

  get memberId(): string | null {
    return this.#memberId;
  }

  /** Opens the first connection. */
  start(): void {
    this.#connect();
  }

  /** False when there is no connection to send it on. */
  send(frame: ClientFrame): boolean {
    if (!this.#isWelcome || this.#socket === null) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Drops the connection and comes back at once as the same member. */
  reconnect(error: WaybillError): void {
    if (this.#ended || this.#socket === null) return;
    this.#attempt = 0;
    this.#lost(error);
  }

  /** Leaves the group and closes; resolves when that is done, or after `closeTimeoutMs`. */
  close(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    this.#ended = true;
    this.#cancelTimers();
    const socket = this.#socket;
    if (socket === null) return Promise.resolve();
    return new Promise((resolve) => {
      const { timers } = this.#options.ports;
      const finish = () => {
        cancel();
        this.#onClosed = null;
        this.#drop();
        resolve();
      };
      const cancel = timers.after(this.#options.closeTimeoutMs, finish);
      this.#onClosed = finish;
      if (!this.send({ type: "leave" })) finish();
    });
  }

  #connect(): void {
    const { token } = this.#options;
    if (typeof token !== "function") return this.#open(token);
    const attempt = ++this.#tokenAttempt;
    const isCurrent = () => !this.#ended && attempt === this.#tokenAttempt;
    this.#after("connect", this.#options.connectTimeoutMs, () => {
      this.#tokenAttempt++;
      const detail = `no token within ${this.#options.connectTimeoutMs} ms`;
      this.#lost(new WaybillError("TIMEOUT", detail, { retryable: true }));
    });
    tokenOf(token).then(
      (now) => isCurrent() && this.#open(now),
      (reason) => {
        if (!isCurrent()) return;
        const error = asWaybillError(reason, "NO_TOKEN");
        if (error.retryable) this.#lost(error);
        else this.#fail(error);
      },
    );
  }

  #open(token: string | undefined): void {
    const { WebSocket, connectTimeoutMs } = this.#options;
    const protocols = token === undefined ? [PROTOCOL] : [PROTOCOL, bearerProtocol(token)];
    this.#url = this.#options.brokers.next;
    let socket: WebSocketLike;
    try {
      socket = new WebSocket(this.#address("ws"), protocols);
    } catch (error) {
      return this.#fail(asWaybillError(error, "NO_WEBSOCKET"));
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    const isCurrent = () => this.#socket === socket;
    socket.addEventListener("message", (event: { data: unknown }) => {
      if (isCurrent()) this.#receive(event.data);
    });
    socket.addEventListener("close", (event: { code?: number; reason?: string }) => {
      if (isCurrent()) this.#closed(event.code ?? 1006, event.reason ?? "");
    });
    // What went wrong is told by the close event that follows; unheard, some runtimes take the error for uncaught.
    socket.addEventListener("error", () => {});
    this.#after("connect", connectTimeoutMs, () => {
      const detail = `no welcome within ${connectTimeoutMs} ms`;
      this.#options.brokers.failed(this.#url);
      this.#lost(new WaybillError("TIMEOUT", detail, { retryable: true }));
    });
  }

  #receive(data: unknown): void {
    this.#lastHeardAt = this.#options.ports.clock.monotonic();
    let frame: ServerFrame;
    try {
      frame = parseServerFrame(data);
    } catch (error) {
      return this.#lost(asWaybillError(error, "BAD_RESPONSE"));
    }
    if (frame.type === "welcome") return this.#welcomed(frame);
    if (frame.type === "error" && (!this.#isWelcome || REFUSALS.has(frame.code))) {
      const { code, detail, retryable } = frame;
      this.#lastError = new WaybillError(code, detail, { retryable, details: frame });
    }
    if (this.#isWelcome) this.#events.onFrame(frame);
  }

  #welcomed(welcome: WelcomeFrame): void {
    const resumed = welcome.memberId === this.#memberId && welcome.resumed !== false;
    this.#memberId = welcome.memberId;
    this.#sessionTimeoutMs = welcome.sessionTimeoutMs ?? DEFAULT_SESSION_TIMEOUT_MS;
    this.#isWelcome = true;
    this.#attempt = 0;
    this.#lastError = null;
    this.#cancel("connect");
    this.#options.brokers.answered(this.#url);
    this.#beat();
    this.#events.onWelcome(welcome, resumed);
    if (this.#ended) this.send({ type: "leave" });
  }

  /** A sign of life, and a look whether the other side still gives one. */
  #beat(): void {
    this.#after("heartbeat", this.#sessionTimeoutMs / HEARTBEATS_PER_SESSION, () => {
      const silentMs = this.#options.ports.clock.monotonic() - this.#lastHeardAt;
      if (silentMs > this.#sessionTimeoutMs) {
        const detail = `the broker was silent for ${Math.round(silentMs)} ms`;
        this.#options.brokers.failed(this.#url);
        return this.#lost(new WaybillError("TIMEOUT", detail, { retryable: true }));
      }
      this.send({ type: "heartbeat" });
      this.#beat();
    });
  }

  #closed(code: number, reason: string): void {
    this.#socket = null;
    if (this.#ended) return this.#onClosed?.();
    if (code === CLOSED_REPLACED) {
      const detail = "another connection goes on for this member";
      return this.#fail(new WaybillError("REPLACED", detail, { retryable: false }));
    }
    if (code === CLOSED_REFUSED) return this.#refused(this.#refusal(reason));
    const wasWelcome = this.#isWelcome;
    // What was refused on a connection that lasts is not why it was lost.
    const told = wasWelcome ? null : this.#lastError;
    if (!wasWelcome && told !== null && !told.retryable) return this.#fail(told);
    const detail = `the connection closed (${code}${reason === "" ? "" : `: ${reason}`})`;
    const error = told ?? new WaybillError("NETWORK_ERROR", detail, { retryable: true });
    const isElsewhere = this.#leaves({ code, told });
    if (isElsewhere && code === CLOSED_RESTART && this.#attempt === 0) this.#move(error);
    else if (wasWelcome || told !== null || isElsewhere) this.#lost(error);
    else void this.#askWhy(error);
  }

  /** Whether the next attempt is made at another broker: this one is gone, or has told why it cannot help now. */
  #leaves({ code, told }: { code: number; told: WaybillError | null }): boolean {
    const { brokers } = this.#options;
    if (STAYS.has(code)) return false;
    if (code === CLOSED_TRY_AGAIN || (told !== null && code !== CLOSED_RESTART)) {
      brokers.passOver(this.#url);
    } else {
      brokers.failed(this.#url);
    }
    return brokers.next !== this.#url;
  }

  /** Goes to another broker without a wait, once: should it not be welcome there, it waits as after any loss. */
  #move(error: WaybillError): void {
    this.#down();
    if (this.#ended) return;
    this.#attempt++;
    this.#events.onDown(error);
    this.#connect();
  }

  /** A token that has expired has a next one where somebody can be asked for it; should that be refused too, it is final. */
  #refused(error: WaybillError): void {
    const hasNext = typeof this.#options.token === "function" && this.#isWelcome &&
      error.code === "UNAUTHENTICATED";
    if (hasNext) this.#lost(error);
    else this.#fail(error);
  }

  /** Another attempt with the same credential would be refused as this one is. */
  #refusal(reason: string): WaybillError {
    const told = this.#lastError;
    if (told !== null) return told;
    const detail = reason === "" ? "the credential is not accepted any more" : reason;
    return new WaybillError("UNAUTHENTICATED", detail, { retryable: false });
  }

  /**
   * The handshake failed without a word: over HTTP the same address tells why, if it is a refusal, or one of the topics
   * does.
   */
  async #askWhy(error: WaybillError): Promise<void> {
    this.#down();
    const { query } = this.#options;
    const topics = query.topics?.split(",") ?? [];
    const paths = topics.map((topic) => `/api/topics/${encodeURIComponent(topic)}`);
    for (const path of [this.#address("path"), ...paths]) {
      const refusal = await this.#refusalOf(path);
      if (refusal === null) continue;
      return refusal.retryable ? this.#retry(refusal) : this.#fail(refusal);
    }
    this.#retry(error);
  }

  /** Null when the broker says nothing against it. */
  async #refusalOf(path: string): Promise<WaybillError | null> {
    const { transport, connectTimeoutMs } = this.#options;
    try {
      await transport.send({ method: "GET", path, timeoutMs: connectTimeoutMs });
      return null;
    } catch (reason) {
      const refusal = asWaybillError(reason, "NETWORK_ERROR");
      if (refusal.retryable) return refusal;
      if (refusal.code === "TLS_FAILED") return refusal;
      const isFinal = refusal.status >= 400 && refusal.status < 500 &&
        refusal.code !== "UPGRADE_REQUIRED" && refusal.code !== "BAD_RESPONSE";
      return isFinal ? refusal : null;
    }
  }

  #lost(error: WaybillError): void {
    this.#down();
    this.#retry(error);
  }

  /** Lets go of the socket and everything that belongs to it. */
  #down(): void {
    this.#cancelTimers();
    this.#drop();
  }

  #retry(error: WaybillError): void {
    if (this.#ended) return;
    const { ports, backoff } = this.#options;
    this.#lastError = null;
    this.#attempt++;
    this.#events.onDown(error);
    const { retryAfterMs } = error;
    const waitMs = backoffMs({ attempt: this.#attempt, retryAfterMs }, backoff, ports.randomness);
    this.#after("retry", waitMs, () => this.#connect());
  }

  #fail(error: WaybillError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#down();
    this.#events.onFatal(error);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = null;
    this.#isWelcome = false;
    if (socket === null) return;
    try {
      socket.close(1000);
    } catch {
      // A socket that is still connecting may refuse to be closed; nobody listens to it any more.
    }
  }

  #address(kind: "ws" | "path"): string {
    const { group, query } = this.#options;
    const parameters = new URLSearchParams(query);
    if (this.#memberId !== null) parameters.set("memberId", this.#memberId);
    const path = `/api/groups/${encodeURIComponent(group)}/stream?${parameters}`;
    return kind === "path" ? path : this.#url.replace(/^http/, "ws") + path;
  }

  #after(name: "connect" | "retry" | "heartbeat", delayMs: number, run: () => void): void {
    this.#cancel(name);
    const cancel = this.#options.ports.timers.after(delayMs, () => {
      this.#timers.delete(name);
      run();
    });
    this.#timers.set(name, cancel);
  }

  #cancel(name: "connect" | "retry" | "heartbeat"): void {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }

  #cancelTimers(): void {
    for (const cancel of this.#timers.values()) cancel();
    this.#timers.clear();
  }
}

function bearerProtocol(token: string): string {
  if (SUBPROTOCOL_NAME.test(token)) return `bearer.${token}`;
  const bytes = new TextEncoder().encode(token);
  return `bearer64.${base64Of(bytes).replace(/[+/=]/g, (char) => BASE64URL[char]!)}`;
}
