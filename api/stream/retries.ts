// Owns what one session and its group say to each other about retries: those that are due, those that failed.
// Refuses to own the window and sending (session.ts, reader.ts), and every decision (the group's actor).
// Invariant: a nack is answered when it is durable or refused; what is taken in hand never exceeds the window.
import type { Broker } from "../../actors/broker.ts";
import type { NackResult } from "../../actors/group/retry/types.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Randomness, Timers } from "../../storage/ports.ts";
import { errorFrame, type NackFrame, type ServerFrame } from "./frames.ts";
import { type HeldPartition, partitionKey } from "./held_partition.ts";
import type { StreamLimits } from "./limits.ts";
import type { Session } from "./session.ts";

export interface RetriesOptions {
  readonly broker: Pick<Broker, "group">;
  readonly group: string;
  readonly memberId: string;
  readonly principal: string;
  readonly session: Session;
  readonly randomness: Randomness;
  readonly timers: Timers;
  readonly limits: Pick<StreamLimits, "maxQueuedNacks" | "maxTakenRetries" | "retryMs">;
  readonly answer: (frame: ServerFrame) => void;
  /** There may be something to deliver. */
  readonly onReady: () => void;
  /** Something is no longer in flight. */
  readonly onSettled: () => void;
  readonly onError: (error: BrokerError) => void;
}

/** Nacks of one command. */
const MAX_NACKS_A_COMMAND = 500;

interface PendingNack {
  readonly frame: NackFrame;
  readonly attempt: number;
}

export class Retries {
  readonly #options: RetriesOptions;
  readonly #nacks: PendingNack[] = [];
  #nacking = false;
  #nackedCount = 0;
  #answeredCount = 0;
  /** In order; no more than commits of this session wait. */
  readonly #waiters: { readonly upTo: number; readonly resolve: () => void }[] = [];
  #taking = false;
  /** The group may have something new to say. */
  #due = false;
  /** The group had more than the window had room for. */
  #more = false;
  #stopped = false;
  #cancelRetry: Cancel | null = null;

  constructor(options: RetriesOptions) {
    this.#options = options;
  }

  /** The group has something to say, or the member can take something again. */
  wake(): void {
    this.#due = true;
    this.refresh();
  }

  /** Somebody else has nacked these. */
  nackedElsewhere(nacks: Parameters<Session["nackedElsewhere"]>[0]): void {
    const { session, onSettled } = this.#options;
    if (!session.nackedElsewhere(nacks)) return;
    if (session.hasUnheardNacks) this.wake();
    onSettled();
  }

