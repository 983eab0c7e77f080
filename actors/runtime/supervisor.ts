// Owns keeping one actor running: start, stop on failure, restart with backoff, stay down when that does not help.
// Refuses to own the policy (restart_policy.ts) and what waits meanwhile: commands to an actor that does not run are refused.
// Invariant: at most one incarnation lives; the next is started only after the last has closed.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import type { RuntimeLog } from "./reports.ts";
import {
  afterFailure,
  NO_FAILURES,
  type RestartBounds,
  type RestartHistory,
} from "./restart_policy.ts";

/** One life of an actor, from its journal. */
export interface Incarnation {
  /** Lets go of everything; called once, after a failure too. */
  close(): Promise<void>;
}

/** "elsewhere": its journal is another broker's to write. */
export type ActorState = "starting" | "running" | "restarting" | "down" | "elsewhere" | "closed";

/** Where an actor runs: on the broker that leads its journal, on no other. */
export interface Home {
  readonly leads: boolean;
  /** Hears each change of `leads`. */
  onLeadership(listener: (leads: boolean) => void): () => void;
  /** Why nothing is served here, while it does not lead. */
  refusal(): BrokerError;
}

/** One line of the health of a node. */
export interface ActorHealth {
  readonly actorId: string;
  readonly state: ActorState;
  /** Failures since it was last well. */
  readonly failures: number;
  /** Why it does not run, for operators; null when it does. */
  readonly reason: string | null;
}

export interface SupervisedOptions<A extends Incarnation> {
  readonly id: string;
  /** Makes an incarnation; `onFailure` is how it says later that it has stopped. */
  readonly start: (onFailure: (error: unknown) => void) => Promise<A>;
  readonly bounds: RestartBounds;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: RuntimeLog;
  /** Left out: it always runs here. */
  readonly home?: Home;
}

/** An actor that is started again when it fails. */
export class Supervised<A extends Incarnation> {
  readonly #options: SupervisedOptions<A>;
  #state: ActorState = "starting";
  #actor: A | null = null;
  #runningSinceMs: number | null = null;
  #history: RestartHistory = NO_FAILURES;
  #error: unknown = null;
  #cancelRestart: Cancel | null = null;
  /** Counts incarnations, so that a late word from an old one is not taken for the new one's. */
  #incarnation = 0;
  readonly #leaveHome: () => void;
  /** Settles when the start or the closing under way has ended. */
  #transition: Promise<void> = Promise.resolve();

  constructor(options: SupervisedOptions<A>) {
    this.#options = options;
    this.#leaveHome = options.home?.onLeadership((leads) => this.#moved(leads)) ?? (() => {});
  }

  get id(): string {
    return this.#options.id;
  }

  /** Resolves when the first start has succeeded or failed: one broken actor does not keep a node from starting. */
  start(): Promise<void> {
    if (this.#options.home?.leads === false) {
      this.#state = "elsewhere";
      return this.#transition;
    }
    this.#transition = this.#startOnce();
    return this.#transition;
  }

