// Owns a copy in memory of the entries below one prefix of the metadata store, kept up to date by its watch.
// Refuses to own what the entries mean (view.ts, controller.ts).
// Invariant: what is held of a key only ever becomes newer: an answer counts when it was asked for after the last one that
// counted was there, and is asked for again when that is not so. So nothing is older than the last change that was told
// of; one that was not told of is found by the slow reading again.
import type { MetadataEntry, MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { isKeyBelow, keyName } from "../../storage/metadata_limits.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";

/** More changed keys than this are read by listing all. */
const MAX_KEYS_READ_SINGLY = 128;
/** Reads of single keys under way at once. */
const MAX_READS_AT_ONCE = 16;
/** Times an answer is asked for again because another came between. */
const MAX_OVERLAPS = 8;
/** Between a reading that failed and the next. */
const RETRY_MS = 250;
/** Between two readings of everything, when nothing asks for one. */
const DEFAULT_REREAD_MS = 10_000;
/** A reading of everything takes at most one part in so many of the time. */
const REREAD_SHARE = 20;

export interface FollowedEntriesOptions {
  readonly metadata: MetadataStore;
  readonly prefix: MetadataKey;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default 10 s. */
  readonly rereadMs?: number;
  /** The keys whose entries are other ones now; at once with each. */
  readonly onChanged: (keys: readonly MetadataKey[]) => void;
  /** After one or many of them. */
  readonly onCaughtUp?: () => void;
}

/** When an answer that counted was asked for, and when it was there: steps of one count. */
interface Counted {
  readonly askedAt: number;
  readonly heldAt: number;
}

export class FollowedEntries {
  readonly #entries = new Map<string, MetadataEntry>();
  /** Of keys that were read since everything was, those that are not there any more too. */
  readonly #counted = new Map<string, Counted>();
  /** Of the last reading of everything. */
  #listed: Counted = { askedAt: 0, heldAt: 0 };
  #steps = 0;
  #listedAtMs = -Infinity;
  #listTookMs = 0;
  #dirty = new Map<string, MetadataKey>();
  #isAllDirty = false;
  #running = false;
  #closed = false;
  #cancelTimer: Cancel = () => {};
  readonly #unwatch: () => void;

  private constructor(private readonly options: FollowedEntriesOptions) {
    this.#unwatch = options.metadata.watch(options.prefix, (keys) => this.#markDirty(keys));
  }

  /** Reads everything once. Rejects as the store does. */
  static async open(options: FollowedEntriesOptions): Promise<FollowedEntries> {
    const followed = new FollowedEntries(options);
    try {
      await followed.refresh();
    } catch (error) {
      followed.close();
      throw error;
    }
    followed.#armReread();
    return followed;
  }

  get(key: MetadataKey): MetadataEntry | null {
    return this.#entries.get(keyName(key)) ?? null;
  }

  /** In no order. */
  entries(): Iterable<MetadataEntry> {
    return this.#entries.values();
  }

  /** Reads everything from the store; shows what was there at the call, or later. Rejects as the store does. */
  async refresh(): Promise<void> {
    const calledAt = ++this.#steps;
    for (let overlaps = 0; overlaps < MAX_OVERLAPS; overlaps++) {
      const askedAt = ++this.#steps;
      const askedAtMs = this.options.clock.monotonic();
      const found = await this.options.metadata.list(this.options.prefix);
      this.#listedAtMs = this.options.clock.monotonic();
      this.#listTookMs = this.#listedAtMs - askedAtMs;
      if (this.#closed) return;
      if (this.#listed.heldAt > askedAt) continue;
      const overlapped = this.#takeAll(askedAt, found);
      return await this.read(overlapped, calledAt);
    }
    this.reread();
  }

  /** Reads these from the store; shows what was there at the call, or later. Rejects as the store does. */
  async read(keys: readonly MetadataKey[], calledAt: number = ++this.#steps): Promise<void> {
    let hasChanged = false;
    const readOne = async (key: MetadataKey) => {
      if (await this.#readOne(key, calledAt)) hasChanged = true;
    };
    try {
      for (let at = 0; at < keys.length; at += MAX_READS_AT_ONCE) {
        const some = keys.slice(at, at + MAX_READS_AT_ONCE).map(readOne);
        // All of them, also when one fails: what the others change is told of below.
        for (const one of await Promise.allSettled(some)) {
          if (one.status === "rejected") throw one.reason;
        }
      }
    } finally {
      if (hasChanged) this.options.onCaughtUp?.();
    }
  }

  /** Everything is to be read again soon: what was told of may have been missed. */
  reread(): void {
    this.#isAllDirty = true;
    if (!this.#running && !this.#closed) void this.#catchUp();
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#cancelTimer();
  }

  #markDirty(keys: readonly MetadataKey[]): void {
    for (const key of keys) {
      if (isKeyBelow(this.options.prefix, key)) this.#dirty.set(keyName(key), key);
    }
    // A watch may say that something changed without saying what.
    if (keys.length === 0 || this.#dirty.size > MAX_KEYS_READ_SINGLY) this.#isAllDirty = true;
    if (!this.#running) void this.#catchUp();
  }

  /** One at a time; what changes meanwhile is read in the next round. */
  async #catchUp(): Promise<void> {
    this.#running = true;
    this.#cancelTimer();
    let hasFailed = false;
    while (!this.#closed && !hasFailed && (this.#isAllDirty || this.#dirty.size > 0)) {
      const keys = [...this.#dirty.values()];
      const isAll = this.#isAllDirty;
      this.#dirty = new Map();
      this.#isAllDirty = false;
      try {
        await (isAll ? this.refresh() : this.read(keys));
      } catch {
        this.#isAllDirty = true;
        hasFailed = true;
      }
    }
    this.#running = false;
    if (this.#closed) return;
    if (hasFailed) this.#armAt(RETRY_MS);
    else this.#armReread();
  }

  /** Counted from the last reading of everything: what is told of meanwhile does not put it off. */
  #armReread(): void {
    if (this.#running) return;
    const { rereadMs = DEFAULT_REREAD_MS, clock } = this.options;
    const pauseMs = Math.max(rereadMs, this.#listTookMs * REREAD_SHARE);
    this.#armAt(Math.max(0, this.#listedAtMs + pauseMs - clock.monotonic()));
  }

  #armAt(delayMs: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.options.timers.after(delayMs, () => this.reread());
  }

  /** Whether the entry is another one now. */
  async #readOne(key: MetadataKey, calledAt: number): Promise<boolean> {
    for (let overlaps = 0; overlaps < MAX_OVERLAPS && !this.#closed; overlaps++) {
      const last = this.#countedOf(key);
      if (last.askedAt > calledAt) return false;
      const askedAt = ++this.#steps;
      const entry = await this.options.metadata.get(key);
      if (this.#countedOf(key).heldAt > askedAt) continue;
      const hasChanged = this.#take(askedAt, key, entry);
      // At once: whoever asks next finds it counted, and must find it told of.
      if (hasChanged) this.options.onChanged([key]);
      return hasChanged;
    }
    this.reread();
    return false;
  }

  #countedOf(key: MetadataKey): Counted {
    return this.#counted.get(keyName(key)) ?? this.#listed;
  }

  /** Gives the keys of which another answer has come since. */
  #takeAll(askedAt: number, found: readonly MetadataEntry[]): MetadataKey[] {
    const changed: MetadataKey[] = [];
    const overlapped: MetadataKey[] = [];
    const names = new Set(found.map(({ key }) => keyName(key)));
    const isFree = (key: MetadataKey) => {
      const counted = this.#counted.get(keyName(key));
      if (counted === undefined || counted.heldAt < askedAt) return true;
      if (counted.askedAt < askedAt) overlapped.push(key);
      return false;
    };
    for (const [name, { key }] of [...this.#entries]) {
      if (!names.has(name) && isFree(key) && this.#take(askedAt, key, null)) changed.push(key);
    }
    for (const entry of found) {
      if (isFree(entry.key) && this.#take(askedAt, entry.key, entry)) changed.push(entry.key);
    }
    const heldAt = ++this.#steps;
    this.#listed = { askedAt, heldAt };
    for (const [name, counted] of [...this.#counted]) {
      if (counted.askedAt === askedAt || counted.heldAt < askedAt) this.#counted.delete(name);
    }
    if (changed.length > 0 && !this.#closed) {
      this.options.onChanged(changed);
      this.options.onCaughtUp?.();
    }
    return overlapped;
  }

  /** Whether it is another one now. */
  #take(askedAt: number, key: MetadataKey, entry: MetadataEntry | null): boolean {
    if (this.#closed) return false;
    const name = keyName(key);
    this.#counted.set(name, { askedAt, heldAt: ++this.#steps });
    const before = this.#entries.get(name);
    if (before?.version === entry?.version) return false;
    if (entry === null) this.#entries.delete(name);
    else this.#entries.set(name, entry);
    return true;
  }
}
