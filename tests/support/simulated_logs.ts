// Owns file logs over the simulated disk, and small batches to fill them with.
// Refuses to own assertions about what survives.
// Invariant: every batch of a filled log is equally long, so that a test can compute where the n-th one lies.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import type { FileLog } from "../../storage/file_log/file_log.ts";
import { FileLogStore, type FileLogStoreOptions } from "../../storage/file_log/file_log_store.ts";
import type { LogWarning } from "../../storage/file_log/log_environment.ts";
import { AesGcm } from "../../storage/encryption/aes_gcm.ts";
import { SEAL_BYTES } from "../../storage/encryption/sealed_batch.ts";
import { MasterKeys } from "../../storage/encryption/master_keys.ts";
import type { Encryption, Log, LogConfig } from "../../storage/log.ts";
import { type SeededRandomness, seededRandomness } from "./seeded_randomness.ts";
import { sampleBatch } from "./sample_batches.ts";
import { SimulatedDisk } from "./simulated_disk.ts";
import { VirtualClock } from "./virtual_time.ts";

export const LOG = "topics/t1/0";
export const FIRST_SEGMENT = segmentFile(0);

/** How logs are stored unless a test says; set before tests are registered, to run them all over encrypted logs. */
export const atRest: { encryption: Encryption } = { encryption: "none" };

export const CONFIG: LogConfig = {
  durability: "fsync",
  segmentBytes: 1_000_000,
  segmentMs: 1e12,
  indexIntervalBytes: 256,
  get encryption() {
    return atRest.encryption;
  },
};

/** A master key of 32 bytes, each of them `byte`. */
export function masterKeyText(byte: number): string {
  return byte.toString(16).padStart(2, "0").repeat(32);
}

/** Keys that work on this thread alone, so that virtual time stays in step; `seed`: and draw the same each run. */
export function masterKeys(text = masterKeyText(7), seed: number | null = null): MasterKeys {
  return MasterKeys.parse(text, seed === null ? new AesGcm(Infinity) : new SeededAesGcm(seed));
}

class SeededAesGcm extends AesGcm {
  readonly #chance: SeededRandomness;

  constructor(seed: number) {
    super(Infinity);
    this.#chance = seededRandomness(seed);
  }

  override randomBytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.#chance.integer(256));
  }
}

export function segmentFile(baseOffset: number, suffix = "log", log = LOG): string {
  return `${log}/${String(baseOffset).padStart(20, "0")}.${suffix}`;
}

/** One simulated machine: its disk outlives every store that is opened on it. */
export class SimulatedMachine {
  readonly disk: SimulatedDisk;
  readonly clock = new VirtualClock();
  readonly warnings: LogWarning[] = [];

  constructor(options: { seed?: number; disk?: SimulatedDisk } = {}) {
    this.disk = options.disk ?? new SimulatedDisk({ seed: options.seed ?? 1 });
  }

  /** What a new process has: nothing in memory. */
  store(options: Partial<FileLogStoreOptions> = {}): FileLogStore {
    const disk = this.disk.session();
    const { clock } = this;
    const onWarning = (warning: LogWarning) => void this.warnings.push(warning);
    // No tail cache unless a test asks for it: reads must come from the disk.
    const usual = { onWarning, tailCacheBytes: 0, masterKeys: masterKeys() };
    return new FileLogStore({ disk, clock, crc32c, ...usual, ...options });
  }

  open(config: Partial<LogConfig> = {}, options?: Partial<FileLogStoreOptions>): Promise<FileLog> {
    return this.store(options).open(LOG, { ...CONFIG, ...config });
  }
}

/** What `batch` takes in a segment. */
export function storedBytes(batch: Uint8Array): number {
  return batch.length + (atRest.encryption === "none" ? 0 : SEAL_BYTES);
}

/** A batch of two records that continues `log`; `mark` tells it from others at the same offset. */
export function nextBatch(
  log: Pick<Log, "logEndOffset">,
  options: { mark?: number; leaderEpoch?: number; valueBytes?: number; time?: number } = {},
): Uint8Array {
  const { mark = log.logEndOffset, leaderEpoch = 3, valueBytes = 20, time } = options;
  const timestamp = time ?? 1_000 + log.logEndOffset;
  return sampleBatch({
    baseOffset: log.logEndOffset,
    leaderEpoch,
    valueBytes,
    mark,
    timestamps: [timestamp, timestamp],
  });
}

/** Appends `count` batches, one call each; copies of them. */
export async function appendEach(log: Log, count: number): Promise<Uint8Array[]> {
  const batches: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const batch = nextBatch(log);
    batches.push(batch.slice());
    await log.append([batch]);
  }
  return batches;
}

/** A cleanly closed log of several segments of three batches each. */
export async function closedLog(): Promise<{ machine: SimulatedMachine; batches: Uint8Array[] }> {
  const machine = new SimulatedMachine();
  const log = await machine.open({ segmentBytes: 400, indexIntervalBytes: 200 });
  const batches = await appendEach(log, 9);
  await log.close();
  assert.ok(machine.disk.paths().includes(segmentFile(6)));
  return { machine, batches };
}

/** `count` batches that continue `log`, for one append. */
export function nextBatches(log: Pick<Log, "logEndOffset">, count: number): Uint8Array[] {
  return Array.from(
    { length: count },
    (_, index) => nextBatch({ logEndOffset: log.logEndOffset + 2 * index }),
  );
}
