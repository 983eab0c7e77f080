// Owns the memory that published messages wait in: buffers in a few sizes, used again, never more than a bound in all.
// Refuses to own what is in them or who has to wait for one.
// Invariant: bytes handed out, reserved and kept for later are together at most `maxBytes`.

/** Smallest buffer: an idle partition that sends one message now and then should not cost more. */
export const MIN_BUFFER_BYTES = 16 * 1024;

export class BufferPool {
  #usedBytes = 0;
  #reservedBytes = 0;
  #freeBytes = 0;
  readonly #free = new Map<number, Uint8Array[]>();

  /** `largestBytes` is the size of the largest buffer that will be asked for. */
  constructor(readonly maxBytes: number, readonly largestBytes: number) {}

  /** Bytes of all buffers that are handed out. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Handed out, and reserved for what has no buffer yet. */
  get takenBytes(): number {
    return this.#usedBytes + this.#reservedBytes;
  }

  /** Counts bytes that are held elsewhere; negative gives back. */
  reserve(bytes: number): void {
    this.#reservedBytes += bytes;
  }

  /** Size of the buffer that `bytes` would be served with: a power of two, or the largest. */
  sizeFor(bytes: number): number {
    let size = Math.min(MIN_BUFFER_BYTES, this.largestBytes);
    while (size < bytes) size = Math.min(size * 2, Math.max(bytes, this.largestBytes));
    return size;
  }

  /** A buffer of at least `bytes`, with anything in it; null when the bound leaves no room for it. */
  acquire(bytes: number): Uint8Array | null {
    const size = this.sizeFor(bytes);
    const kept = this.#free.get(size)?.pop();
    if (kept !== undefined) {
      this.#freeBytes -= size;
      if (this.takenBytes + size <= this.maxBytes) {
        this.#usedBytes += size;
        return kept;
      }
    }
    if (this.takenBytes + size > this.maxBytes) return null;
    this.#dropFree(this.takenBytes + this.#freeBytes + size - this.maxBytes);
    this.#usedBytes += size;
    return new Uint8Array(size);
  }

  /** Takes a buffer back that counted as `bytes`; `reuse` false when somebody may still read it. */
  release(buffer: Uint8Array, bytes: number, options: { reuse: boolean }): void {
    this.#usedBytes -= bytes;
    const isOurs = buffer.length === bytes && bytes === this.sizeFor(bytes);
    if (!options.reuse || !isOurs) return;
    if (this.takenBytes + this.#freeBytes + bytes > this.maxBytes) return;
    this.#freeBytes += bytes;
    const list = this.#free.get(bytes);
    if (list === undefined) this.#free.set(bytes, [buffer]);
    else list.push(buffer);
  }

  #dropFree(excessBytes: number): void {
    for (const [size, list] of this.#free) {
      while (excessBytes > 0 && list.pop() !== undefined) {
        this.#freeBytes -= size;
        excessBytes -= size;
      }
      if (excessBytes <= 0) return;
    }
  }
}
