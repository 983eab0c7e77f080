// Owns which actor of this node answers to which id.
// Refuses to own actors' lives (supervisor.ts) and where an actor of another node is.
// Invariant: one actor an id; an id is the only address, so whoever holds one holds no actor.
import { BrokerError } from "../../storage/broker_error.ts";
import type { ActorHealth, Incarnation, Supervised } from "./supervisor.ts";

declare const actorType: unique symbol;

/**
 * The id of an actor of type A: `/`-separated parts of `[A-Za-z0-9_-]`, such as `group-shard/0` or `partition/<topicId>/3`.
 * Each kind of actor has one function that makes its ids, which ties the text to the type.
 */
export type ActorId<A> = string & { readonly [actorType]?: (actor: A) => A };

const ID = /^[A-Za-z0-9_-]+(?:\/[A-Za-z0-9_-]+)*$/;

/** The actors of one node. */
export class ActorRegistry {
  readonly #actors = new Map<string, Supervised<Incarnation>>();

  /** Throws on a malformed id and on one that is taken: both are faults of the composition. */
  register<A extends Incarnation>(id: ActorId<A>, actor: Supervised<A>): void {
    if (!ID.test(id)) throw new Error(`no actor id: ${id}`);
    if (this.#actors.has(id)) throw new Error(`there is already an actor ${id}`);
    this.#actors.set(id, actor as Supervised<Incarnation>);
  }

  /** Forgets the actor, which its owner closes; false when there was none. */
  unregister(id: string): boolean {
    return this.#actors.delete(id);
  }

  has(id: string): boolean {
    return this.#actors.has(id);
  }

  /** The running actor. Throws LEADER_NOT_AVAILABLE when no such actor is here, ACTOR_DOWN when it does not run. */
  lookup<A extends Incarnation>(id: ActorId<A>): A {
    return this.supervised(id).get();
  }

  /** What keeps the actor running. Throws LEADER_NOT_AVAILABLE when no such actor is here. */
  supervised<A extends Incarnation>(id: ActorId<A>): Supervised<A> {
    const actor = this.#actors.get(id);
    if (actor === undefined) {
      throw new BrokerError("LEADER_NOT_AVAILABLE", `no actor ${id} runs on this node`, {
        actorId: id,
      });
    }
    return actor as unknown as Supervised<A>;
  }

  /** Ids below `prefix`, in order of registration. */
  ids(prefix = ""): string[] {
    return [...this.#actors.keys()].filter((id) => id.startsWith(prefix));
  }

  /** Every actor that does not run, or every one. */
  health(options: { readonly all: boolean }): ActorHealth[] {
    const lines = [...this.#actors.values()].map((actor) => actor.health());
    return options.all ? lines : lines.filter(({ state }) => state !== "running");
  }
}
