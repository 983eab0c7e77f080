// Owns mutants of the log and of snapshots: early acknowledgements, greedy recovery, early retention, wrong offsets.
// Refuses to own what should catch them. Invariant: see mutant.ts.
import { BrokerError } from "../../../storage/broker_error.ts";
import { lastOffsetDeltaAt } from "../../../storage/format/record_batch.ts";
import type { AppendResult, Log, LogStore } from "../../../storage/log.ts";
import { type Mutant, withFaults, withGroup } from "./mutant.ts";
import { withMembers } from "../../support/with_members.ts";

/** `logs` whose logs are wrapped as they are opened. */
export function eachLog(
  logs: LogStore,
  wrap: (log: Log, name: string) => Log | Promise<Log>,
): LogStore {
  return withMembers(logs, {
    open: async (name, config) => await wrap(await logs.open(name, config), name),
  });
}

/** Takes appends over and writes them later, while it says that they are flushed. */
export function hastyLog(log: Log): Log {
  let end = log.logEndOffset;
  let written: Promise<unknown> = Promise.resolve();
  const append = (batches: readonly Uint8Array[]): Promise<AppendResult> => {
    const baseOffset = end;
    for (const batch of batches) end += lastOffsetDeltaAt(batch, 0) + 1;
    written = written.then(() => log.append(batches)).catch(() => undefined);
    return Promise.resolve({ baseOffset, logEndOffset: end });
  };
  return withMembers(log, {
    append,
    get logEndOffset() {
      return end;
    },
    get flushedOffset() {
      return end;
    },
    read: async (...at) => {
      await written;
      return await log.read(...at);
    },
    truncateTo: async (offset) => {
      await written;
      await log.truncateTo(offset);
      end = log.logEndOffset;
    },
    close: async () => {
      await written;
      await log.close();
    },
  });
}

const acksBeforeSync: Mutant = {
  name: "acknowledges-before-the-sync",
  fault: "an append resolves before its bytes are synced",
  broken: /above the flushed end|I1/,
  plan: withFaults("powerCut", "kill"),
  logs: (logs) => eachLog(logs, hastyLog),
};

const greedyRecovery: Mutant = {
  name: "recovery-cuts-too-much",
  fault: "recovery cuts the last whole batch off with the torn tail",
  broken: /I1/,
  plan: withFaults("kill"),
  logs: (logs) =>
    eachLog(logs, async (log) => {
      if (log.logEndOffset > log.logStartOffset) await log.truncateTo(log.logEndOffset - 1);
      return log;
    }),
};

const fullDiskIgnored: Mutant = {
  name: "full-disk-is-ignored",
  fault: "an append for which there is no space is acknowledged",
  broken: /acknowledged up to|I2|the batch starts at/,
  plan: withFaults("diskFull"),
  logs: (logs) =>
    eachLog(logs, (log) => {
      const append = async (batches: readonly Uint8Array[]): Promise<AppendResult> => {
        const baseOffset = log.logEndOffset;
        try {
          return await log.append(batches);
        } catch (error) {
          if (!(error instanceof BrokerError && error.code === "DISK_FULL")) throw error;
          return { baseOffset, logEndOffset: baseOffset };
        }
      };
      return withMembers(log, { append });
    }),
};

const earlyRetention: Mutant = {
  name: "retention-takes-too-much",
  fault: "retention drops every closed segment",
  broken: /retention took/,
  plan: (plan) => ({ ...withFaults("kill")(plan), retentionIntervalMs: 700 }),
  logs: (logs) =>
    eachLog(logs, (log) =>
      withMembers(log, {
        applyRetention: (policy) => log.applyRetention({ ...policy, retentionBytes: 0 }),
        ...(log.droppableOffset === undefined ? {} : {
          droppableOffset: (policy) => log.droppableOffset!({ ...policy, retentionBytes: 0 }),
        }),
      })),
};

const aheadSnapshots: Mutant = {
  name: "snapshots-claim-too-much",
  fault: "a snapshot claims events that are not folded in",
  broken: /committed offset|I6/,
  plan: (plan) => ({ ...withGroup("restart", "kill")(plan), groups: 2, faultEveryMs: 1_000 }),
  snapshots: (snapshots) =>
    withMembers(snapshots, {
      save: (id, snapshot) =>
        snapshots.save(id, { ...snapshot, nextOffset: snapshot.nextOffset + 3 }),
    }),
};

const oneAppendAtATime: Mutant = {
  name: "a-slow-log-holds-up-all",
  fault: "an append waits for the appends to all other logs",
  broken: /nothing below it was slow/,
  plan: (plan) => ({ ...withFaults("slowSync")(plan), faultPhaseMs: 15_000 }),
  logs: (logs) => {
    let last: Promise<unknown> = Promise.resolve();
    return eachLog(logs, (log) => {
      const append = (batches: readonly Uint8Array[]): Promise<AppendResult> => {
        const result = last.then(() => log.append(batches));
        last = result.catch(() => undefined);
        return result;
      };
      return withMembers(log, { append });
    });
  },
};

export const LOG_MUTANTS: readonly Mutant[] = [
  acksBeforeSync,
  greedyRecovery,
  fullDiskIgnored,
  earlyRetention,
  aheadSnapshots,
  oneAppendAtATime,
];
