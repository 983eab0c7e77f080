// Owns what watching metadata on etcd must survive: lost and dead connections, compaction, restarts, lost leaders.
import assert from "node:assert/strict";
import type { MetadataStore } from "../storage/metadata.ts";
import type { EtcdReport } from "../storage/etcd/etcd_requests.ts";
import { eventually } from "./support/api_calls.ts";
import {
  ETCD_NEEDED,
  type EtcdCluster,
  type EtcdMember,
  hasEtcd,
  startEtcd,
} from "./support/etcd_process.ts";
import { hastyPorts, openOnEtcd } from "./support/etcd_store.ts";
import { gatedProxy } from "./support/gated_proxy.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const ignore = requireOrSkip("etcd", await hasEtcd(), ETCD_NEEDED);
/** Longest wait for news. */
const NEWS_MS = 20_000;
const set = (...keys: string[][]) => ({ checks: [], sets: keys.map((key) => ({ key, value: 1 })) });

function watched(store: MetadataStore, prefix: string[]) {
  const seen = new Set<string>();
  store.watch(prefix, (keys) => keys.forEach((key) => seen.add(key.join("/"))));
  return seen;
}

async function hears(seen: Set<string>, ...keys: string[]): Promise<void> {
  await eventually(NEWS_MS, () => {
    assert.deepEqual(keys.filter((key) => !seen.has(key)), []);
    return Promise.resolve();
  });
}

/** Makes etcd forget all revisions but the newest. */
async function compact({ endpoints }: EtcdCluster): Promise<void> {
  const ask = async (path: string, body: unknown) => {
    const init = { method: "POST", body: JSON.stringify(body) };
    const answer = await (await fetch(`${endpoints[0]}${path}`, init)).json();
    assert.equal(answer.error, undefined);
    return answer;
  };
  const { header } = await ask("/v3/kv/range", { key: btoa("any") });
  await ask("/v3/kv/compaction", { revision: header.revision, physical: true });
}

Deno.test({
  name:
    "a watch that lost its connection goes on after the last change it knew, and tells all in between",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    using gate = gatedProxy(etcd.endpoints[0]!);
    await using stores = await scene(etcd, gate.url);
    const { far, near } = stores;
    await near.commit(set(["p", "old"], ["p", "gone"]));
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    await near.commit(set(["p", "before"]));
    await hears(seen, "p/before");
    seen.clear();
    gate.set("shut");
    await near.commit(set(["p", "a"], ["q", "b"]));
    await near.commit({ ...set(["p", "c"]), deletes: [["p", "gone"]] });
    gate.set("open");
    await hears(seen, "p/a", "p/c", "p/gone");
    assert.deepEqual([...seen].sort(), ["p/a", "p/c", "p/gone"]);
  },
});

Deno.test({
  name: "a watch that fell behind etcd's compaction tells what was set and deleted in the gap",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    using gate = gatedProxy(etcd.endpoints[0]!);
    await using stores = await scene(etcd, gate.url);
    const { far, near } = stores;
    await near.commit(set(["p", "kept"], ["p", "gone"], ["p", "changed"]));
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    await near.commit(set(["p", "late"]));
    await hears(seen, "p/late");
    seen.clear();
    gate.set("shut");
    await near.commit({
      ...set(["p", "changed"], ["p", "new"]),
      deletes: [["p", "gone"], ["p", "late"]],
    });
    // Made and deleted in the gap: nobody can know of it, and nobody needs to.
    await near.commit(set(["p", "brief"]));
    await near.commit({ checks: [], deletes: [["p", "brief"]] });
    await compact(etcd);
    gate.set("open");
    await hears(seen, "p/changed", "p/new", "p/gone", "p/late");
    assert.deepEqual([...seen].sort(), ["p/changed", "p/gone", "p/late", "p/new"]);
    seen.clear();
    await near.commit({ ...set(["p", "next"]), deletes: [["p", "kept"]] });
    await hears(seen, "p/next", "p/kept");
  },
});

