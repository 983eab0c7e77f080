// Owns what a log has promised: it stands between a test and a log, and knows every acknowledgement.
// Refuses to know how the log keeps its promises.
// Invariant: what it demands after a crash follows from acknowledgements alone. An append with an unknown outcome may be
// there in part, from its front; a cut or a retention that was under way may have happened in part.
import assert from "node:assert/strict";
import { BrokerError } from "../../storage/broker_error.ts";
import type { Log, RetentionPolicy } from "../../storage/log.ts";
import { readAll } from "../contracts/log_fixture.ts";
import { nextBatch } from "./simulated_logs.ts";

interface WitnessedBatch {
  readonly baseOffset: number;
  readonly endOffset: number;
  readonly bytes: Uint8Array;
}

export class LogWitness {
  /** Acknowledged batches that retention has not dropped for sure. */
  #batches: WitnessedBatch[] = [];
  /** Batches of an append whose outcome is unknown. */
  #maybe: WitnessedBatch[] = [];
  #log: Log | null = null;
  #startOffset = 0;
  /** The log may start anywhere up to here: a retention was under way. */
  #latestStart = 0;
  /** All below must be there. */
  #durableEnd = 0;
  #endOffset = 0;
  #mark = 0;

  /** Batches that must have survived every crash so far. */
  get acknowledged(): number {
    return this.#batches.length;
  }

  get endOffset(): number {
    return this.#endOffset;
  }

  get startOffset(): number {
    return this.#startOffset;
  }

  /** Checks a log that was just opened against everything it ever promised, and takes what it holds for the truth. */
  async attach(log: Log): Promise<void> {
    this.#log = log;
    const { logStartOffset: start, logEndOffset: end } = log;
    assert.ok(
      start >= this.#startOffset && start <= this.#latestStart,
      `starts at ${start}, not from ${this.#startOffset} to ${this.#latestStart}`,
    );
    assert.equal(log.flushedOffset, end, "what recovery keeps is durable");
    const known = [...this.#batches, ...this.#maybe].filter((batch) => batch.baseOffset >= start);
    const bytes = await readAll(log);
    assert.ok(bytes.length <= known.length, "nothing is there that was never appended");
    assert.deepEqual(bytes, known.slice(0, bytes.length).map((batch) => batch.bytes), "content");
    assert.ok(end >= this.#durableEnd, `ends at ${end}, but ${this.#durableEnd} was acknowledged`);
    this.#batches = known.slice(0, bytes.length);
    assert.equal(end, this.#batches.at(-1)?.endOffset ?? start, "no gap at the end");
    this.#maybe = [];
    this.#startOffset = this.#latestStart = start;
    this.#endOffset = this.#durableEnd = end;
  }

  /** Appends `count` batches in one call. A DISK_FULL is an answer, any other rejection is passed on. */
  async append(
    count: number,
    options: { leaderEpoch?: number; valueBytes?: number } = {},
  ): Promise<"appended" | "full"> {
    const log = this.#attached();
    const batches: WitnessedBatch[] = [];
    let offset = this.#endOffset;
    for (let index = 0; index < count; index++, offset += 2) {
      const bytes = nextBatch({ logEndOffset: offset }, { ...options, mark: this.#mark++ });
      batches.push({ baseOffset: offset, endOffset: offset + 2, bytes });
    }
    this.#maybe = batches;
    try {
      await log.append(batches.map((batch) => batch.bytes.slice()));
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== "DISK_FULL") throw error;
      this.#maybe = [];
      return "full";
    }
    this.#maybe = [];
    this.#batches.push(...batches);
    this.#endOffset = offset;
    this.#noteFlushed();
    return "appended";
  }

  async truncateTo(offset: number): Promise<void> {
    const kept = this.#batches.filter((batch) => batch.endOffset <= offset);
    const end = kept.at(-1)?.endOffset ?? this.#startOffset;
    this.#durableEnd = Math.min(this.#durableEnd, end);
    await this.#attached().truncateTo(offset);
    this.#batches = kept;
    this.#endOffset = end;
    this.#noteFlushed();
  }

  async applyRetention(policy: RetentionPolicy): Promise<void> {
    this.#latestStart = Math.max(this.#startOffset, Math.min(this.#endOffset, policy.keepFrom));
    const start = await this.#attached().applyRetention(policy);
    assert.ok(start <= this.#latestStart);
    this.#startOffset = this.#latestStart = start;
    this.#batches = this.#batches.filter((batch) => batch.baseOffset >= start);
    this.#noteFlushed();
  }

  async close(): Promise<void> {
    await this.#attached().close();
    this.#durableEnd = this.#endOffset;
  }

  /** The log reads as it should while it is open. */
  async check(): Promise<void> {
    const log = this.#attached();
    assert.equal(log.logEndOffset, this.#endOffset);
    assert.equal(log.logStartOffset, this.#startOffset);
    assert.deepEqual(await readAll(log), this.#batches.map((batch) => batch.bytes));
  }

  #noteFlushed(): void {
    this.#durableEnd = Math.max(this.#durableEnd, this.#attached().flushedOffset);
  }

  #attached(): Log {
    assert.ok(this.#log !== null, "no log is attached");
    return this.#log;
  }
}
