// Owns what every SnapshotStore must do: one suite, registered for each implementation.
// Refuses to know how it is stored: damage and crashes have tests of their own.
// Invariant: what is loaded is one whole save under that id.
import assert from "node:assert/strict";
import type { Snapshot, SnapshotStore } from "../../storage/snapshots.ts";

export interface OpenedSnapshots {
  readonly store: SnapshotStore;
  /** The same data, opened anew. */
  reopen(): SnapshotStore;
  dispose(): Promise<void>;
}

/** A snapshot whose bytes are all `mark`. */
export function snapshotOf(mark: number, length = 100): Snapshot {
  return { version: mark, nextOffset: mark * 10, bytes: new Uint8Array(length).fill(mark) };
}

/** Fails unless both are the same; typed arrays are compared by their bytes. */
export function assertSame(actual: Snapshot | null, expected: Snapshot): void {
  assert.ok(actual !== null, "there is no snapshot");
  assert.deepEqual(
    { ...actual, bytes: new Uint8Array(actual.bytes) },
    { ...expected, bytes: new Uint8Array(expected.bytes) },
  );
}

/** Registers the suite for one implementation; `open` makes an empty store. */
export function snapshotContract(name: string, open: () => Promise<OpenedSnapshots>): void {
  const test = (
    sentence: string,
    run: (store: SnapshotStore, opened: OpenedSnapshots) => Promise<void>,
  ) =>
    Deno.test(`${name}: ${sentence}`, async () => {
      const opened = await open();
      try {
        await run(opened.store, opened);
      } finally {
        await opened.dispose();
      }
    });

  test("an id that was never saved is null, and removing it is no error", async (store) => {
    assert.equal(await store.load("groups/3"), null);
    await store.remove("groups/3");
  });

  test("what is saved is loaded, after opening anew too", async (store, { reopen }) => {
    const largest = { version: 2 ** 32 - 1, nextOffset: 2 ** 53 - 1, bytes: new Uint8Array(0) };
    await store.save("groups/3", snapshotOf(7, 300_000));
    await store.save("largest", largest);
    assertSame(await store.load("groups/3"), snapshotOf(7, 300_000));
    const again = reopen();
    assertSame(await again.load("groups/3"), snapshotOf(7, 300_000));
    assertSame(await again.load("largest"), largest);
  });

  test(
    "a save replaces the one before, with a shorter one too; remove leaves none",
    async (store, { reopen }) => {
      await store.save("a", snapshotOf(1, 1_000));
      await store.save("a", snapshotOf(2, 10));
      assertSame(await store.load("a"), snapshotOf(2, 10));
      await store.remove("a");
      assert.equal(await store.load("a"), null);
      assert.equal(await reopen().load("a"), null);
      await store.save("a", snapshotOf(3));
      assertSame(await store.load("a"), snapshotOf(3));
    },
  );

  test("ids that are prefixes of each other do not meet", async (store) => {
    const ids = ["a", "a/b", "a/b/c", "ab", "A", "a/snapshot", "snapshot"];
    for (const [index, id] of ids.entries()) await store.save(id, snapshotOf(index + 1));
    await store.remove("a/b");
    for (const [index, id] of ids.entries()) {
      if (id === "a/b") assert.equal(await store.load(id), null);
      else assertSame(await store.load(id), snapshotOf(index + 1));
    }
  });

  test("ids outside of their alphabet are refused", async (store) => {
    for (const id of ["", "/", "a/", "/a", "a//b", "..", "a/../b", "a.b", "a b", "a\0"]) {
      await assert.rejects(async () => await store.save(id, snapshotOf(1)), Error, id);
      await assert.rejects(async () => await store.load(id), Error, id);
      await assert.rejects(async () => await store.remove(id), Error, id);
    }
  });

  test("what was given and what was loaded may be written to without harm", async (store) => {
    const given = snapshotOf(5);
    await store.save("a", given);
    given.bytes.fill(9);
    const loaded = await store.load("a");
    assertSame(loaded, snapshotOf(5));
    loaded!.bytes.fill(9);
    assertSame(await store.load("a"), snapshotOf(5));
  });

  test("of saves that race the last one stays, and a load sees one of them whole", async (store) => {
    const saves = Array.from({ length: 10 }, (_, index) => store.save("a", snapshotOf(index + 1)));
    const loads = Array.from({ length: 10 }, () => store.load("a"));
    for (const loaded of await Promise.all(loads)) {
      if (loaded !== null) assertSame(loaded, snapshotOf(loaded.version));
    }
    await Promise.all(saves);
    assertSame(await store.load("a"), snapshotOf(10));
  });
}
