// Owns what the members of one group were told to read, and to stop reading.
// Refuses to ask the broker anything (clients/member.ts does).
// Invariant: a partition is told to one member at a time, until it let go, was removed, or its grace is over.
import type { GroupDescription, GroupNotification } from "../../../actors/group/types.ts";
import type { TopicPartition } from "../../../actors/broker.ts";
import type { RunWorld } from "../world.ts";
import { keyOf } from "./commit_ledger.ts";

interface Holding {
  readonly memberId: string;
  /** When the member was told to give it up, null when it may read on. */
  readonly revokedAt: number | null;
}

export class OwnerLedger {
  readonly #holdings = new Map<string, Holding[]>();
  /** Topics that somebody asked to delete: what is revoked with them is not waited for. */
  readonly #maybeDeleted = new Set<string>();
  #isCheckDue = false;

  constructor(
    private readonly world: RunWorld,
    readonly group: string,
    /** Null: what members are told may come late, so nothing is held against it. */
    private readonly revocationGraceMs: number | null,
  ) {}

  /** What the broker tells a member, as it leaves the broker. */
  told(memberId: string, notification: GroupNotification): void {
    if (notification.type === "assigned") this.assigned(memberId, notification.partitions);
    else if (notification.type === "revoked") {
      const revokedAt = this.world.time.monotonic();
      for (const at of notification.partitions) {
        this.#replace(
          keyOf(at),
          memberId,
          (held) =>
            this.#maybeDeleted.has(at.topic)
              ? null
              : { memberId, revokedAt: held.revokedAt ?? revokedAt },
        );
      }
    } else if (notification.type === "removed") this.gone(memberId);
  }

  /** The member's whole assignment, from a notification or the answer to its join. */
  assigned(memberId: string, partitions: readonly TopicPartition[]): void {
    const wanted = new Set(partitions.map(keyOf));
    for (const key of this.#holdings.keys()) {
      if (wanted.has(key)) continue;
      this.#replace(key, memberId, (held) => held.revokedAt === null ? null : held);
    }
    for (const key of wanted) {
      const others = (this.#holdings.get(key) ?? []).filter((held) => held.memberId !== memberId);
      this.#holdings.set(key, [...others, { memberId, revokedAt: null }]);
    }
    this.#checkSoon();
  }

  /** The member sends that it has let go of these. */
  releasing(memberId: string, partitions: readonly TopicPartition[]): void {
    for (const at of partitions) {
      this.#replace(keyOf(at), memberId, (held) => held.revokedAt === null ? held : null);
    }
  }

  /** The member reads no more: it left, lost its connection, or was removed. */
  gone(memberId: string): void {
    for (const key of this.#holdings.keys()) this.#replace(key, memberId, () => null);
  }

  topicMayBeDeleted(topic: string): void {
    this.#maybeDeleted.add(topic);
  }

  /** Every connection is lost with the process. */
  allGone(): void {
    this.#holdings.clear();
  }

  /** Whether another member than `memberId` was told that it may read `at`. */
  isOthers(memberId: string, at: TopicPartition): boolean {
    return this.revocationGraceMs !== null && (this.#holdings.get(keyOf(at)) ?? [])
      .some((held) => held.memberId !== memberId && held.revokedAt === null);
  }

  #replace(key: string, memberId: string, change: (held: Holding) => Holding | null): void {
    const changed = (this.#holdings.get(key) ?? [])
      .map((held) => held.memberId === memberId ? change(held) : held)
      .filter((held) => held !== null);
    this.#holdings.set(key, changed);
  }

  /** Once all that was told at this very time is known: a member is told it is removed after others got its partitions. */
  #checkSoon(): void {
    if (this.#isCheckDue || this.revocationGraceMs === null) return;
    this.#isCheckDue = true;
    this.world.time.after(0, () => {
      this.#isCheckDue = false;
      for (const [key, holdings] of this.#holdings) this.#checkOwners(key, holdings);
    });
  }

  #checkOwners(key: string, holdings: readonly Holding[]): void {
    const now = this.world.time.monotonic();
    const graceMs = this.revocationGraceMs ?? 0;
    const owners = holdings.filter(({ revokedAt }) =>
      revokedAt === null || now - revokedAt < graceMs
    );
    const reading = owners.filter(({ revokedAt }) => revokedAt === null);
    if (reading.length === 0 || owners.length < 2) return;
    this.world.violation(
      `${this.group} ${key} is owned by ${owners.map(({ memberId }) => memberId.slice(0, 8))}`,
    );
  }

  /** No two members own the same, by what the group's actor says. */
  described({ members }: GroupDescription): void {
    const owners = new Map<string, string>();
    for (const { memberId, assignment, revoking } of members) {
      for (const at of [...assignment, ...revoking]) {
        const key = keyOf(at);
        if (owners.has(key)) {
          this.world.violation(`${this.group} describes ${key} as owned twice`);
        }
        owners.set(key, memberId);
      }
    }
  }
}
