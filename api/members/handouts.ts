// Owns handing out to one member: what was found becomes a lease and moves positions; what was handed out may come again.
// Refuses to own tokens' rules (leases.ts), finding messages (poll_reading.ts), and the answer's other words (member.ts).
// Invariant: positions move only when a lease is renewed, so an answer that was lost can be made again.
import type { TopicPartition } from "../../actors/broker.ts";
import type { Session } from "../stream/session.ts";
import type { CommittedOffsets } from "../stream/start_offsets.ts";
import type { Portion } from "./lease_reader.ts";
import { type Lease, type LeasedRange, type LeasedRetry, Leases } from "./leases.ts";
import type { News } from "./poll_reading.ts";
import type { PolledRetries } from "./retries.ts";

export interface HandoutsOptions {
  readonly group: string;
  readonly session: Session;
  readonly retries: PolledRetries;
  readonly committedOffsets: CommittedOffsets;
  readonly newToken: () => string;
}

export interface Handout {
  readonly token: string;
  readonly portions: readonly Portion[];
}

export class Handouts {
  readonly #options: HandoutsOptions;
  #leases: Leases;

  constructor(options: HandoutsOptions) {
    this.#options = options;
    this.#leases = new Leases(options.newToken(), { adopted: false });
  }

  /** The member joined in an earlier life of the broker. */
  adopted(): void {
    this.#leases = new Leases(this.#options.newToken(), { adopted: true });
  }

  /** Nothing, to a member that has just joined. */
  get first(): Handout {
    return { token: this.#leases.latest.token, portions: [] };
  }

  /** The lease to answer again, with those of its retries that are still in hand; null: a new one. Throws STALE_LEASE. */
  async again(
    token: string | undefined,
  ): Promise<{ lease: Lease; open: readonly LeasedRetry[] } | null> {
    const { group, retries, committedOffsets } = this.#options;
    const open = token === undefined ? [] : await retries.inHand(this.#leases.latest.retries);
    const isNeeded = token !== undefined && this.#leases.latest.ranges.length > 0;
    const offsets = isNeeded ? await committedOffsets.read(group) : new Map();
    const isCommitted = (range: LeasedRange) =>
      (offsets.get(`${range.topic}/${range.partition}`) ?? 0) >= range.to;
    const lease = this.#leases.again(token, isCommitted, open);
    return lease === null ? null : { lease, open };
  }

  /** What was found for a poll that came with the token `asked`. */
  renew({ found, retries }: News, asked: string | undefined): Handout {
    const { session, newToken } = this.#options;
    session.settleAll();
    const ranges: LeasedRange[] = [];
    for (const { held, from, nextOffset, portion: { topic, partition, records } } of found) {
      const hasMessages = records.length > 0;
      if (hasMessages) ranges.push({ topic, partition, from, to: nextOffset });
      const runs = hasMessages ? [{ from, to: nextOffset }] : [];
      const turn = { kind: "read" as const, held, position: from };
      session.delivered(turn, { runs, nextOffset, highWatermark: nextOffset });
    }
    // Gaps alone move positions and make no lease.
    if (ranges.length + retries.length === 0) return this.nothing(asked);
    const leased = retries.map(({ topic, partition, records, attempt }) => ({
      topic,
      partition,
      offset: records[0]!.offset,
      attempt: attempt!,
    }));
    const token = newToken();
    this.#leases.renew({ token, ranges, retries: leased }, asked);
    return { token, portions: [...retries, ...found.map(({ portion }) => portion)] };
  }

  /** An empty answer is no loss: the token that was asked with stays the one to ask with. */
  nothing(asked: string | undefined): Handout {
    if (asked !== this.#leases.latest.token) {
      const token = this.#options.newToken();
      this.#leases.renew({ token, ranges: [], retries: [] }, asked);
    }
    return { token: this.#leases.latest.token, portions: [] };
  }

  /** What is no longer the member's to read is no longer leased. */
  keepOnly(isHeld: (at: TopicPartition) => boolean): void {
    this.#leases.keepOnly(isHeld);
  }
}
