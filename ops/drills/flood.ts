// Owns importers that publish large requests at once, each again and again, and counting what waits for an answer.
// Refuses to own what is right (scenarios/). Invariant: no more requests are under way than it was told to make.
import { pause } from "../demo/waiting.ts";

const LOOK_EVERY_MS = 25;
const MESSAGE_BYTES = 16_384;
const REFUSED_PAUSE_MS = 50;
const REQUEST_TIMEOUT_MS = 60_000;

export interface FloodOptions {
  readonly url: string;
  readonly topic: string;
  readonly atOnce: number;
  /** Of each request, about. */
  readonly bytes: number;
  /** A request without an answer for so long counts as taken. */
  readonly takenAfterMs: number;
  readonly token?: string;
  readonly signal: AbortSignal;
}

export class Flood {
  /** Requests. */
  acknowledged = 0;
  overloaded = 0;
  readonly otherRefusals = new Set<string>();
  /** Most bytes of requests that waited for their answer at one time. */
  mostTakenBytes = 0;
  readonly #underWay = new Map<number, number>();
  readonly #perRequest: number;
  readonly #body: string;
  readonly #stop = new AbortController();
  #running: Promise<void>[] = [];
  #next = 0;

  constructor(private readonly options: FloodOptions) {
    this.#perRequest = Math.max(1, Math.round(options.bytes / MESSAGE_BYTES));
    const value = "x".repeat(MESSAGE_BYTES);
    const messages = Array.from({ length: this.#perRequest }, () => ({ value }));
    this.#body = JSON.stringify({ topic: options.topic, messages });
  }

  get acknowledgedMessages(): number {
    return this.acknowledged * this.#perRequest;
  }

  start(): void {
    const { atOnce } = this.options;
    this.#running = Array.from({ length: atOnce }, () => this.#importer());
    this.#running.push(this.#look());
  }

  /** Makes no more requests; resolves when all are answered. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async #importer(): Promise<void> {
    const { signal } = this.options;
    while (!this.#stop.signal.aborted && !signal.aborted) {
      const id = this.#next++;
      this.#underWay.set(id, performance.now());
      const isTaken = await this.#publish();
      this.#underWay.delete(id);
      if (!isTaken) await pause(REFUSED_PAUSE_MS, signal).catch(() => undefined);
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
      else if (code === "OVERLOADED") this.overloaded++;
      else this.otherRefusals.add(`${response.status} ${code}`);
      return response.ok;
    } catch (error) {
      if (!signal.aborted) this.otherRefusals.add((error as Error).message);
      return false;
    }
  }

  async #look(): Promise<void> {
    const { bytes, takenAfterMs, signal } = this.options;
    while (!this.#stop.signal.aborted && !signal.aborted) {
      const now = performance.now();
      let taken = 0;
      for (const since of this.#underWay.values()) if (now - since > takenAfterMs) taken++;
      this.mostTakenBytes = Math.max(this.mostTakenBytes, taken * bytes);
      await pause(LOOK_EVERY_MS, signal).catch(() => undefined);
    }
  }
}