Deno.test({
  name: "a watch whose connection is dead and looks quiet is given up and hears what it missed",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    using gate = gatedProxy(etcd.endpoints[0]!);
    await using stores = await scene(etcd, gate.url);
    const { far, near } = stores;
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    await near.commit(set(["p", "before"]));
    await hears(seen, "p/before");
    gate.set("silent");
    await near.commit(set(["p", "a"]));
    // A request of its own finds that the endpoint is dead, long before the stream would be renewed.
    await assert.rejects(far.get(["p", "a"]), { code: "METADATA_UNAVAILABLE" });
    assert.ok(!seen.has("p/a"));
    gate.set("open");
    await hears(seen, "p/a");
  },
});

Deno.test({
  name:
    "a stream is not trusted for ever: with no request beside it, it is renewed and tells what it missed",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    using gate = gatedProxy(etcd.endpoints[0]!);
    await using stores = await scene(etcd, gate.url);
    const { far, near } = stores;
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    await near.commit(set(["p", "before"]));
    await hears(seen, "p/before");
    // The connections that are open now stay dead; new ones live.
    gate.freeze();
    await near.commit(set(["p", "a"]));
    await hears(seen, "p/a");
    await near.commit(set(["p", "b"]));
    await hears(seen, "p/b");
  },
});

Deno.test({
  name: "a watch goes on over a restart of etcd",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    await using stores = await scene(etcd, etcd.endpoints[0]!);
    const { far, near } = stores;
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    await near.commit(set(["p", "before"]));
    await hears(seen, "p/before");
    await etcd.members[0]!.stop();
    etcd.members[0]!.start();
    await eventually(NEWS_MS, () => near.commit(set(["p", "after"])));
    await hears(seen, "p/after");
  },
});

Deno.test({
  name: "a watch that begins while etcd is away tells what is there once it is back",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    using gate = gatedProxy(etcd.endpoints[0]!);
    await using stores = await scene(etcd, gate.url);
    const { far, near } = stores;
    await near.commit(set(["p", "before"]));
    gate.set("shut");
    const seen = watched(far, ["p"]);
    await assert.rejects(far.list(["p"]), { code: "METADATA_UNAVAILABLE" });
    await near.commit(set(["p", "meanwhile"]));
    gate.set("open");
    await hears(seen, "p/before", "p/meanwhile");
    assert.equal((await far.list(["p"])).length, 2);
  },
});

Deno.test({
  name: "a watch on a member that is cut off from the others moves to one that is not",
  ignore,
  async fn() {
    await using etcd = await startEtcd(3);
    const reports: EtcdReport[] = [];
    await using far = await openOnEtcd({ endpoints: etcd.endpoints, reports, ...hastyPorts });
    const isHeardWithout = async (member: EtcdMember) => {
      member.pause();
      const others = etcd.members.filter((other) => other !== member);
      await using near = await openOnEtcd({ endpoints: others.map((other) => other.endpoint) });
      seen.clear();
      await eventually(NEWS_MS, () => near.commit(set(["p", "while paused"])));
      await hears(seen, "p/while paused");
      member.resume();
      await etcd.leader();
    };
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    await far.commit(set(["p", "before"]));
    for (const member of etcd.members) await isHeardWithout(member);
    assert.ok(reports.length > 0, "one of them was the one that was watched at");
  },
});

Deno.test({
  name: "deletes of what is not there hide no change of others",
  ignore,
  async fn() {
    await using etcd = await startEtcd();
    await using stores = await scene(etcd, etcd.endpoints[0]!);
    const { far, near } = stores;
    const seen = watched(far, ["p"]);
    await far.list(["p"]);
    for (let round = 0; round < 50; round++) {
      // Answered with the revision of the other's change, which must be told all the same.
      await Promise.all([
        near.commit(set(["p", `${round}`])),
        far.commit({ checks: [], deletes: [["p", "nothing"]] }),
        far.commit({ checks: [], deletes: [["p", "nothing"]] }),
      ]);
    }
    await hears(seen, ...Array.from({ length: 50 }, (_, round) => `p/${round}`));
  },
});

/** Two stores of one cluster: `far` behind a gate that a test may shut, with hasty waits; `near` at etcd itself. */
async function scene(etcd: EtcdCluster, gate: string) {
  const far = await openOnEtcd({ endpoints: [gate], ...hastyPorts });
  const near = await openOnEtcd({ endpoints: etcd.endpoints });
  return {
    far,
    near,
    async [Symbol.asyncDispose]() {
      await Promise.all([far.close(), near.close()]);
    },
  };
}
