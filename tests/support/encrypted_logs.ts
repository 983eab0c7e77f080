// Owns what tests see of an encrypted log on a simulated machine: its files, its ring of data keys, what no byte may show.
// Refuses to own the log. Invariant: it looks at what lies on the disk, not at what the log says of it.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import { BrokerError, type ErrorCode } from "../../storage/broker_error.ts";
import { KEY_RING_FILE } from "../../storage/encryption/key_ring.ts";
import { decodeRing, type RingEntry } from "../../storage/encryption/ring_file.ts";
import { keyIdAt } from "../../storage/encryption/sealed_batch.ts";
import type { FileLogStore } from "../../storage/file_log/file_log_store.ts";
import { storedBaseOffset } from "../../storage/file_log/guard_byte.ts";
import { batchSpans } from "../../storage/format/record_batch.ts";
import type { LogConfig, RetentionPolicy } from "../../storage/log.ts";
import { LOG, SimulatedMachine } from "./simulated_logs.ts";

export const ENCRYPTED: Partial<LogConfig> = { encryption: "aes-256-gcm" };

/** Three batches of a filled log fit into a segment. */
export const BATCH_BYTES = 151;

export const SMALL: Partial<LogConfig> = { ...ENCRYPTED, segmentBytes: 3 * BATCH_BYTES };

export const RING = `${LOG}/${KEY_RING_FILE}`;

export function code(expected: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof BrokerError && error.code === expected;
}

/** Every file of the log, as readers see it. */
export function filesOf(machine: SimulatedMachine): Map<string, string> {
  const { disk } = machine;
  return new Map(disk.paths(LOG).map((path) => [path, [...disk.contents(path)].join()]));
}

export function assertHidden(bytes: Uint8Array, batches: readonly Uint8Array[]): void {
  const text = [...bytes].join();
  for (const batch of batches) {
    assert.ok(!text.includes([...batch.subarray(-21, -1)].join()), "a value lies there in clear");
  }
}

function keysOf(machine: SimulatedMachine): readonly RingEntry[] {
  return decodeRing(machine.disk.contents(RING), crc32c)!;
}

export function keyCount(machine: SimulatedMachine): number {
  return keysOf(machine).length;
}

/** Whoever forgets keys goes by the offsets that they say they cover. */
export function assertKeysCover(machine: SimulatedMachine): void {
  const keys = new Map(keysOf(machine).map((entry) => [entry.keyId, entry]));
  for (const path of machine.disk.paths(LOG).filter((path) => path.endsWith(".log"))) {
    const bytes = machine.disk.contents(path);
    for (const { at } of batchSpans(bytes)) {
      const offset = storedBaseOffset(bytes, at);
      const { baseOffset, endOffset } = keys.get(keyIdAt(bytes, at)!)!;
      assert.ok(baseOffset <= offset && offset < (endOffset ?? Infinity), `offset ${offset}`);
    }
  }
}

export async function rewrapped(store: FileLogStore): Promise<number> {
  let count = 0;
  for (const log of store.encryptedLogs()) if (await log.rewrap()) count++;
  return count;
}

export function retention(change: Partial<RetentionPolicy> = {}): RetentionPolicy {
  return { now: 1e6, retentionMs: 0, retentionBytes: null, keepFrom: 1e9, ...change };
}
