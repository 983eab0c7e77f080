// Owns mutants at the broker's own door: fencing that does not hold, blind retries, waits without end, no bound.
// Refuses to own what should catch them. Invariant: see mutant.ts.
import type { AppendReceipt, Broker, TopicPartition } from "../../../actors/broker.ts";
import type { GroupCommand, GroupNotification, GroupReply } from "../../../actors/group/types.ts";
import { crc32c } from "@node-rs/crc32";
import { BrokerError } from "../../../storage/broker_error.ts";
import { readHeader, writeHeader } from "../../../storage/format/record_batch.ts";
import { keyOf } from "../ledgers/commit_ledger.ts";
import { type Mutant, withFaults, withGroup } from "./mutant.ts";
import { withMembers } from "../../support/with_members.ts";

const RETRY_MS = 500;
const UNBOUNDED_BYTES = 2 ** 40;

/** Hears of what it gets, never of what it loses. */
function greedy(listener: (notification: GroupNotification) => void) {
  const held = new Map<string, TopicPartition>();
  return (notification: GroupNotification) => {
    if (notification.type === "revoked") return;
    if (notification.type !== "assigned") return listener(notification);
    for (const at of notification.partitions) held.set(keyOf(at), at);
    listener({ ...notification, partitions: [...held.values()] });
  };
}

const keepsPartitions: Mutant = {
  name: "old-members-keep-their-partitions",
  fault: "a member is not told that its partitions went to another",
  broken: /is owned by/,
  plan: withGroup("wallJump"),
  broker: (broker) =>
    withMembers(broker, {
      onGroupNotification: (at, listener) => broker.onGroupNotification(at, greedy(listener)),
    }),
};

function isFenced(error: unknown): boolean {
  return error instanceof BrokerError &&
    (error.code === "STALE_GENERATION" || error.code === "UNKNOWN_MEMBER");
}

const unfencedCommits: Mutant = {
  name: "commits-are-not-fenced",
  fault: "a commit by a member that has lost its partition is taken",
  broken: /not its owner/,
  plan: withGroup("wallJump"),
  broker: (broker) => {
    const group = async <C extends GroupCommand>(command: C): Promise<GroupReply<C>> => {
      try {
        return await broker.group(command);
      } catch (error) {
        if (command.type !== "CommitOffsets" || !isFenced(error)) throw error;
        const { memberId: _, generation: __, ...unfenced } = command;
        return await broker.group(unfenced as C);
      }
    };
    return withMembers<Broker>(broker, { group });
  },
};

const blindRetries: Mutant = {
  name: "appends-are-tried-again",
  fault: "an append with an unknown outcome is sent again",
  broken: /I4/,
  plan: (plan) => ({ ...withFaults("failedSync")(plan), faultEveryMs: 1_000 }),
  broker: (broker, { world }) => {
    const append: Broker["append"] = async (at, batches, options): Promise<AppendReceipt> => {
      const copies = batches.map((batch) => batch.slice());
      try {
        return await broker.append(at, batches, options);
      } catch (error) {
        if (!(error instanceof BrokerError && error.code === "STORAGE_FAILED")) throw error;
        await world.sleep(RETRY_MS);
        return await append(at, copies, options);
      }
    };
    return withMembers(broker, { append });
  },
};

const forgottenProducers: Mutant = {
  name: "producers-are-not-known",
  fault: "a batch is stored without regard to who sent it",
  broken: /I4/,
  plan: withFaults("kill"),
  broker: (broker) => {
    const append: Broker["append"] = (at, batches, options) => {
      for (const batch of batches) {
        const nobody = { producerId: -1, producerEpoch: -1, baseSequence: -1 };
        writeHeader(batch, { ...readHeader(batch, 0), ...nobody }, crc32c);
      }
      return broker.append(at, batches, options);
    };
    return withMembers(broker, { append });
  },
};

const endlessWaits: Mutant = {
  name: "waits-do-not-end",
  fault: "who waits for data is not woken when the wait is over",
  broken: /waits at/,
  plan: (plan) => ({ ...withFaults("kill")(plan), readers: 2 }),
  broker: (broker) => withMembers(broker, { waitForData: () => new Promise<void>(() => {}) }),
};

const noBound: Mutant = {
  name: "memory-is-not-bounded",
  fault: "publishes that wait for the disk are taken without end",
  broken: /I5/,
  plan: (plan) => ({
    ...withFaults("slowSync")(plan),
    producers: 4,
    sendEveryMs: 10,
    maxValueBytes: 3_000,
    maxPendingPublishBytes: 16_384,
  }),
  maxPendingPublishBytes: UNBOUNDED_BYTES,
};

export const BROKER_MUTANTS: readonly Mutant[] = [
  keepsPartitions,
  unfencedCommits,
  blindRetries,
  forgottenProducers,
  endlessWaits,
  noBound,
];
