// Owns the table of who answers what: for every method of the Broker port and its parts, the partition whose leader does.
// Refuses to own asking (router.ts) and what is asked of several and put together (routed_gather.ts and its like).
// Invariant: every method has an entry, which the types enforce: a new one cannot be forgotten.
import type { AccessKeys } from "../access_key/types.ts";
import type { Acls } from "../acl/types.ts";
import { AUDIT_TOPIC } from "../audit/audit_log.ts";
import type { AuditLog } from "../audit/types.ts";
import type { Broker, TopicPartition } from "../broker.ts";
import type { OffsetLedger } from "../group/ledger/types.ts";
import { GROUPS_TOPIC, JOBS_TOPIC } from "../internal_topics.ts";
import type { Jobs } from "../job/types.ts";
import type { Producers } from "../partition/types.ts";
import type { Quotas } from "../quota/types.ts";
import { REQUESTS_TOPIC } from "../request_keys/local_request_keys.ts";
import type { RequestKeysPort } from "../request_keys/types.ts";
import { RUNBOOKS_TOPIC } from "../runbook/runbooks.ts";
import type { Runbooks } from "../runbook/types.ts";
import { ALERTS_TOPIC } from "../threshold/alerts.ts";
import type { Alerts } from "../threshold/types.ts";
import type { Traces } from "../trace/types.ts";
import { TRANSACTIONS_TOPIC } from "../transaction/coordinator.ts";
import { parseTransactionId } from "../transaction/transaction_id.ts";
import type { Transactions } from "../transaction/types.ts";

/** A partition, or the one of a topic that the hash of a key falls on, as a producer's would. */
export type Place = TopicPartition | { readonly topic: string; readonly key: string };

/** A method that the leader of one partition answers. */
export interface OwnedRoute<A extends readonly unknown[] = readonly unknown[]> {
  /** Throws BrokerErrors for arguments that can be meant for nobody. */
  readonly to: (...args: A) => Place;
  /** Asking twice is as good as asking once: it is asked again also when no answer came. */
  readonly reads?: true;
  /** How long an answer may take; default `DEFAULT_CALL_MS`. */
  readonly timeoutMs?: number;
  /** Position of the argument that has a `signal` and a `timeoutMs`: how long it may take, retries and all. */
  readonly waitsAt?: number;
  /** STALE_EPOCH is an answer, not a sign that the leader has changed: always, or with some arguments. */
  readonly hasEpoch?: true | ((...args: A) => boolean);
}

/** `here`: by each broker itself, from what all of them know. `composed`: from several, or besides; see RoutedBroker. */
export type Route<A extends readonly unknown[] = readonly unknown[]> =
  | OwnedRoute<A>
  | "here"
  | "composed";

// deno-lint-ignore no-explicit-any -- any function, whatever it takes
type AnyFunction = (...args: any[]) => unknown;
export type MethodsOf<P> = {
  [M in keyof P]-?: P[M] extends AnyFunction ? M : never;
}[keyof P];
export type RoutesOf<P> = {
  readonly [M in MethodsOf<P>]: P[M] extends AnyFunction ? Route<Parameters<P[M]>> : never;
};

/** Longer than an append may wait for replicas. */
export const DEFAULT_CALL_MS = 60_000;
const LONG_CALL_MS = 300_000;
const VERIFY_MS = 1_800_000;

/** Reads of a partition. */
const atPartition = (at: TopicPartition) => at;
const ofGroup = (group: string): Place => ({ topic: GROUPS_TOPIC, key: group });
const ofTransaction = (transactionId: string) =>
  ofTransactionalId(parseTransactionId(transactionId).transactionalId);
const ofTransactionalId = (key: string): Place => ({ topic: TRANSACTIONS_TOPIC, key });
const first = (topic: string) => (): Place => ({ topic, partition: 0 });
const toJobs = first(JOBS_TOPIC);
const toAudit = first(AUDIT_TOPIC);
const toAlerts = first(ALERTS_TOPIC);
const toRunbooks = first(RUNBOOKS_TOPIC);
/** Where requests are known, whichever partition their records lie in. */
const toRequests = first(REQUESTS_TOPIC);

