// Owns what calls are answered while partitions and groups do not do as they are asked.
// Refuses to own decisions (transaction_decide_test.ts) and crashes (transaction_recovery_test.ts).
// Invariant: what is decided is told as decided, and is carried out as soon as it can be.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { TransactionCoordinator } from "../actors/transaction/coordinator.ts";
import { BrokerError } from "../storage/broker_error.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { TransactionWorld } from "./support/transaction_world.ts";
import { settle } from "./support/virtual_time.ts";

const WHO = { transactionalId: "t", principal: "p" };
const AT = { topic: "orders", partition: 0 };

/** An open transaction that has written to one partition. */
async function written(coordinator: TransactionCoordinator): Promise<string> {
  const { transactionId } = await coordinator.begin(WHO);
  const record = { key: null, value: "v", headers: [], timestamp: 1 };
  await coordinator.append(AT, [encodeBatch([record], { crc32c })], { transactionId });
  return transactionId;
}

function commit(coordinator: TransactionCoordinator, transactionId: string, groups: string[] = []) {
  const offsets = groups.map((groupId) => ({ ...AT, groupId, offset: 1 }));
  return coordinator.commit(transactionId, { offsets, principal: "p" });
}

/** What `call` settles as within `ms` of virtual time. */
async function within<T>(world: TransactionWorld, ms: number, call: Promise<T>): Promise<T> {
  call.catch(() => {});
  for (let passed = 0; passed <= ms; passed += 100) await world.time.advance(100);
  await settle();
  return await call;
}

Deno.test("commit whose markers cannot be written is told as decided, and ends by itself later", async () => {
  const world = new TransactionWorld();
  const partition = await world.partition();
  let isOffline = true;
  const markers: boolean[] = [];
  const coordinator = await world.coordinator(partition, {
    logs: {
      writeMarker: (_at, { commit }) => {
        if (isOffline) return Promise.reject(new BrokerError("LEADER_NOT_AVAILABLE", "not now"));
        markers.push(commit);
        return Promise.resolve();
      },
    },
  });
  const transactionId = await written(coordinator);
  const told = await within(world, 11_000, commit(coordinator, transactionId));
  assert.equal(told.state, "committing");
  await assert.rejects(coordinator.abort(transactionId), { code: "INVALID_TRANSACTION_STATE" });
  const next = coordinator.begin(WHO);
  await assert.rejects(within(world, 11_000, next), { code: "CONCURRENT_TRANSACTIONS" });
  assert.equal(world.reports.length, 1, "somebody is told");
  isOffline = false;
  await world.time.advance(6_000);
  assert.equal((await coordinator.describe(transactionId)).state, "committed");
  assert.deepEqual(markers, [true]);
  assert.equal((await coordinator.begin(WHO)).producerEpoch, 1);
  await coordinator.close();
});

Deno.test("when one group refuses its offsets none has any, and the transaction stays open", async () => {
  const world = new TransactionWorld();
  const partition = await world.partition();
  const told: string[] = [];
  let refuses = true;
  const coordinator = await world.coordinator(partition, {
    groups: {
      stage: ({ group, offsets }) => {
        told.push(`stage ${group} ${offsets.length}`);
        if (group === "h" && refuses) {
          return Promise.reject(new BrokerError("OFFSET_ROLLBACK", "it would go back"));
        }
        return Promise.resolve();
      },
      end: ({ group, commit }) => {
        told.push(`${commit ? "commit" : "drop"} ${group}`);
        return Promise.resolve();
      },
    },
  });
  const transactionId = await written(coordinator);
  await assert.rejects(commit(coordinator, transactionId, ["g", "h"]), { code: "OFFSET_ROLLBACK" });
  assert.deepEqual(told, ["stage g 1", "stage h 1", "drop g", "drop h"]);
  assert.equal((await coordinator.describe(transactionId)).state, "open");
  told.length = 0;
  refuses = false;
  assert.equal((await commit(coordinator, transactionId, ["g", "h"])).state, "committed");
  assert.deepEqual(told, ["stage g 1", "stage h 1", "commit g", "commit h"]);
  await coordinator.close();
});

