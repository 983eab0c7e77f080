// Owns publishing numbered messages at a pace, and keeping what was acknowledged and when.
// Refuses to own retries and batches (the client's producer does), and reading back (read_back.ts).
// Invariant: each number is handed in once; those of one key keep their order; an acknowledgement is kept as it was given.
import type { Producer, WaybillClient } from "../../api/client.ts";
import { AckChecker } from "./ack_checker.ts";
import { pause } from "../demo/waiting.ts";

const TICK_MS = 20;
/** While the broker does not answer no more than this is handed in ahead. */
const MAX_UNACKNOWLEDGED = 5_000;
const MAX_KEPT_FAILURES = 20;

export interface LoadOptions {
  readonly topic: string;
  /** Messages a second. */
  readonly perSecond: number;
  /** Producers by name: each is a key of its own. */
  readonly keys: number;
  /** Characters added to each value. */
  readonly padding?: number;
  /** Wall time of a message, ms; left out: the broker's. */
  readonly timestamp?: () => number;
  /** Before every key, so that several loads can share a topic. */
  readonly name?: string;
}

export class Load {
  readonly checker = new AckChecker();
  /** What acknowledgements contradict. */
  readonly violations: string[] = [];
  /** Reasons of messages that were given up, the first ones. */
  readonly failures: string[] = [];
  /** Values that were acknowledged. */
  readonly acknowledged = new Set<string>();
  failed = 0;
  /** Messages a second from now on. */
  perSecond: number;
  readonly #producer: Producer;
  readonly #next: number[];
  readonly #latencies: {
    readonly partition: number;
    readonly handedInMs: number;
    readonly ackedMs: number;
  }[] = [];
  readonly #sends = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #handedIn = 0;

  constructor(client: WaybillClient, private readonly options: LoadOptions) {
    this.#producer = client.producer({
      lingerMs: 5,
      deliveryTimeoutMs: 60_000,
      backoff: { baseMs: 50, maxMs: 500 },
    });
    this.#next = Array.from({ length: options.keys }, () => 0);
    this.perSecond = options.perSecond;
  }

  get handedIn(): number {
    return this.#handedIn;
  }

  get unanswered(): number {
    return this.#sends.size;
  }

  /** Publishes until `stop`. */
  start(): void {
    this.#running = this.#run().catch(() => undefined);
  }

  /** Hands nothing more in; resolves when the fate of every message is known, after `withinMs` at most. */
  async stop(withinMs = 10_000): Promise<void> {
    this.#stop.abort();
    await this.#running;
    const flushed = this.#producer.close({ timeoutMs: withinMs }).catch(() => undefined);
    await flushed;
    await Promise.all(this.#sends);
  }

  /** When (monotonic ms) the first message was acknowledged that was handed in after `sinceMs`; null while none was. */
  ackedSince(sinceMs: number): number | null {
    const first = this.#latencies.find(({ handedInMs }) => handedInMs > sinceMs);
    return first === undefined ? null : first.ackedMs;
  }

  /** Messages of that partition that were acknowledged after `sinceMs` (monotonic). */
  acknowledgedOn(partition: number, sinceMs: number): number {
    return this.#latencies.filter((each) => each.partition === partition && each.ackedMs > sinceMs)
      .length;
  }

  /** Of the messages acknowledged in that time (monotonic ms), how long each took from being handed in, ms, sorted. */
  latencies(fromMs: number, toMs: number): number[] {
    return this.#latencies.filter(({ ackedMs }) => ackedMs >= fromMs && ackedMs < toMs)
      .map(({ handedInMs, ackedMs }) => ackedMs - handedInMs).sort((a, b) => a - b);
  }

  async #run(): Promise<void> {
    let due = 0;
    let before = performance.now();
    while (true) {
      await pause(TICK_MS, this.#stop.signal);
      const now = performance.now();
      // What could not be handed in is not made up for later: the pace stays the pace.
      due = Math.min(
        due + (now - before) * this.perSecond / 1000,
        Math.max(this.perSecond / 5, 1),
      );
      before = now;
      while (due >= 1 && this.#sends.size < MAX_UNACKNOWLEDGED) {
        due -= 1;
        this.#send();
      }
    }
  }

  #send(): void {
    const { keys, padding = 0, name = "p", timestamp } = this.options;
    const at = this.#handedIn++ % keys;
    const key = `${name}${at}`;
    const value = `${key}:${this.#next[at]!++}:${"x".repeat(padding)}`;
    const handedInMs = performance.now();
    const message = { key, value, ...(timestamp === undefined ? {} : { timestamp: timestamp() }) };
    const send = this.#producer.send(this.options.topic, message).then(
      ({ partition, offset }) => {
        this.violations.push(...this.checker.acknowledged({ partition, offset, value }));
        this.acknowledged.add(value);
        this.#latencies.push({ partition, handedInMs, ackedMs: performance.now() });
      },
      (error: Error) => {
        this.failed++;
        if (this.failures.length < MAX_KEPT_FAILURES) this.failures.push(error.message);
      },
    );
    this.#sends.add(send);
    void send.then(() => this.#sends.delete(send));
  }
}