  /** The actor that runs now. Throws ACTOR_DOWN (`actorId`, `state`, `reason`) when none does, SHUTTING_DOWN when closed. */
  get(): A {
    if (this.#actor !== null && this.#state !== "elsewhere") return this.#actor;
    const { id } = this.#options;
    if (this.#state === "closed") throw new BrokerError("SHUTTING_DOWN", `${id} is closed`);
    if (this.#state === "elsewhere") throw this.#options.home!.refusal();
    const details = { actorId: id, state: this.#state, reason: publicReason(this.#error) };
    const message = `${id} is ${this.#state}${this.#error === null ? "" : `: ${details.reason}`}`;
    throw new BrokerError("ACTOR_DOWN", message, details, { cause: this.#error });
  }

  health(): ActorHealth {
    const error = this.#error;
    return {
      actorId: this.#options.id,
      state: this.#state,
      failures: this.#history.inARow,
      reason: error === null ? null : error instanceof Error ? error.message : String(error),
    };
  }

  get isRunning(): boolean {
    return this.#state === "running";
  }

  /** For the first time, or for the first time here: nothing has failed. */
  get isStarting(): boolean {
    return this.#state === "starting";
  }

  /** Its journal is another broker's to write. */
  get isElsewhere(): boolean {
    return this.#state === "elsewhere";
  }

  /** What keeps it from serving, in words for operators; empty when nothing does. */
  problems(): string[] {
    const { actorId, state, reason } = this.health();
    if (this.isRunning || state === "elsewhere") return [];
    return [`${actorId} is ${state}${reason === null ? "" : `: ${reason}`}`];
  }

  /** Starts an actor that stayed down once more, with a clean history: for an operator who has mended the cause. */
  async revive(): Promise<void> {
    if (this.#state !== "down") return;
    this.#state = "restarting";
    this.#history = NO_FAILURES;
    await this.#transition;
    if (this.#state === "restarting") await this.start();
  }

  /** Closes the actor for good. */
  async close(): Promise<void> {
    if (this.#state === "closed") return await this.#transition;
    this.#state = "closed";
    this.#leaveHome();
    this.#cancelRestart?.();
    await this.#transition;
    const actor = this.#actor;
    this.#actor = null;
    if (actor !== null) this.#transition = actor.close();
    await this.#transition;
  }

  /** After whatever is under way: the next life begins when the last has ended, and only where it is at home by then. */
  #moved(leads: boolean): void {
    if (this.#state === "closed") return;
    this.#cancelRestart?.();
    if (!leads) this.#away();
    this.#transition = this.#transition.then(async () => {
      const isHome = this.#options.home!.leads;
      if (this.#state === "closed" || isHome !== leads) return;
      if (!isHome) return await this.#stop();
      if (this.#actor !== null) return;
      this.#state = "starting";
      this.#history = NO_FAILURES;
      await this.#startOnce();
    });
  }

  /** What is asked from now on is refused with who leads. */
  #away(): void {
    if (this.#state !== "starting") this.#state = "elsewhere";
  }

  async #stop(): Promise<void> {
    const actor = this.#actor;
    this.#actor = null;
    this.#incarnation += 1;
    this.#state = "elsewhere";
    await this.#discard(actor);
  }

  async #startOnce(): Promise<void> {
    const incarnation = ++this.#incarnation;
    let early: { readonly error: unknown } | null = null;
    let actor: A | null = null;
    try {
      actor = await this.#options.start((error) => {
        if (actor === null) early ??= { error };
        else if (incarnation === this.#incarnation) this.#onFailure(error);
      });
    } catch (error) {
      early ??= { error };
    }
    if (early !== null) {
      await this.#discard(actor);
      this.#fail((early as { readonly error: unknown }).error);
      return;
    }
    this.#actor = actor;
    if (this.#state === "closed") return;
    this.#state = "running";
    this.#error = null;
    this.#runningSinceMs = this.#options.clock.monotonic();
  }

  #onFailure(error: unknown): void {
    const failed = this.#actor;
    if (failed === null) return;
    this.#actor = null;
    this.#incarnation += 1;
    if (this.#state !== "closed") this.#state = "restarting";
    this.#error = error;
    this.#transition = this.#discard(failed).then(() => this.#fail(error));
  }

  async #discard(actor: A | null): Promise<void> {
    try {
      await actor?.close();
    } catch (error) {
      this.#options.log.report({ type: "actor.failed", actorId: this.#options.id, error });
    }
  }

  #fail(error: unknown): void {
    const { id, bounds, clock, timers, log } = this.#options;
    this.#error = error;
    if (this.#state !== "closed" && this.#options.home?.leads === false) {
      this.#state = "elsewhere";
      return;
    }
    log.report({ type: "actor.failed", actorId: id, error });
    if (this.#state === "closed") return;
    const failure = { error, nowMs: clock.monotonic(), runningSinceMs: this.#runningSinceMs };
    const { history, restartAfterMs } = afterFailure(this.#history, failure, bounds);
    this.#history = history;
    this.#runningSinceMs = null;
    if (restartAfterMs === null) {
      this.#state = "down";
      log.report({ type: "actor.down", actorId: id, error });
      return;
    }
    this.#state = "restarting";
    const restarts = history.inARow;
    log.report({ type: "actor.restarting", actorId: id, delayMs: restartAfterMs, restarts });
    this.#cancelRestart = timers.after(restartAfterMs, () => void this.start());
  }
}

/** What a user may know: a refusal is written for users, the message of a broken invariant is not. */
function publicReason(error: unknown): string {
  if (error === null) return "it has not started yet";
  return error instanceof BrokerError ? error.message : "a broken invariant";
}
