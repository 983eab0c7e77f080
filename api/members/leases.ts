// Owns the lease of one HTTP member: which ranges its last answer held, and which token stands for them.
// Refuses to own messages (they are read from the log again) and what is committed (it is told).
// Invariant: an answer that may have been lost can be had again; a token that is neither the last nor the one before is refused.
import type { TopicPartition } from "../../actors/broker.ts";
import { BrokerError } from "../../storage/broker_error.ts";

/** Messages of one partition that were handed out: offsets from `from` to before `to`. */
export interface LeasedRange extends TopicPartition {
  readonly from: number;
  readonly to: number;
}

/** A message that was handed out again. */
export interface LeasedRetry extends TopicPartition {
  readonly offset: number;
  readonly attempt: number;
}

export interface Lease {
  readonly token: string;
  readonly ranges: readonly LeasedRange[];
  readonly retries: readonly LeasedRetry[];
}

export class Leases {
  #latest: Lease;
  /** What the caller may hold if the latest answer was lost: the token it asked with, else the one before. */
  #previous: string | null = null;
  /** After a restart of the broker: any token may be from before it. */
  #adopted: boolean;

  /** `token` is what the member was given when it joined; `adopted` when that was in an earlier life of the broker. */
  constructor(token: string, options: { adopted: boolean }) {
    this.#latest = { token, ranges: [], retries: [] };
    this.#adopted = options.adopted;
  }

  get latest(): Lease {
    return this.#latest;
  }

  /**
   * The lease to answer again, or null when it is time for a new one. `isCommitted` tells whether all of a range is
   * committed past; `open` are the retries of it that are not settled. Throws STALE_LEASE.
   */
  again(
    token: string | undefined,
    isCommitted: (range: LeasedRange) => boolean,
    open: readonly LeasedRetry[] = [],
  ): Lease | null {
    if (token === undefined) return null;
    const { ranges, retries } = this.#latest;
    if (token === this.#latest.token) {
      return ranges.every(isCommitted) && open.length === 0 ? null : this.#latest;
    }
    if (token === this.#previous) return ranges.length + retries.length === 0 ? null : this.#latest;
    if (this.#adopted) return null;
    throw new BrokerError(
      "STALE_LEASE",
      "the leaseToken is neither that of the last answer nor of the one before; poll without one to go on",
    );
  }

  /** A new lease, made for a poll that came with `asked`. */
  renew(lease: Lease, asked: string | undefined): void {
    this.#previous = asked ?? this.#latest.token;
    this.#latest = lease;
    this.#adopted = false;
  }

  /** What is no longer the member's to read is no longer leased. */
  keepOnly(isHeld: (at: TopicPartition) => boolean): void {
    const { token, ranges, retries } = this.#latest;
    if (ranges.every(isHeld) && retries.every(isHeld)) return;
    this.#latest = { token, ranges: ranges.filter(isHeld), retries: retries.filter(isHeld) };
  }
}
