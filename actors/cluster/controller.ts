// Owns being the cluster's controller: campaigning for it, and committing what the deciders say while this broker is it.
// Refuses to own any decision (decide_*.ts) and what is known of the cluster (view.ts).
// Invariant: every commit holds only if the controller's key is still the one of this term, so that one whose lease is gone
// changes nothing, whatever it believes; and only if each record is still the one that was decided from.
import type { MetadataKey, MetadataStore } from "../../storage/metadata.ts";
import { MAX_TRANSACTION_CHECKS } from "../../storage/metadata.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import type { Topic } from "../broker.ts";
import type { BrokerFacts, ClusterState, RecordChange } from "./cluster_state.ts";
import { decideCluster } from "./decide_cluster.ts";
import { decidePreferred } from "./decide_preferred.ts";
import { FollowedEntries } from "./followed_entries.ts";
import {
  CONTROLLER_EPOCH_KEY,
  CONTROLLER_KEY,
  type ControllerTerm,
  partitionRecordKey,
} from "./types.ts";
import type { ClusterMetadata } from "./view.ts";

const TOPICS: MetadataKey = ["topics"];
/** One check is that of the controller's key. */
const MAX_CHANGES_A_COMMIT = MAX_TRANSACTION_CHECKS - 1;
/** More changed records than this are read again by listing all. */
const MAX_KEYS_READ_SINGLY = 128;
/** Between two passes; what changes meanwhile is one pass. */
const PASS_GAP_MS = 20;
/** Deciding takes at most one part in so many of the time. */
const DECIDING_SHARE = 5;
/** After a pass that failed. */
const RETRY_MS = 250;
const DEFAULT_PREFERRED_AFTER_MS = 10_000;
/** Leaders that go back to their first replica in one round, and the time between rounds. */
const MAX_PREFERRED_AT_ONCE = 20;
const PREFERRED_ROUND_MS = 1_000;

export type ControllerNotice =
  | { readonly type: "controller.elected"; readonly epoch: number }
  | { readonly type: "controller.lost"; readonly epoch: number }
  | { readonly type: "partition.changed"; readonly change: RecordChange }
  | { readonly type: "controller.failed"; readonly error: unknown };

export interface ControllerOptions {
  readonly cluster: ClusterMetadata;
  /** The one that `cluster` follows. */
  readonly metadata: MetadataStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly report: (notice: ControllerNotice) => void;
  /** How long a first replica is in sync before it leads again; default 10 s. */
  readonly preferredAfterMs?: number;
}

interface HeldTerm extends ControllerTerm {
  /** Of the controller's key. */
  readonly version: string;
  /** The key is gone with it. */
  readonly leaseId: string;
}

export class ClusterController {
  #topics!: FollowedEntries;
  #term: HeldTerm | null = null;
  #preferredSince: ReadonlyMap<string, number> = new Map();
  /** When leaders may go back to their first replicas again. */
  #preferredFromMs = -Infinity;
  #isDue = false;
  #endedMs = -Infinity;
  #gapMs = PASS_GAP_MS;
  #running: Promise<void> | null = null;
  #isClosed = false;
  #cancelTimer: Cancel = () => {};
  readonly #unfollow: () => void;

  private constructor(private readonly options: ControllerOptions) {
    this.#unfollow = options.cluster.onChanged(() => this.#wake());
  }

