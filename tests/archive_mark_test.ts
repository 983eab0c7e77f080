// Owns that a place which is not the archive that was written to is never taken for it.
import assert from "node:assert/strict";
import type { ArchiveStore } from "../storage/archive.ts";
import {
  ARCHIVE_KNOWN_FILE,
  ARCHIVE_MARK,
  MarkedArchive,
} from "../storage/archive/marked_archive.ts";
import { MemoryArchive } from "./support/archived_machine.ts";
import { SimulatedDisk } from "./support/simulated_disk.ts";

const bytes = Uint8Array.of(1, 2, 3);

function scene(disk = new SimulatedDisk({ seed: 1 }), archive = new MemoryArchive()) {
  return { disk, archive, marked: new MarkedArchive(archive, disk.session()) };
}

async function assertRefused(marked: ArchiveStore): Promise<void> {
  await assert.rejects(marked.put("a/1.batches", bytes), /mounted/);
  await assert.rejects(marked.remove("a/1.batches"), /mounted/);
  await assert.rejects(marked.list("a/"), /mounted/);
}

Deno.test("an archive that was written to is known by its mark; a place without it takes, removes and lists nothing", async () => {
  const { disk, archive, marked } = scene();
  assert.deepEqual(await marked.list("a/"), []);
  await Promise.all(["a/1.batches", "a/2.batches"].map((key) => marked.put(key, bytes)));
  assert.deepEqual((await marked.list("a/")).map(({ key }) => key), ["a/1.batches", "a/2.batches"]);
  const kept = new Map(archive.objects);
  archive.objects.clear();
  await assertRefused(marked);
  assert.equal(await marked.get("a/1.batches"), null);
  disk.crash("drop");
  const later = scene(disk, archive);
  await assertRefused(later.marked);
  assert.equal(archive.objects.size, 0);
  for (const [key, value] of kept) archive.objects.set(key, value);
  await later.marked.remove("a/1.batches");
  await later.marked.put("a/3.batches", bytes);
  assert.deepEqual([...archive.objects.keys()].sort(), [
    "a/2.batches",
    "a/3.batches",
    ARCHIVE_MARK,
  ]);
});

Deno.test("a new archive is begun on purpose, and one of another data directory is taken over", async () => {
  const { disk, archive, marked } = scene();
  await marked.put("a/1.batches", bytes);
  const other = scene(new SimulatedDisk({ seed: 2 }), archive);
  await other.marked.put("a/2.batches", bytes);
  archive.objects.clear();
  await assertRefused(other.marked);
  await disk.session().remove(ARCHIVE_KNOWN_FILE);
  const begun = scene(disk, archive);
  await begun.marked.put("a/3.batches", bytes);
  assert.deepEqual([...archive.objects.keys()].sort(), ["a/3.batches", ARCHIVE_MARK]);
});

Deno.test("a full disk keeps nothing from being archived", async () => {
  const { disk, archive, marked } = scene();
  disk.capacityBytes = 0;
  await marked.put("a/1.batches", bytes);
  assert.ok(archive.objects.has("a/1.batches"));
});
