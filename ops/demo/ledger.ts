// Owns the ledger of a run: one file to which every member appends what it receives, one line for each delivery.
// Refuses to own what the lines prove (proof.ts).
// Invariant: appending is one write to the end of one file, so the lines stand in the order in which things happened,
// over all members, and what a member wrote outlives its kill.
import type { Receipt } from "./proof.ts";

const encoder = new TextEncoder();
const READ_BYTES = 1_048_576;

/** The writing end, in a member. */
export class LedgerWriter {
  readonly #file: Deno.FsFile;

  constructor(path: string) {
    this.#file = Deno.openSync(path, { append: true, create: true });
  }

  /** Returns when the line is in the file; a kill of this process then cannot take it away. */
  write({ member, partition, offset, key, value }: Receipt): void {
    const line = encoder.encode(JSON.stringify([member, partition, offset, key, value]) + "\n");
    // Written in parts, the line of another member could come between.
    if (this.#file.writeSync(line) !== line.length) throw new Error("a ledger line was cut short");
  }

  close(): void {
    this.#file.close();
  }
}

/** The reading end: follows the file as it grows. */
export class LedgerReader {
  readonly receipts: Receipt[] = [];
  readonly #file: Deno.FsFile;
  readonly #buffer = new Uint8Array(READ_BYTES);
  readonly #decoder = new TextDecoder();
  #rest = "";

  constructor(path: string) {
    this.#file = Deno.openSync(path, { read: true, write: true, create: true });
  }

  /** Reads what has been added; returns the receipts that are new. */
  async readOn(): Promise<readonly Receipt[]> {
    const from = this.receipts.length;
    for (;;) {
      const count = await this.#file.read(this.#buffer);
      if (count === null) return this.receipts.slice(from);
      const text = this.#decoder.decode(this.#buffer.subarray(0, count), { stream: true });
      const lines = (this.#rest + text).split("\n");
      this.#rest = lines.pop()!;
      for (const line of lines) {
        const [member, partition, offset, key, value] = JSON.parse(line);
        this.receipts.push({ member, partition, offset, key, value });
      }
    }
  }

  close(): void {
    this.#file.close();
  }
}
