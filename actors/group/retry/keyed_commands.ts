// Owns completing commands about retries with the hashes of the messages' keys, where the group's policy blocks by key.
// Refuses to own looking them up in the log (stored_messages.ts).
// Invariant: a command that has its hashes, or needs none, goes on as it came.
import type { TopicPartition } from "../../broker.ts";
import { COMMAND_WEIGHT_BYTES } from "../../runtime/keyed_options.ts";
import type { GroupCommand } from "../types.ts";
import { placeName } from "./state.ts";
import type { Nack, RetryCommand } from "./types.ts";

/** Hashes of the keys of the messages at `offsets`, ascending; null for a message without key, or that is not there. */
export type KeyHashes = (
  at: TopicPartition,
  offsets: readonly number[],
) => Promise<readonly (number | null)[]>;

type KeyedCommand = Extract<RetryCommand, { type: "Nack" | "ParkBlocked" | "Redeliver" }>;

/** What one message weighs in the mailbox, roughly. */
const MESSAGE_WEIGHT_BYTES = 64;

export function isKeyed(command: GroupCommand): command is KeyedCommand {
  const { type } = command;
  return type === "Nack" || type === "ParkBlocked" || type === "Redeliver";
}

/** Commands about many messages take their share of the mailbox. */
export function weightOf(command: GroupCommand): number {
  if (!isKeyed(command)) return COMMAND_WEIGHT_BYTES;
  const count = command.type === "Nack" ? command.nacks.length : command.offsets.length;
  return COMMAND_WEIGHT_BYTES + count * MESSAGE_WEIGHT_BYTES;
}

export async function withKeyHashes(
  command: KeyedCommand,
  { blocks, keyHashes }: { blocks: (topic: string) => boolean; keyHashes: KeyHashes },
): Promise<KeyedCommand> {
  if (command.type === "Nack") {
    const nacks = command.nacks;
    if (!nacks.some(({ topic, keyHash }) => keyHash === undefined && blocks(topic))) return command;
    return { ...command, nacks: await keyed(nacks, { blocks, keyHashes }) };
  }
  if (command.keyHashes !== undefined || !blocks(command.topic)) return command;
  const { topic, partition, offsets } = command;
  return { ...command, keyHashes: await keyHashes({ topic, partition }, offsets) };
}

async function keyed(
  nacks: readonly Nack[],
  { blocks, keyHashes }: { blocks: (topic: string) => boolean; keyHashes: KeyHashes },
): Promise<Nack[]> {
  const byPlace = Map.groupBy(nacks.filter(({ topic }) => blocks(topic)), placeName);
  const found = new Map<string, number | null>();
  for (const [name, ofPlace] of byPlace) {
    const offsets = [...new Set(ofPlace.map(({ offset }) => offset))].sort((a, b) => a - b);
    const hashes = await keyHashes(ofPlace[0]!, offsets);
    offsets.forEach((offset, i) => found.set(`${name}@${offset}`, hashes[i] ?? null));
  }
  return nacks.map((nack) => {
    const keyHash = found.get(`${placeName(nack)}@${nack.offset}`);
    return keyHash === undefined ? nack : { ...nack, keyHash };
  });
}
