// Owns what metadata on etcd promises while members die, hang and cannot be reached.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import type { MetadataStore } from "../storage/metadata.ts";
import { MAX_UNDER_WAY } from "../storage/etcd/etcd_requests.ts";
import { eventually } from "./support/api_calls.ts";
import { ETCD_NEEDED, hasEtcd, startEtcd } from "./support/etcd_process.ts";
import { hastyPorts, openOnEtcd } from "./support/etcd_store.ts";
import { gatedProxy } from "./support/gated_proxy.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const ignore = requireOrSkip("etcd", await hasEtcd(), ETCD_NEEDED);
const BACK_MS = 20_000;

const set = (key: string, value: unknown = 1) => ({ checks: [], sets: [{ key: [key], value }] });

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore, fn });
}

/** Counts up by compare-and-set until `isOver`; what was confirmed, and what nobody knows of. */
async function countUp(store: MetadataStore, isOver: () => boolean) {
  const told = { confirmed: 0, unknown: 0 };
  while (!isOver()) {
    try {
      const entry = await store.get(["count"]);
      const checks = [{ key: ["count"], version: entry?.version ?? null }];
      const value = ((entry?.value as number | undefined) ?? 0) + 1;
      if (await store.commit({ checks, sets: [{ key: ["count"], value }] })) told.confirmed++;
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      if (error.code === "STORAGE_FAILED") told.unknown++;
      else assert.equal(error.code, "METADATA_UNAVAILABLE");
    }
  }
  return told;
}

test("while the leader of etcd is killed in the midst of commits, what was confirmed is there and what was refused is not", async () => {
  await using etcd = await startEtcd(3);
  await using a = await openOnEtcd({ endpoints: etcd.endpoints });
  await using b = await openOnEtcd({ endpoints: [...etcd.endpoints].reverse() });
  let isOver = false;
  const counting = [a, b, a, b].map((store) => countUp(store, () => isOver));
  await eventually(BACK_MS, async () => {
    assert.ok(((await a.get(["count"]))?.value as number) > 100);
  });
  const leader = await etcd.leader();
  await leader.kill();
  const before = (await b.get(["count"]))!.value as number;
  await eventually(BACK_MS, async () => {
    assert.ok(((await b.get(["count"]))!.value as number) > before + 100);
  });
  isOver = true;
  const told = await Promise.all(counting);
  const confirmed = told.reduce((sum, each) => sum + each.confirmed, 0);
  const unknown = told.reduce((sum, each) => sum + each.unknown, 0);
  const count = (await a.get(["count"]))!.value as number;
  assert.ok(count >= confirmed, `${count} of ${confirmed} confirmed`);
  assert.ok(count <= confirmed + unknown, `${count} of ${confirmed} and ${unknown} unknown`);
});

test("a member that is killed is left for another at once", async () => {
  await using etcd = await startEtcd(3);
  const [first, second] = etcd.members;
  const randomness = { ...hastyPorts.randomness, fraction: () => 0 };
  await using store = await openOnEtcd({ endpoints: etcd.endpoints, randomness });
  const leaseId = await store.grantLease(60_000);
  await store.commit(set("a"));
  for (const member of [first!, second!]) {
    await member.kill();
    assert.equal((await eventually(BACK_MS, () => store.get(["a"])))?.value, 1);
    assert.ok(await eventually(BACK_MS, () => store.commit(set("b"))));
    assert.ok(await eventually(BACK_MS, () => store.renewLease(leaseId)));
    member.start();
    await eventually(BACK_MS, () => store.commit(set("c")));
    await etcd.ready();
  }
});

test("a read from a member that hangs is answered by another; whether a commit happened there is unknown", async () => {
  await using etcd = await startEtcd(3);
  const leader = await etcd.leader();
  const follower = etcd.members.find((member) => member !== leader)!;
  const others = etcd.members.filter((member) => member !== follower);
  const endpoints = [follower, ...others].map((member) => member.endpoint);
  const randomness = { ...hastyPorts.randomness, fraction: () => 0 };
  const hasty = { endpoints, ...hastyPorts, randomness };
  await using reader = await openOnEtcd(hasty);
  await using writer = await openOnEtcd(hasty);
  await reader.commit(set("a"));
  follower.pause();
  assert.equal((await reader.get(["a"]))?.value, 1);
  await assert.rejects(writer.commit(set("a", 2)), { code: "STORAGE_FAILED", retryable: true });
  assert.ok(await writer.commit(set("a", 3)));
  follower.resume();
});

