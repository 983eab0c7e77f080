// Owns the broker of this process: puts catalog, partitions and group coordinator together behind the Broker port.
// Refuses to own what any of them decides, and how ports are made (main.ts).
// Invariant: it answers as a remote broker could: plain data in, plain data out, errors as BrokerErrors.
import { BrokerError } from "../storage/broker_error.ts";
import { hasProducer, producerIdAt } from "../storage/format/record_batch.ts";
import type {
  AppendOptions,
  AppendReceipt,
  Broker,
  FetchOptions,
  FetchResult,
  PartitionInfo,
  Revival,
  Topic,
  TopicChange,
  TopicDescription,
  TopicPartition,
  TopicSpec,
  WaitOptions,
} from "./broker.ts";
import type { AccessKeys } from "./access_key/types.ts";
import type { Acls } from "./acl/types.ts";
import type { AuditLog } from "./audit/types.ts";
import type { OffsetLedger } from "./group/ledger/types.ts";
import type { GroupCommand, GroupNotification, GroupReply, GroupSummary } from "./group/types.ts";
import type { Jobs } from "./job/types.ts";
import type { Activity, ActivitySource } from "./measurement/types.ts";
import type { Quotas } from "./quota/types.ts";
import type { Runbooks } from "./runbook/types.ts";
import type { Alerts } from "./threshold/types.ts";
import {
  type LocalBrokerPorts,
  type LocalBrokerSettings,
  type LocalParts,
  openParts,
} from "./local_parts.ts";
import { DEFAULT_MESSAGE_KEY_SETTINGS, type MessageKeyCounts } from "./message_keys/types.ts";
import type {
  KeysTerm,
  MarkerCommand,
  MarkerReceipt,
  OffsetRange,
  Producers,
} from "./partition/types.ts";
import type { RequestKeysPort } from "./request_keys/types.ts";
import { revivedActors } from "./runtime/revived_actors.ts";
import { unknownTopic } from "./topic/unknown_topic.ts";
import type { Traces } from "./trace/types.ts";
import type { Transactions } from "./transaction/types.ts";

export { GROUPS_TOPIC, JOBS_TOPIC } from "./internal_topics.ts";
export type { LocalBrokerPorts, LocalBrokerSettings } from "./local_parts.ts";

export class LocalBroker implements Broker, ActivitySource {
  readonly nodeId: string;
  readonly clusterId: string;
  readonly accessKeys: AccessKeys;
  readonly quotas: Quotas;
  readonly acls: Acls;
  readonly audit: AuditLog;
  readonly producers: Producers;
  readonly requestKeys: RequestKeysPort;
  readonly jobs: Jobs;
  readonly alerts: Alerts;
  readonly runbooks: Runbooks;
  readonly traces: Traces;
  readonly transactions: Transactions;
  private draining = false;
  private closing = false;
  private cancelRetention: (() => void) | null = null;
  private retention: Promise<void> = Promise.resolve();
  private readonly stopping = new AbortController();

  private constructor(
    private readonly settings: LocalBrokerSettings,
    private readonly parts: LocalParts,
  ) {
    this.clusterId = parts.clusterId;
    this.nodeId = settings.nodeId;
    this.accessKeys = parts.accessKeys;
    this.quotas = parts.quotas;
    this.acls = parts.acls;
    this.audit = parts.audit;
    this.producers = parts.producers;
    this.requestKeys = parts.requestKeys;
    this.jobs = parts.jobs;
    this.alerts = parts.alerts;
    this.runbooks = parts.runbooks;
    this.traces = parts.traces;
    this.transactions = parts.transactions;
  }

  /** Opens everything the metadata store knows of; resolves when it can serve. */
  static async open(settings: LocalBrokerSettings, ports: LocalBrokerPorts): Promise<LocalBroker> {
    const parts = await openParts(settings, ports);
    const broker = new LocalBroker(settings, parts);
    parts.changes.resume();
    broker.scheduleRetention();
    return broker;
  }

  async createTopic(spec: TopicSpec): Promise<TopicDescription> {
    this.refuseWhenClosing();
    return await this.describeStill(spec.name, await this.parts.changes.create(spec));
  }

  async updateTopic(name: string, change: TopicChange): Promise<TopicDescription> {
    this.refuseWhenClosing();
    // Groups are found by the number of `__groups`' partitions, and the audit log is kept for ever.
    if (this.topic(name)?.internal === true) {
      throw new BrokerError("INTERNAL_TOPIC", `topic ${name} is internal and read-only`, {
        topic: name,
      });
    }
    return await this.describeStill(name, await this.parts.changes.update(name, change));
  }

  async deleteTopic(name: string): Promise<void> {
    this.refuseWhenClosing();
    await this.parts.changes.delete(name);
  }

