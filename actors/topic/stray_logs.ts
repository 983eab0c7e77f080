// Owns letting go of data whose topic was deleted while this broker was down: its removal is not waited for in a cluster.
// Refuses to own the removal of a topic that this broker hears of (../topic_changes.ts).
// Invariant: only what the metadata store knew nothing of after it was found here: a log is made only for a topic that is kept.
import type { LogStore } from "../../storage/log.ts";
import type { MetadataStore } from "../../storage/metadata.ts";
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Topic } from "../broker.ts";
import { producerSnapshotId } from "../partition/partition_producers.ts";

/** Below it lies a directory a topic, named by its id, with a log a partition. */
const TOPICS_DIRECTORY = "topics";

/** Before any log is opened. Resolves to the names of the logs that are gone; rejects as the stores do. */
export async function removeStrayLogs(
  { logs, snapshots, metadata }: {
    readonly logs: Pick<LogStore, "list" | "remove">;
    readonly snapshots: Pick<SnapshotStore, "remove">;
    readonly metadata: Pick<MetadataStore, "list">;
  },
): Promise<string[]> {
  const found = await logs.list(TOPICS_DIRECTORY);
  const topics = await metadata.list(["topics"]);
  const removing = await metadata.list(["removed-topics"]);
  const known = new Set([
    ...topics.map(({ value }) => (value as Topic).topicId),
    ...removing.map(({ key }) => key.at(-1)!),
  ]);
  const stray = found.filter((name) => !known.has(name.split("/")[1]!));
  for (const name of stray) {
    await snapshots.remove(producerSnapshotId(name));
    await logs.remove(name);
  }
  return stray;
}
