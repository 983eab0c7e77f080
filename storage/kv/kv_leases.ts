// Owns leases over Deno KV: granting, renewing, and ending those that nobody renews.
// Refuses to trust wall time: a lease ends when its mark has not changed for its time on some living instance's own
// monotonic clock, so a restart or a clock that jumps prolongs a lease and never cuts it short.
// Invariant: a lease that is ending takes no more keys, and is gone only after its keys are.
import type { MetadataKey } from "../metadata.ts";
import type { Clock, Randomness } from "../ports.ts";
import { asStorage, commitAtomic } from "./kv_database.ts";

/** Keys that are deleted in one atomic when a lease ends: 30 of the longest, twice, are below 80 KiB. */
const KEYS_PER_ATOMIC = 30;
/** Rounds of deleting in one go; what is left then, the next sweep continues. */
const MAX_DELETE_ROUNDS = 1_000;

interface LeaseRecord {
  readonly ttlMs: number;
  readonly ending: boolean;
}

/** An entry as kv_metadata.ts stores it, as far as leases need to know. */
interface LeasedEntry {
  readonly leaseId: string | null;
}

export interface LeaseContext {
  readonly kv: Deno.Kv;
  readonly clock: Clock;
  readonly randomness: Randomness;
  /** Where the entry of a metadata key lies. */
  entryKey(key: MetadataKey): Deno.KvKey;
  /** Commits with the mark that watchers look for; `deletes` are told to them. False when a check failed. */
  commit(operation: Deno.AtomicOperation, deletes: readonly MetadataKey[]): Promise<boolean>;
}

/** The leases in one database, as one instance sees them. */
export class KvLeases {
  /** What each lease's mark was when it was last seen to change, and until when it lasts (monotonic ms). */
  readonly #seen = new Map<string, { mark: string; deadline: number }>();

  constructor(private readonly context: LeaseContext) {}

  async grant(ttlMs: number): Promise<string> {
    if (!(ttlMs > 0) || !Number.isFinite(ttlMs)) throw new Error(`a lease cannot last ${ttlMs} ms`);
    const leaseId = this.context.randomness.uuid();
    const record: LeaseRecord = { ttlMs, ending: false };
    const operation = this.context.kv.atomic()
      .check({ key: leaseKey(leaseId), versionstamp: null })
      .set(leaseKey(leaseId), record).set(markKey(leaseId), 0);
    const granted = await commitAtomic("grant a lease", operation);
    if (!granted.ok) throw new Error(`lease ${leaseId} was granted before: ids must be unique`);
    this.#saw(leaseId, granted.versionstamp, ttlMs);
    return leaseId;
  }

  async renew(leaseId: string): Promise<boolean> {
    const lease = await this.#read(leaseId);
    if (lease === null) return false;
    const operation = this.context.kv.atomic().check(lease).set(markKey(leaseId), 0);
    const renewed = await commitAtomic("renew a lease", operation);
    if (renewed.ok) this.#saw(leaseId, renewed.versionstamp, lease.value.ttlMs);
    return renewed.ok;
  }

  async revoke(leaseId: string): Promise<void> {
    const lease = await this.#read(leaseId);
    if (lease !== null) await this.#end(lease);
  }

  /** The check that makes a commit happen only while the lease lasts; null when it does not. */
  async check(leaseId: string): Promise<Deno.AtomicCheck | null> {
    return await this.#read(leaseId);
  }

  /** Ends the leases that were not renewed in time, and finishes what others have begun to end. */
  async sweep(): Promise<void> {
    const { kv, clock } = this.context;
    const marks = new Map<string, string>();
    for await (const { key, versionstamp } of kv.list({ prefix: ["marks"] })) {
      marks.set(String(key[1]), versionstamp);
    }
    const present = new Set<string>();
    for await (const lease of kv.list<LeaseRecord>({ prefix: ["leases"] })) {
      const leaseId = String(lease.key[1]);
      present.add(leaseId);
      const mark = marks.get(leaseId) ?? "";
      const seen = this.#seen.get(leaseId);
      if (lease.value.ending) await this.#finish(leaseId);
      else if (seen?.mark !== mark) this.#saw(leaseId, mark, lease.value.ttlMs);
      else if (clock.monotonic() >= seen.deadline) await this.#end(lease, mark);
    }
    for (const leaseId of this.#seen.keys()) if (!present.has(leaseId)) this.#seen.delete(leaseId);
  }

  /** Time until the next lease may end, as far as this instance knows. */
  nextEndInMs(): number {
    const deadlines = [...this.#seen.values()].map((seen) => seen.deadline);
    return Math.max(0, Math.min(Infinity, ...deadlines) - this.context.clock.monotonic());
  }

  #saw(leaseId: string, mark: string, ttlMs: number): void {
    // Two answers may arrive out of order; the older must not bring back its mark.
    if ((this.#seen.get(leaseId)?.mark ?? "") > mark) return;
    const deadline = this.context.clock.monotonic() + ttlMs;
    this.#seen.set(leaseId, { mark, deadline });
  }

  async #read(leaseId: string): Promise<Deno.KvEntry<LeaseRecord> | null> {
    const lease = await asStorage(
      "read a lease",
      () => this.context.kv.get<LeaseRecord>(leaseKey(leaseId)),
    );
    return lease.value === null || lease.value.ending ? null : lease;
  }

  /** With `mark`, only if the lease was not renewed since. */
  async #end(lease: Deno.KvEntry<LeaseRecord>, mark?: string): Promise<void> {
    const leaseId = String(lease.key[1]);
    const operation = this.context.kv.atomic().check(lease)
      .set(lease.key, { ...lease.value, ending: true });
    if (mark !== undefined) operation.check({ key: markKey(leaseId), versionstamp: mark });
    const ended = await commitAtomic("end a lease", operation);
    if (ended.ok) await this.#finish(leaseId);
  }

  async #finish(leaseId: string): Promise<void> {
    const { kv, commit } = this.context;
    for (let round = 0; round < MAX_DELETE_ROUNDS; round++) {
      const operation = kv.atomic();
      const deleted: MetadataKey[] = [];
      let listed = 0;
      const page = { limit: KEYS_PER_ATOMIC };
      for await (const { key: indexKey } of kv.list({ prefix: ["leaseKeys", leaseId] }, page)) {
        listed++;
        const key = indexKey.slice(2).map(String);
        const entry = await kv.get<LeasedEntry>(this.context.entryKey(key));
        operation.delete(indexKey);
        // The key may have been set anew since, without this lease: then it stays.
        operation.check(entry);
        if (entry.value?.leaseId !== leaseId) continue;
        operation.delete(entry.key);
        deleted.push(key);
      }
      if (listed === 0) {
        const gone = kv.atomic().delete(leaseKey(leaseId)).delete(markKey(leaseId));
        await commitAtomic("end a lease", gone);
        this.#seen.delete(leaseId);
        return;
      }
      // A failed check means that one of the keys has just changed: the next round sees how.
      await commit(operation, deleted);
    }
  }
}

/** Index of the keys of a lease: what to delete when it ends. */
export function leaseIndexKey(leaseId: string, key: MetadataKey): Deno.KvKey {
  return ["leaseKeys", leaseId, ...key];
}

function leaseKey(leaseId: string): Deno.KvKey {
  return ["leases", leaseId];
}

function markKey(leaseId: string): Deno.KvKey {
  return ["marks", leaseId];
}