  /** Begins to campaign, and to decide when elected. Rejects as the store does when the topics cannot be read. */
  static async open(options: ControllerOptions): Promise<ClusterController> {
    const controller = new ClusterController(options);
    const { metadata, clock, timers } = options;
    try {
      controller.#topics = await FollowedEntries.open({
        metadata,
        prefix: TOPICS,
        clock,
        timers,
        onChanged: () => controller.#wake(),
      });
    } catch (error) {
      controller.#unfollow();
      throw error;
    }
    controller.#wake();
    return controller;
  }

  /** The term this broker believes to be controller in. */
  get term(): ControllerTerm | null {
    return this.#term === null ? null : { nodeId: this.#term.nodeId, epoch: this.#term.epoch };
  }

  /** Decides no more, and lets another broker be controller at once. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#unfollow();
    this.#cancelTimer();
    this.#topics.close();
    await this.#running;
    const term = this.#term;
    this.#term = null;
    if (term === null) return;
    await this.options.metadata.commit({
      checks: [{ key: CONTROLLER_KEY, version: term.version }],
      deletes: [CONTROLLER_KEY],
    }).catch(() => {});
  }

  #wake(): void {
    this.#isDue = true;
    if (this.#running !== null || this.#isClosed || this.#topics === undefined) return;
    const restedMs = this.options.clock.monotonic() - this.#endedMs;
    if (restedMs < this.#gapMs) return this.#armAt(this.#gapMs - restedMs);
    this.#cancelTimer();
    this.#running = this.#run().finally(() => this.#running = null);
  }

  async #run(): Promise<void> {
    this.#isDue = false;
    let nextMs: number | null = null;
    try {
      nextMs = await this.#pass();
    } catch (error) {
      this.options.report({ type: "controller.failed", error });
      this.#isDue = false;
      nextMs = this.options.clock.monotonic() + RETRY_MS;
    }
    if (this.#isClosed) return;
    this.#endedMs = this.options.clock.monotonic();
    if (this.#isDue) this.#armAt(this.#gapMs);
    else if (nextMs !== null) this.#armAt(nextMs - this.options.clock.monotonic());
  }

  #armAt(delayMs: number): void {
    this.#cancelTimer();
    this.#cancelTimer = this.options.timers.after(
      Math.max(delayMs, 1),
      () => this.#wake(),
    );
  }

  /** Resolves to when the next is due by time alone. */
  async #pass(): Promise<number | null> {
    if (!await this.#isElected()) return null;
    const startedMs = this.options.clock.monotonic();
    const state = this.#state();
    const changes = decideCluster(state);
    const tookMs = this.options.clock.monotonic() - startedMs;
    this.#gapMs = Math.max(PASS_GAP_MS, tookMs * DECIDING_SHARE);
    if (changes.length > 0) {
      this.#isDue = true;
      await this.#commitAll(changes);
      return null;
    }
    const { clock, preferredAfterMs = DEFAULT_PREFERRED_AFTER_MS } = this.options;
    if (clock.monotonic() < this.#preferredFromMs) return this.#preferredFromMs;
    const preferred = decidePreferred(state, this.#preferredSince, {
      nowMs: clock.monotonic(),
      afterMs: preferredAfterMs,
      maxAtOnce: MAX_PREFERRED_AT_ONCE,
    });
    this.#preferredSince = preferred.since;
    if (preferred.changes.length === 0) return preferred.nextMs;
    await this.#commitAll(preferred.changes);
    this.#preferredFromMs = clock.monotonic() + PREFERRED_ROUND_MS;
    return this.#preferredFromMs;
  }

  /** Whether this broker is the controller, after a try to become it where there is none. */
  async #isElected(): Promise<boolean> {
    const { cluster } = this.options;
    const kept = cluster.entry(CONTROLLER_KEY);
    const { leaseId } = cluster.registration;
    const isHeld = kept?.version === this.#term?.version && leaseId === this.#term?.leaseId;
    if (this.#term !== null && !isHeld) this.#loseTerm();
    if (leaseId === null) return false;
    if (this.#term !== null) return true;
    const holder = kept?.value as ControllerTerm | undefined;
    // What this node holds without knowing is left from a process before, or from a commit whose outcome it did not hear.
    if (holder !== undefined && holder.nodeId !== cluster.nodeId) return false;
    if (this.#leavesItToOthers()) return false;
    return await this.#campaign(kept?.version ?? null, leaseId);
  }

  async #campaign(version: string | null, leaseId: string): Promise<boolean> {
    const { cluster, metadata } = this.options;
    const { nodeId } = cluster;
    const last = cluster.entry(CONTROLLER_EPOCH_KEY);
    const epoch = ((last?.value as number | undefined) ?? 0) + 1;
    const isWon = await metadata.commit({
      checks: [
        { key: CONTROLLER_KEY, version },
        { key: CONTROLLER_EPOCH_KEY, version: last?.version ?? null },
      ],
      sets: [
        { key: CONTROLLER_EPOCH_KEY, value: epoch },
        { key: CONTROLLER_KEY, value: { nodeId, epoch }, leaseId },
      ],
    });
    // A term begins with all that was decided before it.
    await Promise.all([cluster.refresh(), this.#topics.refresh()]);
    const kept = cluster.entry(CONTROLLER_KEY);
    const held = kept?.value as ControllerTerm | undefined;
    if (!isWon || kept === null || held?.nodeId !== nodeId || held.epoch !== epoch) {
      this.#isDue ||= kept === null;
      return false;
    }
    this.#term = { nodeId, epoch, version: kept.version, leaseId };
    this.#preferredSince = new Map();
    this.options.report({ type: "controller.elected", epoch });
    return true;
  }

  #loseTerm(): void {
    this.options.report({ type: "controller.lost", epoch: this.#term!.epoch });
    this.#term = null;
  }

  /** One that is shutting down does not begin what another broker can do. */
  #leavesItToOthers(): boolean {
    const { cluster } = this.options;
    return cluster.isLeaving(cluster.nodeId) &&
      [...cluster.online().keys()].some((id) => !cluster.isLeaving(id));
  }

  #state(): ClusterState {
    const topics = [...this.#topics.entries()].map(({ value }) => value as Topic);
    return {
      brokers: brokerFacts(this.options.cluster),
      topics: new Map(topics.map((topic) => [topic.topicId, topic])),
      partitions: [...this.options.cluster.partitions()],
    };
  }

  async #commitAll(changes: readonly RecordChange[]): Promise<void> {
    const { cluster, report } = this.options;
    const keys: MetadataKey[] = [CONTROLLER_KEY];
    try {
      for (let at = 0; at < changes.length && !this.#isClosed; at += MAX_CHANGES_A_COMMIT) {
        const batch = changes.slice(at, at + MAX_CHANGES_A_COMMIT);
        keys.push(...batch.map(keyOf));
        if (!await this.#commit(batch)) break;
        for (const change of batch) report({ type: "partition.changed", change });
      }
    } finally {
      await cluster.refresh(keys.length > MAX_KEYS_READ_SINGLY ? undefined : keys);
    }
  }

  #commit(batch: readonly RecordChange[]): Promise<boolean> {
    const fence = { key: CONTROLLER_KEY, version: this.#term!.version };
    return this.options.metadata.commit({
      checks: [fence, ...batch.map((change) => ({ key: keyOf(change), version: change.version }))],
      sets: batch.flatMap((change) =>
        change.record === null ? [] : [{ key: keyOf(change), value: change.record }]
      ),
      deletes: batch.filter(({ record }) => record === null).map(keyOf),
    });
  }
}

/** Every broker that was there once, as the deciders take it. */
export function brokerFacts(cluster: ClusterMetadata): Map<string, BrokerFacts> {
  const facts = new Map<string, BrokerFacts>();
  const ids = new Set([...cluster.members().keys(), ...cluster.online().keys()]);
  for (const nodeId of [...ids].sort()) {
    const registered = cluster.online().get(nodeId);
    const member = cluster.members().get(nodeId);
    facts.set(nodeId, {
      nodeId,
      zone: registered?.zone ?? member?.zone ?? null,
      isOnline: registered !== undefined,
      isDraining: member?.draining ?? false,
      isLeaving: cluster.isLeaving(nodeId),
    });
  }
  return facts;
}

function keyOf({ topicId, partition }: RecordChange): MetadataKey {
  return partitionRecordKey(topicId, partition);
}
