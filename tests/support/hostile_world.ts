// Owns a broker in memory in which every kind of thing exists, so that requests of rubbish meet something to break.
// Refuses to own the rubbish. Invariant: it is the same each time, and time moves only while somebody waits for an answer.
import assert from "node:assert/strict";
import { createConsuming } from "../../api/stream/consuming.ts";
import { metricsRoutes } from "../../ops/metrics/routes.ts";
import { MemoryMetadataStore } from "../../storage/memory/memory_metadata.ts";
import { type Answer, type ApiUnderTest, apiUnderTest, type AskOptions } from "./api_app.ts";
import { passing } from "./passing_time.ts";
import { seededRandomness } from "./seeded_randomness.ts";
import { VirtualClock } from "./virtual_time.ts";

const STEP_MS = 2_000;
/** Messages of the replay that is paused; one a second. */
const REPLAYED = 600;

export interface TimedAnswer extends Answer {
  /** No time had to pass for it. */
  readonly atOnce: boolean;
}

export interface HostileWorld {
  readonly api: ApiUnderTest;
  /** What stands for `{{name}}` in requests. */
  readonly names: Readonly<Record<string, string>>;
  /** A request, while virtual time moves on as long as there is no answer. */
  ask(method: string, path: string, options?: AskOptions): Promise<TimedAnswer>;
  /** All that is stored: the end of every log, internal ones but the audit log too, and all metadata. */
  everything(): Promise<Record<string, unknown>>;
  /** A publish, a read and a commit, as any client does them. */
  checkServing(): Promise<void>;
  close(): Promise<void>;
}

/** A broker with topics, messages, groups, members, transactions, jobs, dead letters, keys, ACLs and quotas. */
export async function hostileWorld(
  options: { readonly adminToken?: string; readonly strangerOwns?: string } = {},
): Promise<HostileWorld> {
  const { adminToken = null } = options;
  const time = new VirtualClock();
  const metadata = new MemoryMetadataStore({ timers: time, randomness: seededRandomness(2) });
  const consuming = createConsuming({ timers: time });
  const api = await apiUnderTest({
    time,
    metadata,
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
    app: {
      routes: [consuming.routes, metricsRoutes("0.1.0-test")],
      security: { adminToken, allowedOrigins: [] },
    },
  });
  const ask: HostileWorld["ask"] = async (method, path, options) => {
    const startedAt = time.monotonic();
    const asking = api.ask(method, path, options);
    const answer = await passing(time, asking, { stepMs: STEP_MS });
    return { ...answer, atOnce: time.monotonic() === startedAt };
  };
  const world = {
    api,
    names: {},
    ask,
    everything: () => everything(api, metadata),
    checkServing: () => checkServing(world),
    close: async () => {
      await consuming.drain();
      await api.close();
    },
  };
  const headers: Record<string, string> = adminToken === null
    ? {}
    : { authorization: `Bearer ${adminToken}` };
  const names = await furnish(world, headers);
  if (options.strangerOwns !== undefined) await giveStranger(world, options.strangerOwns, headers);
  return { ...world, names };
}

