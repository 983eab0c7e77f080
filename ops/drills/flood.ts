// Owns clients that publish as much as they are told, several requests at once, and counting what they are answered.
// Refuses to own what is right (scenarios/). Invariant: no more requests are under way than it was told to make.
import { pause } from "../demo/waiting.ts";

const LOOK_EVERY_MS = 25;
const REQUEST_TIMEOUT_MS = 60_000;

export interface FloodOptions {
  readonly url: string;
  readonly topic: string;
  /** Clients: each has one request under way. */
  readonly atOnce: number;
  /** Messages of a request, and bytes of each. */
  readonly perRequest: number;
  readonly messageBytes: number;
  /** A request without an answer for so long counts as waiting in the broker. */
  readonly waitingAfterMs: number;
  /** Pause of a client that was refused. */
  readonly refusedPauseMs: number;
  readonly token?: string;
  readonly signal: AbortSignal;
}

export class Flood {
  /** Requests. */
  acknowledged = 0;
  /** Requests by the code that they were refused with, or by what went wrong. */
  readonly refusals = new Map<string, number>();
  /** When the last one was refused, monotonic ms; -Infinity: none was. */
  lastRefusedMs = -Infinity;
  /** Most bytes of requests that waited for their answer at one time. */
  mostWaitingBytes = 0;
  /** Requests a second, all clients together. */
  perSecond = Infinity;
  readonly #underWay = new Map<number, number>();
  readonly #body: string;
  readonly #stop = new AbortController();
  #running: Promise<void>[] = [];
  #next = 0;

  constructor(private readonly options: FloodOptions) {
    const { topic, perRequest, messageBytes } = options;
    const value = "x".repeat(messageBytes);
    const messages = Array.from({ length: perRequest }, () => ({ value }));
    this.#body = JSON.stringify({ topic, messages });
  }

  get acknowledgedMessages(): number {
    return this.acknowledged * this.options.perRequest;
  }

  start(): void {
    const { atOnce } = this.options;
    this.#running = Array.from({ length: atOnce }, () => this.#publishOn());
    this.#running.push(this.#look());
  }

  /** Makes no more requests; resolves when all are answered. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #publishOn(): Promise<void> {
    const signal = AbortSignal.any([this.options.signal, this.#stop.signal]);
    while (!signal.aborted) {
      const startedMs = performance.now();
      const id = this.#next++;
      this.#underWay.set(id, startedMs);
      const isTaken = await this.#publish();
      this.#underWay.delete(id);
      const pace = this.options.atOnce * 1_000 / this.perSecond;
      const restMs = Math.max(
        isTaken ? 0 : this.options.refusedPauseMs,
        pace - (performance.now() - startedMs),
      );
      if (restMs > 0) await pause(restMs, signal).catch(() => undefined);
    }
  }

  async #publish(): Promise<boolean> {
    const { url, token, signal } = this.options;
    try {
      const response = await fetch(`${url}/api/messages:publish`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: this.#body,
        signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
      });
      const { code } = await response.json();
      if (response.ok) this.acknowledged++;
      else this.#refused(String(code));
      return response.ok;
    } catch (error) {
      if (!signal.aborted) this.#refused((error as Error).message);
      return false;
    }
  }

  #refused(code: string): void {
    this.lastRefusedMs = performance.now();
    this.refusals.set(code, (this.refusals.get(code) ?? 0) + 1);
  }

  async #look(): Promise<void> {
    const { perRequest, messageBytes, waitingAfterMs } = this.options;
    const signal = AbortSignal.any([this.options.signal, this.#stop.signal]);
    while (!signal.aborted) {
      const now = performance.now();
      let waiting = 0;
      for (const since of this.#underWay.values()) if (now - since > waitingAfterMs) waiting++;
      this.mostWaitingBytes = Math.max(
        this.mostWaitingBytes,
        waiting * perRequest * messageBytes,
      );
      await pause(LOOK_EVERY_MS, signal).catch(() => undefined);
    }
  }
}

/** Refusals by code, in words. */
export function refusalWords({ refusals }: Flood): string {
  if (refusals.size === 0) return "none was refused";
  return [...refusals].map(([code, count]) => `${count} with ${code}`).join(", ");
}