const BROKER: RoutesOf<Broker> = {
  createTopic: "composed",
  updateTopic: "composed",
  deleteTopic: "here",
  topic: "here",
  describeTopic: "composed",
  topicNames: "here",
  onTopicsChanged: "here",
  partitionInfo: { to: atPartition, reads: true },
  append: {
    to: (at, _batches, { idempotencyKeys }) =>
      idempotencyKeys === undefined ? at : { topic: at.topic, partition: 0 },
    hasEpoch: (_at, _batches, { keysTerm }) => keysTerm !== undefined,
  },
  fenceKeys: { to: atPartition, reads: true, hasEpoch: true },
  messageKeyCounts: "here",
  writeMarker: { to: atPartition, hasEpoch: true },
  fetch: { to: atPartition, reads: true },
  waitForData: { to: atPartition, reads: true, waitsAt: 2 },
  offsetForTime: { to: atPartition, reads: true },
  group: { to: ({ group }) => ofGroup(group) },
  groups: "composed",
  onGroupNotification: "composed",
  revive: "composed",
  health: "here",
};

const ACCESS_KEYS: RoutesOf<AccessKeys> = {
  create: "here",
  delete: "here",
  find: "here",
  tenantOf: "here",
  list: "here",
  onDeleted: "here",
};

const ACLS: RoutesOf<Acls> = {
  create: "here",
  delete: "here",
  find: "here",
  list: "here",
  onChanged: "here",
};

const QUOTAS: RoutesOf<Quotas> = {
  put: "here",
  delete: "here",
  find: "here",
  limitsOf: "here",
  list: "here",
  onChanged: "here",
};

const AUDIT: RoutesOf<AuditLog> = {
  intend: { to: toAudit },
  conclude: { to: toAudit },
  record: { to: toAudit },
  refused: "composed",
  head: { to: toAudit, reads: true },
  query: { to: toAudit, reads: true },
  verify: { to: toAudit, reads: true, timeoutMs: VERIFY_MS },
};

const PRODUCERS: RoutesOf<Producers> = {
  allocate: "here",
  nextSequence: { to: atPartition, reads: true },
  counters: "here",
};

const TRANSACTIONS: RoutesOf<Transactions> = {
  begin: { to: ({ transactionalId }) => ofTransactionalId(transactionalId) },
  append: { to: (_at, _batches, { transactionId }) => ofTransaction(transactionId) },
  commit: { to: ofTransaction },
  abort: { to: ofTransaction },
  describe: { to: ofTransaction, reads: true },
  unfinished: "composed",
};

const JOBS: RoutesOf<Jobs> = {
  submit: { to: toJobs, timeoutMs: LONG_CALL_MS },
  list: { to: toJobs, reads: true },
  get: { to: toJobs, reads: true },
  owned: { to: toJobs, reads: true },
  pause: { to: toJobs },
  resume: { to: toJobs },
  cancel: { to: toJobs },
  redriven: { to: toJobs, reads: true },
};

const ALERTS: RoutesOf<Alerts> = {
  observe: "composed",
  list: "composed",
  find: "composed",
  acknowledge: { to: toAlerts },
  silence: { to: toAlerts },
  thresholds: "here",
  threshold: "here",
  putThreshold: "here",
  resetThreshold: "here",
  // Told where alerts are judged, so that nobody is told twice.
  onNews: "here",
  onChanged: "composed",
  useRunbooks: "here",
};

const RUNBOOKS: RoutesOf<Runbooks> = {
  start: { to: toRunbooks },
  definitions: "here",
  execute: { to: toRunbooks },
  execution: { to: toRunbooks, reads: true },
  executions: { to: toRunbooks, reads: true },
  approve: { to: toRunbooks },
  abort: { to: toRunbooks },
  withdraw: { to: toRunbooks },
  onChanged: "here",
  use: "here",
};

const TRACES: RoutesOf<Traces> = {
  find: "composed",
  delivered: "here",
};

const LEDGER: RoutesOf<OffsetLedger> = {
  history: { to: ofGroup, reads: true },
  snapshots: { to: ofGroup, reads: true },
  offsetsAt: { to: ofGroup, reads: true },
};

const REQUEST_KEYS: RoutesOf<RequestKeysPort> = {
  lookup: { to: toRequests, reads: true },
  begin: { to: toRequests },
  append: { to: toRequests },
  complete: { to: toRequests },
  release: { to: toRequests },
  counts: "here",
};

/** By part of the Broker port; `broker` is the port itself. */
export const ROUTES = Object.freeze({
  broker: BROKER,
  accessKeys: ACCESS_KEYS,
  acls: ACLS,
  quotas: QUOTAS,
  audit: AUDIT,
  producers: PRODUCERS,
  transactions: TRANSACTIONS,
  jobs: JOBS,
  alerts: ALERTS,
  runbooks: RUNBOOKS,
  traces: TRACES,
  ledger: LEDGER,
  requestKeys: REQUEST_KEYS,
});

export type PartName = keyof typeof ROUTES;

/** The name of a method between brokers. */
export function peerMethod(part: PartName, method: string): string {
  return `${part}.${method}`;
}
