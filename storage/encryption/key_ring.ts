// Owns the data keys of one log: making, keeping, finding and forgetting them, and the file in which they lie wrapped.
// Refuses to own what is sealed with them (log_cipher.ts) and master keys (master_keys.ts).
// Invariant: a key is durable in the file before anything is sealed with it, and leaves the file only when nothing that
// could be read is. The file is replaced as a whole, so it is the old or the new one whenever the machine stops.
//
// Each key says which offsets it may have sealed. A key of the end of the log has no end until the next one is begun. That is
// all there is to know for letting go of it: what retention has dropped needs none, and where a compaction has written
// every batch of a range anew with a key of its own, keys whose offsets lie within that range are not used any more.
import type { Crc32c, Disk } from "../ports.ts";
import { readWhole, replaceFile } from "../file_log/whole_files.ts";
import { Turn } from "../turns.ts";
import { KEY_BYTES, type PreparedKey } from "./aead.ts";
import { masterKeyMissing, type MasterKeys } from "./master_keys.ts";
import { decodeRing, encodeRing, type RingEntry } from "./ring_file.ts";
import type { SealingKey } from "./sealed_batch.ts";

/** No valid part of a log's name. */
export const KEY_RING_FILE = "encryption.keys";
/** Keys of one log; with more segments than that, the newest key serves on. */
export const MAX_DATA_KEYS = 16_384;
/** Longer than any ring of so many keys. */
const MAX_FILE_BYTES = MAX_DATA_KEYS * 512;

export interface RingAccess {
  readonly disk: Disk;
  readonly crc32c: Crc32c;
  readonly masterKeys: MasterKeys;
  /** See MAX_DATA_KEYS. */
  readonly maxDataKeys?: number;
}

export class KeyRing {
  readonly #turn = new Turn();
  /** Of those that were used, by id. Kept when they leave the file: a reader may still hold what they sealed. */
  readonly #prepared = new Map<number, PreparedKey>();
  #entries: readonly RingEntry[];
  /** Highest that was given out since the ring was loaded. */
  #lastId = 0;
  /** The master key that is known to have wrapped them all. */
  #wrappedBy: string | null = null;
  /** Compactions that went through: from where to where all is sealed with that key. */
  readonly #rewritten = new Map<number, { baseOffset: number; endOffset: number }>();

  private constructor(
    private readonly access: RingAccess,
    private readonly directory: string,
    entries: readonly RingEntry[],
  ) {
    this.#entries = entries;
  }

  /** The ring as it was kept; "none" when no key was ever made, "damaged" when the file cannot be read. */
  static async load(access: RingAccess, directory: string): Promise<KeyRing | "none" | "damaged"> {
    const bytes = await readWhole(access.disk, `${directory}/${KEY_RING_FILE}`, MAX_FILE_BYTES);
    if (bytes === null) return "none";
    const entries = decodeRing(bytes, access.crc32c);
    return entries === null ? "damaged" : new KeyRing(access, directory, entries);
  }

  /** A ring without keys, which has no file yet. */
  static empty(access: RingAccess, directory: string): KeyRing {
    return new KeyRing(access, directory, []);
  }

  get keyCount(): number {
    return this.#entries.length;
  }

