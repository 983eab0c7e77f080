// Owns proof that the ledger of a shard tells any past of its groups truly: history page by page, snapshots, and offsets at
// every time, over restarts that lost the index, the shard's snapshot, or both.
// Refuses to own the group's rules (group_ledger_test.ts) and routes. Invariant: a model of plain maps knows the same.
import { crc32c } from "@node-rs/crc32";
import assert from "node:assert/strict";
import fc from "fast-check";
import { GroupCoordinator } from "../actors/group/coordinator.ts";
import type { LedgerEntry } from "../actors/group/ledger/types.ts";
import { DEFAULT_GROUP_SETTINGS } from "../actors/group/settings.ts";
import type { Partition } from "../actors/partition/partition.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { partitionScene } from "./support/partition_scene.ts";

const GROUPS = ["a", "b", "c"];
const SNAPSHOT_MS = 5_000;

type Step =
  | { do: "commit"; group: string; partition: number; offset: number }
  | { do: "move"; group: string; partition: number; offset: number }
  | { do: "snapshot" | "delete"; group: string }
  | { do: "wait"; ms: number }
  | { do: "restart"; lost: readonly string[] };

const group = fc.constantFrom(...GROUPS);
const partition = fc.nat(3);
const offset = fc.nat(1_000);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({ do: fc.constant("commit" as const), group, partition, offset }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("move" as const), group, partition, offset }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom("snapshot" as const, "delete" as const), group }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(1, 10, 1_000, 6_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("restart" as const),
      lost: fc.subarray(["group-shard/0", "group-ledger/0"]),
    }),
  },
);

type Offsets = ReadonlyMap<number, number>;

/** The shard, and what a reader of the past must find. */
class Past {
  readonly scene = partitionScene();
  readonly changes = new Map<string, string[]>(GROUPS.map((group) => [group, []]));
  readonly moments: { at: number; offsets: ReadonlyMap<string, Offsets> }[] = [];
  readonly snapshots = new Map<string, { id: string; offsets: Offsets }[]>();
  #offsets = new Map<string, Offsets>();
  #partition: Partition | null = null;
  groups: GroupCoordinator | null = null;

  async open(): Promise<void> {
    const { time, snapshots } = this.scene;
    this.#partition = await this.scene.open();
    this.groups = await GroupCoordinator.open({
      partitions: [this.#partition],
      settings: { ...DEFAULT_GROUP_SETTINGS, offsetsSnapshotIntervalMs: SNAPSHOT_MS },
      partitionCounts: () => ({ orders: 4 }),
      keyHashes: () => Promise.resolve([]),
      ports: {
        snapshots,
        clock: time,
        timers: time,
        crc32c,
        runtimeLog: { report: () => undefined },
        report: ({ message }) => assert.fail(message),
      },
    });
  }

  async close(): Promise<void> {
    await this.groups!.close();
    await this.#partition!.close();
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "wait":
        await this.scene.time.advance(step.ms);
        break;
      case "restart":
        await this.close();
        for (const id of step.lost) await this.scene.snapshots.remove(id);
        await this.open();
        break;
      case "snapshot":
        await this.#snapshot(step.group);
        break;
      case "delete":
        await this.#delete(step.group);
        break;
      default:
        await this.#change(step);
    }
    this.moments.push({ at: this.scene.time.now(), offsets: new Map(this.#offsets) });
  }

  async #change(step: Extract<Step, { do: "commit" | "move" }>): Promise<void> {
    const { group, partition, offset } = step;
    const at = { topic: "orders", partition };
    const before = this.#offsets.get(group);
    if (step.do === "commit") {
      const offsets = [{ ...at, offset, endOffset: 1_000 }];
      const why = { allowRewind: true, reason: "r", principal: "p" };
      await this.groups!.execute({ type: "CommitOffsets", group, offsets, ...why });
    } else {
      if (before === undefined) return;
      const to = { kind: "offset" as const, offset };
      const targets = [{ ...at, to, logStartOffset: 0, endOffset: 1_000 }];
      const why = { cause: "c", reason: "r", principal: "p", dryRun: false };
      await this.groups!.execute({ type: "MoveOffsets", group, action: "reset", targets, ...why });
    }
    const previous = before?.get(partition) ?? null;
    if (previous !== offset) this.changes.get(group)!.push(`${partition}:${previous}>${offset}`);
    this.#offsets.set(group, new Map([...before ?? [], [partition, offset]]));
  }

  async #snapshot(group: string): Promise<void> {
    const offsets = this.#offsets.get(group);
    if (offsets === undefined) return;
    const command = { type: "SnapshotOffsets" as const, group, principal: "p" };
    const { snapshotId: id } = await this.groups!.execute(command);
    this.snapshots.set(group, [...this.snapshots.get(group) ?? [], { id, offsets }]);
  }

  async #delete(group: string): Promise<void> {
    const offsets = this.#offsets.get(group);
    if (offsets === undefined) return;
    await this.groups!.execute({ type: "DeleteGroup", group });
    const partitions = [...offsets.keys()].sort();
    for (const number of partitions) {
      this.changes.get(group)!.push(`${number}:${offsets.get(number)}>null`);
    }
    this.#offsets.delete(group);
  }

  async check(limit: number): Promise<void> {
    for (const group of GROUPS) {
      const told = (await this.#history(group, limit)).map(({ partition, previous, offset }) =>
        `${partition}:${previous}>${offset}`
      );
      assert.deepEqual(told.reverse(), this.changes.get(group));
      for (const { id, offsets } of this.snapshots.get(group) ?? []) {
        const found = await this.groups!.ledger.offsetsAt(group, { snapshotId: id });
        assert.deepEqual(
          new Map(found.offsets.map((at) => [at.partition, at.offset])),
          sorted(offsets),
        );
      }
      if (this.#offsets.has(group)) await this.#checkTimes(group);
    }
  }

  async #history(group: string, limit: number): Promise<LedgerEntry[]> {
    const entries: LedgerEntry[] = [];
    if (this.changes.get(group)!.length === 0) return entries;
    let cursor: string | null = null;
    do {
      const more = cursor === null ? {} : { cursor };
      const page = await this.groups!.ledger.history(group, { limit, ...more });
      entries.push(...page.entries);
      cursor = page.next;
    } while (cursor !== null);
    return entries;
  }

  /** The last moment of each time counts: what happened within it is not told apart by time. */
  async #checkTimes(group: string): Promise<void> {
    const last = new Map(this.moments.map(({ at, offsets }) => [at, offsets.get(group)]));
    for (const [at, expected] of last) {
      const found = await this.groups!.ledger.offsetsAt(group, { timeMs: at }).catch((error) => {
        assert.ok(error instanceof BrokerError && error.code === "INVALID_REQUEST", `${error}`);
        return null;
      });
      const offsets = found?.offsets.map(({ partition, offset }) => [partition, offset] as const);
      const shown = offsets === undefined ? null : new Map(offsets);
      assert.deepEqual(
        shown,
        expected === undefined ? null : sorted(expected),
        `${group} at ${at}`,
      );
    }
  }
}

function sorted(offsets: Offsets): Offsets {
  return new Map([...offsets].sort(([a], [b]) => a - b));
}

Deno.test("ledger tells any past of its groups, over restarts that lose what is only saved to save time", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 7 }),
      async (steps, limit) => {
        const past = new Past();
        await past.open();
        for (const each of steps) await past.take(each);
        await past.check(limit);
        await past.close();
      },
    ),
    { numRuns: 200 },
  );
});
