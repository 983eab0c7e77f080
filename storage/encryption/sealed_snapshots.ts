// Owns snapshots that are encrypted at rest: all of a broker that has a key, whatever topic they were folded from.
// Refuses to own where they lie and when they are made.
// Invariant: what cannot be opened (no key, changed, of another id) is as good as none, as with every snapshot; stores that
// know of no encryption meet a version that is nobody's, and take it for none too.
import { Buffer } from "node:buffer";
import type { Snapshot, SnapshotStore } from "../snapshots.ts";
import { KEY_BYTES, NONCE_BYTES } from "./aead.ts";
import type { MasterKeys, WrappedKey } from "./master_keys.ts";

/** Added to the version of what is inside. */
const SEALED_VERSION = 2 ** 31;
/** Before the box: length of the wrapped key, the wrapped key as JSON, the nonce. */
const LENGTH_BYTES = 4;

export class SealedSnapshots implements SnapshotStore {
  constructor(private readonly inner: SnapshotStore, private readonly masterKeys: MasterKeys) {}

  async load(id: string): Promise<Snapshot | null> {
    const stored = await this.inner.load(id);
    // One that was saved before there was a key is as true as ever.
    if (stored === null || stored.version < SEALED_VERSION) return stored;
    const version = stored.version - SEALED_VERSION;
    const { nextOffset } = stored;
    const bytes = await this.#opened(id, { version, nextOffset, bytes: stored.bytes })
      .catch(() => null);
    return bytes === null ? null : { version, nextOffset, bytes };
  }

  async save(id: string, snapshot: Snapshot): Promise<void> {
    const { version, nextOffset } = snapshot;
    const { masterKeys, masterKeys: { aead } } = this;
    const secret = aead.randomBytes(KEY_BYTES);
    const wrapped = Buffer.from(JSON.stringify(masterKeys.wrap(secret, ownerOf(id))));
    const nonce = aead.randomBytes(NONCE_BYTES);
    const associated = associatedOf(id, snapshot);
    const box = await aead.sealLater(aead.prepare(secret), {
      nonce,
      associated,
      bytes: snapshot.bytes,
    });
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, wrapped.length);
    const bytes = new Uint8Array(Buffer.concat([length, wrapped, nonce, box]));
    await this.inner.save(id, { version: version + SEALED_VERSION, nextOffset, bytes });
  }

  remove(id: string): Promise<void> {
    return this.inner.remove(id);
  }

  async #opened(id: string, stored: Snapshot): Promise<Uint8Array | null> {
    const { bytes } = stored;
    const end = LENGTH_BYTES +
      new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getUint32(0);
    const text = new TextDecoder().decode(bytes.subarray(LENGTH_BYTES, end));
    const wrapped = JSON.parse(text) as WrappedKey;
    const secret = this.masterKeys.unwrap(wrapped, ownerOf(id));
    if (secret === null) return null;
    const { aead } = this.masterKeys;
    return await aead.openLater(aead.prepare(secret), {
      nonce: bytes.subarray(end, end + NONCE_BYTES),
      associated: associatedOf(id, stored),
      bytes: bytes.subarray(end + NONCE_BYTES),
    });
  }
}

/** No log can have that name: it would have a dot. */
function ownerOf(id: string) {
  return { log: `snapshot.${id}`, keyId: 0 };
}

function associatedOf(id: string, { version, nextOffset }: Snapshot): Uint8Array {
  return new TextEncoder().encode(`waybill snapshot\n${id}\n${version}\n${nextOffset}`);
}