test("without a majority nothing is answered or decided, in bounded time; with one, all goes on", async () => {
  await using etcd = await startEtcd(3);
  await using store = await openOnEtcd({ endpoints: etcd.endpoints, ...hastyPorts });
  await store.commit(set("a"));
  const leaseId = await store.grantLease(60_000);
  // The leader renews leases by itself, until it learns that it leads nobody.
  const leader = await etcd.leader();
  const paused = etcd.members.filter((member) => member !== leader);
  for (const member of paused) member.pause();
  const failing = { name: "BrokerError", httpStatus: 503 };
  await assert.rejects(store.get(["a"]), { ...failing, code: "METADATA_UNAVAILABLE" });
  await assert.rejects(store.list([]), { ...failing, code: "METADATA_UNAVAILABLE" });
  await assert.rejects(store.renewLease(leaseId), { ...failing, code: "METADATA_UNAVAILABLE" });
  await assert.rejects(store.commit(set("a", 2)), failing);
  for (const member of paused) member.resume();
  await eventually(BACK_MS, () => store.commit(set("a", 3)));
  assert.equal((await store.get(["a"]))?.value, 3);
  assert.ok(await store.renewLease(leaseId));
});

test("a commit whose answer is lost rejects as unknown, though it happened", async () => {
  await using etcd = await startEtcd();
  using gate = gatedProxy(etcd.endpoints[0]!);
  await using far = await openOnEtcd({ endpoints: [gate.url], ...hastyPorts });
  await using near = await openOnEtcd({ endpoints: etcd.endpoints });
  assert.ok(await far.commit(set("a")));
  gate.set("mute");
  await assert.rejects(far.commit(set("a", 2)), { code: "STORAGE_FAILED" });
  assert.equal((await near.get(["a"]))?.value, 2);
  gate.set("open");
  assert.equal((await far.get(["a"]))?.value, 2);
});

test("a commit that could not be sent anywhere is refused as not done, and is not done", async () => {
  await using etcd = await startEtcd();
  await using store = await openOnEtcd({ endpoints: etcd.endpoints, ...hastyPorts });
  assert.ok(await store.commit(set("a")));
  await etcd.members[0]!.kill();
  // A connection that was open still may be found dead only now.
  await assert.rejects(store.get(["a"]), { code: "METADATA_UNAVAILABLE" });
  await assert.rejects(store.commit(set("a", 2)), { code: "METADATA_UNAVAILABLE" });
  etcd.members[0]!.start();
  await eventually(BACK_MS, async () => assert.equal((await store.get(["a"]))?.value, 1));
});

test("an endpoint of another etcd is refused", async () => {
  await using one = await startEtcd();
  await using other = await startEtcd();
  const endpoints = [one.endpoints[0]!, other.endpoints[0]!];
  const randomness = { ...hastyPorts.randomness, fraction: () => 0 };
  await using store = await openOnEtcd({ endpoints, ...hastyPorts, randomness });
  await store.commit(set("a"));
  await one.members[0]!.kill();
  await assert.rejects(store.get(["a"]), (error) => {
    assert.ok(error instanceof BrokerError && error.code === "METADATA_UNAVAILABLE");
    return true;
  });
  one.members[0]!.start();
  await eventually(BACK_MS, async () => assert.equal((await store.get(["a"]))?.value, 1));
});

test("of many requests at once few are under way, a lease is renewed beside them, and all are answered", async () => {
  await using etcd = await startEtcd();
  let underWay = 0;
  let most = 0;
  await using store = await openOnEtcd({
    endpoints: etcd.endpoints,
    fetch: async (url, init) => {
      most = Math.max(most, ++underWay);
      return await fetch(url, init).finally(() => underWay--);
    },
  });
  const leaseId = await store.grantLease(60_000);
  let answered = 0;
  const commits = Array.from({ length: 500 }, async (_, at) => {
    assert.ok(await store.commit(set(`${at}`)));
    answered++;
  });
  assert.ok(await store.renewLease(leaseId));
  assert.ok(answered < commits.length, "the lease did not wait for all of them");
  await Promise.all(commits);
  assert.ok(most <= MAX_UNDER_WAY + 1, `${most} at once`);
  assert.equal((await store.list([])).length, 500);
});

test("what waits for its turn while etcd hangs is refused in bounded time, as not done", async () => {
  await using etcd = await startEtcd();
  await using store = await openOnEtcd({ endpoints: etcd.endpoints, ...hastyPorts });
  etcd.members[0]!.pause();
  const asked = Array.from({ length: 3 * MAX_UNDER_WAY }, () => store.get(["a"]));
  const since = performance.now();
  for (const each of await Promise.allSettled(asked)) {
    assert.equal(each.status === "rejected" && each.reason.code, "METADATA_UNAVAILABLE");
  }
  // A tenth of 6 s of waiting and as much of trying, on a busy machine.
  assert.ok(performance.now() - since < 5_000);
});

test("closing ends what waits for etcd", async () => {
  await using etcd = await startEtcd();
  const store = await openOnEtcd({ endpoints: etcd.endpoints });
  store.watch([], () => {});
  etcd.members[0]!.pause();
  const reading = assert.rejects(store.get(["a"]), { code: "METADATA_UNAVAILABLE" });
  const committing = assert.rejects(store.commit(set("a")), { code: "STORAGE_FAILED" });
  await store.close();
  await Promise.all([reading, committing]);
});
