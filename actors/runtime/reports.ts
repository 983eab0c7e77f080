// Owns the narrow port through which the runtime tells operators what befell an actor.
// Refuses to own how it is logged or counted (ops/).
// Invariant: reporting never throws into an actor and carries no user data.

/** What the runtime has to say; `error` is for the log, never for a user. */
export type RuntimeEvent =
  /** The journal refused or failed an append; `kept` is "none" or "unknown". */
  | {
    readonly type: "append.failed";
    readonly actorId: string;
    readonly kept: "none" | "unknown";
    readonly error: unknown;
  }
  | {
    readonly type: "actor.loaded";
    readonly actorId: string;
    readonly keys: number;
    readonly replayedEvents: number;
    readonly fromSnapshot: boolean;
  }
  | { readonly type: "actor.failed"; readonly actorId: string; readonly error: unknown }
  | {
    readonly type: "actor.restarting";
    readonly actorId: string;
    readonly delayMs: number;
    readonly restarts: number;
  }
  | { readonly type: "actor.down"; readonly actorId: string; readonly error: unknown }
  /** A receiver of effects threw: the state is right, the effect is derived again on the next load. */
  | { readonly type: "effect.failed"; readonly actorId: string; readonly error: unknown }
  /** A decider refused a command that the runtime itself sent (Tick, Recovered). */
  | {
    readonly type: "command.refused";
    readonly actorId: string;
    readonly key: string;
    readonly error: unknown;
  }
  | {
    readonly type: "snapshot.saved";
    readonly actorId: string;
    readonly nextOffset: number;
    readonly sizeBytes: number;
  }
  | { readonly type: "snapshot.failed"; readonly actorId: string; readonly error: unknown }
  /** A snapshot was there and could not be used: the whole journal is replayed. */
  | { readonly type: "snapshot.ignored"; readonly actorId: string; readonly reason: string };

/** Must not throw. */
export interface RuntimeLog {
  report(event: RuntimeEvent): void;
}
