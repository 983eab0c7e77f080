// Owns what tests of canaries do to a group in virtual time: versions that join, messages that go well or badly.
// Refuses to own any expectation. Invariant: it speaks to the group by commands alone.
import {
  type CanaryChange,
  type CanaryDescription,
  type CanaryRules,
  DEFAULT_CANARY_RULES,
} from "../../actors/group/canary/types.ts";
import type { GroupCommand } from "../../actors/group/types.ts";
import { GROUP } from "./group_run.ts";
import { RetryRun } from "./retry_run.ts";

type Join = Extract<GroupCommand, { type: "Join" }>;
type SetCommand = Extract<GroupCommand, { type: "SetCanary" }>;

/** As strict as the defaults, but for few messages. */
export const FEW_MESSAGES: CanaryRules = { ...DEFAULT_CANARY_RULES, minObservations: 20 };

/** Longer than any test lasts. */
export const SESSION_MS = 3_600_000;

export class CanaryRun extends RetryRun {
  /** By partition of `orders`: the next offset to read. */
  readonly #next = new Map<number, number>();

  setCommand(percent: number, more: Partial<SetCommand> = {}): SetCommand {
    return {
      type: "SetCanary",
      group: GROUP,
      version: "v2",
      percent,
      rules: FEW_MESSAGES,
      reason: "release",
      principal: "operator",
      dryRun: false,
      ...more,
    };
  }

  set(percent: number, more: Partial<SetCommand> = {}): CanaryChange {
    return this.execute(this.setCommand(percent, more));
  }

  remove(): void {
    this.execute({ type: "RemoveCanary", group: GROUP, reason: null, principal: "operator" });
  }

  promote(): CanaryDescription {
    return this.execute({
      type: "PromoteCanary",
      group: GROUP,
      reason: "it is fine",
      principal: "operator",
    });
  }

  canary(): CanaryDescription {
    return this.execute({ type: "DescribeCanary", group: GROUP });
  }

  /** Members by `<id>: <version>`, which are assigned when this returns. */
  fleet(versions: Readonly<Record<string, string>>, more: Partial<Join> = {}): void {
    for (const [memberId, version] of Object.entries(versions)) {
      this.join(memberId, { version, sessionTimeoutMs: SESSION_MS, ...more });
    }
    this.settle();
  }

  /** Everybody releases what it is asked for, until the group stands. */
  settle(): void {
    for (let round = 0; round < 5; round++) {
      this.advance(this.settings.initialRebalanceDelayMs);
      for (const { memberId, revoking } of this.describe().members) {
        if (revoking.length === 0) continue;
        this.execute({ type: "Released", group: GROUP, memberId, partitions: revoking });
      }
    }
    this.told.length = 0;
  }

  /** The member of the partition gets `count` more messages, nacks `bad` of them, evenly apart, and commits past all. */
  deliver(partition: number, { count, bad = 0, commit = true, code }: {
    count: number;
    bad?: number;
    commit?: boolean;
    code?: string;
  }): void {
    const from = this.#next.get(partition) ?? 0;
    const memberId = this.ownerOf(partition);
    this.#next.set(partition, from + count);
    if (bad > 0) {
      const more = code === undefined ? {} : { code };
      const nacks = Array.from({ length: bad }, (_, i) => {
        const offset = from + Math.floor((i + 1) * count / bad) - 1;
        return this.nackOf(partition, offset, more);
      });
      this.nackAll(nacks, memberId);
    }
    if (commit) {
      const endOffset = 1_000_000;
      this.execute({
        ...this.commitCommand([["orders", partition, from + count]], { memberId }),
        offsets: [{ topic: "orders", partition, offset: from + count, endOffset }],
      });
    }
  }

  ownerOf(partition: number): string {
    const owner = Object.entries(this.readable()).find(([, all]) => all.includes(partition));
    if (owner === undefined) throw new Error(`nobody reads partition ${partition}`);
    return owner[0];
  }

  /** Partitions of `orders` that members of a version may read. */
  of(version: string): number[] {
    const { members } = this.describe();
    return members.filter((member) => member.version === version)
      .flatMap(({ assignment }) => assignment.map(({ partition }) => partition))
      .sort((a, b) => a - b);
  }
}

/** Two members of v1 and one of v2, eight partitions, a quarter of them the canary's; all have committed once. */
export function trial(percent = 25): CanaryRun {
  const run = new CanaryRun();
  run.counts = { orders: 8 };
  run.fleet({ a: "v1", b: "v1", c: "v2" });
  for (let partition = 0; partition < 8; partition++) run.deliver(partition, { count: 1 });
  run.set(percent);
  run.settle();
  return run;
}

/** One partition of each side. */
export function sidesOf(run: CanaryRun): { mine: number; theirs: number } {
  return { mine: run.of("v2")[0]!, theirs: run.of("v1")[0]! };
}
