// Owns how metadata on etcd is opened: users, TLS, and an etcd that takes too little.
import assert from "node:assert/strict";
import { BrokerError } from "../storage/broker_error.ts";
import { eventually } from "./support/api_calls.ts";
import { withDataDir } from "./support/broker_process.ts";
import { ETCD_NEEDED, type EtcdCluster, hasEtcd, startEtcd } from "./support/etcd_process.ts";
import { hastyPorts, openOnEtcd } from "./support/etcd_store.ts";
import { selfSigned, writePair } from "./support/self_signed.ts";
import { requireOrSkip } from "./support/system_needs.ts";

const ignore = requireOrSkip("etcd", await hasEtcd(), ETCD_NEEDED);
const BACK_MS = 20_000;

const set = (key: string, value: unknown = 1) => ({ checks: [], sets: [{ key: [key], value }] });

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore, fn });
}

async function askAuth(
  { endpoints }: EtcdCluster,
  path: string,
  { body, token }: { body: unknown; token?: string },
) {
  const headers: HeadersInit = token === undefined ? {} : { authorization: token };
  const init = { method: "POST", body: JSON.stringify(body), headers };
  const answer = await (await fetch(`${endpoints[0]}/v3/auth/${path}`, init)).json();
  assert.equal(answer.error, undefined);
  return answer;
}

/** A user `broker` who may read and write what lies below the cluster "mine", and the root that etcd asks for. */
async function enableUsers(etcd: EtcdCluster): Promise<void> {
  const ask = (path: string, body: unknown) => askAuth(etcd, path, { body });
  const perm = { permType: "READWRITE", key: btoa("mine\0"), range_end: btoa("mine\x01") };
  await ask("user/add", { name: "root", password: "root's" });
  await ask("role/add", { name: "root" });
  await ask("user/grant", { user: "root", role: "root" });
  await ask("user/add", { name: "broker", password: "broker's" });
  await ask("role/add", { name: "brokers" });
  await ask("role/grant", { name: "brokers", perm });
  await ask("user/grant", { user: "broker", role: "brokers" });
  await ask("enable", {});
}

test("with users, a broker's user does all that a store does, below its cluster and nowhere else", async () => {
  await using etcd = await startEtcd();
  await enableUsers(etcd);
  const { endpoints } = etcd;
  const user = { endpoints, prefix: "mine", username: "broker", password: "broker's" };
  await using store = await openOnEtcd(user);
  const seen = new Set<string>();
  store.watch([], (keys) => keys.forEach((key) => seen.add(key.join("/"))));
  const leaseId = await store.grantLease(60_000);
  await store.commit({ checks: [], sets: [{ key: ["a"], value: 1, leaseId }] });
  assert.ok(await store.renewLease(leaseId));
  assert.equal((await store.list([])).length, 1);
  await using other = await openOnEtcd(user);
  await other.commit(set("b"));
  await eventually(BACK_MS, () => Promise.resolve(assert.ok(seen.has("b"))));
  await store.revokeLease(leaseId);
  assert.equal(await store.get(["a"]), null);

  const refused = (reason: RegExp) => (error: unknown) => {
    assert.ok(error instanceof BrokerError, String(error));
    assert.equal(error.code, "METADATA_UNAVAILABLE");
    assert.match(error.message, reason);
    return true;
  };
  await assert.rejects(openOnEtcd({ ...user, password: "no" }), refused(/invalid user ID or pass/));
  await assert.rejects(openOnEtcd({ endpoints, prefix: "mine" }), refused(/user name is empty/));
  await assert.rejects(openOnEtcd({ ...user, prefix: "mine too" }), refused(/permission denied/));
});

test("a token that etcd has forgotten is renewed, and its refusal is seen by nobody", async () => {
  await using etcd = await startEtcd();
  await enableUsers(etcd);
  const { endpoints } = etcd;
  const user = { endpoints, prefix: "mine", username: "broker", password: "broker's" };
  await using store = await openOnEtcd(user);
  await using watching = await openOnEtcd(user);
  const seen = new Set<string>();
  watching.watch([], (keys) => keys.forEach((key) => seen.add(key.join("/"))));
  await watching.list([]);
  // A new password, were it the same, ends the user's tokens.
  const root = { name: "root", password: "root's" };
  const { token } = await askAuth(etcd, "authenticate", { body: root });
  const body = { name: "broker", password: "broker's" };
  await askAuth(etcd, "user/changepw", { body, token });
  assert.ok(await store.commit(set("a")));
  await eventually(BACK_MS, () => Promise.resolve(assert.ok(seen.has("a"))));
  assert.equal((await watching.list([])).length, 1);
});

