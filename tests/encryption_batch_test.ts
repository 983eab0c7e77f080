// Owns what a sealed batch must be: a whole batch that hides its records, opens to exactly what it was, and to nothing else.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { AesGcm } from "../storage/encryption/aes_gcm.ts";
import { KEY_BYTES, NONCE_BYTES } from "../storage/encryption/aead.ts";
import { MasterKeys, MasterKeyTextError } from "../storage/encryption/master_keys.ts";
import {
  isSealed,
  keyIdAt,
  openedSizeAt,
  putOpened,
  SEAL_BYTES,
  sealedBatch,
  toOpen,
  toSeal,
} from "../storage/encryption/sealed_batch.ts";
import { crcMatches, sizeBytesAt, stampCrc } from "../storage/format/record_batch.ts";
import { sampleBatch } from "./support/sample_batches.ts";

const here = new AesGcm(Infinity);
const threads = new AesGcm(0);
const KEY = here.prepare(new Uint8Array(KEY_BYTES).fill(3));

function sealed(batch: Uint8Array, keyId = 1): Uint8Array {
  const input = toSeal(batch, keyId, here);
  return sealedBatch(batch, { keyId, nonce: input.nonce, box: here.seal(KEY, input) }, crc32c);
}

/** Null when it does not open. */
function opened(stored: Uint8Array): Uint8Array | null {
  const keyId = keyIdAt(stored, 0);
  if (keyId === null) return null;
  const plain = here.open(KEY, toOpen(stored, 0, keyId));
  if (plain === null) return null;
  const batch = new Uint8Array(openedSizeAt(stored, 0));
  assert.equal(putOpened({ bytes: stored, at: 0, plain }, batch, 0), batch.length);
  return batch;
}

Deno.test("a sealed batch is a whole batch with a valid CRC, and opens to what it was byte for byte", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 40 }),
      fc.integer({ min: 0, max: 300 }),
      fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      (baseOffset, valueBytes, leaderEpoch) => {
        const batch = sampleBatch({ baseOffset, valueBytes, leaderEpoch, timestamps: [5, 9] });
        const before = batch.slice();
        const stored = sealed(batch, 77);
        assert.deepEqual(batch, before, "what is sealed stays as it is");
        assert.equal(stored.length, batch.length + SEAL_BYTES);
        assert.ok(isSealed(stored, 0) && !isSealed(batch, 0));
        assert.equal(sizeBytesAt(stored, 0), stored.length);
        assert.ok(crcMatches(stored, 0, crc32c));
        assert.equal(keyIdAt(stored, 0), 77);
        assert.deepEqual(opened(stored), batch);
      },
    ),
    { numRuns: 200 },
  );
});

Deno.test("the same batch is sealed differently each time, and nothing of its records shows", () => {
  const batch = sampleBatch({ baseOffset: 4, valueBytes: 64, mark: 9 });
  const value = [...batch.subarray(-65, -33)].join();
  const stored = [sealed(batch), sealed(batch)];
  assert.notDeepEqual(stored[0], stored[1]);
  for (const bytes of stored) assert.ok(![...bytes].join().includes(value));
});

Deno.test("a sealed batch of which any bit was changed does not open, although its CRC is right", () => {
  const batch = sampleBatch({ baseOffset: 0x0123456789, leaderEpoch: 6, timestamps: [1, 2] });
  const stored = sealed(batch);
  for (let at = 0; at < stored.length; at++) {
    // Length and CRC follow from what is there.
    if ((at >= 8 && at < 12) || (at >= 17 && at < 21)) continue;
    for (let bit = 0; bit < 8; bit++) {
      const changed = stored.slice();
      changed[at]! ^= 1 << bit;
      stampCrc(changed, 0, crc32c);
      assert.equal(opened(changed), null, `byte ${at}, bit ${bit}`);
    }
  }
});

Deno.test("a sealed batch that is too short for a seal has no key", () => {
  const stored = sealed(sampleBatch({ baseOffset: 0 })).slice(0, 61 + SEAL_BYTES - 1);
  new DataView(stored.buffer).setInt32(8, stored.length - 12);
  assert.equal(keyIdAt(stored, 0), null);
});

Deno.test("sealing on threads gives what opens here, and the other way round", async () => {
  const key = threads.prepare(new Uint8Array(KEY_BYTES).fill(3));
  for (const sizeBytes of [0, 1, 17, 5_000]) {
    const input = {
      nonce: here.randomBytes(NONCE_BYTES),
      associated: here.randomBytes(57),
      bytes: here.randomBytes(sizeBytes),
    };
    const box = await threads.sealLater(key, input);
    assert.deepEqual(box, here.seal(KEY, input));
    assert.deepEqual(new Uint8Array(here.open(KEY, { ...input, bytes: box })!), input.bytes);
    assert.deepEqual(await threads.openLater(key, { ...input, bytes: box }), input.bytes);
    const other = { ...input, bytes: box, associated: new Uint8Array(57) };
    assert.equal(await threads.openLater(key, other), null);
    assert.equal(here.open(KEY, other), null);
  }
});

Deno.test("nonces do not come twice", () => {
  const seen = new Set<string>();
  for (let count = 0; count < 5_000; count++) seen.add(here.randomBytes(NONCE_BYTES).join());
  assert.equal(seen.size, 5_000);
});

Deno.test("master keys are read as base64 or hexadecimal, and what is no key is refused without showing it", () => {
  const secret = new Uint8Array(KEY_BYTES).fill(0xab);
  const base64 = btoa(String.fromCharCode(...secret));
  const keys = MasterKeys.parse(`# first\n\n  ${base64}  \n${"cd".repeat(32)}\n`, here);
  assert.equal(keys.ids.length, 2);
  assert.deepEqual(MasterKeys.parse("ab".repeat(32), here).ids, [keys.currentId]);
  for (
    const text of ["", "# none\n", "hunter2", "ab".repeat(31), `${base64}\n${"ab".repeat(32)}`]
  ) {
    assert.throws(
      () => MasterKeys.parse(text, here),
      (error) =>
        error instanceof MasterKeyTextError && !error.message.includes("hunter2") &&
        !error.message.includes("abab") && !error.message.includes(base64.slice(0, 8)),
    );
  }
});

Deno.test("a wrapped key opens for its own log and number only, and by its master key only", () => {
  const keys = MasterKeys.parse("01".repeat(32), here);
  const secret = here.randomBytes(KEY_BYTES);
  const wrapped = keys.wrap(secret, { log: "topics/a/0", keyId: 1 });
  assert.deepEqual(new Uint8Array(keys.unwrap(wrapped, { log: "topics/a/0", keyId: 1 })!), secret);
  assert.equal(keys.unwrap(wrapped, { log: "topics/a/1", keyId: 1 }), null);
  assert.equal(keys.unwrap(wrapped, { log: "topics/a/0", keyId: 2 }), null);
  const others = MasterKeys.parse("02".repeat(32), here);
  assert.throws(() => others.unwrap(wrapped, { log: "topics/a/0", keyId: 1 }), {
    code: "ENCRYPTION_KEY_UNAVAILABLE",
  });
});
