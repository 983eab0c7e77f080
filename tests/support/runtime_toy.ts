// Owns a small decider that has a bit of everything: events, volatile events, effects, deadlines, versions, deletion.
// Refuses to own the running of it; `openToy` only wires it to a real KeyedActor.
// Invariant: states are frozen, so code that changes one in place fails; an effect that leaves too early is recorded as such.
import { KeyedActor } from "../../actors/runtime/keyed_actor.ts";
import type { At, Decision, KeyedDecider } from "../../actors/runtime/keyed_decider.ts";
import {
  DEFAULT_KEYED_ACTOR_BOUNDS,
  type KeyedActorBounds,
} from "../../actors/runtime/keyed_options.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import { MemoryJournal, MemorySnapshots, RecordingLog } from "./runtime_journal.ts";
import { VirtualClock } from "./virtual_time.ts";

export interface ToyState {
  readonly total: number;
  /** Ids of the adds, in order. */
  readonly ids: readonly string[];
  readonly expired: number;
  /** Volatile: until when it was touched, monotonic ms. */
  readonly touchedUntil: number | null;
}

export type ToyCommand =
  | { readonly type: "Add"; readonly id: string; readonly amount: number; readonly pad?: string }
  | { readonly type: "Remove" }
  | { readonly type: "Touch"; readonly forMs: number }
  | { readonly type: "Read" }
  | { readonly type: "Explode" }
  | { readonly type: "Tick" }
  | { readonly type: "Recovered" };

export type ToyEvent =
  | { readonly type: "Added"; readonly id: string; readonly amount: number; readonly pad?: string }
  | { readonly type: "Removed" }
  | { readonly type: "Expired" }
  /** Its fold is broken: for tests of what that does. */
  | { readonly type: "Poisoned" };
export type ToyVolatile = { readonly type: "Touched"; readonly until: number };
export type ToyEffect = { readonly type: "added"; readonly id: string };

/** What a key may hold at most; how long a key is touched after a replay. */
export const TOY_LIMIT = 1_000;
export const TOY_RECOVERY_MS = 5_000;

const INITIAL: ToyState = Object.freeze({ total: 0, ids: [], expired: 0, touchedUntil: null });

function decide(state: ToyState, command: ToyCommand, at: At) {
  const nothing: Decision<ToyEvent, ToyVolatile, ToyEffect> = {
    events: [],
    volatile: [],
    effects: [],
    reply: { total: state.total, wall: at.wall },
  };
  switch (command.type) {
    case "Add": {
      const { type: _, ...added } = command;
      const total = state.total + command.amount;
      if (total > TOY_LIMIT) throw new BrokerError("INVALID_REQUEST", `${total} is too much`);
      const events = [{ type: "Added" as const, ...added }];
      return {
        ...nothing,
        events,
        effects: [{ type: "added" as const, id: command.id }],
        reply: total,
      };
    }
    case "Remove":
      return { ...nothing, events: [{ type: "Removed" as const }], reply: null };
    case "Touch":
      return {
        ...nothing,
        volatile: [{ type: "Touched" as const, until: at.monotonic + command.forMs }],
      };
    case "Read":
      return nothing;
    case "Explode":
      throw new Error("a broken invariant");
    case "Tick":
      if (state.touchedUntil === null || state.touchedUntil > at.monotonic) return nothing;
      return { ...nothing, events: [{ type: "Expired" as const }] };
    case "Recovered":
      return {
        ...nothing,
        volatile: [{ type: "Touched" as const, until: at.monotonic + TOY_RECOVERY_MS }],
      };
  }
}

function evolve(state: ToyState, event: ToyEvent | ToyVolatile): ToyState {
  switch (event.type) {
    case "Added": {
      const ids = Object.freeze([...state.ids, event.id]);
      return Object.freeze({ ...state, total: state.total + event.amount, ids });
    }
    case "Removed":
      return INITIAL;
    case "Expired":
      return Object.freeze({ ...state, expired: state.expired + 1, touchedUntil: null });
    case "Touched":
      return Object.freeze({ ...state, touchedUntil: event.until });
    case "Poisoned":
      throw new Error("evolve met a poisoned event");
  }
}