  topic(name: string): Topic | null {
    return this.parts.catalog.topic(name);
  }

  /** Of a topic that is just being made, or grows, once its partitions are there; waits a while for them. */
  async describeTopic(name: string): Promise<TopicDescription> {
    const named = this.topic(name);
    if (named === null) throw unknownTopic(name);
    for (let partition = 0; partition < named.partitionCount; partition++) {
      try {
        const at = { topic: name, partition };
        if (this.parts.partitions.find(at) === null) await this.parts.partitions.opened(at);
      } catch (error) {
        // Those that there are by now.
        if (error instanceof BrokerError && error.code === "LEADER_NOT_AVAILABLE") break;
        throw error;
      }
    }
    const topic = this.topic(name);
    if (topic === null) throw unknownTopic(name);
    const partitions = this.parts.partitions.ofTopic(name).map((partition) => partition.info());
    return { ...topic, partitions };
  }

  /** What became of `topic`, not of another that has taken its name meanwhile. */
  private describeStill(name: string, topic: Topic | null): Promise<TopicDescription> {
    if (topic?.topicId === this.topic(name)?.topicId) return this.describeTopic(name);
    return Promise.reject(unknownTopic(name));
  }

  topicNames(): readonly string[] {
    return this.parts.catalog.names();
  }

  onTopicsChanged(listener: () => void): () => void {
    return this.parts.catalog.onEvent(() => listener());
  }

  async partitionInfo(at: TopicPartition): Promise<PartitionInfo> {
    return (await this.parts.partitions.opened(at)).info();
  }

  async append(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    options: AppendOptions,
  ): Promise<AppendReceipt> {
    this.refuseWhenClosing();
    const { partitions, ports } = this.parts;
    const { idempotencyKeys } = options;
    const found = partitions.find(at);
    // Wherever the partition is led, it is the home of the keys that decides.
    const isAtHome = idempotencyKeys !== undefined && ports.cluster !== undefined;
    // Awaited only while it is opening: what a producer sends one behind the other stays in order.
    const partition = found !== null || isAtHome
      ? found
      : await this.holding(batches, () => partitions.opened(at));
    for (const batch of batches) {
      if (options.isOwn === true || !hasProducer(batch, 0)) continue;
      const producerId = producerIdAt(batch, 0);
      const { producerIds } = this.parts;
      // Awaited only then: what a producer sends one behind the other stays in order.
      if (producerIds.isSettled(producerId)) continue;
      await this.holding(batches, () => producerIds.refuseUnsettled(producerId));
    }
    if (idempotencyKeys === undefined) return await partition!.append(batches, options);
    const append = () => this.appendKeyed(at, batches, { ...options, idempotencyKeys });
    // What goes elsewhere waits here all the same.
    return await (isAtHome && partition?.leads !== true ? this.holding(batches, append) : append());
  }

  private appendKeyed(
    at: TopicPartition,
    batches: readonly Uint8Array[],
    { idempotencyKeys, isCopy }: AppendOptions & Required<Pick<AppendOptions, "idempotencyKeys">>,
  ): Promise<AppendReceipt> {
    const { messageKeys } = this.parts;
    return isCopy === true
      ? messageKeys.appendCopies(at, batches, idempotencyKeys)
      : messageKeys.append(at, batches, idempotencyKeys);
  }

  async fenceKeys(at: TopicPartition, term: KeysTerm): Promise<OffsetRange> {
    return await (await this.parts.partitions.opened(at)).fenceKeys(term);
  }

  /** What waits before a partition has taken it counts among the publishes that wait. */
  private holding<T>(batches: readonly Uint8Array[], wait: () => Promise<T>): Promise<T> {
    const bytes = batches.reduce((sum, batch) => sum + batch.length, 0);
    return this.parts.budget.holding(bytes, wait);
  }

  messageKeyCounts(): Promise<MessageKeyCounts> {
    return Promise.resolve(this.parts.messageKeys.counts());
  }

  async writeMarker(at: TopicPartition, marker: MarkerCommand): Promise<MarkerReceipt> {
    const partition = await this.parts.partitions.opened(at);
    return { offset: await partition.writeMarker(marker) };
  }

  async fetch(at: TopicPartition, offset: number, options: FetchOptions): Promise<FetchResult> {
    const { partitions } = this.parts;
    return await (partitions.find(at) ?? await partitions.opened(at)).fetch(offset, options);
  }

  async waitForData(at: TopicPartition, offset: number, options: WaitOptions): Promise<void> {
    if (this.draining) this.refuse();
    await (await this.parts.partitions.opened(at)).waitForData(offset, options);
  }

