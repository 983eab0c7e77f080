// Owns what makes one log a replica: its role as the cluster's record says, what a leader tells followers and learns of
// them, and who is in sync.
// Refuses to own the log's life (replica_log.ts), a follower's writing (follower_log.ts), fetching (../replication/), and
// who is elected (../cluster/).
// Invariant: nothing is acknowledged but to the leader of the epoch in which it was asked; the in-sync set is changed by
// the leader alone, one compare-and-set at a time, and what was removed counts until that has succeeded.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Clock } from "../../storage/ports.ts";
import type {
  ClusterView,
  InSyncChange,
  KeptPartition,
  PartitionRecord,
} from "../cluster/types.ts";
import type { FetchEntry, ReplicaAnswer } from "../replication/protocol.ts";
import { type FollowerProgress, leftBehind, progressed, wantedInSync } from "./in_sync.ts";
import type { ReplicaLog } from "./replica_log.ts";
import type { Term, Terms } from "./terms.ts";

export interface ReplicationOptions {
  /** Topic name and number, for messages. */
  readonly name: string;
  readonly nodeId: string;
  readonly topicId: string;
  readonly partition: number;
  readonly view: ClusterView;
  readonly clock: Clock;
  /** A replica that has not had all of the leader's log for longer leaves the in-sync set, ms. */
  readonly lagMaxMs: number;
  /** When a broker fetched from this one last, monotonic ms; -Infinity: never. */
  readonly heardAt: (nodeId: string) => number;
  /** In-sync replicas that the partition needs now, with these replicas. */
  readonly minInsync: (record: PartitionRecord) => number;
  report(event: { level: "info" | "warning" | "error"; message: string; error?: unknown }): void;
}

export class PartitionReplication implements Terms {
  #kept: KeptPartition | null = null;
  #followers = new Map<string, FollowerProgress>();
  /** Nodes that the compare-and-set under way lets join: they count at once. */
  #joining: readonly string[] = [];
  #changing = false;
  /** Of the record with which the log was opened: there may be batches of that epoch that only the process before knew of. */
  #knownEpoch = -1;
  #ledSince = 0;
  #stopped = false;
  readonly #listeners = new Set<() => void>();
  readonly #options: ReplicationOptions;
  #log: ReplicaLog | null = null;
  #unwatch: (() => void) | null = null;

  constructor(options: ReplicationOptions) {
    this.#options = options;
  }

  /** Follows the record from now on. */
  start(log: ReplicaLog): void {
    this.#log = log;
    const { view, topicId, partition } = this.#options;
    const stopRecord = view.onPartition({ topicId, partition }, () => this.refresh());
    const stopLease = view.onChanged(() => this.#followLease());
    const stopGrown = log.onGrown(() => this.grown());
    this.#unwatch = () => {
      stopGrown();
      stopRecord();
      stopLease();
    };
    this.refresh();
  }

  stop(): void {
    this.#stopped = true;
    this.#unwatch?.();
  }

  get at(): { readonly topicId: string; readonly partition: number } {
    const { topicId, partition } = this.#options;
    return { topicId, partition };
  }

  /** As it is acted upon. */
  get record(): PartitionRecord | null {
    return this.#kept?.record ?? null;
  }

  get isReplica(): boolean {
    const { view, topicId, partition, nodeId } = this.#options;
    return view.partition(topicId, partition)?.record.replicas.includes(nodeId) === true;
  }

  /** See Terms. */
  elsewhere(): { readonly leader: string | null } | null {
    if (this.isReplica) return null;
    const { view, topicId, partition } = this.#options;
    return { leader: view.partition(topicId, partition)?.record.leader ?? null };
  }

  /** By node id, what is known here of the followers of this leader. */
  get followers(): ReadonlyMap<string, FollowerProgress> {
    return this.#followers;
  }