  /** Asks the group if there is a reason to: to be called after anything that may be one. */
  refresh(): void {
    const { session } = this.#options;
    // Also while the group is being asked: it was told an earlier place of reading, and keeps back what lies behind that.
    if (session.passedSkips) {
      session.passedSkips = false;
      this.#due = true;
    }
    if (this.#taking || this.#stopped || this.#cancelRetry !== null) return;
    const hasRoom = this.#more && this.#room() > 0;
    if (!this.#due && !hasRoom && session.withoutRetries().length === 0) return;
    this.#taking = true;
    void this.#take();
  }

  /** Takes a nack in. Throws what the session does, OVERLOADED when too many wait. */
  nack(frame: NackFrame): void {
    const { session, limits: { maxQueuedNacks } } = this.#options;
    if (this.#nacks.length >= maxQueuedNacks) {
      throw new BrokerError("OVERLOADED", `${maxQueuedNacks} nacks of this session wait already`);
    }
    const attempt = session.nacking(frame);
    this.#nacks.push({ frame, attempt });
    this.#nackedCount++;
    if (this.#nacking) return;
    this.#nacking = true;
    void this.#run();
  }

  /** Resolves when every nack so far is durable or refused, whatever comes after. Never rejects. */
  settled(): Promise<void> {
    const upTo = this.#nackedCount;
    if (this.#answeredCount >= upTo) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ upTo, resolve }));
  }

  #answered(count: number): void {
    this.#answeredCount += count;
    while (this.#waiters.length > 0 && this.#waiters[0]!.upTo <= this.#answeredCount) {
      this.#waiters.shift()!.resolve();
    }
  }

  /** These are no longer in the log. */
  forget(held: HeldPartition, offset: number): void {
    const { broker, group, onError } = this.#options;
    const retries = [{ ...held.toJSON(), offset }];
    broker.group({ type: "ForgetRetries", group, retries })
      .catch((error) => onError(asBrokerError(error)));
  }

  /** Of `offsets`, those that have to wait behind a retry with their key. Errors: those of ParkBlocked. */
  async parked(held: HeldPartition, offsets: readonly number[]): Promise<readonly number[]> {
    const { broker, group, memberId } = this.#options;
    const at = held.toJSON();
    const { parked } = await broker.group({ type: "ParkBlocked", group, memberId, ...at, offsets });
    return parked;
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelRetry?.();
  }

  #room(): number {
    const { session, limits: { maxTakenRetries } } = this.#options;
    const waiting = session.redeliveries.waiting.length;
    return Math.max(0, Math.min(session.room, maxTakenRetries) - waiting);
  }

  async #take(): Promise<void> {
    const { session, onReady } = this.#options;
    try {
      while (!this.#stopped) {
        const asked = session.withoutRetries();
        const room = this.#room();
        if (!this.#due && asked.length === 0 && !(this.#more && room > 0)) break;
        this.#due = false;
        await this.#ask(asked, room);
        onReady();
        // With no room the rest waits until there is some.
        if (this.#more && this.#room() === 0 && !this.#due) break;
      }
    } catch (error) {
      this.#failed(asBrokerError(error));
    } finally {
      this.#taking = false;
    }
  }

  async #ask(
    asked: readonly { readonly held: HeldPartition; readonly position: number }[],
    max: number,
  ): Promise<void> {
    const { broker, group, memberId, session } = this.#options;
    const starting = asked.map(({ held, position }) => ({ ...held.toJSON(), offset: position }));
    const except = [...session.held.values()].filter(({ open }) => !open)
      .map((held) => held.toJSON());
    const upTo = [...session.held.values()].filter(({ skips }) => skips.size > 0)
      .map((held) => ({ ...held.toJSON(), offset: held.position ?? 0 }));
    for (const { offset, ...at } of starting) upTo.push({ ...at, offset });
    const { nackCount } = session;
    const reply = await broker.group({
      type: "TakeRetries",
      group,
      memberId,
      max,
      ...(starting.length === 0 ? {} : { starting }),
      ...(except.length === 0 ? {} : { except }),
      ...(upTo.length === 0 ? {} : { upTo }),
    });
    this.#more = reply.more;
    if (!this.#stopped) session.takeRetries(reply, asked, nackCount);
  }

  #failed(error: BrokerError): void {
    const { timers, limits: { retryMs }, onError } = this.#options;
    if (this.#stopped || error.code === "UNKNOWN_MEMBER") return;
    onError(error);
    this.#due = true;
    this.#cancelRetry = timers.after(retryMs, () => {
      this.#cancelRetry = null;
      this.refresh();
    });
  }

  async #run(): Promise<void> {
    // What arrived together goes together.
    await null;
    try {
      while (this.#nacks.length > 0) {
        const together = this.#nacks.splice(0, MAX_NACKS_A_COMMAND);
        await this.#send(together);
        this.#answered(together.length);
      }
    } finally {
      this.#nacking = false;
    }
  }

  async #send(nacks: readonly PendingNack[]): Promise<void> {
    const { session, onSettled } = this.#options;
    let results: readonly NackResult[];
    try {
      results = await this.#tell(nacks);
    } catch (error) {
      // One of them spoils the command for all: each for itself then.
      if (nacks.length === 1) return this.#refuse(nacks[0]!.frame, asBrokerError(error));
      for (const nack of nacks) await this.#send([nack]);
      return;
    }
    nacks.forEach(({ frame }, i) => {
      session.nacked(frame, { refused: false });
      this.#confirm(frame, results[i]!);
    });
    // Before anything takes the place of what was nacked.
    if (session.hasUnheardNacks) this.wake();
    onSettled();
  }

  async #tell(nacks: readonly PendingNack[]): Promise<readonly NackResult[]> {
    const { broker, group, memberId, principal, session, randomness } = this.#options;
    const { results } = await broker.group({
      type: "Nack",
      group,
      memberId,
      principal,
      nacks: nacks.map(({ frame, attempt }) => {
        const { topic, partition, offset, code, reason, delayMs } = frame;
        // What was delivered lies below the end.
        const known = session.held.get(partitionKey(frame))?.highWatermark ?? 0;
        return {
          topic,
          partition,
          offset,
          attempt,
          endOffset: Math.max(known, offset + 1),
          fraction: randomness.fraction(),
          ...(code === undefined ? {} : { code }),
          ...(reason === undefined ? {} : { reason }),
          ...(delayMs === undefined ? {} : { delayMs }),
        };
      }),
    });
    return results;
  }

  /** Only who gave an id wants to hear of it. */
  #confirm({ id }: NackFrame, result: NackResult): void {
    if (id !== undefined) this.#options.answer({ type: "nacked", id, ...result });
  }

  #refuse(frame: NackFrame, error: BrokerError): void {
    const { session, answer, onError, onReady } = this.#options;
    session.nacked(frame, { refused: true });
    answer(errorFrame(error, frame));
    onError(error);
    onReady();
  }
}
