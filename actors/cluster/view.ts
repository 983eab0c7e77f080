// Owns what this broker knows of the cluster: brokers, controller and partition records, from memory, following the
// metadata store; its own registration; and the changes of records that a leader makes itself.
// Refuses to own decisions (decide_*.ts) and who makes them (controller.ts).
// Invariant: what is shown was in the store; it is never older than a change that was told of, and a change made here is
// known here before it is answered.
import type { MetadataEntry, MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { isKeyBelow, keyName } from "../../storage/metadata_limits.ts";
import type { Clock, Timers } from "../../storage/ports.ts";
import { FollowedEntries } from "./followed_entries.ts";
import { leaveCluster } from "./leave.ts";
import { withoutReplicaData } from "./lose_replicas.ts";
import { changeMember, forgetMember, metadataUnavailable } from "./member_changes.ts";
import { type BrokerIdentity, DEFAULT_LEASE_MS, Registration } from "./registration.ts";
import {
  type BrokerLeaving,
  type BrokerMember,
  type BrokerRegistration,
  type BrokerState,
  type ClusterView,
  CONTROLLER_KEY,
  type ControllerTerm,
  type InSyncChange,
  isSameRecord,
  type KeptPartition,
  LEAVING_KEY,
  MEMBERS_KEY,
  ONLINE_KEY,
  type PartitionRecord,
  partitionRecordKey,
  PARTITIONS_KEY,
} from "./types.ts";

const CLUSTER: MetadataKey = ["cluster"];

export interface ClusterMetadataOptions {
  readonly nodeId: string;
  /** Closed by whoever opened it. */
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Default 4 s. */
  readonly leaseMs?: number;
  /** Between two readings of everything when nothing is told; default 10 s. */
  readonly rereadMs?: number;
  /** At the registration with another disk: partitions of which no broker is known to have everything any more. */
  readonly onDataLost?: (records: readonly PartitionRecord[]) => void;
}

export class ClusterMetadata implements ClusterView {
  readonly nodeId: string;
  readonly registration: Registration;
  #followed!: FollowedEntries;
  #knownIncarnation = 0;
  readonly #online = new Map<string, BrokerRegistration>();
  readonly #members = new Map<string, BrokerMember>();
  readonly #leaving = new Map<string, BrokerLeaving>();
  readonly #partitions = new Map<string, KeptPartition>();
  readonly #listeners = new Set<() => void>();
  readonly #partitionListeners = new Map<string, Set<(kept: KeptPartition | null) => void>>();

  private constructor(private readonly options: ClusterMetadataOptions) {
    this.nodeId = options.nodeId;
    this.registration = new Registration({
      nodeId: options.nodeId,
      metadata: options.metadata,
      clock: options.clock,
      timers: options.timers,
      leaseMs: options.leaseMs ?? DEFAULT_LEASE_MS,
      refresh: () => this.#followed.refresh(),
      onChanged: () => this.#registrationChanged(),
      onDataLost: options.onDataLost ?? (() => {}),
    });
  }

  /** Reads what is known of the cluster and follows it. Rejects as the store does. Not registered yet. */
  static async open(options: ClusterMetadataOptions): Promise<ClusterMetadata> {
    const view = new ClusterMetadata(options);
    const { metadata, clock, timers, rereadMs } = options;
    // Changes come only after the first reading, and that is told of within `open`.
    const early: MetadataKey[] = [];
    let isOpen = false;
    view.#followed = await FollowedEntries.open({
      metadata,
      prefix: CLUSTER,
      clock,
      timers,
      ...(rereadMs === undefined ? {} : { rereadMs }),
      onChanged: (keys) => isOpen ? view.#take(keys) : void early.push(...keys),
      onCaughtUp: () => view.#announce(),
    });
    isOpen = true;
    view.#take(early);
    return view;
  }

  /** See Registration.register: rejects with NodeIdTakenError. Afterwards this broker is one of `online()`. */
  async register(identity: BrokerIdentity): Promise<void> {
    await this.registration.register(identity);
    await this.#followed.read([[...ONLINE_KEY, this.nodeId], [...MEMBERS_KEY, this.nodeId]]);
  }

  get incarnation(): number {
    return this.registration.incarnation;
  }

  get hasLease(): boolean {
    return this.registration.hasLease;
  }

  /** Another process is this broker now: this one is never again, and should end. */
  get isSuperseded(): boolean {
    return this.registration.isSuperseded;
  }

  online(): ReadonlyMap<string, BrokerRegistration> {
    return this.#online;
  }

  members(): ReadonlyMap<string, BrokerMember> {
    return this.#members;
  }

  /** Whether the broker, as it is registered now, is shutting down. */
  isLeaving(nodeId: string): boolean {
    const registered = this.#online.get(nodeId);
    return registered !== undefined &&
      this.#leaving.get(nodeId)?.incarnation === registered.incarnation;
  }

  /** Null for one that never was there. */
  stateOf(nodeId: string): BrokerState | null {
    const member = this.#members.get(nodeId);
    const registered = this.#online.get(nodeId);
    if (member === undefined && registered === undefined) return null;
    if (registered === undefined) return "offline";
    if (member !== undefined && registered.incarnation !== member.incarnation) return "fenced";
    if (nodeId === this.nodeId && this.incarnation > 0 && !this.hasLease) return "fenced";
    return (member?.draining ?? false) || this.isLeaving(nodeId) ? "draining" : "online";
  }

  controller(): ControllerTerm | null {
    return (this.entry(CONTROLLER_KEY)?.value as ControllerTerm | undefined) ?? null;
  }

  partition(topicId: string, partition: number): KeptPartition | null {
    return this.#partitions.get(keyName(partitionRecordKey(topicId, partition))) ?? null;
  }

  partitions(): Iterable<KeptPartition> {
    return this.#partitions.values();
  }

  /** An entry below ["cluster"] as it is known here. */
  entry(key: MetadataKey): MetadataEntry | null {
    return this.#followed.get(key);
  }

  /** Reads these entries from the store, or all of them. Rejects as the store does. */
  refresh(keys?: readonly MetadataKey[]): Promise<void> {
    return keys === undefined ? this.#followed.refresh() : this.#followed.read(keys);
  }

  onChanged(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onPartition(
    at: { readonly topicId: string; readonly partition: number },
    listener: (kept: KeptPartition | null) => void,
  ): () => void {
    const name = keyName(partitionRecordKey(at.topicId, at.partition));
    const listeners = this.#partitionListeners.get(name) ?? new Set();
    this.#partitionListeners.set(name, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#partitionListeners.get(name) === listeners) {
        this.#partitionListeners.delete(name);
      }
    };
  }

  raiseLeaderEpoch(kept: KeptPartition): Promise<KeptPartition | null> {
    if (kept.record.leader !== this.nodeId) return Promise.resolve(null);
    return this.changeRecord(kept, { ...kept.record, leaderEpoch: kept.record.leaderEpoch + 1 });
  }

  changeInSync(kept: KeptPartition, { isr, elr }: InSyncChange): Promise<KeptPartition | null> {
    if (isr.length === 0) throw new Error("the in-sync set of a partition is never empty");
    if (kept.record.leader !== this.nodeId) return Promise.resolve(null);
    return this.changeRecord(kept, { ...kept.record, isr, elr });
  }

  resign(kept: KeptPartition): Promise<KeptPartition | null> {
    const { record } = kept;
    const isLast = record.isr.length === 1 && record.isr[0] === this.nodeId;
    const next = isLast ? record : withoutReplicaData(record, this.nodeId);
    return next === record ? Promise.resolve(kept) : this.changeRecord(kept, next);
  }

  /**
   * Compare-and-set of one record; resolves to it as it is kept now, or to null when `kept` was no longer what was kept
   * or another change has followed already. Rejects with METADATA_UNAVAILABLE when the outcome is not known.
   */
  async changeRecord(kept: KeptPartition, next: PartitionRecord): Promise<KeptPartition | null> {
    const { topicId, partition } = next;
    const key = partitionRecordKey(topicId, partition);
    try {
      const isKept = await this.options.metadata.commit({
        checks: [{ key, version: kept.version }],
        sets: [{ key, value: next }],
      });
      await this.#followed.read([key]);
      const now = this.partition(topicId, partition);
      return isKept && now !== null && isSameRecord(now.record, next) ? now : null;
    } catch (error) {
      throw metadataUnavailable(`the record of partition ${partition} of ${topicId}`, error);
    }
  }

  /** Whether a member is to give away all it holds. Errors: NOT_FOUND, METADATA_CONFLICT, METADATA_UNAVAILABLE. */
  setDraining(nodeId: string, draining: boolean): Promise<void> {
    return changeMember(this, this.options.metadata, {
      nodeId,
      change: (member) => ({ ...member, draining }),
    });
  }

  /**
   * Forgets a member for good. Errors: NOT_FOUND; INVALID_REQUEST while it is registered or holds replicas;
   * METADATA_CONFLICT, METADATA_UNAVAILABLE.
   */
  forget(nodeId: string): Promise<void> {
    return forgetMember(this, this.options.metadata, nodeId);
  }

  /**
   * Before this broker stops: asks that leadership leaves it, and waits until it has where another broker in sync is there,
   * at most `timeoutMs` (default 10 s). Resolves to how many partitions it still leads. Never rejects. `close` comes
   * afterwards.
   */
  leave({ timeoutMs }: { timeoutMs?: number } = {}): Promise<number> {
    const { metadata, timers } = this.options;
    return leaveCluster(this, { metadata, timers }, timeoutMs);
  }

  /** Follows no more, and gives the registration back. */
  async close(): Promise<void> {
    await this.registration.close();
    this.#followed.close();
    this.#listeners.clear();
    this.#partitionListeners.clear();
  }

  /** A lease that was lost has been a while without news too. */
  #registrationChanged(): void {
    if (this.incarnation !== this.#knownIncarnation) this.#followed.reread();
    this.#knownIncarnation = this.incarnation;
    this.#announce();
  }

  #take(keys: readonly MetadataKey[]): void {
    if (keys.length === 0) return;
    for (const key of keys) {
      const entry = this.#followed.get(key);
      const id = key.at(-1)!;
      if (isKeyBelow(ONLINE_KEY, key)) {
        hold(this.#online, id, entry?.value as BrokerRegistration);
        if (id === this.nodeId) this.registration.observe(this.#online.get(id) ?? null);
      } else if (isKeyBelow(MEMBERS_KEY, key)) {
        hold(this.#members, id, entry?.value as BrokerMember);
      } else if (isKeyBelow(LEAVING_KEY, key)) {
        hold(this.#leaving, id, entry?.value as BrokerLeaving);
      } else if (isKeyBelow(PARTITIONS_KEY, key)) {
        const record = entry?.value as PartitionRecord | undefined;
        const kept = record === undefined ? undefined : { record, version: entry!.version };
        hold(this.#partitions, keyName(key), kept);
      }
    }
    for (const key of keys) {
      const name = keyName(key);
      const kept = this.#partitions.get(name) ?? null;
      for (const listener of [...this.#partitionListeners.get(name) ?? []]) {
        apart(() => listener(kept));
      }
    }
  }

  #announce(): void {
    for (const listener of [...this.#listeners]) apart(listener);
  }
}

function hold<Value>(map: Map<string, Value>, id: string, value: Value | undefined): void {
  if (value === undefined) map.delete(id);
  else map.set(id, value);
}

/** A listener that throws must neither look like a failed reading nor keep others from hearing. */
function apart(listener: () => void): void {
  try {
    listener();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