  /** Calls back after the role, or the leader that is followed, has changed. */
  onTerm(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** See Terms. METADATA_UNAVAILABLE, LEADER_NOT_AVAILABLE: it is to be tried again. */
  async begin(reopened: boolean): Promise<Term> {
    const { view, topicId, partition } = this.#options;
    let kept = view.partition(topicId, partition);
    if (kept === null || !this.isReplica) return this.#begun(null);
    // What it has acknowledged may be lost with the log that failed: others must know before it is used again.
    if (reopened) kept = this.#won(await view.resign(kept));
    this.#knownEpoch = kept.record.leaderEpoch;
    if (!this.#isLeader(kept.record)) return this.#begun(kept);
    return this.#begun(this.#won(await this.#fresh(kept)));
  }

  /** In an epoch in which this log, as it was opened, has led nothing before: the record has another then, or this makes one. */
  async #fresh(kept: KeptPartition): Promise<KeptPartition | null> {
    if (kept.record.leaderEpoch > this.#knownEpoch) return kept;
    return await this.#options.view.raiseLeaderEpoch(kept);
  }

  /** See Terms. */
  opened(): void {
    this.#announce();
    this.refresh();
  }

  /** Takes over what the cluster's record says now, in the log's turn. */
  refresh(): void {
    const log = this.#log;
    if (log === null || this.#stopped) return;
    log.turn.run(() => this.#follow(log)).catch((error) => {
      const message = `${this.#options.name} could not take over its role`;
      this.#options.report({ level: "error", message, error: asBrokerError(error) });
    });
  }

  async #follow(log: ReplicaLog): Promise<void> {
    const { view, topicId, partition } = this.#options;
    const kept = view.partition(topicId, partition);
    const known = this.#kept;
    // Not open, or being opened: `begin` looks at the record then.
    if (log.log === null || log.term === null) return;
    if (kept !== null && known !== null && kept.version === known.version && this.#isHeldAs(log)) {
      return;
    }
    if (known !== null && kept !== null && kept.record.leaderEpoch < known.record.leaderEpoch) {
      return;
    }
    const isSameTerm = kept !== null && known !== null && this.#isHeldAs(log) &&
      kept.record.leaderEpoch === known.record.leaderEpoch &&
      kept.record.leader === known.record.leader;
    if (isSameTerm) {
      // What is kept is what became of every change before it.
      if (kept.version !== known.version) this.#joining = [];
      this.#kept = kept;
      if (this.#isLeader(kept.record)) this.#countInSync(log);
      return this.#announce();
    }
    const led = kept !== null && this.#isLeader(kept.record) ? await this.#fresh(kept) : kept;
    // Whoever came first has changed the record, which is told of.
    if (led === null && kept !== null) return;
    log.assume(this.#begun(led));
    this.#announce();
  }

  /** The log is held in the role that the record gives, with a lease. */
  #isHeldAs({ term }: ReplicaLog): boolean {
    const kept = this.#kept;
    if (kept === null || term === null) return false;
    return (term.role === "leader") === this.#isLeader(kept.record) &&
      term.leaderEpoch === kept.record.leaderEpoch;
  }

  #followLease(): void {
    const isLed = this.#log?.term?.role === "leader";
    const { hasLease } = this.#options.view;
    if (
      isLed !== (this.#kept !== null && hasLease && this.record?.leader === this.#options.nodeId)
    ) {
      this.refresh();
    }
  }

  #isLeader(record: PartitionRecord): boolean {
    const { nodeId, view } = this.#options;
    return record.leader === nodeId && view.hasLease;
  }

  #won(kept: KeptPartition | null): KeptPartition {
    if (kept !== null) return kept;
    const message = `the record of ${this.#options.name} has changed meanwhile`;
    throw new BrokerError("LEADER_NOT_AVAILABLE", message);
  }

