// Owns one request for every route, with the rights that it takes and no more.
// Refuses to own trying them (access_table_test.ts).
// Invariant: in a world of `orders`, `dlq.orders` and group `billing`, `comesTo` is what the rights lead to.
import { crc32c } from "@node-rs/crc32";
import { BATCH_TYPE } from "../../api/media.ts";
import { encodeBatch } from "../../storage/format/encode.ts";
import type { Grant } from "./acl_grants.ts";

export interface AccessSample {
  /** With every parameter filled in. */
  readonly path: string;
  readonly body?: unknown;
  readonly raw?: Uint8Array<ArrayBuffer>;
  readonly headers?: Record<string, string>;
  /** What it takes; none for routes that take a credential alone, or nothing. */
  readonly grants?: readonly Grant[];
  /** The status, or the code of the problem, that it comes to with these rights. */
  readonly comesTo: number | string;
}

/** When virtual time begins. */
const START_MS = Date.UTC(2026, 0, 1);
const ID = "5b0c1d3e-8f61-4a39-9d58-0d6a4c1f7f10";
const GROUP = "/api/groups/billing";
const ORDERS = "/api/topics/orders";
const OFFSETS = [{ topic: "orders", partition: 0, offset: 1 }];
const AT = { topic: "orders", partition: 0, offset: 0 };

const readAll: readonly Grant[] = [["group", "billing", "read"], ["topic", "orders", "read"]];
const onOrders = (operation: Grant[2]): readonly Grant[] => [["topic", "orders", operation]];
const onGroup = (operation: Grant[2]): readonly Grant[] => [["group", "billing", operation]];
const alterAndSee: readonly Grant[] = [
  ["group", "billing", "alter"],
  ["topic", "orders", "describe"],
];
const admin: readonly Grant[] = [["cluster", "*", "admin"]];
const describeCluster: readonly Grant[] = [["cluster", "*", "describe"]];

function batch(): Uint8Array<ArrayBuffer> {
  const record = { key: null, value: "x", headers: [], timestamp: 0 };
  return encodeBatch([record], { crc32c }) as Uint8Array<ArrayBuffer>;
}