  async offsetForTime(at: TopicPartition, timestampMs: number): Promise<number> {
    return await (await this.parts.partitions.opened(at)).offsetForTime(timestampMs);
  }

  async group<C extends GroupCommand>(command: C): Promise<GroupReply<C>> {
    if (command.type !== "Leave") this.refuseWhenClosing();
    return await this.parts.groups.execute(command);
  }

  get ledger(): OffsetLedger {
    return this.parts.groups.ledger;
  }

  groups(options = { whole: false }): Promise<readonly GroupSummary[]> {
    return this.parts.groups.summaries(options);
  }

  onGroupNotification(
    at: { group: string; memberId: string },
    listener: (notification: GroupNotification) => void,
  ): () => void {
    return this.parts.groups.onNotification(at, listener);
  }

  activity(): Activity {
    const { groups, partitions } = this.parts;
    return { ...groups.activity(), partitions: partitions.activity() };
  }

  health(): { ready: boolean; problems: readonly string[] } {
    const { partitions, groups, jobs, transactions } = this.parts;
    const problems = [
      ...partitions.offline(),
      ...partitions.missingArchive(),
      ...partitions.unreadable(),
      ...groups.problems(),
      ...jobs.problems(),
      ...this.parts.runbooks.problems(),
      ...transactions.problems(),
    ];
    if (this.draining || this.closing) problems.push("the broker is shutting down");
    return { ready: problems.length === 0, problems };
  }

  async revive(at: TopicPartition | null): Promise<readonly Revival[]> {
    this.refuseWhenClosing();
    const { partitions, groups, jobs, runbooks, transactions } = this.parts;
    if (at !== null) return await partitions.revive(at);
    // First: an actor whose journal is offline would not stay up.
    const logs = await partitions.reviveAll();
    const actors = [
      ...groups.actors,
      ...transactions.actors,
      ...jobs.actors,
      ...runbooks.actors,
    ];
    return [...logs, ...await revivedActors(actors)];
  }

  /** Answers those who wait for data at once, and lets nobody wait any more: for a shutdown that is about to come. */
  endWaits(): void {
    this.draining = true;
    this.parts.partitions.wakeAll();
  }

  /** Stops new work, finishes what was accepted, writes every clean marker. */
  async close(): Promise<void> {
    if (this.closing) return;
    this.closing = true;
    this.cancelRetention?.();
    this.stopping.abort();
    await this.retention;
    await this.parts.deadLetters.close();
    await this.parts.changes.close();
    await this.parts.accessKeys.close();
    await this.parts.quotas.close();
    await this.parts.acls.close();
    try {
      await this.parts.traces.close();
      // First: a step that is stopped half way asks all the others.
      await this.parts.runbooks.close();
      await this.parts.jobs.close();
      await this.parts.transactions.close();
      await this.parts.groups.close();
      await this.parts.messageKeys.close();
      await this.parts.requestKeys.close();
      await this.parts.alerts.close();
      await this.parts.audit.close();
    } finally {
      await this.parts.partitions.closeAll();
    }
  }

  private refuseWhenClosing(): void {
    if (this.closing) this.refuse();
  }

  private refuse(): never {
    throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
  }

  private scheduleRetention(): void {
    const { timers, report } = this.parts.ports;
    this.cancelRetention = timers.after(this.settings.retentionIntervalMs, () => {
      this.retention = this.parts.partitions
        .applyRetention(this.parts.catalog.topics(), this.trustedNow(), {
          signal: this.stopping.signal,
          messageKeyMs: this.settings.messageKeys?.windowMs ??
            DEFAULT_MESSAGE_KEY_SETTINGS.windowMs,
        })
        .then(() => this.parts.groups.applyRetention(this.trustedNow()))
        .then(() => this.parts.transactions.applyRetention(this.trustedNow()))
        .then(() => this.parts.jobs.applyRetention(this.trustedNow()))
        .then(() => this.parts.alerts.applyRetention(this.trustedNow()))
        .then(() => this.parts.runbooks.applyRetention(this.trustedNow()))
        .then(() => this.retainAudit())
        .catch((error) => report({ level: "error", message: "retention failed", error }))
        .finally(() => {
          if (!this.closing) this.scheduleRetention();
        });
    });
  }

  private async retainAudit(): Promise<void> {
    const { auditRetentionMs = 0 } = this.settings;
    if (auditRetentionMs > 0) {
      await this.parts.audit.applyRetention(this.trustedNow(), auditRetentionMs);
    }
  }

  /** A wall clock that jumps ahead must not make retention drop anything early: time may only have passed. */
  private trustedNow(): number {
    const { ports: { clock }, started } = this.parts;
    const elapsed = clock.monotonic() - started.monotonic;
    return Math.min(clock.now(), started.wall + elapsed);
  }
}