  /** The term that begins with `kept`; what was known of followers is of another one. */
  #begun(kept: KeptPartition | null): Term {
    const { clock, minInsync, nodeId } = this.#options;
    this.#kept = kept;
    this.#followers = new Map();
    this.#joining = [];
    this.#ledSince = clock.monotonic();
    if (kept === null) return { role: "follower", leaderEpoch: -1, leader: null };
    const { record } = kept;
    const { leaderEpoch, leader, isr, replicas } = record;
    if (this.#isLeader(record)) {
      return { role: "leader", leaderEpoch, inSync: isr, minInsync: minInsync(record) };
    }
    const isOther = leader !== nodeId && replicas.includes(nodeId);
    return { role: "follower", leaderEpoch, leader: isOther ? leader : null };
  }

  #announce(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Settings of the topic have changed: so may what the high watermark needs. */
  reconfigured(): void {
    if (this.#log?.term?.role === "leader") this.#countInSync(this.#log);
  }

  #countInSync(log: ReplicaLog): void {
    const { record } = this.#kept!;
    const minInsync = this.#options.minInsync(record);
    log.inSyncChanged({ inSync: record.isr, joining: this.#joining, minInsync });
    // What they have acknowledged before they counted.
    for (const [nodeId, { flushedOffset }] of this.#followers) {
      log.replicaFlushed(nodeId, flushedOffset);
    }
  }

  /** A follower that fetches from this leader: what that acknowledges. Refusals are thrown: NOT_LEADER, STALE_EPOCH. */
  fetched(entry: FetchEntry, from: { nodeId: string; incarnation: number }): void {
    const log = this.#log!;
    const { log: open, state } = this.#asked(entry);
    if (log.readableEnd(open) < entry.fetchOffset || this.#diverging(entry) !== null) return;
    const { clock, view } = this.#options;
    const isCurrent = view.online().get(from.nodeId)?.incarnation === from.incarnation;
    const isReplica = this.record?.replicas.includes(from.nodeId) === true;
    // It is told once in a session: what does not count now has to be told again.
    if (!isCurrent || !isReplica) throw this.#unknownReplica(from);
    const { incarnation } = from;
    const at = clock.monotonic();
    const { fetchOffset } = entry;
    const fetch = { incarnation, fetchOffset, logEndOffset: state.logEndOffset, at };
    this.#followers.set(from.nodeId, progressed(this.#followers.get(from.nodeId), fetch));
    log.replicaFlushed(from.nodeId, fetchOffset);
    if (this.#mayChange(from.nodeId)) this.checkInSync();
  }

  /** A follower's broker fetches this partition no longer, for now. */
  forgotten(nodeId: string): void {
    const follower = this.#followers.get(nodeId);
    if (follower !== undefined) this.#followers.set(nodeId, { ...follower, isFetching: false });
  }

  /** Whoever had all of the leader's log is behind from now on. */
  grown(): void {
    if (this.#followers.size === 0) return;
    const at = this.#options.clock.monotonic();
    for (const [nodeId, follower] of this.#followers) {
      this.#followers.set(nodeId, leftBehind(follower, at));
    }
  }

  /** Whether a follower's fetch may be what lets it join, or shows that it lost something. */
  #mayChange(nodeId: string): boolean {
    const follower = this.#followers.get(nodeId)!;
    const isIn = this.record?.isr.includes(nodeId) === true;
    const { highWatermark } = this.#log!.state!;
    return isIn ? follower.flushedOffset < highWatermark : follower.flushedOffset >= highWatermark;
  }

  /** What a follower is told now; null: there is nothing new. Refusals are thrown: NOT_LEADER, STALE_EPOCH. */
  async answer(entry: FetchEntry, maxBytes: number): Promise<ReplicaAnswer | null> {
    const { log, state } = this.#asked(entry);
    const { highWatermark, logStartOffset, leaderEpoch } = state;
    const told = { ...this.at, leaderEpoch, highWatermark, logStartOffset };
    const diverging = this.#diverging(entry);
    if (diverging !== null) return { ...told, diverging };
    if (entry.fetchOffset < logStartOffset) return { ...told, startAnew: true };
    const endOffset = this.#log!.readableEnd(log);
    if (entry.fetchOffset >= endOffset) return null;
    const batches = await log.read(entry.fetchOffset, { endOffset, maxBytes });
    this.#asked(entry);
    return { ...told, batches };
  }

  #unknownReplica({ nodeId, incarnation }: { nodeId: string; incarnation: number }): BrokerError {
    const message = `broker ${nodeId}, registered as ${incarnation}, is not known here as a ` +
      `replica of ${this.#options.name}`;
    return new BrokerError("STALE_EPOCH", message, { nodeId, incarnation });
  }

  #asked({ leaderEpoch }: FetchEntry) {
    const { log, state } = this.#log!.online();
    if (leaderEpoch === state.leaderEpoch) return { log, state };
    const { name } = this.#options;
    const message = `${name} is at leader epoch ${state.leaderEpoch}, not ${leaderEpoch}`;
    throw new BrokerError("STALE_EPOCH", message, { currentEpoch: state.leaderEpoch });
  }

  /** Where the logs part, by the epoch of the follower's last batch (KIP-595); null: nowhere. */
  #diverging(
    { lastEpoch, fetchOffset }: FetchEntry,
  ): { leaderEpoch: number; endOffset: number } | null {
    const { log } = this.#log!.online();
    if (lastEpoch < 0 || fetchOffset < log.logStartOffset) return null;
    const end = log.endOffsetForEpoch(lastEpoch);
    return end.leaderEpoch === lastEpoch && end.endOffset >= fetchOffset ? null : end;
  }

  /** Changes who is in sync, where that is called for and no change is under way. */
  checkInSync(): void {
    const log = this.#log;
    const kept = this.#kept;
    if (this.#changing || this.#stopped || kept === null) return;
    if (log?.term?.role !== "leader" || log.state === null || log.log === null) return;
    const { view, nodeId: self, clock, lagMaxMs, minInsync } = this.#options;
    const { highWatermark, epochStartOffset } = log.state;
    const change = wantedInSync({
      record: kept.record,
      self,
      followers: this.#followers,
      now: clock.monotonic(),
      ledSince: this.#ledSince,
      lagMaxMs,
      minInsync: minInsync(kept.record),
      highWatermark,
      heardAt: this.#options.heardAt,
      joinOffset: Math.max(highWatermark, epochStartOffset),
      isOnline: (nodeId, incarnation) => view.online().get(nodeId)?.incarnation === incarnation,
    });
    // A change of unknown outcome is settled by another: until then whoever may have joined counts.
    if (change === null && this.#joining.length === 0) return;
    void this.#change(log, kept, change ?? kept.record);
  }

  async #change(log: ReplicaLog, kept: KeptPartition, { isr, elr }: InSyncChange): Promise<void> {
    const { view, name, report } = this.#options;
    this.#changing = true;
    const joining = isr.filter((nodeId) => !kept.record.isr.includes(nodeId));
    this.#joining = [...new Set([...this.#joining, ...joining])];
    this.#countInSync(log);
    try {
      const changed = await view.changeInSync(kept, { isr, elr });
      if (changed !== null && this.#kept === kept) {
        this.#kept = changed;
        this.#joining = [];
        if (log.term?.role === "leader") this.#countInSync(log);
      }
    } catch (error) {
      const message = `the in-sync set of ${name} could not be changed`;
      report({ level: "warning", message, error });
    } finally {
      this.#changing = false;
      this.refresh();
    }
  }
}
