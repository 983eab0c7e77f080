// Owns the consumers of a drill: members of a group that handle messages as they are told, and the book of what was handled.
// Refuses to own membership and reconnecting (the client does), and judging the book.
// Invariant: a message is in the book before it can be committed.
import type { ConsumedMessage, Consumer, WaybillClient } from "../../api/client.ts";

/** Of errors that a member went on from, the first are kept. */
const MAX_KEPT_ERRORS = 20;
const COMMIT_EVERY_MS = 200;

/** What was handled, by value. */
export class Book {
  readonly #counts = new Map<string, number>();
  #handled = 0;

  write(value: string): void {
    this.#handled++;
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + 1);
  }

  /** Repeats included. */
  get handled(): number {
    return this.#handled;
  }

  get distinct(): number {
    return this.#counts.size;
  }

  has(value: string): boolean {
    return this.#counts.has(value);
  }

  /** Those of `values` that were never handled. */
  missing(values: Iterable<string>): number {
    let missing = 0;
    for (const value of values) if (!this.#counts.has(value)) missing++;
    return missing;
  }
}

export interface MemberOptions {
  readonly group: string;
  readonly topic: string;
  readonly name: string;
  readonly maxInFlight?: number;
  /** Default true: what has been handled is committed now and then. */
  readonly autoCommit?: boolean;
  readonly handle: (message: ConsumedMessage, consumer: Consumer) => void | Promise<void>;
}

export class Member {
  readonly errors: string[] = [];
  /** Why it has ended by itself; null while it has not. */
  fault: Error | null = null;
  readonly #consumer: Consumer;
  readonly #ended: Promise<void>;

  constructor(client: WaybillClient, private readonly options: MemberOptions) {
    const { group, topic, name, maxInFlight, autoCommit = true } = options;
    this.#consumer = client.consumer({
      group,
      topics: [topic],
      clientId: name,
      autoOffsetReset: "earliest",
      autoCommit,
      autoCommitIntervalMs: COMMIT_EVERY_MS,
      closeTimeoutMs: 2_000,
      backoff: { baseMs: 50, maxMs: 500 },
      ...(maxInFlight === undefined ? {} : { maxInFlight }),
      onError: (error) => {
        if (this.errors.length < MAX_KEPT_ERRORS) this.errors.push(error.message);
      },
    });
    this.#ended = this.#consume().catch((error) => {
      this.fault = error as Error;
    });
  }

  /** Commits what it has handled and leaves. */
  async leave(): Promise<void> {
    await this.#consumer.close().catch(() => undefined);
    await this.#ended;
  }

  async #consume(): Promise<void> {
    for await (const message of this.#consumer) {
      await this.options.handle(message, this.#consumer);
    }
  }
}

/** What one version of an application does with its messages. */
export type Handle = MemberOptions["handle"];

/** The consumers of a group: all of one version, joined and left together, as a deploy does. */
export class Crew {
  readonly #members: Member[] = [];
  /** What members went on from, and what ended them, of those that have left too. */
  readonly #faults: string[] = [];
  #joined = 0;

  constructor(
    private readonly client: WaybillClient,
    private readonly options: Pick<MemberOptions, "group" | "topic" | "maxInFlight">,
  ) {}

  get size(): number {
    return this.#members.length;
  }

  /** `count` more members join. */
  join(version: string, count: number, handle: Handle): void {
    for (let more = 0; more < count; more++) {
      const name = `${version}-${++this.#joined}`;
      this.#members.push(new Member(this.client, { ...this.options, name, handle }));
    }
  }

  /** All of them commit what they have handled and leave. */
  async leave(): Promise<void> {
    const left = this.#members.splice(0);
    await Promise.all(left.map((member) => member.leave()));
    this.#faults.push(...left.flatMap(faultsOf));
  }

  /** What members met, in words. */
  faults(): readonly string[] {
    return [...this.#faults, ...this.#members.flatMap(faultsOf)];
  }
}

function faultsOf({ errors, fault }: Member): string[] {
  return fault === null ? [...errors] : [...errors, `ended: ${fault.message}`];
}