Deno.test("holders that begin at the same time each get their turn, and only the last is not fenced", async () => {
  const world = new TransactionWorld();
  const markerMs = 100;
  const coordinator = await world.coordinator(await world.partition(), {
    logs: {
      writeMarker: () => new Promise((resolve) => void world.time.after(markerMs, resolve)),
    },
  });
  const held = await within(world, 1_000, written(coordinator));
  const begins = Array.from({ length: 40 }, () => coordinator.begin(WHO));
  const begun = await within(world, 1_000, Promise.all(begins));
  const epochs = begun.map(({ producerEpoch }) => producerEpoch);
  assert.deepEqual(epochs, epochs.map((_, index) => index + 1), "in the order of the calls");
  const left = (await coordinator.unfinished()).map(({ transactionId }) => transactionId);
  assert.deepEqual(left, [begun.at(-1)!.transactionId]);
  for (const id of [held, begun[38]!.transactionId]) {
    await assert.rejects(commit(coordinator, id), { code: "PRODUCER_FENCED" });
  }
  await coordinator.close();
});

Deno.test("holders that begin behind an end that cannot be carried out wait no longer than one does", async () => {
  const world = new TransactionWorld();
  let isOffline = true;
  const coordinator = await world.coordinator(await world.partition(), {
    logs: {
      writeMarker: () =>
        isOffline
          ? Promise.reject(new BrokerError("LEADER_NOT_AVAILABLE", "not now"))
          : Promise.resolve(),
    },
  });
  await written(coordinator);
  const begins = Promise.allSettled(Array.from({ length: 20 }, () => coordinator.begin(WHO)));
  const outcomes = await within(world, 11_000, begins);
  for (const outcome of outcomes) {
    assert.equal(outcome.status, "rejected");
    assert.equal(outcome.reason.code, "CONCURRENT_TRANSACTIONS");
  }
  isOffline = false;
  await world.time.advance(6_000);
  assert.equal((await coordinator.begin(WHO)).producerEpoch, 1, "none has begun unheard");
  await coordinator.close();
});

Deno.test("calls that end one transaction at the same time agree on its end", async () => {
  const world = new TransactionWorld();
  const coordinator = await world.coordinator(await world.partition());
  const transactionId = await written(coordinator);
  const outcomes = await Promise.allSettled([
    commit(coordinator, transactionId, ["g"]),
    coordinator.abort(transactionId),
    commit(coordinator, transactionId, ["g"]),
    coordinator.begin(WHO),
  ]);
  const [first, abort, second, next] = outcomes.map(({ status }) => status === "fulfilled");
  assert.equal(second, first);
  assert.equal(abort, !first);
  assert.equal(next, true);
  await coordinator.close();
});

Deno.test("a broker that closes does not wait for markers that cannot be written; the next one writes them", async () => {
  const world = new TransactionWorld();
  const partition = await world.partition();
  const offline = () => Promise.reject(new BrokerError("LEADER_NOT_AVAILABLE", "not now"));
  const before = await world.coordinator(partition, { logs: { writeMarker: offline } });
  const transactionId = await written(before);
  const told = commit(before, transactionId);
  told.catch(() => {});
  await world.time.advance(1_000);
  await before.close();
  await partition.close();
  const epochs: number[] = [];
  const reopened = await world.partition();
  const after = await world.coordinator(reopened, {
    logs: {
      writeMarker: (_at, { coordinatorEpoch }) => {
        epochs.push(coordinatorEpoch);
        return Promise.resolve();
      },
    },
  });
  await world.time.advance(100);
  assert.equal((await after.describe(transactionId)).state, "committed");
  assert.deepEqual(epochs, [reopened.info().leaderEpoch]);
  await after.close();
});

Deno.test("a tenant has no more than its share of the ids, and others have the rest", async () => {
  const world = new TransactionWorld();
  const coordinator = await world.coordinator(await world.partition(), { maxIds: 8 });
  const as = (tenant: string, isAdministrator = false) => (transactionalId: string) =>
    coordinator.begin({
      ...WHO,
      transactionalId,
      asker: { principal: "app", tenant, isAdministrator },
    });
  const [greedy, other, admin] = [as("greedy"), as("other"), as("default", true)];
  for (let id = 0; id < 6; id++) await greedy(`g${id}`);
  await assert.rejects(greedy("g6"), { code: "OVERLOADED" });
  assert.equal((await greedy("g0")).producerEpoch, 1, "known ones begin again");
  await other("a");
  await admin("b");
  await assert.rejects(other("c"), { code: "OVERLOADED" });
  await coordinator.close();
});

Deno.test("ids beyond the bound are refused, those that are known begin again", async () => {
  const world = new TransactionWorld();
  const coordinator = await world.coordinator(await world.partition(), { maxIds: 2 });
  const begin = (transactionalId: string) => coordinator.begin({ ...WHO, transactionalId });
  const first = await begin("a");
  await begin("b");
  await assert.rejects(begin("c"), { code: "OVERLOADED" });
  await coordinator.abort(first.transactionId);
  assert.equal((await begin("a")).producerEpoch, first.producerEpoch + 1);
  await coordinator.close();
});
