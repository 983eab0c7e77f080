// Owns verifying the audit log: every byte of it follows from the entry before it, up to a head that is kept elsewhere.
// Refuses to own what is done about a fault.
// Invariant: it goes on behind a fault and never fails because of one, so that a known fault hides no other; what cannot be
// read is a fault as well.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Crc32c } from "../../storage/ports.ts";
import type { FoundBatch } from "./audit_batch.ts";
import { brokenLink } from "./chain.ts";
import type { KeptAnchor } from "./kept_head.ts";
import type { AuditEntry, AuditFault, AuditHead, AuditVerification } from "./types.ts";
import { type AuditPartition, walkAudit } from "./walk.ts";

/** The action that is recorded when old entries are let go. */
export const RETENTION_ACTION = "audit.retention";

/** What reading says of a log that is not as it was written. */
const CORRUPTIONS: ReadonlySet<string> = new Set(["CORRUPT_LOG", "CORRUPT_BATCH"]);

/** Faults that are told, the first ones. */
const MAX_FAULTS = 100;
/** Offsets that are tried for the next batch behind one that cannot be read, in all. */
const MAX_SKIPPED = 10_000;

export interface VerifyOptions {
  readonly anchor: KeptAnchor;
  /** The head now: nothing beyond it is looked at. */
  readonly head: AuditHead;
  /** Heads kept elsewhere that must be on the chain. */
  readonly pinned: readonly AuditHead[];
  /** Faults that concern entries before this one alone are known, and not told. */
  readonly from: number;
  readonly crc32c: Crc32c;
}

/** Rejects only where the log is not there at the moment. */
export async function verifyAudit(
  partition: AuditPartition,
  options: VerifyOptions,
): Promise<AuditVerification> {
  const check = new ChainCheck(options);
  try {
    await walkPastFaults(partition, check, options.crc32c);
    check.end();
  } catch (error) {
    if (!isCorruption(error)) throw error;
    check.unreadableToTheEnd(`it cannot be read: ${error.message}`);
  }
  return check.result();
}

async function walkPastFaults(
  partition: AuditPartition,
  check: ChainCheck,
  crc32c: Crc32c,
): Promise<void> {
  const { startOffset, endOffset } = partition.readable();
  let offset = startOffset;
  // The next batch is expected at `offset`, but for one behind what cannot be read.
  let isPlaceKnown = true;
  for (let skipped = 0; offset < endOffset && !check.isDone;) {
    try {
      const walk = { from: offset, to: endOffset, crc32c, uncached: true };
      for await (const batch of walkAudit(partition, walk)) {
        check.batch(batch, isPlaceKnown ? offset : batch.baseOffset);
        isPlaceKnown = true;
        if (check.isDone) return;
        offset = Math.max(batch.nextOffset, offset + 1);
      }
      return;
    } catch (error) {
      if (!isCorruption(error)) throw error;
      if (skipped >= MAX_SKIPPED) throw error;
      check.unreadable(`it cannot be read: ${error.message}`);
      isPlaceKnown = false;
      skipped++;
      offset++;
    }
  }
}

function isCorruption(error: unknown): error is BrokerError {
  return error instanceof BrokerError && CORRUPTIONS.has(error.code);
}

