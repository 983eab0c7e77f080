// Owns the metadata store over etcd v3: entries, lists and transactions, and opening it.
// Refuses to own the limits (metadata_limits.ts), asking several endpoints (etcd_requests.ts), watching (etcd_watch.ts)
// and leases (etcd_leases.ts).
// Invariant: every read is linearizable, and every decision is one transaction of etcd: what etcd does not confirm is
// never taken to have happened.
//
// etcd must run with `--max-txn-ops=1024` or more: its default of 128 is less than one transaction here may hold
// (MAX_TRANSACTION_MUTATIONS). Opening tries that, and refuses. etcd's default request size (1.5 MiB) is enough.
import type {
  MetadataEntry,
  MetadataKey,
  MetadataStore,
  MetadataTransaction,
} from "../metadata.ts";
import { MAX_TRANSACTION_MUTATIONS } from "../metadata.ts";
import { checkKey, checkPrefix, encodeTransaction, isKeyBelow } from "../metadata_limits.ts";
import type { Clock, Randomness, Timers } from "../ports.ts";
import { EtcdRefusal, metadataError } from "./etcd_errors.ts";
import { type EtcdFetch, EtcdHttp, type EtcdTls } from "./etcd_http.ts";
import { EtcdKeys } from "./etcd_keys.ts";
import { EtcdLeases, isLeaseId } from "./etcd_leases.ts";
import { EtcdPages } from "./etcd_pages.ts";
import { type EtcdReport, EtcdRequests } from "./etcd_requests.ts";
import { EtcdWatch } from "./etcd_watch.ts";
import { type EtcdKeyValue, type RangeAnswer, revisionOf, type TxnAnswer } from "./etcd_wire.ts";

/** What `--max-txn-ops` must be at least. */
export const NEEDED_TXN_OPERATIONS = MAX_TRANSACTION_MUTATIONS;

const GET = { action: "read metadata", path: "/v3/kv/range", isRepeatable: true };
const COMMIT = { action: "commit metadata", path: "/v3/kv/txn", isRepeatable: false };
const PROBE = { action: "open the metadata on etcd", path: "/v3/kv/txn", isRepeatable: true };

export interface EtcdMetadataOptions {
  /** `http://host:port` or `https://host:port` of one or more members of one etcd. */
  readonly endpoints: readonly string[];
  /** The cluster's name: all keys lie below it, so several clusters may share an etcd. At most 200 bytes. */
  readonly prefix: string;
  /** Where etcd asks for users; the user needs read and write permission for all keys below `prefix` and a NUL. */
  readonly username?: string;
  readonly password?: string;
  readonly tls?: EtcdTls;
  readonly clock: Clock;
  /** Real time: requests and streams are bounded with them. */
  readonly timers: Timers;
  readonly randomness: Randomness;
  /** Another than the platform's, for tests. */
  readonly fetch?: EtcdFetch;
  /** Told of endpoints that fail, and of watching that breaks. */
  report(report: EtcdReport): void;
}

/**
 * Opens the store. Errors: plain Error when an option is no good or etcd takes too few operations in a transaction;
 * BrokerError METADATA_UNAVAILABLE when etcd does not answer, or refuses the user.
 */
export async function openEtcdMetadata(options: EtcdMetadataOptions): Promise<EtcdMetadataStore> {
  const keys = new EtcdKeys(options.prefix);
  const http = new EtcdHttp(options);
  try {
    const requests = new EtcdRequests({
      ...options,
      http,
      confirming: { key: keys.of(["probe"]) },
    });
    await checkServer(requests, keys);
    return new EtcdMetadataStore({ ...options, requests, keys });
  } catch (error) {
    http.close();
    throw error;
  }
}

/** Use `openEtcdMetadata`. Rejections that are no plain Error: BrokerError METADATA_UNAVAILABLE (it did not happen), STORAGE_FAILED (a commit may have happened), DISK_FULL. */
export class EtcdMetadataStore implements MetadataStore {
  readonly #requests: EtcdRequests;
  readonly #keys: EtcdKeys;
  readonly #pages: EtcdPages;
  readonly #watch: EtcdWatch;
  readonly #leases: EtcdLeases;
  #closed = false;

  constructor(
    options: EtcdMetadataOptions & { readonly requests: EtcdRequests; readonly keys: EtcdKeys },
  ) {
    this.#requests = options.requests;
    this.#keys = options.keys;
    this.#pages = new EtcdPages(this.#requests);
    this.#leases = new EtcdLeases(this.#requests);
    this.#watch = new EtcdWatch({ ...options, listKeys: () => this.#listKeys() });
  }

  async get(key: MetadataKey): Promise<MetadataEntry | null> {
    this.#checkOpen();
    checkKey(key);
    await this.#watch.ready();
    const answer = await asked(
      GET.action,
      () => this.#requests.ask<RangeAnswer>(GET, { key: this.#keys.of(key) }),
    );
    const found = answer.kvs?.[0];
    return found === undefined ? null : this.#shown(found);
  }

