// Encryption at rest, as a whole. A log that is encrypted stores each record batch sealed (sealed_batch.ts): the header that
// recovery, indexes, epochs, retention and the archive go by stays in clear, the records and the batch's own CRC are
// encrypted with AES-256-GCM, and the result is again a whole batch with a CRC over what is stored. So every crash rule
// of the file log holds as it is, word for word and without any key: torn tails, marks, checkpoints, swaps and archived
// objects are walked and judged by the same code over the same kind of bytes. Only four places know of it: the appender
// seals right before it writes, reading opens right after it has checked, a compaction opens what it walks and seals what
// it writes, and the archive takes batches as they lie. The tail cache holds opened batches, so those who read at the
// tail pay nothing; logs without encryption have no cipher, and are asked for it once an append or a read.
//
// Data keys are a log's own, one a segment (and one for each segment that a compaction writes), counted, and named in every
// batch. They lie in one file beside the segments (key_ring.ts), wrapped by the broker's master key, and not in one file
// a segment: a compaction that puts one segment in the place of several, an archived object that spans segments and a
// change of the master key are then each one replaced file, atomic, with no second file to keep in step. A new key is
// durable before its first byte is. A new master key wraps the data keys again (rewrapping.ts), segments stay untouched.
// Without the right master key a log is not even opened: nothing is read, cut, finished or removed.
//
// This file owns sealing and opening the batches of one log. Refuses to own files, keys and what a fault leads to.
// Invariant: nothing is returned that is not byte for byte what was sealed at that offset of that log; and a batch that is
// not sealed is refused, since whoever can write to the disk could have put it there.
import { baseOffsetAt, batchSpans } from "../format/record_batch.ts";
import type { Crc32c } from "../ports.ts";
import type { Aead } from "./aead.ts";
import type { ForgetBounds, KeyRing } from "./key_ring.ts";
import {
  keyIdAt,
  openedSizeAt,
  putOpened,
  SEAL_BYTES,
  sealedBatch,
  type SealingKey,
  toOpen,
  toSeal,
} from "./sealed_batch.ts";

/** What is sealed or opened on this thread before others get a turn: some 2 ms. */
const MAX_BUSY_BYTES = 128 * 1024;
/** What one small batch costs besides its bytes, in bytes that take as long. */
const BATCH_COST_BYTES = 1024;

/** Batches that were opened; `fault` says why not all were, and at which offset. */
export interface OpenedBatches {
  readonly bytes: Uint8Array;
  readonly fault: { readonly at: number; readonly offset: number; readonly reason: string } | null;
}

export class LogCipher {
  #end: { readonly segmentBase: number; readonly key: SealingKey } | null = null;

  constructor(
    private readonly ring: KeyRing,
    private readonly parts: { readonly aead: Aead; readonly crc32c: Crc32c },
  ) {}

  /** What `count` batches grow by when they are sealed. */
  static addedBytes(count: number): number {
    return count * SEAL_BYTES;
  }

