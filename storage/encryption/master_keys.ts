// Owns the master keys of a broker: reading them from text, and wrapping the data keys of logs with them.
// Refuses to own where the text comes from (ops/encryption_keys.ts) and where wrapped keys are kept (key_ring.ts).
// Invariant: the first key wraps, each of them unwraps. A key is known by a digest of itself, so that a wrong one is never
// taken for the right one; a wrapped key opens for the log and the number it was wrapped for only.
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { BrokerError } from "../broker_error.ts";
import { type Aead, KEY_BYTES, NONCE_BYTES, type PreparedKey } from "./aead.ts";

/** Old keys stay listed only until all that they wrapped is wrapped anew. */
export const MAX_MASTER_KEYS = 64;
const ID_DIGITS = 16;
const DIGEST_OF = "waybill master key\n";

/** The text holds no usable keys; the message says which line, and never shows any of it. */
export class MasterKeyTextError extends Error {
  override name = "MasterKeyTextError";
}

interface MasterKey {
  readonly id: string;
  readonly key: PreparedKey;
}

/** A data key as it is kept. */
export interface WrappedKey {
  /** Of the master key. */
  readonly masterKeyId: string;
  /** Base64. */
  readonly nonce: string;
  /** Base64: the encrypted key and its tag. */
  readonly box: string;
}

/** What a data key belongs to. */
export interface KeyOwner {
  readonly log: string;
  readonly keyId: number;
}

export class MasterKeys {
  #keys: readonly MasterKey[];

  private constructor(readonly aead: Aead, keys: readonly MasterKey[]) {
    this.#keys = keys;
  }

  /**
   * Keys of `text`: a line each, 32 bytes as base64 or 64 hexadecimal digits; the first one wraps. Empty lines and lines
   * that begin with # count for nothing. Throws MasterKeyTextError.
   */
  static parse(text: string, aead: Aead): MasterKeys {
    return new MasterKeys(aead, parsed(text, aead));
  }

  /** Id of the key that wraps. */
  get currentId(): string {
    return this.#keys[0]!.id;
  }

  /** Ids of all keys, the one that wraps first. */
  get ids(): readonly string[] {
    return this.#keys.map(({ id }) => id);
  }

  has(masterKeyId: string): boolean {
    return this.#keys.some(({ id }) => id === masterKeyId);
  }

  /** Takes other keys over; whether they are others. Throws MasterKeyTextError, and then keeps those it has. */
  replace(text: string): boolean {
    const keys = parsed(text, this.aead);
    const isSame = keys.length === this.#keys.length &&
      keys.every(({ id }, index) => id === this.#keys[index]!.id);
    this.#keys = keys;
    return !isSame;
  }

  wrap(secret: Uint8Array, owner: KeyOwner): WrappedKey {
    const { id, key } = this.#keys[0]!;
    const nonce = this.aead.randomBytes(NONCE_BYTES);
    const box = this.aead.seal(key, { nonce, associated: associatedOf(owner), bytes: secret });
    return { masterKeyId: id, nonce: base64(nonce), box: base64(box) };
  }

  /** ENCRYPTION_KEY_UNAVAILABLE when its master key is not here; null when it was changed, or is another owner's. */
  unwrap(wrapped: WrappedKey, owner: KeyOwner): Uint8Array | null {
    const master = this.#keys.find(({ id }) => id === wrapped.masterKeyId);
    if (master === undefined) throw masterKeyMissing(owner.log, [wrapped.masterKeyId]);
    return this.aead.open(master.key, {
      nonce: Buffer.from(wrapped.nonce, "base64"),
      associated: associatedOf(owner),
      bytes: Buffer.from(wrapped.box, "base64"),
    });
  }
}

/** The error for a log whose data keys were wrapped by master keys that are not here; none at all: `ids` is empty. */
export function masterKeyMissing(log: string, ids: readonly string[]): BrokerError {
  const which = ids.length === 0
    ? "this broker has no encryption key configured: its operator has to start it with one"
    : `this broker does not have encryption key ${ids.join(", ")}: ` +
      "its operator has to put it back into encryptionKeyFile, or start with the right encryptionKey";
  return new BrokerError(
    "ENCRYPTION_KEY_UNAVAILABLE",
    `log ${log} is encrypted, and ${which}`,
    { log, masterKeyIds: ids },
  );
}

function parsed(text: string, aead: Aead): MasterKey[] {
  const keys: MasterKey[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const entry = line.trim();
    if (entry === "" || entry.startsWith("#")) continue;
    const secret = secretOf(entry);
    if (secret === null) {
      throw new MasterKeyTextError(
        `line ${index + 1} is no key: ${KEY_BYTES} bytes are needed, as base64 or hexadecimal`,
      );
    }
    const id = createHash("sha256").update(DIGEST_OF).update(secret).digest("hex")
      .slice(0, ID_DIGITS);
    if (keys.some((known) => known.id === id)) {
      throw new MasterKeyTextError(`line ${index + 1} has a key that stands above already`);
    }
    keys.push({ id, key: aead.prepare(secret) });
  }
  if (keys.length === 0) throw new MasterKeyTextError("there is no key");
  if (keys.length > MAX_MASTER_KEYS) {
    throw new MasterKeyTextError(`there are ${keys.length} keys, at most ${MAX_MASTER_KEYS}`);
  }
  return keys;
}

function secretOf(entry: string): Uint8Array | null {
  if (/^[0-9a-fA-F]{64}$/.test(entry)) return new Uint8Array(Buffer.from(entry, "hex"));
  if (!/^[A-Za-z0-9+/_-]{43}=?$/.test(entry)) return null;
  return new Uint8Array(Buffer.from(entry, "base64"));
}

function associatedOf({ log, keyId }: KeyOwner): Uint8Array {
  return new TextEncoder().encode(`waybill data key\n${log}\n${keyId}`);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
