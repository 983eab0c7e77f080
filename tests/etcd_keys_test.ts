// Owns the pure parts of metadata on etcd: how keys lie there, and what watchers are told of which change.
import assert from "node:assert/strict";
import fc from "fast-check";
import { EtcdKeys } from "../storage/etcd/etcd_keys.ts";
import { WatchedKeys } from "../storage/etcd/watched_keys.ts";
import type { MetadataKey } from "../storage/metadata.ts";
import { compareKeys, isKeyBelow } from "../storage/metadata_limits.ts";
import { settle } from "./support/virtual_time.ts";

const part = fc.oneof(
  fc.constantFrom("a", "b", "ab", "a\x01", "\x01", "é", "\uffee", "\u{10000}", "a "),
  fc.string({ unit: "grapheme", minLength: 1, maxLength: 3 }).filter((text) => !/\0/.test(text)),
);
const key = fc.array(part, { minLength: 1, maxLength: 4 });

function compareBytes(a: string, b: string): number {
  const left = Uint8Array.fromBase64(a);
  const right = Uint8Array.fromBase64(b);
  for (let at = 0; at < left.length && at < right.length; at++) {
    if (left[at] !== right[at]) return left[at]! - right[at]!;
  }
  return left.length - right.length;
}

Deno.test("keys lie in etcd in the order of keys, and come back as they were", () => {
  const keys = new EtcdKeys("prod");
  fc.assert(fc.property(key, key, (a, b) => {
    assert.equal(Math.sign(compareBytes(keys.of(a), keys.of(b))), Math.sign(compareKeys(a, b)));
    assert.deepEqual(keys.parse(keys.of(a)), a);
  }));
});

Deno.test("the range below a prefix holds what lies below it and nothing else, of this cluster alone", () => {
  const keys = new EtcdKeys("prod");
  const near = ["prod2", "pro", "prod\x01"].map((name) => new EtcdKeys(name));
  const isIn = (encoded: string, range: { key: string; range_end: string }) =>
    compareBytes(range.key, encoded) <= 0 && compareBytes(encoded, range.range_end) < 0;
  fc.assert(fc.property(fc.array(part, { maxLength: 2 }), key, key, (prefix, tail, other) => {
    for (const each of [[...prefix, ...tail], other, prefix]) {
      if (each.length === 0) continue;
      assert.equal(isIn(keys.of(each), keys.below(prefix)), isKeyBelow(prefix, each));
      const after = [...prefix, ...tail];
      const isAfter = isKeyBelow(prefix, each) && compareKeys(each, after) > 0;
      assert.equal(isIn(keys.of(each), keys.below(prefix, after)), isAfter);
      for (const stranger of near) assert.ok(!isIn(stranger.of(each), keys.below(prefix)));
    }
  }));
});

/** A watcher of everything, begun at revision 10 with the keys `a` at 3 and `b` at 7. */
async function begun() {
  const watched = new WatchedKeys();
  const told: string[] = [];
  watched.add([], (keys: MetadataKey[]) => told.push(...keys.map((each) => each.join("/"))));
  const entries = [{ key: ["a"], revision: 3 }, { key: ["b"], revision: 7 }];
  watched.refreshed(entries, 10, false);
  const news = async () => {
    await settle();
    return told.splice(0).sort();
  };
  assert.deepEqual(await news(), []);
  return { watched, news };
}

Deno.test("an own commit is told at once, and its echo not again, whichever comes first", async () => {
  const { watched, news } = await begun();
  watched.committed([["a"]], 11);
  assert.deepEqual(await news(), ["a"]);
  watched.noted([{ key: ["a"], revision: 11, isDeleted: false }]);
  watched.reached(11);
  assert.deepEqual(await news(), []);
  watched.noted([{ key: ["b"], revision: 12, isDeleted: true }]);
  watched.reached(12);
  assert.deepEqual(await news(), ["b"]);
  watched.committed([["b"]], 12);
  assert.deepEqual(await news(), []);
});

Deno.test("a commit from before the watch began to know, answered after, is told", async () => {
  const { watched, news } = await begun();
  watched.committed([["b"]], 9);
  assert.deepEqual(await news(), ["b"]);
});

Deno.test("a commit that changed nothing hides no change of the revision it was answered with", async () => {
  const { watched, news } = await begun();
  watched.committed([["nothing"]], null);
  watched.noted([{ key: ["b"], revision: 11, isDeleted: false }]);
  assert.deepEqual(await news(), ["b", "nothing"]);
});

Deno.test("after a gap, what changed, came and went is told by comparing, and no more", async () => {
  const { watched, news } = await begun();
  watched.noted([{ key: ["c"], revision: 11, isDeleted: false }]);
  watched.reached(11);
  await news();
  const entries = [{ key: ["a"], revision: 3 }, { key: ["b"], revision: 15 }, {
    key: ["d"],
    revision: 14,
  }];
  watched.refreshed(entries, 20, false);
  assert.deepEqual(await news(), ["b", "c", "d"]);
  watched.noted([{ key: ["d"], revision: 14, isDeleted: false }]);
  assert.deepEqual(await news(), []);
});

Deno.test("a revision that came in part comes again as a whole", async () => {
  const { watched, news } = await begun();
  watched.noted([{ key: ["a"], revision: 11, isDeleted: false }]);
  watched.reached(10);
  watched.noted([
    { key: ["a"], revision: 11, isDeleted: false },
    { key: ["b"], revision: 11, isDeleted: true },
  ]);
  watched.reached(11);
  assert.deepEqual(await news(), ["a", "a", "b"]);
});

Deno.test("a watcher that was taken away hears nothing, not even what was on its way", async () => {
  const watched = new WatchedKeys();
  const told: string[] = [];
  const remove = watched.add([], (keys) => told.push(...keys.map((each) => each.join("/"))));
  watched.refreshed([], 1, false);
  watched.committed([["a"]], 2);
  remove();
  await settle();
  assert.deepEqual(told, []);
});
