// Owns running event-sourced actors that share one journal: a shard of keys, handled one thing at a time.
// Refuses to own decisions (the decider), the journal, and restarting after a broken invariant (supervisor.ts).
// Invariant: no reply and no effect leaves before the events it rests on are durable.
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel } from "../../storage/ports.ts";
import { Deadlines } from "./deadlines.ts";
import { GroupCommit } from "./group_commit.ts";
import { type JournalEntry, keptNothing } from "./journal.ts";
import type { At } from "./keyed_decider.ts";
import { loadShard } from "./keyed_loading.ts";
import { COMMAND_WEIGHT_BYTES, type KeyedActorOptions } from "./keyed_options.ts";
import { DecidingPass, type Work } from "./keyed_pass.ts";
import { ShardSnapshots } from "./keyed_snapshotting.ts";
import { KeyedStates } from "./keyed_states.ts";

interface Ask<Command> {
  readonly key: string;
  readonly command: Command;
}

/** One incarnation of a shard: after a failure it is thrown away and another is opened. */
export class KeyedActor<State, Command extends { type: string }, Event, Volatile, Effect> {
  readonly #options: KeyedActorOptions<State, Command, Event, Volatile, Effect>;
  readonly #commit: GroupCommit<Ask<Command>, unknown>;
  readonly #snapshots: ShardSnapshots<State>;
  readonly #deadlines = new Deadlines();
  #states: KeyedStates<State>;
  #nextOffset = 0;
  /** The journal may hold what the states do not: replay before anything else. */
  #stale = true;
  #recoverAfterMs = 0;
  #armed: { readonly dueMs: number; readonly cancel: Cancel } | null = null;
  #ended = false;
  #failed = false;

