// Owns what is remembered of a partition's last read that found its log corrupt, so that it is a problem until it is none.
// Refuses to own faults that the log itself knows (replica_log.ts) and reading.
// Invariant: it is forgotten when the same offset can be read, lies below the log's start, or the log is opened again.
import type { BrokerError } from "../../storage/broker_error.ts";
import type { Log } from "../../storage/log.ts";

interface Found {
  readonly log: Log;
  readonly offset: number;
  readonly message: string;
}

export class CorruptRead {
  #found: Found | null = null;

  /** Reading `log` at `offset` failed. True when it was not known that something there is corrupt. */
  failed(log: Log, offset: number, error: BrokerError): boolean {
    const isNew = this.at(log) === null;
    if (isNew || offset <= this.#found!.offset) {
      this.#found = { log, offset, message: error.message };
    }
    return isNew;
  }

  /** `log` gave batches from the one that holds `offset` on. */
  succeeded(offset: number): void {
    if (this.#found?.offset === offset) this.#found = null;
  }

  /** The lowest offset of the open log that could not be read, and why; null: none is known. */
  at(log: Log | null): { readonly offset: number; readonly message: string } | null {
    const found = this.#found;
    if (found === null || found.log !== log || found.offset < log.logStartOffset) return null;
    return found;
  }
}