test("over TLS, a member is trusted for its authority's sake only", async () => {
  await withDataDir(async (directory) => {
    const pair = await selfSigned("etcd");
    const tls = await writePair(directory, pair);
    await using etcd = await startEtcd(1, { tls });
    const { endpoints } = etcd;
    await using store = await openOnEtcd({ endpoints, tls: { caCert: pair.cert } });
    await using other = await openOnEtcd({ endpoints, tls: { caCert: pair.cert } });
    const seen = new Set<string>();
    store.watch([], (keys) => keys.forEach((key) => seen.add(key.join("/"))));
    await store.list([]);
    await other.commit(set("a"));
    assert.equal((await store.get(["a"]))?.value, 1);
    await eventually(BACK_MS, () => Promise.resolve(assert.ok(seen.has("a"))));
    const stranger = await selfSigned("stranger");
    for (const caCert of [undefined, stranger.cert]) {
      await assert.rejects(
        openOnEtcd({ endpoints, ...hastyPorts, tls: { caCert } }),
        { code: "METADATA_UNAVAILABLE", message: /certificate/ },
      );
    }
  });
});

test("where etcd asks clients for certificates, the store shows its own", async () => {
  await withDataDir(async (directory) => {
    const pair = await selfSigned("etcd");
    const tls = await writePair(directory, pair);
    const client = await selfSigned("broker");
    await Deno.writeTextFile(`${directory}/clients.pem`, pair.cert + client.cert);
    const args = [
      "--max-txn-ops=1024",
      "--client-cert-auth",
      `--trusted-ca-file=${directory}/clients.pem`,
    ];
    await using etcd = await startEtcd(1, { tls, args, client });
    const { endpoints } = etcd;
    const { cert, key } = client;
    await using store = await openOnEtcd({ endpoints, tls: { caCert: pair.cert, cert, key } });
    assert.ok(await store.commit(set("a")));
    await assert.rejects(
      openOnEtcd({ endpoints, ...hastyPorts, tls: { caCert: pair.cert } }),
      { code: "METADATA_UNAVAILABLE" },
    );
  });
});

test("an etcd with its default bound of operations is refused at once, with what to do", async () => {
  await using etcd = await startEtcd(1, { args: [] });
  await assert.rejects(openOnEtcd({ endpoints: etcd.endpoints }), /--max-txn-ops=1024/);
});

test("a commit larger than etcd takes is refused and does not happen", async () => {
  const args = ["--max-txn-ops=1024", "--max-request-bytes=100000"];
  await using etcd = await startEtcd(1, { args });
  await using store = await openOnEtcd({ endpoints: etcd.endpoints });
  const value = "v".repeat(59_000);
  const sets = ["a", "b", "c"].map((key) => ({ key: [key], value }));
  await assert.rejects(store.commit({ checks: [], sets }), (error) => {
    assert.ok(error instanceof Error && !(error instanceof BrokerError), String(error));
    assert.match(error.message, /too large/);
    return true;
  });
  assert.deepEqual(await store.list([]), []);
  assert.ok(await store.commit({ checks: [], sets: sets.slice(0, 1) }));
});

test("an etcd that is full refuses as a full disk does", async () => {
  const args = ["--max-txn-ops=1024", "--quota-backend-bytes=1000000"];
  await using etcd = await startEtcd(1, { args });
  await using store = await openOnEtcd({ endpoints: etcd.endpoints });
  const fill = async () => {
    for (let at = 0; at < 100; at++) await store.commit(set(`${at}`, "v".repeat(59_000)));
  };
  await assert.rejects(fill(), { code: "DISK_FULL" });
  assert.ok((await store.list([])).length > 0);
});

test("what is no endpoint and no cluster's name is refused before anything is sent", async () => {
  for (const endpoint of ["127.0.0.1:2379", "ftp://a", "http://a/v3", "http://u@a", ""]) {
    await assert.rejects(openOnEtcd({ endpoints: [endpoint] }), /not an endpoint/);
  }
  await assert.rejects(openOnEtcd({ endpoints: [] }), /at least one/);
  const endpoints = ["http://127.0.0.1:1"];
  for (const prefix of ["", "a\0b", "x".repeat(201)]) {
    await assert.rejects(openOnEtcd({ endpoints, prefix }), Error);
  }
});
