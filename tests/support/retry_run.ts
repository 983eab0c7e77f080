// Owns what tests of retries do to a group in virtual time: nack, take, look.
// Refuses to own any expectation. Invariant: it speaks to the group by commands alone.
import { ENTRIES, partitionAt, PLACES } from "../../actors/group/retry/state.ts";
import type {
  Nack,
  NackResult,
  PendingDeadLettersReply,
  RetryCommand,
  RetryPolicy,
  TakenRetry,
  TakeRetriesReply,
} from "../../actors/group/retry/types.ts";
import { DEFAULT_RETRY_POLICY } from "../../actors/group/retry/policy.ts";
import { encodeGroupState, type GroupSettings } from "../../actors/group/state.ts";
import { GROUP, GroupRun } from "./group_run.ts";

type Take = Extract<RetryCommand, { type: "TakeRetries" }>;

export class RetryRun extends GroupRun {
  constructor(settings: Partial<GroupSettings> = {}) {
    super({ ...settings, offsetsSnapshotIntervalMs: 0 });
  }

  nackOf(partition: number, offset: number, more: Partial<Nack> = {}): Nack {
    return { topic: "orders", partition, offset, fraction: 0, endOffset: 1_000_000, ...more };
  }

  nackAll(nacks: readonly Nack[], memberId?: string): readonly NackResult[] {
    // A nack alone makes no group.
    if (!this.state.exists) this.setPolicy({});
    const who = memberId === undefined ? {} : { memberId };
    return this.execute({ type: "Nack", group: GROUP, ...who, nacks, principal: "tester" }).results;
  }

  nack(partition: number, offset: number, more: Partial<Nack> = {}): NackResult {
    return this.nackAll([this.nackOf(partition, offset, more)])[0]!;
  }

  take(memberId: string, more: Partial<Take> = {}): TakeRetriesReply {
    return this.execute({ type: "TakeRetries", group: GROUP, memberId, max: 1_000, ...more });
  }

  /** `partition/offset#attempt` of what a member takes. */
  taken(memberId: string, more: Partial<Take> = {}): string[] {
    return this.take(memberId, more).retries.map(shown);
  }

  setPolicy(policy: Partial<RetryPolicy>, topic?: string): void {
    const named = topic === undefined ? {} : { topic };
    this.execute({
      type: "SetRetryPolicy",
      group: GROUP,
      ...named,
      policy: { ...DEFAULT_RETRY_POLICY, ...policy },
      principal: "tester",
    });
  }

  pending(): PendingDeadLettersReply {
    return this.execute({
      type: "PendingDeadLetters",
      group: GROUP,
      maxPartitions: 100,
      maxPerPartition: 100_000,
    });
  }

  /** `partition/offset#attempt` of all that waits or is in hand. */
  waiting(): string[] {
    const { retry } = this.state;
    return [...ENTRIES.from(retry.entries, [])].map((row) => {
      const { partition } = partitionAt(retry, row[0]!);
      return `${partition}/${row[1]}#${row[2]}`;
    });
  }

  /** `partition/offset` of what is done and not committed past. */
  done(): string[] {
    const { retry } = this.state;
    return [...PLACES.from(retry.done, [])].map((row) =>
      `${partitionAt(retry, row[0]!).partition}/${row[1]}`
    );
  }

  /** The journalled part, however it lies in memory. */
  journalled(): unknown {
    return JSON.parse(JSON.stringify(encodeGroupState(this.state)));
  }
}

export function shown({ partition, offset, attempt }: TakenRetry): string {
  return `${partition}/${offset}#${attempt}`;
}

/** A run whose first member has joined. */
export function started(...settings: ConstructorParameters<typeof RetryRun>): RetryRun {
  const run = new RetryRun(...settings);
  run.start("a");
  return run;
}