async function furnish(
  { ask }: HostileWorld,
  credential: Record<string, string>,
): Promise<Record<string, string>> {
  const made = async (path: string, body: unknown, more = {}) => {
    const headers = { ...credential, ...more };
    const answer = await ask(path.startsWith("/api/quotas") ? "PUT" : "POST", path, {
      body,
      headers,
    });
    assert.ok(answer.status < 300, `${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  };
  await made("/api/topics", { name: "orders", partitions: 2 });
  await made("/api/topics", { name: "latest-prices", cleanupPolicy: "compact" });
  await made("/api/topics", { name: "canary" });
  const messages = Array.from({ length: 8 }, (_, n) => ({
    key: `k${n % 3}`,
    value: n % 2 === 0 ? { n } : `text ${n}`,
    partition: n % 2,
    headers: { source: "tests" },
  }));
  const publish = { topic: "orders", messages };
  await made("/api/messages:publish", publish, { "idempotency-key": "first" });
  const place = { groupId: "billing", topic: "orders", partition: 0 };
  await made("/api/offsets:commit", {
    groupId: "billing",
    offsets: [{ topic: "orders", partition: 0, offset: 1 }],
  });
  await made("/api/messages:nack", { ...place, offset: 2, code: "NON_RETRYABLE", reason: "r" });
  await made("/api/messages:nack", { ...place, offset: 3, delayMs: 3_600_000 });
  const snapshot = await made("/api/groups/billing/offsets:snapshot", {});
  const { memberId, leaseToken } = await made("/api/groups/readers/members", {
    topics: ["orders"],
    sessionTimeoutMs: 600_000,
  });
  const { transactionId, producerId } = await made("/api/transactions", {
    transactionalId: "payments",
    timeoutMs: 900_000,
  });
  // Long enough to be under way still when it is paused, however much time passes until that is answered.
  const prices = Array.from({ length: REPLAYED }, (_, n) => ({ key: `p${n}`, value: n }));
  await made("/api/messages:publish", { topic: "latest-prices", messages: prices });
  const replay = { topic: "latest-prices", partition: 0, from: 0, to: REPLAYED, ratePerSecond: 1 };
  const { jobId } = await made("/api/messages:replay", { ...replay, target: { topic: "canary" } });
  await made(`/api/replays/${jobId}:pause`, {});
  const { keyId } = await made("/api/keys", { principal: "billing" });
  const stranger = await made("/api/keys", { principal: "stranger", tenant: "elsewhere" });
  const { aclId } = await made("/api/acls", {
    principal: "billing",
    resource: "topic",
    pattern: "orders",
    operation: "read",
  });
  await made("/api/quotas/acme", { requestsPerSecond: 1_000 });
  const { snapshotId } = snapshot;
  return {
    ...{ memberId, leaseToken, transactionId, jobId, keyId, snapshotId, aclId },
    producerId: String(producerId),
    strangerKey: stranger.key,
  };
}

/** The stranger's own topic and group of that name, with a few messages. */
async function giveStranger(
  { ask }: HostileWorld,
  name: string,
  headers: Record<string, string>,
): Promise<void> {
  await ask("POST", "/api/topics", { body: { name }, headers });
  const messages = Array.from({ length: 6 }, (_, n) => ({ key: `k${n}`, value: n }));
  await ask("POST", "/api/messages:publish", { body: { topic: name, messages }, headers });
  const offsets = [{ topic: name, partition: 0, offset: 1 }];
  await ask("POST", "/api/offsets:commit", { body: { groupId: name, offsets }, headers });
  for (const resource of ["topic", "group"]) {
    const acl = { principal: "stranger", resource, pattern: name, operation: "all" };
    const { status } = await ask("POST", "/api/acls", { body: acl, headers });
    assert.equal(status, 201);
  }
}

async function everything(
  { broker }: ApiUnderTest,
  metadata: MemoryMetadataStore,
): Promise<Record<string, unknown>> {
  const stored: Record<string, unknown> = {};
  for (const name of broker.topicNames()) {
    for (const { partition, logEndOffset } of (await broker.describeTopic(name)).partitions) {
      stored[`${name}/${partition}`] = logEndOffset;
    }
  }
  for (const { key, value } of await metadata.list([])) {
    stored[`metadata ${key.join("/")}`] = value;
  }
  // That something was asked is written down, refused or not.
  for (const key of Object.keys(stored)) {
    if (/^(?:metadata audit|__audit)\//.test(key)) delete stored[key];
  }
  return stored;
}

async function checkServing({ ask }: HostileWorld): Promise<void> {
  if ((await ask("GET", "/api/topics/probe")).status === 404) {
    await ask("POST", "/api/topics", { body: { name: "probe" } });
  }
  const messages = [{ value: "still here" }];
  const published = await ask("POST", "/api/messages:publish", {
    body: { topic: "probe", messages },
  });
  assert.equal(published.status, 200, JSON.stringify(published.body));
  const { offset } = published.body.results[0];
  const read = await ask("GET", `/api/topics/probe/partitions/0/messages?offset=${offset}`);
  assert.equal(read.body.messages[0].value, "still here");
  const offsets = [{ topic: "probe", partition: 0, offset: offset + 1 }];
  const body = { groupId: `probe-${offset}`, offsets };
  assert.equal((await ask("POST", "/api/offsets:commit", { body })).status, 200);
}