  /**
   * Makes sure that there is a key for the end of the log, in the segment that starts at `segmentBase`; it is durable then.
   * Rejects as the disk does.
   */
  async beginEnd(segmentBase: number, offset: number): Promise<void> {
    if (this.#end?.segmentBase === segmentBase) return;
    this.#end = { segmentBase, key: await this.ring.atEnd(segmentBase, offset) };
  }

  /** The log was cut: what comes next may lie in another segment, or before the key's offsets. */
  forgetEnd(): void {
    this.#end = null;
  }

  /** Batches that continue the log, as they are stored; after `beginEnd`. They stay as they are. */
  async seal(batches: readonly Uint8Array[]): Promise<Uint8Array[]> {
    const { aead, crc32c } = this.parts;
    if (this.#end === null) throw new Error("there is no key for the end of the log yet");
    const { keyId, key } = this.#end.key;
    const sealed: Promise<Uint8Array>[] = [];
    let busyBytes = 0;
    for (const batch of batches) {
      const input = toSeal(batch, keyId, aead);
      const box = aead.sealLater(key, input);
      sealed.push(handled(
        box.then((box) => sealedBatch(batch, { keyId, nonce: input.nonce, box }, crc32c)),
      ));
      busyBytes += batch.length + BATCH_COST_BYTES;
      if (busyBytes < MAX_BUSY_BYTES) continue;
      busyBytes = 0;
      await aead.pause();
    }
    return await Promise.all(sealed);
  }

  /** Whole stored batches, checked and without guards, as they were; up to the first that cannot be opened. */
  async open(stored: Uint8Array): Promise<OpenedBatches> {
    const { aead } = this.parts;
    const waiting: { at: number; plain: Promise<Uint8Array | null> }[] = [];
    let sizeBytes = 0;
    let busyBytes = 0;
    let reason: string | null = null;
    let faultAt = -1;
    for (const { at, sizeBytes: storedBytes } of batchSpans(stored)) {
      const found = this.#keyAt(stored, at);
      if (typeof found === "string") {
        [faultAt, reason] = [at, found];
        break;
      }
      const plain = handled(aead.openLater(found.key, toOpen(stored, at, found.keyId)));
      waiting.push({ at, plain });
      sizeBytes += openedSizeAt(stored, at);
      busyBytes += storedBytes + BATCH_COST_BYTES;
      if (busyBytes < MAX_BUSY_BYTES) continue;
      busyBytes = 0;
      await aead.pause();
    }
    const opened = await Promise.all(waiting.map(({ plain }) => plain));
    const bytes = new Uint8Array(sizeBytes);
    let end = 0;
    for (const [index, plain] of opened.entries()) {
      const { at } = waiting[index]!;
      if (plain === null) {
        [faultAt, reason] = [at, NOT_AUTHENTIC];
        break;
      }
      end += putOpened({ bytes: stored, at, plain }, bytes, end);
    }
    return {
      bytes: bytes.subarray(0, end),
      fault: reason === null
        ? null
        : { at: faultAt, offset: baseOffsetAt(stored, faultAt), reason },
    };
  }

  /** The stored batch at `at`, checked and without guard, as it was; or why it cannot be opened. */
  openAt(stored: Uint8Array, at: number): Uint8Array | string {
    const found = this.#keyAt(stored, at);
    if (typeof found === "string") return found;
    const plain = this.parts.aead.open(found.key, toOpen(stored, at, found.keyId));
    if (plain === null) return NOT_AUTHENTIC;
    const bytes = new Uint8Array(openedSizeAt(stored, at));
    putOpened({ bytes: stored, at, plain }, bytes, 0);
    return bytes;
  }

  /** A key with which a compaction writes the given offsets anew. Rejects as the disk does. */
  async beginRewrite(range: { baseOffset: number; endOffset: number }): Promise<Rewrite> {
    const { keyId, key } = await this.ring.forRewrite(range);
    const { aead, crc32c } = this.parts;
    return {
      seal: (batch) => {
        const input = toSeal(batch, keyId, aead);
        const box = aead.seal(key, input);
        return sealedBatch(batch, { keyId, nonce: input.nonce, box }, crc32c);
      },
      isInPlace: (range) => this.ring.rewritten(keyId, range),
      isGivenUp: () => this.ring.withdraw(keyId),
    };
  }

  /** See KeyRing.forget. */
  async forgetKeys(bounds: ForgetBounds): Promise<void> {
    await this.ring.forget(bounds);
  }

  /** Whether `rewrap` would change anything. */
  get isWrappedByOld(): boolean {
    return this.ring.isWrappedByOld;
  }

  /** See KeyRing.rewrap. */
  async rewrap(): Promise<boolean> {
    return await this.ring.rewrap();
  }

  #keyAt(stored: Uint8Array, at: number): SealingKey | string {
    const keyId = keyIdAt(stored, at);
    if (keyId === null) return "the batch is not encrypted, and this log is";
    const key = this.ring.find(keyId);
    return key === null ? `there is no data key ${keyId}` : { keyId, key };
  }
}

/** Looked at later, together with others: until then a rejection is nobody's. */
function handled<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

const NOT_AUTHENTIC = "the encrypted batch was changed: it is not what was stored";

/** Writing batches anew with a key of their own. */
export interface Rewrite {
  seal(batch: Uint8Array): Uint8Array;
  /** They are part of the log now, durably, and all that it holds of these offsets. */
  isInPlace(range: { baseOffset: number; endOffset: number }): void;
  /** They never will be. Rejects as the disk does. */
  isGivenUp(): Promise<void>;
}
