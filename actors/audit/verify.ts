// Owns verifying the audit log: every byte of it follows from the entry before it, up to a head that is kept elsewhere.
// Refuses to own what is done about a fault.
// Invariant: it reports the first fault and never fails because of one; what cannot be read is a fault as well.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { FoundBatch } from "./audit_batch.ts";
import { brokenLink } from "./chain.ts";
import type { KeptAnchor } from "./kept_head.ts";
import type { AuditEntry, AuditHead, AuditVerification } from "./types.ts";
import { type AuditPartition, walkAudit } from "./walk.ts";

/** The action that is recorded when old entries are let go. */
export const RETENTION_ACTION = "audit.retention";

/** What reading says of a log that is not as it was written. */
const CORRUPTIONS: ReadonlySet<string> = new Set(["CORRUPT_LOG", "CORRUPT_BATCH"]);

export interface VerifyOptions {
  readonly anchor: KeptAnchor;
  /** The head now: nothing beyond it is looked at. */
  readonly head: AuditHead;
  /** Heads kept elsewhere that must be on the chain. */
  readonly pinned: readonly AuditHead[];
  readonly crc32c: Crc32c;
}

/** Rejects only where the log is not there at the moment. */
export async function verifyAudit(
  partition: AuditPartition,
  options: VerifyOptions,
): Promise<AuditVerification> {
  const check = new ChainCheck(options);
  try {
    const { startOffset, endOffset } = partition.readable();
    let offset = startOffset;
    const walk = { from: startOffset, to: endOffset, crc32c: options.crc32c, uncached: true };
    for await (const batch of walkAudit(partition, walk)) {
      check.batch(batch, offset);
      if (check.isDone) break;
      offset = batch.nextOffset;
    }
    check.end();
  } catch (error) {
    if (!(error instanceof BrokerError) || !CORRUPTIONS.has(error.code)) throw error;
    check.fail(check.nextSequence, `it cannot be read: ${error.message}`);
  }
  return check.result();
}

class ChainCheck {
  #last: AuditHead | null = null;
  #firstSequence: number | null = null;
  #entries = 0;
  #fault: { sequence: number; reason: string } | null = null;
  readonly #pins: Map<number, string>;

  constructor(private readonly options: VerifyOptions) {
    const { anchor, head, pinned } = options;
    this.#pins = new Map([anchor, head].map(({ sequence, hash }) => [sequence, hash]));
    for (const { sequence, hash } of pinned) {
      const known = this.#pins.get(sequence);
      if (known !== undefined && known !== hash) {
        this.fail(sequence, "the chain has another hash there than the one that was handed in");
      }
      if (sequence > head.sequence) {
        this.fail(head.sequence + 1, `entries up to ${sequence} were written and are missing`);
      }
      this.#pins.set(sequence, hash);
    }
  }

  get isDone(): boolean {
    return this.#fault !== null || (this.#last?.sequence ?? 0) >= this.options.head.sequence;
  }

  get nextSequence(): number {
    return (this.#last ?? this.options.anchor).sequence + 1;
  }

  fail(sequence: number, reason: string): void {
    this.#fault ??= { sequence, reason };
  }

  batch({ baseOffset, entries, fault }: FoundBatch, expectedOffset: number): void {
    if (baseOffset !== expectedOffset) {
      return this.fail(this.nextSequence, `it lies at ${baseOffset} and not at ${expectedOffset}`);
    }
    const first = this.nextSequence;
    for (const entry of entries) {
      if (this.isDone && fault === null) break;
      this.#entry(entry);
    }
    if (fault !== null) this.fail(first + fault.after, fault.reason);
  }

  end(): void {
    const { head, anchor } = this.options;
    const reached = this.#last?.sequence ?? anchor.sequence;
    if (reached >= head.sequence) return;
    this.fail(this.nextSequence, `entries ${reached + 1} to ${head.sequence} are missing`);
  }

  result(): AuditVerification {
    const { sequence, hash } = this.options.head;
    return {
      intact: this.#fault === null,
      entries: this.#entries,
      firstSequence: this.#firstSequence,
      head: { sequence, hash },
      ...(this.#fault === null ? {} : { firstFault: this.#fault }),
    };
  }

  #entry(entry: AuditEntry): void {
    if (this.#fault !== null) return;
    const before = this.#last ?? this.#beforeFirst(entry);
    const reason = brokenLink(before, entry);
    if (reason !== null) return this.fail(Math.min(before.sequence + 1, entry.sequence), reason);
    const pin = this.#pins.get(entry.sequence);
    if (pin !== undefined && pin !== entry.hash) {
      return this.fail(entry.sequence, "it was written again: its hash is not the one kept");
    }
    this.#firstSequence ??= entry.sequence;
    this.#last = { sequence: entry.sequence, hash: entry.hash };
    this.#entries++;
  }

  /** Entries before the anchor that are still there need not begin anywhere: those after them pin them. */
  #beforeFirst(first: AuditEntry): AuditHead {
    const { anchor } = this.options;
    if (first.sequence > anchor.sequence || first.sequence < 1) return anchor;
    return { sequence: first.sequence - 1, hash: first.previousHash };
  }
}
