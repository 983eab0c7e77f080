// Owns reading partitions through a given broker: all of them in the end, and a little at their ends while a drill goes on.
// Refuses to own what was acknowledged (cluster_load.ts) and the rules (../ack_checker.ts).
// Invariant: what is read came by the public API; what could not be read is an error, never nothing.
import { pause } from "../../demo/waiting.ts";
import type { AckChecker, Seen } from "../ack_checker.ts";
import { type Answer, ask, Unanswered } from "./broker_http.ts";
import { withoutPadding } from "./cluster_load.ts";

const READ_MESSAGES = 10_000;
const READ_TIMEOUT_MS = 15_000;
const READ_ATTEMPTS = 20;
const RETRY_AFTER_MS = 500;
/** Longer than a transaction may be open, and a coordinator may be away. */
const MAX_STUCK = 60;
const GLANCE_MESSAGES = 100;
const GLANCE_EVERY_MS = 500;
const GLANCE_TIMEOUT_MS = 1_000;
/** So far behind the last high watermark a glance begins: what was at the end before is looked at again. */
const GLANCE_BACK = 20;
const MAX_KEPT_VIOLATIONS = 100;

export interface ReadTarget {
  readonly token: string;
  readonly topic: string;
  readonly partitions: number;
  readonly padding: string;
}

/** All of one partition, from its start to its high watermark. Rejects where the broker does not show it. */
export async function readPartition(
  url: string,
  target: ReadTarget,
  partition: number,
): Promise<Seen[]> {
  const seen: Seen[] = [];
  const path = `partition ${partition} at ${url}`;
  let stuck = 0;
  let offset = 0;
  while (true) {
    const query = `offset=${offset}&maxMessages=${READ_MESSAGES}&maxBytes=4194304`;
    const { messages, nextOffset, highWatermark } = await read(url, target, { partition, query });
    for (const message of seenOf(messages, target.padding)) seen.push(message);
    if (nextOffset >= highWatermark) return seen;
    // Behind a transaction that nobody ended nothing is shown until its time is over.
    if (nextOffset === offset) await openTransaction(stuck++, path);
    else stuck = 0;
    offset = nextOffset;
  }
}

async function openTransaction(waits: number, path: string): Promise<void> {
  if (waits === MAX_STUCK) throw new Error(`${path} shows nothing below its high watermark`);
  await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS));
}

async function read(
  url: string,
  { token, topic }: ReadTarget,
  { partition, query }: { partition: number; query: string },
): Promise<Answer["body"]> {
  const path = `${url}/api/topics/${topic}/partitions/${partition}/messages?${query}`;
  let why = "";
  for (let attempt = 1; attempt <= READ_ATTEMPTS; attempt++) {
    try {
      const { status, body } = await ask(path, { token, timeoutMs: READ_TIMEOUT_MS });
      if (status === 200) return body;
      why = `${status} ${body.code}: ${body.detail}`;
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      why = error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_AFTER_MS));
  }
  throw new Error(`${path} could not be read: ${why}`);
}

function seenOf(messages: readonly Seen[], padding: string): Seen[] {
  return messages.map(({ partition, offset, value }) => ({
    partition,
    offset,
    value: withoutPadding(String(value), padding),
  }));
}

/** Looks at the ends of partitions through each broker, whatever it believes of itself: none may show what is not so. */
export class Glances {
  readonly violations: string[] = [];
  taken = 0;
  readonly #stop = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly urls: readonly string[],
    private readonly target: ReadTarget,
    private readonly checker: AckChecker,
  ) {}

  start(): void {
    this.#running = Promise.all(this.urls.map((url) => this.#look(url).catch(() => undefined)));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #look(url: string): Promise<void> {
    const { partitions } = this.target;
    const from = new Array<number>(partitions).fill(0);
    while (true) {
      await Promise.all(
        from.map(async (offset, partition) => {
          from[partition] = await this.#glance(url, partition, offset);
        }),
      );
      await pause(GLANCE_EVERY_MS, this.#stop.signal);
    }
  }

  async #glance(url: string, partition: number, offset: number): Promise<number> {
    const { token, topic, padding } = this.target;
    const path = `${url}/api/topics/${topic}/partitions/${partition}/messages` +
      `?offset=${offset}&maxMessages=${GLANCE_MESSAGES}`;
    try {
      const { status, body } = await ask(path, { token, timeoutMs: GLANCE_TIMEOUT_MS });
      if (status !== 200) return offset;
      this.taken++;
      for (const message of seenOf(body.messages, padding)) {
        const found = this.checker.shown(message);
        if (this.violations.length < MAX_KEPT_VIOLATIONS) this.violations.push(...found);
      }
      return Math.max(0, body.highWatermark - GLANCE_BACK);
    } catch (error) {
      if (error instanceof Unanswered) return offset;
      throw error;
    }
  }
}
