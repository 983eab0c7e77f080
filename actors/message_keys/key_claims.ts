// Owns which keys are being appended, by whom, and of which appends nobody knows yet what became of them.
// Refuses to own what is done about it (topic_keys.ts) and keys that are known (key_table.ts).
// Invariant: a key is in one claim at a time, from before its append is submitted until its outcome is known.
import { BrokerError } from "../../storage/broker_error.ts";
import { hashKey, type KeyHash } from "./key_hash.ts";
import type { BatchKeys } from "./types.ts";

export interface WantedKey {
  readonly key: string;
  readonly hash: KeyHash;
  readonly batch: number;
  readonly record: number;
}

/** The keys of one append. */
export interface Claim {
  readonly partition: number;
  /** The first record of the append is nowhere below. */
  readonly fromOffset: number;
  readonly keys: readonly string[];
  /** Resolves when the outcome is known, or known to be unknown. */
  readonly settled: Promise<void>;
  /** The append failed, but its records may be in the log. */
  doubtful: boolean;
  /** Somebody looks whether they are. */
  looking: Promise<void> | null;
}

export class KeyClaims {
  readonly #byKey = new Map<string, Claim>();

  get size(): number {
    return this.#byKey.size;
  }

  of(key: string): Claim | undefined {
    return this.#byKey.get(key);
  }

  /** Claims that have one of these keys. */
  rivalsOf(wanted: readonly WantedKey[]): Claim[] {
    if (this.#byKey.size === 0) return [];
    const rivals = new Set<Claim>();
    for (const { key } of wanted) {
      const claim = this.#byKey.get(key);
      if (claim !== undefined) rivals.add(claim);
    }
    return [...rivals];
  }

  /** There must be no rivals. */
  add(claim: Claim): void {
    for (const key of claim.keys) this.#byKey.set(key, claim);
  }

  release(claim: Claim): void {
    for (const key of claim.keys) {
      if (this.#byKey.get(key) === claim) this.#byKey.delete(key);
    }
  }

  all(): Set<Claim> {
    return new Set(this.#byKey.values());
  }

  clear(): void {
    this.#byKey.clear();
  }
}

/** Throws INVALID_REQUEST when one comes twice. */
export function wantedKeys(keys: BatchKeys): WantedKey[] {
  const wanted = eachKey(keys);
  if (new Set(wanted.map(({ key }) => key)).size < wanted.length) {
    throw new BrokerError("INVALID_REQUEST", "one append has the same idempotency key twice");
  }
  return wanted;
}

/** The first of each. */
export function firstKeys(keys: BatchKeys): WantedKey[] {
  return [...Map.groupBy(eachKey(keys), ({ key }) => key).values()].map(([first]) => first!);
}

function eachKey(keys: BatchKeys): WantedKey[] {
  return keys.flatMap((records, batch) =>
    (records ?? []).flatMap((key, record) =>
      key === null ? [] : [{ key, hash: hashKey(key), batch, record }]
    )
  );
}