export type ToyDecider = KeyedDecider<ToyState, ToyCommand, ToyEvent, ToyVolatile, ToyEffect>;

export const toyDecider: ToyDecider = {
  initial: () => INITIAL,
  decide: (state, command, { at }) => decide(state, command, at),
  evolve,
  deadline: (state) => state.touchedUntil,
  tick: () => ({ type: "Tick" }),
  recovered: () => ({ type: "Recovered" }),
  isGone: ({ ids, expired, touchedUntil }) =>
    ids.length === 0 && expired === 0 && touchedUntil === null,
  encode: (event) => ({ v: 2, ...event }),
  decode(stored) {
    const { v, ...rest } = stored as { v: number } & Record<string, unknown>;
    // Version 1 knew additions of one only, and called them by another name.
    if (v === 1) return { type: "Added", id: rest.addId as string, amount: 1 };
    if (v === 2) return rest as ToyEvent;
    throw new Error(`no such version: ${v}`);
  },
  encodeState: ({ total, ids, expired }) => ({ total, ids, expired }),
  decodeState: (stored) =>
    Object.freeze({ ...stored as Omit<ToyState, "touchedUntil">, touchedUntil: null }),
  stateVersion: 2,
};

export const add = (id: string, amount = 1): ToyCommand => ({ type: "Add", id, amount });

/** Ids of all adds of one key in the journal. */
export function journalledIds(journal: MemoryJournal, key?: string): string[] {
  return journal.entries.filter((entry) => key === undefined || entry.key === key)
    .map((entry) => JSON.parse(new TextDecoder().decode(entry.value)))
    .filter(({ type }) => type === "Added").map(({ id }) => id);
}

export interface ToyWorld {
  readonly journal: MemoryJournal;
  readonly snapshots: MemorySnapshots;
  readonly clock: VirtualClock;
  readonly log: RecordingLog;
  /** Ids of effects performed; one that was not durable yet says so. */
  readonly performed: string[];
  readonly failures: unknown[];
}

export function toyWorld(): ToyWorld {
  return {
    journal: new MemoryJournal(),
    snapshots: new MemorySnapshots(),
    clock: new VirtualClock(),
    log: new RecordingLog(),
    performed: [],
    failures: [],
  };
}

export const TOY_ID = "group-shard/0";

/** A real keyed actor over the toy decider. */
export function openToy(
  world: ToyWorld,
  options: {
    bounds?: Partial<KeyedActorBounds>;
    decider?: Partial<ToyDecider>;
    onEffect?: (id: string) => void;
  } = {},
): Promise<KeyedActor<ToyState, ToyCommand, ToyEvent, ToyVolatile, ToyEffect>> {
  const { journal, snapshots, clock, log, performed, failures } = world;
  return KeyedActor.open({
    id: TOY_ID,
    decider: { ...toyDecider, ...options.decider },
    journal,
    snapshots,
    clock,
    timers: clock,
    log,
    perform(key, { id }) {
      options.onEffect?.(id);
      const durable = journalledIds(journal, key).includes(id);
      performed.push(durable ? id : `${id}, before it was durable`);
    },
    onFailure: (error) => failures.push(error),
    bounds: { ...DEFAULT_KEYED_ACTOR_BOUNDS, ...options.bounds },
  });
}

/** Watches a promise without waiting for it. */
export function watch<T>(
  promise: Promise<T>,
): { state: "pending" | "resolved" | "rejected"; value?: T; error?: unknown } {
  const watched: { state: "pending" | "resolved" | "rejected"; value?: T; error?: unknown } = {
    state: "pending",
  };
  promise.then(
    (value) => Object.assign(watched, { state: "resolved", value }),
    (error) => Object.assign(watched, { state: "rejected", error }),
  );
  return watched;
}
