// Owns what happened in a simulated run: the hash that tells two runs apart, and the last events for a reader.
// Refuses to judge. Invariant: equal hashes mean the same events at the same virtual times in the same order.
import { createHash, type Hash } from "node:crypto";

/** Events kept for the report of a violation. */
const MAX_TAIL_EVENTS = 20_000;
/** Characters gathered before they are hashed. */
const HASH_CHUNK_CHARS = 64 * 1024;

export class Trace {
  #hash: Hash = createHash("sha256");
  #unhashed: string[] = [];
  #unhashedChars = 0;
  #tail: string[] = [];
  #count = 0;
  #digest: string | null = null;

  /** Events so far. */
  get count(): number {
    return this.#count;
  }

  /** Notes that `who` did or met `what` at `atMs` of virtual time. */
  note(atMs: number, who: string, what: string): void {
    if (this.#digest !== null) return;
    const line = `${atMs.toFixed(3).padStart(12)} ${who.padEnd(10)} ${what}`;
    this.#count++;
    this.#unhashed.push(line);
    this.#unhashedChars += line.length;
    this.#tail.push(line);
    if (this.#tail.length > 2 * MAX_TAIL_EVENTS) this.#tail = this.#tail.slice(-MAX_TAIL_EVENTS);
    if (this.#unhashedChars >= HASH_CHUNK_CHARS) this.#flush();
  }

  /** SHA-256 of all events, hexadecimal. Nothing is taken in after it was asked for. */
  hash(): string {
    this.#flush();
    this.#digest ??= this.#hash.digest("hex");
    return this.#digest;
  }

  /** The last events, oldest first. */
  tail(count: number): readonly string[] {
    return this.#tail.slice(Math.max(0, this.#tail.length - Math.min(count, MAX_TAIL_EVENTS)));
  }

  #flush(): void {
    if (this.#digest !== null || this.#unhashed.length === 0) return;
    this.#hash.update(this.#unhashed.join("\n") + "\n");
    this.#unhashed = [];
    this.#unhashedChars = 0;
  }
}