/** By `METHOD /path/{template}`. */
export const ACCESS_SAMPLES: Readonly<Record<string, AccessSample>> = {
  "POST /api/messages:publish": {
    path: "/api/messages:publish",
    body: { topic: "orders", messages: [{ value: "x" }] },
    grants: onOrders("write"),
    comesTo: 200,
  },
  "POST /api/topics/{topic}/partitions/{partition}/messages": {
    path: `${ORDERS}/partitions/0/messages?acks=all`,
    raw: batch(),
    headers: { "content-type": BATCH_TYPE },
    grants: onOrders("write"),
    comesTo: 200,
  },
  "GET /api/topics/{topic}/partitions/{partition}/messages": {
    path: `${ORDERS}/partitions/0/messages?offset=earliest`,
    grants: onOrders("read"),
    comesTo: 200,
  },
  "POST /api/producers": { path: "/api/producers", body: {}, comesTo: 201 },
  "POST /api/transactions": {
    path: "/api/transactions",
    body: { transactionalId: "t" },
    comesTo: 200,
  },
  "GET /api/transactions": { path: "/api/transactions", comesTo: 200 },
  "GET /api/transactions/{transactionId}": {
    path: "/api/transactions/t.1.0",
    comesTo: "UNKNOWN_TRANSACTION",
  },
  "POST /api/transactions/{transactionId}:commit": {
    path: "/api/transactions/t.1.0:commit",
    body: { offsets: [{ groupId: "billing", ...OFFSETS[0] }] },
    grants: readAll,
    comesTo: "UNKNOWN_TRANSACTION",
  },
  "POST /api/transactions/{transactionId}:abort": {
    path: "/api/transactions/t.1.0:abort",
    comesTo: "UNKNOWN_TRANSACTION",
  },
  "POST /api/messages:replay": {
    path: "/api/messages:replay",
    body: { topic: "orders", partition: 0, from: 0, to: 1, target: { group: "billing" } },
    grants: [["topic", "orders", "read"], ["group", "billing", "alter"]],
    comesTo: 202,
  },
  "POST /api/dlq:redrive": {
    path: "/api/dlq:redrive",
    body: { topic: "orders", reason: "again" },
    grants: [["topic", "dlq.orders", "read"], ["topic", "orders", "write"]],
    comesTo: 202,
  },
  "GET /api/replays": { path: "/api/replays", comesTo: 200 },
  "GET /api/replays/{jobId}": { path: `/api/replays/${ID}`, comesTo: "NOT_FOUND" },
  "POST /api/replays/{jobId}:pause": { path: `/api/replays/${ID}:pause`, comesTo: "NOT_FOUND" },
  "POST /api/replays/{jobId}:resume": { path: `/api/replays/${ID}:resume`, comesTo: "NOT_FOUND" },
  "POST /api/replays/{jobId}:cancel": { path: `/api/replays/${ID}:cancel`, comesTo: "NOT_FOUND" },
  "POST /api/topics": {
    path: "/api/topics",
    body: { name: "invoices" },
    grants: [["topic", "invoices", "create"]],
    comesTo: 201,
  },
  "GET /api/topics": { path: "/api/topics", comesTo: 200 },
  "GET /api/topics/{topic}": { path: ORDERS, grants: onOrders("describe"), comesTo: 200 },
  "PATCH /api/topics/{topic}": {
    path: ORDERS,
    body: { retentionHours: 1 },
    grants: onOrders("alter"),
    comesTo: 200,
  },
  "DELETE /api/topics/{topic}": { path: ORDERS, grants: onOrders("delete"), comesTo: 204 },
  "GET /api/groups/{group}/stream": {
    path: `${GROUP}/stream?topics=orders`,
    grants: readAll,
    comesTo: "UPGRADE_REQUIRED",
  },
  "POST /api/groups/{group}/members": {
    path: `${GROUP}/members`,
    body: { topics: ["orders"] },
    grants: readAll,
    comesTo: 200,
  },
  "POST /api/groups/{group}/members/{memberId}:poll": {
    path: `${GROUP}/members/${ID}:poll`,
    grants: onGroup("read"),
    comesTo: "UNKNOWN_MEMBER",
  },
  "DELETE /api/groups/{group}/members/{memberId}": {
    path: `${GROUP}/members/${ID}`,
    grants: onGroup("read"),
    comesTo: "UNKNOWN_MEMBER",
  },
  "POST /api/offsets:commit": {
    path: "/api/offsets:commit",
    body: { groupId: "billing", offsets: OFFSETS },
    grants: readAll,
    comesTo: 200,
  },
  "POST /api/messages:nack": {
    path: "/api/messages:nack",
    body: { groupId: "billing", ...AT },
    grants: readAll,
    comesTo: 200,
  },
  "GET /api/dlq": { path: "/api/dlq", comesTo: 200 },
  "GET /api/groups": { path: "/api/groups", comesTo: 200 },
  "GET /api/groups/{group}": { path: GROUP, grants: onGroup("describe"), comesTo: 200 },
  "GET /api/groups/{group}/rebalances": {
    path: `${GROUP}/rebalances`,
    grants: onGroup("describe"),
    comesTo: 200,
  },
  "DELETE /api/groups/{group}": { path: GROUP, grants: onGroup("delete"), comesTo: 204 },
  "POST /api/groups/{group}:pause": {
    path: `${GROUP}:pause`,
    body: { reason: "maintenance" },
    grants: onGroup("alter"),
    comesTo: 200,
  },
  "POST /api/groups/{group}:resume": {
    path: `${GROUP}:resume`,
    grants: onGroup("alter"),
    comesTo: 200,
  },
  "GET /api/groups/{group}/canary": {
    path: `${GROUP}/canary`,
    grants: onGroup("describe"),
    comesTo: "UNKNOWN_CANARY",
  },
  "PUT /api/groups/{group}/canary": {
    path: `${GROUP}/canary`,
    body: { version: "2.1.0", percent: 10 },
    grants: onGroup("alter"),
    comesTo: 200,
  },
  "POST /api/groups/{group}/canary:promote": {
    path: `${GROUP}/canary:promote`,
    grants: onGroup("alter"),
    comesTo: "UNKNOWN_CANARY",
  },
  "DELETE /api/groups/{group}/canary": {
    path: `${GROUP}/canary`,
    grants: onGroup("alter"),
    comesTo: "UNKNOWN_CANARY",
  },
  "GET /api/groups/{group}/lag": {
    path: `${GROUP}/lag`,
    grants: onGroup("describe"),
    comesTo: 200,
  },
  "GET /api/groups/{group}/retry-policy": {
    path: `${GROUP}/retry-policy?topic=orders`,
    grants: [["group", "billing", "describe"], ["topic", "orders", "describe"]],
    comesTo: 200,
  },
  "PUT /api/groups/{group}/retry-policy": {
    path: `${GROUP}/retry-policy`,
    body: { topic: "orders", maxAttempts: 3 },
    grants: alterAndSee,
    comesTo: 200,
  },
  "GET /api/groups/{group}/offsets/history": {
    path: `${GROUP}/offsets/history?topic=orders`,
    grants: [["group", "billing", "describe"], ["topic", "orders", "describe"]],
    comesTo: 200,
  },
  "GET /api/groups/{group}/offsets/snapshots": {
    path: `${GROUP}/offsets/snapshots`,
    grants: onGroup("describe"),
    comesTo: 200,
  },
  "POST /api/groups/{group}/offsets:snapshot": {
    path: `${GROUP}/offsets:snapshot`,
    grants: onGroup("alter"),
    comesTo: 201,
  },
  "POST /api/groups/{group}/offsets:rollback": {
    path: `${GROUP}/offsets:rollback`,
    body: { to: { time: START_MS }, topic: "orders", reason: "again" },
    grants: alterAndSee,
    comesTo: 200,
  },
  "POST /api/groups/{group}/offsets:reset": {
    path: `${GROUP}/offsets:reset`,
    body: { topic: "orders", to: "earliest", reason: "again" },
    grants: alterAndSee,
    comesTo: 200,
  },
  "POST /api/keys": {
    path: "/api/keys",
    body: { principal: "new" },
    grants: admin,
    comesTo: 201,
  },
  "GET /api/keys": { path: "/api/keys", grants: admin, comesTo: 200 },
  "DELETE /api/keys/{keyId}": { path: `/api/keys/${ID}`, grants: admin, comesTo: "NOT_FOUND" },
  "POST /api/acls": {
    path: "/api/acls",
    body: { principal: "new", resource: "topic", pattern: "orders", operation: "read" },
    grants: admin,
    comesTo: 201,
  },
  "GET /api/acls": { path: "/api/acls", grants: admin, comesTo: 200 },
  "DELETE /api/acls/{aclId}": { path: `/api/acls/${ID}`, grants: admin, comesTo: "NOT_FOUND" },
  "GET /api/alerts": { path: "/api/alerts", grants: describeCluster, comesTo: 200 },
  "GET /api/alerts/{alertId}": {
    path: `/api/alerts/${ID}`,
    grants: describeCluster,
    comesTo: "NOT_FOUND",
  },
  "POST /api/alerts/{alertId}:acknowledge": {
    path: `/api/alerts/${ID}:acknowledge`,
    body: {},
    grants: admin,
    comesTo: "NOT_FOUND",
  },
  "POST /api/alerts/{alertId}:silence": {
    path: `/api/alerts/${ID}:silence`,
    body: { seconds: 60 },
    grants: admin,
    comesTo: "NOT_FOUND",
  },
  "GET /api/runbooks": { path: "/api/runbooks", grants: describeCluster, comesTo: 200 },
  "POST /api/runbooks/{name}:execute": {
    path: "/api/runbooks/nothing:execute",
    body: { target: { type: "group", name: "billing" }, mode: "observe", reason: "a look" },
    grants: admin,
    comesTo: "NOT_FOUND",
  },
  "GET /api/runbooks/executions": {
    path: "/api/runbooks/executions",
    grants: describeCluster,
    comesTo: 200,
  },
  "GET /api/runbooks/executions/{executionId}": {
    path: `/api/runbooks/executions/${ID}`,
    grants: describeCluster,
    comesTo: "NOT_FOUND",
  },
  "POST /api/runbooks/executions/{executionId}:approve": {
    path: `/api/runbooks/executions/${ID}:approve`,
    grants: admin,
    comesTo: "NOT_FOUND",
  },
  "POST /api/runbooks/executions/{executionId}:abort": {
    path: `/api/runbooks/executions/${ID}:abort`,
    grants: admin,
    comesTo: "NOT_FOUND",
  },
  "GET /api/thresholds": { path: "/api/thresholds", grants: describeCluster, comesTo: 200 },
  "GET /api/thresholds/{name}": {
    path: "/api/thresholds/consumer-lag",
    grants: describeCluster,
    comesTo: 200,
  },
  "PUT /api/thresholds/{name}": {
    path: "/api/thresholds/consumer-lag",
    body: { limit: 10, severity: "P2", enabled: true, mode: "observe" },
    grants: admin,
    comesTo: 200,
  },
  "DELETE /api/thresholds/{name}": {
    path: "/api/thresholds/consumer-lag",
    grants: admin,
    comesTo: 204,
  },
  "GET /api/quotas": { path: "/api/quotas", grants: admin, comesTo: 200 },
  "GET /api/quotas/{tenant}": { path: "/api/quotas/another", grants: admin, comesTo: 200 },
  "PUT /api/quotas/{tenant}": {
    path: "/api/quotas/acme",
    body: { requestsPerSecond: 1_000_000 },
    grants: admin,
    comesTo: 200,
  },
  "DELETE /api/quotas/{tenant}": {
    path: "/api/quotas/acme",
    grants: admin,
    comesTo: "NOT_FOUND",
  },
  "GET /api/audit": { path: "/api/audit", grants: admin, comesTo: 200 },
  "GET /api/audit:verify": { path: "/api/audit:verify", grants: admin, comesTo: 200 },
  "GET /api/cluster": { path: "/api/cluster", grants: describeCluster, comesTo: 200 },
  "GET /api/brokers": { path: "/api/brokers", grants: describeCluster, comesTo: 200 },
  "GET /api/brokers/{nodeId}": {
    path: "/api/brokers/nobody",
    grants: describeCluster,
    comesTo: "NOT_FOUND",
  },
  // One that is alone has nobody to move anything to.
  "POST /api/brokers/{nodeId}:drain": {
    path: "/api/brokers/1:drain",
    grants: admin,
    comesTo: "INVALID_REQUEST",
  },
  "POST /api/brokers/{nodeId}:undrain": {
    path: "/api/brokers/1:undrain",
    grants: admin,
    comesTo: "INVALID_REQUEST",
  },
  "DELETE /api/brokers/{nodeId}": {
    path: "/api/brokers/1",
    grants: admin,
    comesTo: "INVALID_REQUEST",
  },
  "GET /api/partitions": { path: "/api/partitions", grants: describeCluster, comesTo: 200 },
  "GET /api/partitions:reassign": {
    path: "/api/partitions:reassign",
    grants: describeCluster,
    comesTo: 200,
  },
  "POST /api/partitions:reassign": {
    path: "/api/partitions:reassign",
    body: { moves: "rebalance" },
    grants: admin,
    comesTo: "INVALID_REQUEST",
  },
  "DELETE /api/partitions:reassign": {
    path: "/api/partitions:reassign",
    grants: admin,
    comesTo: "INVALID_REQUEST",
  },
  "GET /api/traces/{traceId}": {
    path: "/api/traces/4bf92f3577b34da6a3ce929d0e0e4736",
    comesTo: 200,
  },
  "GET /api/overview": { path: "/api/overview", grants: describeCluster, comesTo: 200 },
  // Else it would never end.
  "GET /api/overview:stream": {
    path: "/api/overview:stream",
    grants: describeCluster,
    comesTo: "SHUTTING_DOWN",
  },
  "GET /metrics": { path: "/metrics", grants: describeCluster, comesTo: 200 },
  "GET /metrics/partitions": {
    path: "/metrics/partitions",
    grants: describeCluster,
    comesTo: 200,
  },
  "GET /livez": { path: "/livez", comesTo: 200 },
  "GET /readyz": { path: "/readyz", comesTo: 200 },
  "GET /openapi.json": { path: "/openapi.json", comesTo: 200 },
  "GET /docs": { path: "/docs", comesTo: 200 },
  "GET /": { path: "/", comesTo: 200 },
  "GET /dashboard/app.js": { path: "/dashboard/app.js", comesTo: 200 },
  "GET /dashboard/style.css": { path: "/dashboard/style.css", comesTo: 200 },
  "GET /dashboard/icon.svg": { path: "/dashboard/icon.svg", comesTo: 200 },
};
