// Owns loading, saving and rebuilding `leader-epoch-checkpoint`.
// Refuses to own the list itself (leader_epochs.ts).
// Invariant: the file on disk covers every epoch that starts before the durable checkpoint; what starts behind it is
// found again by recovery's scan, so a loaded list is cut there.
import { HEADER_BYTES, leaderEpochAt } from "../format/record_batch.ts";
import { readRange, scanBatches } from "./batch_scan.ts";
import { LEADER_EPOCH_FILE, segmentPath } from "./file_names.ts";
import { LeaderEpochs } from "./leader_epochs.ts";
import type { LogEnvironment } from "./log_environment.ts";
import type { Segment } from "./segments.ts";
import { readWhole, replaceFile } from "./whole_files.ts";

/** Room for half a million elections; a longer file is rebuilt. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;

type Access = Pick<LogEnvironment, "disk" | "files" | "crc32c">;

/** The saved list up to `checkpointOffset`; null when the file is missing or bad. */
export async function loadEpochs(
  { disk, crc32c }: Access,
  directory: string,
  checkpointOffset: number,
): Promise<LeaderEpochs | null> {
  const bytes = await readWhole(disk, `${directory}/${LEADER_EPOCH_FILE}`, MAX_FILE_BYTES);
  const epochs = bytes === null ? null : LeaderEpochs.decode(bytes, crc32c);
  epochs?.cutFrom(checkpointOffset);
  return epochs;
}

/** Makes the list as it is now durable. Rejects as the disk does. */
export async function saveEpochs(
  { disk, crc32c }: Access,
  directory: string,
  epochs: LeaderEpochs,
): Promise<void> {
  const { version } = epochs;
  const bytes = epochs.encode(crc32c);
  await replaceFile(disk, { directory, name: LEADER_EPOCH_FILE }, { bytes, durable: true });
  epochs.markSaved(version);
}

/**
 * The list as the batches tell it, from the first segment up to byte `position` of the last of `segments`. A segment
 * that starts in the same epoch as the next one holds no other, so only those with an election in them are scanned.
 */
export async function rebuildEpochs(
  access: Access,
  directory: string,
  upTo: { segments: readonly Segment[]; position: number },
): Promise<LeaderEpochs> {
  const epochs = new LeaderEpochs();
  const { segments } = upTo;
  for (const [index, segment] of segments.entries()) {
    const next = segments[index + 1];
    const to = next === undefined ? upTo.position : segment.sizeBytes;
    const first = await firstEpochOf(access, directory, segment);
    const single = next !== undefined && first !== null &&
      first === await firstEpochOf(access, directory, next);
    if (single) epochs.note(first, segment.baseOffset);
    else await noteAll(access, epochs, { directory, segment, to });
  }
  return epochs;
}

async function firstEpochOf(
  { files }: Access,
  directory: string,
  segment: Segment,
): Promise<number | null> {
  if (segment.sizeBytes < HEADER_BYTES) return null;
  const path = segmentPath(directory, segment.baseOffset);
  const header = await files.use(path, (file) => readRange(file, 0, HEADER_BYTES));
  return header.length < HEADER_BYTES ? null : leaderEpochAt(header, 0);
}

async function noteAll(
  { files, crc32c }: Access,
  epochs: LeaderEpochs,
  range: { directory: string; segment: Segment; to: number },
): Promise<void> {
  const { baseOffset } = range.segment;
  const start = { position: 0, offset: baseOffset, leaderEpoch: -1 };
  await files.use(
    segmentPath(range.directory, baseOffset),
    (file) =>
      scanBatches(file, { start, to: range.to, crc32c }, (bytes, at, batch) => {
        epochs.note(leaderEpochAt(bytes, at), batch.baseOffset);
        return true;
      }),
  );
}
