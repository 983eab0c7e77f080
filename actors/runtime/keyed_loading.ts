// Owns loading a shard: the snapshot, then the journal from where the snapshot ends.
// Refuses to own what happens after (keyed_actor.ts): nothing is decided here.
// Invariant: what is loaded equals a full replay; a snapshot only saves time.
import type { SnapshotStore } from "../../storage/snapshots.ts";
import type { Journal } from "./journal.ts";
import type { KeyedDecider } from "./keyed_decider.ts";
import { decodeStates } from "./keyed_snapshots.ts";
import type { RuntimeLog } from "./reports.ts";

export interface LoadOptions<State, Event> {
  readonly actorId: string;
  readonly decider: KeyedDecider<State, { type: string }, Event, unknown, unknown>;
  readonly journal: Journal;
  readonly snapshots: SnapshotStore;
  readonly log: RuntimeLog;
  readonly yieldTurn: () => Promise<void>;
}

export interface LoadedShard<State> {
  readonly states: Map<string, State>;
  /** Where the journal ends: the offset that the next event gets. */
  readonly nextOffset: number;
  /** Events folded in that no snapshot holds. */
  readonly replayedEvents: number;
}

/**
 * The states that the journal holds. Rejects when the journal cannot be read, when an event cannot be decoded, and when
 * the journal no longer reaches back to where the states would have to be built from.
 */
export async function loadShard<State, Event>(
  options: LoadOptions<State, Event>,
): Promise<LoadedShard<State>> {
  const { actorId, decider, journal } = options;
  const { startOffset, endOffset } = await journal.bounds();
  const snapshot = await usableSnapshot(options, { startOffset, endOffset });
  const fromOffset = snapshot?.nextOffset ?? startOffset;
  let complete = snapshot !== null || startOffset === 0;
  const states = snapshot?.states ?? new Map<string, State>();
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let replayedEvents = 0;
  const nextOffset = await journal.replay(fromOffset, ({ key, value }) => {
    const event = decider.decode(JSON.parse(decoder.decode(value)));
    states.set(key, decider.evolve(states.get(key) ?? decider.initial(key), event));
    replayedEvents += 1;
    if (!complete) complete = (decider.completeFrom?.(event) ?? -1) >= startOffset;
  });
  if (!complete) {
    throw new Error(
      `${actorId} needs older entries than its journal has, which starts at ${startOffset}: events are lost`,
    );
  }
  for (const [key, state] of states) {
    if (decider.isGone(state)) states.delete(key);
  }
  const fromSnapshot = snapshot !== null;
  const keys = states.size;
  options.log.report({ type: "actor.loaded", actorId, keys, replayedEvents, fromSnapshot });
  return { states, nextOffset, replayedEvents };
}

async function usableSnapshot<State, Event>(
  options: LoadOptions<State, Event>,
  { startOffset, endOffset }: { startOffset: number; endOffset: number },
): Promise<{ states: Map<string, State>; nextOffset: number } | null> {
  const { actorId, decider, snapshots, yieldTurn } = options;
  const ignore = (reason: string) => {
    options.log.report({ type: "snapshot.ignored", actorId, reason });
    return null;
  };
  try {
    const snapshot = await snapshots.load(actorId);
    if (snapshot === null) return null;
    const { version, nextOffset, bytes } = snapshot;
    if (version !== decider.stateVersion) {
      return ignore(`it has version ${version}, not ${decider.stateVersion}`);
    }
    // The journal is the truth: a snapshot of events that it does not hold was of another history.
    if (nextOffset > endOffset) {
      return ignore(`it ends at ${nextOffset}, the journal at ${endOffset}`);
    }
    if (nextOffset < startOffset) {
      return ignore(`it ends at ${nextOffset}, the journal starts at ${startOffset}`);
    }
    return { states: await decodeStates(bytes, { decider, yieldTurn }), nextOffset };
  } catch (error) {
    return ignore(error instanceof Error ? error.message : String(error));
  }
}
