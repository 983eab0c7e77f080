// Owns the newest offset of every key in a range of a log, in bounded memory.
// Refuses to own where keys come from.
// Invariant: keys are compared byte by byte, never by a hash: no two are ever taken for one.

/** Default for the keys of one compaction. */
export const MAX_KEY_MAP_BYTES = 64 * 1024 * 1024;
/** Roughly what an entry takes beside its key. */
const ENTRY_BYTES = 64;
const CHUNK = 8_192;

export class KeyOffsets {
  readonly #offsets = new Map<string, number>();
  #usedBytes = 0;

  constructor(private readonly maxBytes: number = MAX_KEY_MAP_BYTES) {}

  get size(): number {
    return this.#offsets.size;
  }

  /** Whether nothing more should be put in. */
  get isFull(): boolean {
    return this.#usedBytes >= this.maxBytes;
  }

  /** `offset` is above all that were put before. */
  put(key: Uint8Array, offset: number): void {
    const text = textOf(key);
    if (!this.#offsets.has(text)) this.#usedBytes += text.length + ENTRY_BYTES;
    this.#offsets.set(text, offset);
  }

  /** Newest offset of the key, -1 when it is not there. */
  newest(key: Uint8Array): number {
    return this.#offsets.get(textOf(key)) ?? -1;
  }
}

/** One character a byte: exact for any bytes, and compact in memory. */
function textOf(key: Uint8Array): string {
  if (key.length <= CHUNK) return String.fromCharCode(...key);
  let text = "";
  for (let at = 0; at < key.length; at += CHUNK) {
    text += String.fromCharCode(...key.subarray(at, at + CHUNK));
  }
  return text;
}
