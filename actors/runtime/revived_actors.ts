// Owns starting actors again that stayed down, and saying what came of it.
// Refuses to own how an actor is kept running (supervisor.ts): one that is being restarted comes back by itself.
// Invariant: an actor that runs is left alone.
import { BrokerError } from "../../storage/broker_error.ts";
import type { ActorHealth, ActorState } from "./supervisor.ts";

/** What keeps an actor running, whatever it is. */
export interface Revivable {
  health(): ActorHealth;
  revive(): Promise<void>;
}

export interface RevivedActor {
  readonly what: string;
  /** Why it still does not run; null: it does. */
  readonly error: BrokerError | null;
}

/** Of those that were down, once each has started or failed to. */
export async function revivedActors(actors: readonly Revivable[]): Promise<RevivedActor[]> {
  const down = actors.filter((actor) => stateOf(actor) === "down");
  return await Promise.all(down.map(async (actor) => {
    await actor.revive();
    const { actorId, state, reason } = actor.health();
    if (state === "running") return { what: actorId, error: null };
    const message = `${actorId} is ${state}: ${reason ?? "it has not started yet"}`;
    return { what: actorId, error: new BrokerError("ACTOR_DOWN", message, { actorId, state }) };
  }));
}

function stateOf(actor: Revivable): ActorState {
  return actor.health().state;
}