  async list(
    prefix: MetadataKey,
    options: { limit?: number; after?: MetadataKey } = {},
  ): Promise<MetadataEntry[]> {
    this.#checkOpen();
    checkPrefix(prefix);
    const { limit = Infinity, after } = options;
    if (after !== undefined && !isKeyBelow(prefix, after)) {
      throw new Error("`after` must lie below the prefix that is listed");
    }
    await this.#watch.ready();
    const range = this.#keys.below(prefix, after);
    const { found } = await asked(
      "list metadata",
      () => this.#pages.read(range, { limit, keysOnly: false }),
    );
    return found.map((entry) => this.#shown(entry));
  }

  async commit(transaction: MetadataTransaction): Promise<boolean> {
    this.#checkOpen();
    const sets = encodeTransaction(transaction);
    const deletes = transaction.deletes ?? [];
    // What etcd has never given out holds for nothing.
    if (!transaction.checks.every(({ version }) => version === null || isVersion(version))) {
      return false;
    }
    if (!sets.every(({ leaseId }) => leaseId === null || isLeaseId(leaseId))) return false;
    const compare = transaction.checks.map(({ key, version }) => ({
      key: this.#keys.of(key),
      target: "MOD",
      result: "EQUAL",
      mod_revision: version ?? "0",
    }));
    const puts = sets.map(({ key, bytes, leaseId }) => ({
      request_put: { key: this.#keys.of(key), value: bytes.toBase64(), lease: leaseId ?? "0" },
    }));
    const removals = deletes.map((key) => ({
      request_delete_range: { key: this.#keys.of(key) },
    }));
    const answer = await this.#transact({ compare, success: [...puts, ...removals] });
    if (answer?.succeeded !== true) return false;
    const isChange = sets.length > 0 ||
      answer.responses?.some((each) => Number(each.response_delete_range?.deleted ?? 0) > 0);
    const revision = isChange ? revisionOf(answer.header.revision) : null;
    this.#watch.committed([...sets.map((set) => set.key), ...deletes], revision);
    return true;
  }

  watch(prefix: MetadataKey, onChange: (keys: MetadataKey[]) => void): () => void {
    this.#checkOpen();
    checkPrefix(prefix);
    return this.#watch.add(prefix, onChange);
  }

  /** In whole seconds, rounded up; etcd makes a lease last some of its election timeouts at least (2 s by default). */
  async grantLease(ttlMs: number): Promise<string> {
    this.#checkOpen();
    return await asked("grant a lease", () => this.#leases.grant(ttlMs));
  }

  /**
   * True only of a leader of etcd that led the majority after it renewed. The lease lasts from then for its time at
   * least; who relies on it counts from before the call.
   */
  async renewLease(leaseId: string): Promise<boolean> {
    this.#checkOpen();
    return await asked("renew a lease", () => this.#leases.renew(leaseId));
  }

  async revokeLease(leaseId: string): Promise<void> {
    this.#checkOpen();
    await asked("revoke a lease", () => this.#leases.revoke(leaseId));
  }

  /** Requests under way end as if etcd had not answered. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#requests.close();
    await this.#watch.close();
  }

  /** Null: a lease in it is gone, so nothing happened. */
  async #transact(body: unknown): Promise<TxnAnswer | null> {
    try {
      return await this.#requests.ask<TxnAnswer>(COMMIT, body);
    } catch (error) {
      if (error instanceof EtcdRefusal && error.isLeaseMissing) return null;
      throw metadataError(COMMIT.action, error, { isOutcomeUnknown: false });
    }
  }

  async #listKeys() {
    const range = this.#keys.below([]);
    const { found, revision } = await this.#pages.read(range, { limit: Infinity, keysOnly: true });
    const entries = found.map((entry) => ({
      key: this.#keys.parse(entry.key),
      revision: revisionOf(entry.mod_revision),
    }));
    return { entries, revision };
  }

  #shown({ key, value = "", mod_revision }: EtcdKeyValue): MetadataEntry {
    const json = new TextDecoder().decode(Uint8Array.fromBase64(value));
    return { key: this.#keys.parse(key), value: JSON.parse(json), version: mod_revision };
  }

  #checkOpen(): void {
    if (this.#closed) throw new Error("the metadata store is closed");
  }
}

/** A revision as etcd gives out; never 0, which would mean that the key is not there. */
function isVersion(version: string): boolean {
  return /^[1-9][0-9]{0,17}$/.test(version);
}

/** Refusals as BrokerErrors. Only for what changes nothing or may be repeated. */
async function asked<T>(action: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof EtcdRefusal)) throw error;
    throw metadataError(action, error, { isOutcomeUnknown: false });
  }
}

/** Asks for as many operations as a transaction may have, in the branch that is never taken. */
async function checkServer(requests: EtcdRequests, keys: EtcdKeys): Promise<void> {
  const operation = { request_range: { key: keys.of(["probe"]) } };
  const failure = Array.from({ length: NEEDED_TXN_OPERATIONS }, () => operation);
  try {
    await requests.ask<TxnAnswer>(PROBE, { failure });
  } catch (error) {
    if (!(error instanceof EtcdRefusal)) throw error;
    if (!error.isTooManyOperations) {
      throw metadataError(PROBE.action, error, { isOutcomeUnknown: false });
    }
    throw new Error(
      `etcd takes fewer than the ${NEEDED_TXN_OPERATIONS} operations that one transaction may have: ` +
        `start every member with --max-txn-ops=1024`,
      { cause: error },
    );
  }
}
