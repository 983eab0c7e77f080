// Owns what partition records may become, seen from the metadata store: every change of one as it takes effect.
// Refuses to own what brokers believe of them (replica_watch.ts).
// Invariant: it knows each record as it is kept now, and each epoch's one leader.
import {
  CONTROLLER_KEY,
  type ControllerTerm,
  type PartitionRecord,
  PARTITIONS_KEY,
} from "../../../actors/cluster/types.ts";
import type { MetadataKey } from "../../../storage/metadata.ts";
import { isKeyBelow, keyName } from "../../../storage/metadata_limits.ts";
import type { RunWorld } from "../world.ts";
import type { Committed, MetadataService } from "./metadata_service.ts";

export class RecordLedger {
  readonly #records = new Map<string, PartitionRecord>();
  /** By record and epoch: who leads in it. */
  readonly #leaders = new Map<string, string>();
  #controllerEpoch = -1;
  /** Of all records, elections that found another leader. */
  elections = 0;

  constructor(private readonly world: RunWorld, metadata: MetadataService) {
    metadata.onCommitted((committed) => this.#committed(committed));
  }

  /** Every record as it is kept now. */
  all(): Iterable<PartitionRecord> {
    return this.#records.values();
  }

  of(topicId: string, partition: number): PartitionRecord | null {
    for (const record of this.#records.values()) {
      if (record.topicId === topicId && record.partition === partition) return record;
    }
    return null;
  }

  #committed({ nodeId, transaction }: Committed): void {
    for (const key of transaction.deletes ?? []) this.#records.delete(keyName(key));
    for (const { key, value } of transaction.sets ?? []) {
      if (keyName(key) === keyName(CONTROLLER_KEY)) this.#controller(value as ControllerTerm);
      if (isPartitionKey(key)) this.#changed(nodeId, key, value as PartitionRecord);
    }
  }

  #controller({ nodeId, epoch }: ControllerTerm): void {
    this.world.note("cluster", `${nodeId} is controller in epoch ${epoch}`);
    if (epoch < this.#controllerEpoch) {
      this.#broken(`controller epoch ${epoch} came back after ${this.#controllerEpoch}`);
    }
    this.#controllerEpoch = epoch;
  }

  #changed(by: string, key: MetadataKey, now: PartitionRecord): void {
    const name = keyName(key);
    const before = this.#records.get(name) ?? null;
    this.#records.set(name, now);
    this.world.note("cluster", `${by} makes ${describeRecord(now)}`);
    this.#checkShape(now);
    if (before !== null) this.#checkChange(by, before, now);
    this.#checkEpoch(name, now);
  }

  #checkShape(record: PartitionRecord): void {
    const { replicas, isr, elr, leader } = record;
    const at = describeRecord(record);
    if (isr.length === 0) this.#broken(`the in-sync set is empty: ${at}`);
    if (new Set(isr).size !== isr.length) this.#broken(`a member is twice in sync: ${at}`);
    if (isr.some((member) => !replicas.includes(member))) {
      this.#broken(`a member in sync is no replica: ${at}`);
    }
    if (elr.some((member) => isr.includes(member) || !replicas.includes(member))) {
      this.#broken(`an eligible leader replica is in sync, or none: ${at}`);
    }
    if (leader !== null && !isr.includes(leader)) this.#broken(`the leader is not in sync: ${at}`);
  }

  /** Rules 4, 6 and 7. */
  #checkChange(by: string, before: PartitionRecord, now: PartitionRecord): void {
    const at = `${describeRecord(now)} after ${describeRecord(before)}`;
    if (now.leaderEpoch < before.leaderEpoch) this.#broken(`rule 6: the epoch fell: ${at}`);
    if (now.leader !== before.leader && now.leader !== null) {
      this.elections++;
      if (now.leaderEpoch <= before.leaderEpoch) {
        this.#broken(`rule 6: an election left the epoch as it was: ${at}`);
      }
      if (![...before.isr, ...before.elr].includes(now.leader)) {
        this.#broken(`rule 7: the leader was not eligible: ${at}`);
      }
    }
    const joined = now.isr.filter((member) => !before.isr.includes(member));
    const elected = joined.length === 1 && joined[0] === now.leader &&
      before.elr.includes(joined[0]!);
    if (joined.length > 0 && !elected && (by !== before.leader || now.leader !== before.leader)) {
      this.#broken(`rule 4: ${by}, which does not lead, lets ${joined} join: ${at}`);
    }
  }

  #checkEpoch(name: string, { leader, leaderEpoch }: PartitionRecord): void {
    if (leader === null) return;
    const key = `${name} ${leaderEpoch}`;
    const known = this.#leaders.get(key);
    if (known !== undefined && known !== leader) {
      this.#broken(`rule 6: ${known} and ${leader} lead ${name} in epoch ${leaderEpoch}`);
    }
    this.#leaders.set(key, leader);
  }

  #broken(what: string): void {
    this.world.violation(`records: ${what}`);
  }
}

function isPartitionKey(key: MetadataKey): boolean {
  return isKeyBelow(PARTITIONS_KEY, key);
}

export function describeRecord(record: PartitionRecord): string {
  const { topicId, partition, replicas, isr, elr, leader, leaderEpoch } = record;
  const eligible = elr.length === 0 ? "" : ` eligible ${elr}`;
  return `${topicId.slice(0, 8)}/${partition} leader ${leader} in ${leaderEpoch}, ` +
    `in sync ${isr} of ${replicas}${eligible}`;
}
