// Owns proof that the offset ledger of the real process outlives signal 9: no change that was answered is missing or told
// twice, snapshots stay what they were, and rollbacks lead to what was.
// Refuses to own the ledger's rules (group_ledger_test.ts, api_offset_ledger_test.ts).
import assert from "node:assert/strict";
import { call, pause, publish } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const KILLS = 5;
const MESSAGES = 3_000;
const LIFE_MIN_MS = 60;
const LIFE_SPREAD_MS = 250;
const GROUP = "/api/groups/billing";

interface Entry {
  readonly at: number;
  readonly previous: number | null;
  readonly offset: number;
  readonly reason: string | null;
  readonly action: string;
}

interface Snapshot {
  readonly snapshotId: string;
  readonly automatic: boolean;
  readonly offsets: { offset: number }[];
}

/** All pages, oldest first. */
async function history(url: string): Promise<Entry[]> {
  const entries: Entry[] = [];
  let cursor = "";
  while (true) {
    const { status, body } = await call(url, `${GROUP}/offsets/history?limit=70${cursor}`);
    assert.equal(status, 200, JSON.stringify(body));
    entries.push(...body.history);
    if (body.nextCursor === undefined) return entries.reverse();
    cursor = `&cursor=${body.nextCursor}`;
  }
}

async function snapshots(url: string): Promise<Snapshot[]> {
  const { body } = await call(url, `${GROUP}/offsets/snapshots?limit=1000`);
  return body.snapshots.reverse();
}

/** What was answered, whatever became of the process since. */
class Operator {
  readonly commits: number[] = [];
  readonly snapshots: Snapshot[] = [];
  #next = 1;

  /** Commits one offset after the other until the broker is gone; now and then a snapshot. */
  async run(url: string): Promise<void> {
    try {
      while (this.#next < MESSAGES) {
        const offset = this.#next++;
        const offsets = [{ topic: "orders", partition: 0, offset }];
        const json = { groupId: "billing", offsets, reason: `commit ${offset}` };
        const answer = await call(url, "/api/offsets:commit", { json });
        assert.equal(answer.status, 200, JSON.stringify(answer.body));
        this.commits.push(offset);
        if (offset % 7 !== 0) continue;
        const taken = await call(url, `${GROUP}/offsets:snapshot`, { method: "POST" });
        assert.equal(taken.status, 201, JSON.stringify(taken.body));
        this.snapshots.push(taken.body);
      }
    } catch (error) {
      // Killed: what was under way may or may not have happened.
      if (error instanceof assert.AssertionError) throw error;
    }
  }
}

async function check(url: string, operator: Operator): Promise<void> {
  const told = await history(url);
  const offsets = told.map(({ offset }) => offset);
  assert.deepEqual(offsets, [...new Set(offsets)], "a change is told twice");
  const missing = operator.commits.filter((offset) => !offsets.includes(offset));
  assert.deepEqual(missing, [], "answered commits are missing");
  told.forEach(({ previous, offset, reason }, i) => {
    assert.equal(previous, told[i - 1]?.offset ?? null, `the chain breaks at ${offset}`);
    assert.equal(reason, `commit ${offset}`);
  });
  const kept = (await snapshots(url)).filter(({ automatic }) => !automatic);
  const byId = new Map(kept.map((snapshot) => [snapshot.snapshotId, snapshot]));
  assert.equal(byId.size, kept.length, "two snapshots have one id");
  for (const snapshot of operator.snapshots) {
    assert.deepEqual(byId.get(snapshot.snapshotId), snapshot);
  }
}

Deno.test(`ledger and snapshots outlive ${KILLS} kills while offsets change, and rollbacks lead back`, async () => {
  await withDataDir(async (dataDir) => {
    const operator = new Operator();
    const args = ["--group-snapshot-interval-ms=100"];
    for (let kill = 0; kill <= KILLS; kill++) {
      await using broker = await startBrokerProcess({ dataDir, args });
      const { url } = broker;
      if (kill === 0) {
        await call(url, "/api/topics", { json: { name: "orders" } });
        const values = Array.from({ length: MESSAGES }, (_, i) => `${i}`);
        assert.equal((await publish(url, "orders", values)).status, 200);
      } else await check(url, operator);
      if (kill === KILLS) {
        await rollBack(url, operator);
        return;
      }
      const running = operator.run(url);
      await pause(LIFE_MIN_MS + Math.random() * LIFE_SPREAD_MS);
      await broker.stop("SIGKILL");
      await running;
    }
  });
});

async function rollBack(url: string, operator: Operator): Promise<void> {
  assert.ok(operator.commits.length > KILLS && operator.snapshots.length > 0, "nothing happened");
  const all = await snapshots(url);
  assert.ok(all.some(({ automatic }) => automatic), "no snapshot was taken by itself");
  const last = (await history(url)).at(-1)!;
  const snapshot = operator.snapshots[0]!;
  const to = { snapshotId: snapshot.snapshotId };
  const then = snapshot.offsets[0]!.offset;
  const changes = [{
    topic: "orders",
    partition: 0,
    from: last.offset,
    to: then,
    redeliver: last.offset - then,
  }];
  for (const dryRun of [true, false]) {
    const json = { to, dryRun, reason: "as it was" };
    const { body } = await call(url, `${GROUP}/offsets:rollback`, { json });
    assert.deepEqual(body.changes, changes);
  }
  const json = { to: { time: last.at }, reason: "and forth" };
  const forth = await call(url, `${GROUP}/offsets:rollback`, { json });
  assert.deepEqual([forth.body.changes[0].from, forth.body.changes[0].to], [then, last.offset]);
}