  /** Throws ENCRYPTION_KEY_UNAVAILABLE when master keys are missing that keys of this ring were wrapped by. */
  requireMasterKeys(): void {
    const { masterKeys } = this.access;
    const ids = new Set(this.#entries.map(({ wrapped }) => wrapped.masterKeyId));
    const missing = [...ids].filter((id) => !masterKeys.has(id));
    if (missing.length > 0) throw masterKeyMissing(this.directory, missing);
  }

  /** The key with that id; null when there is none, or it cannot be unwrapped. ENCRYPTION_KEY_UNAVAILABLE. */
  find(keyId: number): PreparedKey | null {
    const known = this.#prepared.get(keyId);
    if (known !== undefined) return known;
    const entry = this.#entries.find((each) => each.keyId === keyId);
    if (entry === undefined) return null;
    const { masterKeys } = this.access;
    const secret = masterKeys.unwrap(entry.wrapped, { log: this.directory, keyId });
    if (secret === null) return null;
    return this.#prepare(keyId, secret);
  }

  /**
   * The key for what is appended from `offset` on, in a segment that starts at `segmentBase`: the one that was begun for
   * the segment, else a new one. Rejects as the disk does.
   */
  async atEnd(segmentBase: number, offset: number): Promise<SealingKey> {
    return await this.#turn.run(async () => {
      const open = this.#entries.findLast(({ endOffset }) => endOffset === null);
      const isFull = this.#entries.length >= (this.access.maxDataKeys ?? MAX_DATA_KEYS);
      const isUsable = open !== undefined && open.baseOffset <= offset &&
        (open.baseOffset >= segmentBase || isFull);
      const key = isUsable ? this.find(open.keyId) : null;
      if (isUsable && key !== null) return { keyId: open.keyId, key };
      return await this.#add({ baseOffset: offset, endOffset: null });
    });
  }

  /** A new key for writing what lies in the given offsets anew. Rejects as the disk does. */
  async forRewrite(range: { baseOffset: number; endOffset: number }): Promise<SealingKey> {
    return await this.#turn.run(() => {
      // Their file must stay readable.
      if (this.#entries.length >= 2 * MAX_DATA_KEYS) {
        throw new Error(`log ${this.directory} has ${this.#entries.length} data keys`);
      }
      return this.#add(range);
    });
  }

  /** Everything in the log from `baseOffset` to `endOffset` is sealed with that key, durably. */
  rewritten(keyId: number, range: { baseOffset: number; endOffset: number }): void {
    this.#rewritten.set(keyId, range);
  }

  /** Nothing that was sealed with that key is part of the log. */
  async withdraw(keyId: number): Promise<void> {
    await this.#turn.run(() => this.#keep(this.#entries.filter((each) => each.keyId !== keyId)));
  }

  /**
   * Lets go of keys that nothing needs any more: everything below `startOffset` is gone, here and in the archive, which
   * holds copies of older batches up to `archivedTo`. Rejects as the disk does.
   */
  async forget({ startOffset, archivedTo }: ForgetBounds): Promise<void> {
    await this.#turn.run(async () => {
      const kept = this.#entries.filter((entry) =>
        (entry.endOffset === null || entry.endOffset > startOffset) &&
        (entry.baseOffset < archivedTo || !this.#isReplaced(entry))
      );
      if (kept.length === this.#entries.length) return;
      await this.#keep(kept);
      const ids = new Set(kept.map(({ keyId }) => keyId));
      for (const id of this.#rewritten.keys()) if (!ids.has(id)) this.#rewritten.delete(id);
    });
  }

  #isReplaced({ keyId, baseOffset, endOffset }: RingEntry): boolean {
    if (endOffset === null) return false;
    for (const [byKeyId, by] of this.#rewritten) {
      if (byKeyId > keyId && by.baseOffset <= baseOffset && endOffset <= by.endOffset) return true;
    }
    return false;
  }

  /** Whether `rewrap` would change anything. Asked often, of many logs. */
  get isWrappedByOld(): boolean {
    const { currentId } = this.access.masterKeys;
    if (this.#wrappedBy === currentId) return false;
    const isOld = this.#entries.some(({ wrapped }) => wrapped.masterKeyId !== currentId);
    if (!isOld) this.#wrappedBy = currentId;
    return isOld;
  }

  /**
   * Wraps every key with the present master key; whether there was any that was not. Rejects as the disk does, with
   * ENCRYPTION_KEY_UNAVAILABLE for keys whose master key is gone, and a plain Error for damaged ones; then all stays.
   */
  async rewrap(): Promise<boolean> {
    return await this.#turn.run(async () => {
      const { masterKeys } = this.access;
      if (!this.isWrappedByOld) return false;
      await this.#keep(this.#entries.map((entry) => {
        if (entry.wrapped.masterKeyId === masterKeys.currentId) return entry;
        const owner = { log: this.directory, keyId: entry.keyId };
        const secret = masterKeys.unwrap(entry.wrapped, owner);
        if (secret === null) throw new Error(`data key ${entry.keyId} cannot be unwrapped`);
        return { ...entry, wrapped: masterKeys.wrap(secret, owner) };
      }));
      return true;
    });
  }

  /** In the turn. */
  async #add(range: { baseOffset: number; endOffset: number | null }): Promise<SealingKey> {
    const { masterKeys } = this.access;
    const keyId = 1 +
      this.#entries.reduce((max, entry) => Math.max(max, entry.keyId), this.#lastId);
    const secret = masterKeys.aead.randomBytes(KEY_BYTES);
    const wrapped = masterKeys.wrap(secret, { log: this.directory, keyId });
    const before = range.endOffset !== null
      ? this.#entries
      : this.#entries.map((entry) =>
        entry.endOffset === null
          ? { ...entry, endOffset: Math.max(entry.baseOffset, range.baseOffset) }
          : entry
      );
    await this.#keep([...before, { keyId, ...range, wrapped }]);
    this.#lastId = keyId;
    return { keyId, key: this.#prepare(keyId, secret) };
  }

  /** In the turn. */
  async #keep(entries: readonly RingEntry[]): Promise<void> {
    const { disk, crc32c } = this.access;
    const at = { directory: this.directory, name: KEY_RING_FILE };
    await replaceFile(disk, at, { bytes: encodeRing(entries, crc32c), durable: true });
    this.#entries = entries;
    this.#wrappedBy = null;
  }

  #prepare(keyId: number, secret: Uint8Array): PreparedKey {
    const key = this.access.masterKeys.aead.prepare(secret);
    this.#prepared.set(keyId, key);
    return key;
  }
}

export interface ForgetBounds {
  readonly startOffset: number;
  readonly archivedTo: number;
}