class ChainCheck {
  #last: AuditHead | null = null;
  #firstSequence: number | null = null;
  #entries = 0;
  readonly #faults: AuditFault[] = [];
  #faultCount = 0;
  /** Sequence of the last entry that must lie in what could not be read just before; null when that is nothing. */
  #hiddenUpTo: number | null = null;
  /** What could not be read just before, and is not told yet. */
  #unread: { sequence: number; upTo: number; reason: string } | null = null;
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
    return this.#reached >= this.options.head.sequence;
  }

  get nextSequence(): number {
    return this.#reached + 1;
  }

  /** `upTo`: the last entry concerned. */
  fail(sequence: number, reason: string, upTo: number = sequence): void {
    if (upTo < this.options.from) return;
    this.#faultCount++;
    if (this.#faults.length < MAX_FAULTS) {
      this.#faults.push({ sequence, ...upTo > sequence ? { upTo } : {}, reason });
    }
  }

  /** One more entry cannot be read. */
  unreadable(reason: string): void {
    const sequence = this.nextSequence;
    this.#unread = { reason, sequence, ...this.#unread, upTo: sequence };
    this.#hiddenUpTo = sequence;
  }

  unreadableToTheEnd(reason: string): void {
    this.unreadable(reason);
    this.#unread!.upTo = Math.max(this.#unread!.upTo, this.options.head.sequence);
    this.#tellUnread();
  }

  batch({ baseOffset, nextOffset, entries, fault }: FoundBatch, expectedOffset: number): void {
    this.#tellUnread();
    if (baseOffset !== expectedOffset) {
      this.fail(this.nextSequence, `it lies at ${baseOffset} and not at ${expectedOffset}`);
    }
    const first = this.nextSequence;
    for (const entry of entries) {
      if (this.isDone && fault === null) break;
      this.#entry(entry);
    }
    if (fault === null) return;
    const hidden = Math.max(0, nextOffset - baseOffset - entries.length);
    if (hidden > 0) this.#hiddenUpTo = this.#reached + hidden;
    const sequence = first + fault.after;
    this.fail(sequence, fault.reason, Math.max(sequence, this.#reached));
  }

  end(): void {
    this.#tellUnread();
    const { head: { sequence } } = this.options;
    const reached = this.#reached;
    if (reached >= sequence) return;
    this.fail(reached + 1, `entries ${reached + 1} to ${sequence} are missing`, sequence);
  }

  result(): AuditVerification {
    const { sequence, hash } = this.options.head;
    const [firstFault] = this.#faults;
    return {
      intact: this.#faultCount === 0,
      entries: this.#entries,
      firstSequence: this.#firstSequence,
      head: { sequence, hash },
      ...(firstFault === undefined
        ? {}
        : { firstFault, faults: this.#faults, faultCount: this.#faultCount }),
    };
  }

  #tellUnread(): void {
    if (this.#unread === null) return;
    const { sequence, reason, upTo } = this.#unread;
    this.#unread = null;
    this.fail(sequence, reason, upTo);
  }

  get #reached(): number {
    return this.#hiddenUpTo ?? this.#last?.sequence ?? this.options.anchor.sequence;
  }

  #entry(entry: AuditEntry): void {
    const { sequence, hash } = entry;
    const before = this.#before(entry);
    const reason = brokenLink(before, entry);
    const pin = this.#pins.get(sequence);
    if (reason !== null) {
      const first = Math.min(before.sequence + 1, sequence);
      this.fail(first, reason, Math.max(first, sequence - 1));
    } else if (pin !== undefined && pin !== hash) {
      this.fail(sequence, "it was written again: its hash is not the one kept");
    } else {
      this.#firstSequence ??= sequence;
      this.#entries++;
    }
    // One that comes again, or from before, is not gone on from.
    if (sequence <= before.sequence) return;
    this.#last = { sequence, hash };
    this.#hiddenUpTo = null;
  }

  #before(entry: AuditEntry): AuditHead {
    if (this.#hiddenUpTo !== null) {
      // What was hidden had a hash that nobody knows.
      return { sequence: this.#hiddenUpTo, hash: entry.previousHash };
    }
    return this.#last ?? this.#beforeFirst(entry);
  }

  /** Entries before the anchor that are still there need not begin anywhere: those after them pin them. */
  #beforeFirst(first: AuditEntry): AuditHead {
    const { anchor } = this.options;
    if (first.sequence > anchor.sequence || first.sequence < 1) return anchor;
    return { sequence: first.sequence - 1, hash: first.previousHash };
  }
}