  private constructor(options: KeyedActorOptions<State, Command, Event, Volatile, Effect>) {
    this.#options = options;
    this.#states = new KeyedStates(options.decider, new Map());
    this.#snapshots = new ShardSnapshots({
      ...options,
      everyEvents: options.bounds.snapshotEveryEvents,
      maxBytes: options.bounds.maxSnapshotBytes,
      yieldTurn: this.#yieldTurn,
    });
    const { maxWaitingCommands, maxWaitingBytes, maxBatchCommands, maxAppendBytes } =
      options.bounds;
    this.#commit = new GroupCommit({
      name: options.id,
      maxWaiting: maxWaitingCommands,
      maxWaitingBytes,
      maxDrain: maxBatchCommands,
      maxDrainBytes: maxAppendBytes,
      run: (asks) => this.#run(asks),
    });
  }

  /** Loads the shard from its snapshot and journal; rejects with what keeps it from that. */
  static async open<State, Command extends { type: string }, Event, Volatile, Effect>(
    options: KeyedActorOptions<State, Command, Event, Volatile, Effect>,
  ): Promise<KeyedActor<State, Command, Event, Volatile, Effect>> {
    const actor = new KeyedActor(options);
    await actor.#load();
    actor.#commit.wake();
    return actor;
  }

  /**
   * Sends `command` to `key`; resolves to the decider's reply when what the command changed is durable.
   * Rejects with the decider's refusal; OVERLOADED and DISK_FULL (nothing changed); STORAGE_FAILED and other retryable
   * errors of the journal (outcome unknown); ACTOR_DOWN; SHUTTING_DOWN.
   */
  ask(key: string, command: Command, weightBytes = COMMAND_WEIGHT_BYTES): Promise<unknown> {
    return this.#commit.submit({ key, command }, weightBytes);
  }

  /** What `project` makes of the durable states of all keys. It must keep no reference to the map. */
  query<R>(project: (states: ReadonlyMap<string, State>) => R): Promise<R> {
    return Promise.resolve(project(this.#states.durable));
  }

  /** Commands that wait and are being carried out in no drain yet. */
  get waiting(): number {
    return this.#commit.waiting;
  }

  /** Keys of which something durable is known. */
  get size(): number {
    return this.#states.durable.size;
  }

  /** How many of the durable states `counts` holds for. */
  count(counts: (state: State) => boolean): number {
    return this.#states.durable.values().reduce((sum, state) => counts(state) ? sum + 1 : sum, 0);
  }

  /** True when something durable is known of `key`. */
  knows(key: string): boolean {
    return this.#states.durable.has(key);
  }

  /** Refuses new commands (SHUTTING_DOWN), carries out those accepted, and writes a last snapshot. */
  async close(): Promise<void> {
    this.#end();
    const { id } = this.#options;
    await this.#commit.finish(new BrokerError("SHUTTING_DOWN", `${id} shuts down`));
    await this.#snapshots.settled();
    if (!this.#failed && !this.#stale) {
      await this.#snapshots.saveNow(this.#states.durable, this.#nextOffset);
    }
  }

  readonly #yieldTurn = (): Promise<void> =>
    new Promise((resolve) => {
      this.#options.timers.after(0, resolve);
    });

  async #load(): Promise<void> {
    const { id, decider, journal, snapshots, log } = this.#options;
    const yieldTurn = this.#yieldTurn;
    const options = { actorId: id, decider, journal, snapshots, log, yieldTurn };
    const loaded = await loadShard(options);
    this.#states = new KeyedStates(decider, loaded.states);
    this.#nextOffset = loaded.nextOffset;
    this.#snapshots.startAt(loaded.replayedEvents);
    this.#deadlines.clear();
    this.#stale = false;
  }

  async #run(asks: readonly Ask<Command>[]): Promise<readonly unknown[]> {
    const outcomes: unknown[] = [];
    let owned = 0;
    try {
      if (this.#stale) await this.#load();
      const { clock } = this.#options;
      const at: At = { wall: clock.now(), monotonic: clock.monotonic() };
      const work = this.#ownWork(at.monotonic);
      owned = work.length;
      for (const { key, command } of asks) work.push({ kind: "ask", key, command });
      await this.#handle(work, outcomes, at);
      this.#settleOwnWork(work.slice(0, owned), outcomes, at.monotonic);
      this.#arm();
    } catch (error) {
      const down = this.#fail(error);
      while (outcomes.length < owned + asks.length) outcomes.push(down);
    }
    return outcomes.slice(owned);
  }

  /** Ticks and Recovereds that are due. They need no place in the mailbox, so a full one cannot keep them out. */
  #ownWork(nowMs: number): Work<Command>[] {
    const { maxBatchCommands } = this.#options.bounds;
    const work: Work<Command>[] = [];
    if (nowMs >= this.#recoverAfterMs) {
      for (const key of this.#states.unrecovered) {
        if (work.length === maxBatchCommands) break;
        work.push({ kind: "recover", key });
      }
    }
    for (const key of this.#deadlines.takeDue(nowMs, maxBatchCommands)) {
      work.push({ kind: "tick", key });
    }
    return work;
  }

  async #handle(work: readonly Work<Command>[], outcomes: unknown[], at: At): Promise<void> {
    const { decider, bounds: { maxAppendBytes } } = this.#options;
    const states = this.#states;
    let noSpace: BrokerError | null = null;
    while (outcomes.length < work.length) {
      const onOwnRefused = this.#onOwnRefused;
      const pass = new DecidingPass({ decider, states, at, maxAppendBytes, noSpace, onOwnRefused });
      pass.take(work, outcomes.length);
      const failed = await this.#append(pass.entries);
      if (failed === null) {
        this.#publish(pass);
        for (const outcome of pass.outcomes) outcomes.push(outcome);
      } else if (keptNothing(failed)) {
        // Once more, for those commands that need no space in the journal.
        noSpace = failed;
      } else {
        this.#stale = true;
        this.#commit.wake();
        while (outcomes.length < work.length) outcomes.push(failed);
      }
    }
  }

  /** Null when the entries are durable, else the error for those who wait for them. */
  async #append(entries: readonly JournalEntry[]): Promise<BrokerError | null> {
    if (entries.length === 0) return null;
    try {
      const { nextOffset } = await this.#options.journal.append(entries, this.#nextOffset);
      this.#nextOffset = nextOffset;
      this.#snapshots.count(entries.length);
      return null;
    } catch (error) {
      const kept = keptNothing(error) ? "none" : "unknown";
      this.#options.log.report({ type: "append.failed", actorId: this.#options.id, kept, error });
      return retryable(error);
    }
  }

  #publish(pass: DecidingPass<State, Command, Event, Volatile, Effect>): void {
    const { id, log, perform } = this.#options;
    pass.working.commit((key) => this.#refreshDeadline(key, -Infinity));
    for (const { key, effect } of pass.effects) {
      try {
        perform(key, effect);
      } catch (error) {
        log.report({ type: "effect.failed", actorId: id, error });
      }
    }
    this.#snapshots.saveIfDue(this.#states.durable, this.#nextOffset);
  }

  readonly #onOwnRefused = (key: string, error: BrokerError): void => {
    const { id, log } = this.#options;
    log.report({ type: "command.refused", actorId: id, key, error });
  };

  /** Ticks were taken from the deadlines: puts back what is due again, later when there was no space for it. */
  #settleOwnWork(own: readonly Work<Command>[], outcomes: readonly unknown[], nowMs: number): void {
    if (this.#stale) return;
    const { retryMs, minTickIntervalMs } = this.#options.bounds;
    own.forEach(({ kind, key }, i) => {
      const unspaced = keptNothing(outcomes[i]);
      if (kind === "tick") {
        this.#refreshDeadline(key, nowMs + (unspaced ? retryMs : minTickIntervalMs));
      } else if (unspaced) {
        this.#recoverAfterMs = nowMs + retryMs;
      }
    });
  }

  #refreshDeadline(key: string, notBeforeMs: number): void {
    const state = this.#states.durable.get(key);
    const dueMs = state === undefined ? null : this.#options.decider.deadline(state);
    if (dueMs !== null && !Number.isFinite(dueMs)) {
      throw new Error(`${this.#options.id} has no finite deadline for ${key}: ${dueMs}`);
    }
    this.#deadlines.set(key, dueMs === null ? null : Math.max(dueMs, notBeforeMs));
  }

  /** One timer a shard. One that fires too early only looks and arms the next. */
  #arm(): void {
    if (this.#ended || this.#stale) return;
    const earliestMs = this.#deadlines.earliestMs ?? Infinity;
    const recoverMs = this.#states.unrecovered.size > 0 ? this.#recoverAfterMs : Infinity;
    const dueMs = Math.min(earliestMs, recoverMs);
    if (dueMs === Infinity || (this.#armed !== null && this.#armed.dueMs <= dueMs)) return;
    this.#armed?.cancel();
    const { clock, timers } = this.#options;
    const cancel = timers.after(Math.max(0, dueMs - clock.monotonic()), () => {
      this.#armed = null;
      this.#commit.wake();
    });
    this.#armed = { dueMs, cancel };
  }

  #end(): void {
    this.#ended = true;
    this.#armed?.cancel();
    this.#armed = null;
  }

  #fail(error: unknown): BrokerError {
    const { id, onFailure } = this.#options;
    const down = new BrokerError("ACTOR_DOWN", `${id} has failed and is restarted`, {
      actorId: id,
    }, { cause: error });
    this.#failed = true;
    // Not awaited: this runs inside the operation that closing waits for.
    void this.#commit.close(down);
    if (this.#ended) return down;
    this.#end();
    onFailure(error);
    return down;
  }
}

/** `error` when a caller may try again after it, else STORAGE_FAILED around it: the outcome is unknown. */
function retryable(error: unknown): BrokerError {
  const known = asBrokerError(error);
  if (known.retryable) return known;
  return new BrokerError("STORAGE_FAILED", "the journal did not confirm the append", {
    reason: known.code,
  }, { cause: error });
}
