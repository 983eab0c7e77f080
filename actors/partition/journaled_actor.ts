// Owns an actor that has one partition to itself as its journal: started, asked, and its journal kept short.
// Refuses to own deciding, what effects do, and how it is supervised (supervised_actor.ts).
// Invariant: while the actor is down, what is asked of it is refused, not waited for.
import type { Crc32c } from "../../storage/ports.ts";
import type { JournalWords, RetainOptions } from "../runtime/journal_retention.ts";
import type { KeyedActor } from "../runtime/keyed_actor.ts";
import type { KeyedDecider } from "../runtime/keyed_decider.ts";
import { RetainedJournal } from "../runtime/retained_journal.ts";
import type { Revivable } from "../runtime/revived_actors.ts";
import type { Supervised } from "../runtime/supervisor.ts";
import type { Partition } from "./partition.ts";
import { partitionJournal } from "./partition_journal.ts";
import { supervisedActor, type SupervisedActorPorts } from "./supervised_actor.ts";

export interface JournaledActorPorts extends SupervisedActorPorts {
  readonly crc32c: Crc32c;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

export interface JournaledActorOptions<
  State,
  Command extends { type: string },
  Event,
  Volatile,
  Effect,
> {
  readonly id: string;
  readonly partition: Partition;
  /** It answers every command with the state of the command's key. */
  readonly decider: KeyedDecider<State, Command, Event, Volatile, Effect>;
  /** What retention says to the actor. */
  readonly words: JournalWords<Command>;
  /** The journal keeps what is younger than this. */
  readonly windowMs: number;
  readonly perform: (key: string, effect: Effect) => void;
  readonly ports: JournaledActorPorts;
}

export class JournaledActor<State, Command extends { type: string }, Event, Volatile, Effect> {
  readonly #actor: Supervised<KeyedActor<State, Command, Event, Volatile, Effect>>;
  readonly #journal: RetainedJournal<State, Command>;
  readonly #windowMs: number;

  /** Not started yet. */
  constructor(options: JournaledActorOptions<State, Command, Event, Volatile, Effect>) {
    const { id, partition, decider, words, perform, ports } = options;
    this.#windowMs = options.windowMs;
    const journal = () => partitionJournal(partition, ports.crc32c);
    this.#actor = supervisedActor(id, { decider, journal, home: partition, perform }, ports);
    this.#journal = new RetainedJournal({ actor: this.#actor, words, partition, ports });
  }

  /** Loads what the journal holds. */
  async start(): Promise<void> {
    await this.#actor.start();
  }

  /** The state of `key` after `command`. Rejects as KeyedActor.ask does. */
  async ask(key: string, command: Command): Promise<State> {
    return await this.#actor.get().ask(key, command) as State;
  }

  /** As KeyedActor.query; rejects with ACTOR_DOWN. */
  // deno-lint-ignore require-await -- an actor that is down must reject
  async query<R>(project: (states: ReadonlyMap<string, State>) => R): Promise<R> {
    return this.#actor.get().query(project);
  }

  /**
   * Drops of the journal what is older than its window, once all that is known has been written down after it. `now` is
   * trusted wall time. What cannot be done now is done at the next call.
   */
  async applyRetention(
    now: number,
    options: Pick<RetainOptions, "minDroppableOffsets"> = {},
  ): Promise<void> {
    await this.#journal.applyRetention({ ...options, now, windowMs: this.#windowMs });
  }

  /** What keeps it from running, empty when nothing does. */
  problems(): string[] {
    return this.#actor.problems();
  }

  /** What keeps it running. */
  get actors(): readonly Revivable[] {
    return [this.#actor];
  }

  async close(): Promise<void> {
    await this.#actor.close();
  }
}
