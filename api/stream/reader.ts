// Owns delivering: asks the session what is next, reads it, hands it to the outbox, waits when there is nothing to do.
// Refuses to own the window and the order (session.ts), how frames look (parcels.ts), and what is assigned.
// Invariant: one turn at a time; between two turns other work of the process gets its chance.
import type { Broker, FetchResult } from "../../actors/broker.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import type { DataWaiters } from "./data_waiters.ts";
import type { HeldPartition } from "./held_partition.ts";
import { KeptSources } from "./kept_sources.ts";
import type { StreamLimits } from "./limits.ts";
import type { BufferBudget, Outbox } from "./outbox.ts";
import type { Parcel, Parcels, Source } from "./parcels.ts";
import type { Session } from "./session.ts";
import type { ReadTurn, RedeliveryTurn } from "./turns.ts";

export interface ReaderOptions {
  readonly broker: Pick<Broker, "fetch">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly waiters: DataWaiters;
  readonly yieldToEventLoop: () => Promise<void>;
  readonly session: Session;
  readonly outbox: Outbox;
  readonly budget: BufferBudget;
  readonly parcels: Parcels;
  readonly limits: Pick<
    StreamLimits,
    | "backpressurePollMs"
    | "maxHeldBytes"
    | "maxTotalHeldBytes"
    | "narrowLingerMs"
    | "retryMs"
    | "tightTurnBytes"
  >;
  /** Bytes of one turn. */
  readonly maxBatchBytes: number;
  /** Of whoever consumes. */
  readonly zone?: string | undefined;
  /** Left out: delivery is held back by nothing but the client. */
  readonly quota?: ConsumerQuota;
  /** Of these messages of a partition that is held up by key, those that have to wait. */
  readonly parked: (held: HeldPartition, offsets: readonly number[]) => Promise<readonly number[]>;
  readonly onDelivered: (held: HeldPartition, parcel: Parcel) => void;
  readonly onRedelivered: (held: HeldPartition, offset: number) => void;
  /** What reading has passed over may be asked for now. */
  readonly onPassedSkips: () => void;
  /** A message that was to come again is no longer in the log. */
  readonly onLost: (held: HeldPartition, offset: number) => void;
  /** The position is no longer in the log. */
  readonly onOutOfRange: (held: HeldPartition) => void;
  /** A partition cannot be read; told once until it can be read again. */
  readonly onFault: (held: HeldPartition, error: BrokerError) => void;
}

/** A redelivery needs one batch: anything asks for at least that. */
const ONE_BATCH_BYTES = 1;
/** Messages that are asked about at once while a partition is held up by key. */
const MAX_ADMITTED = 500;
/** A socket that stays full is looked at less and less often, down to this times the first wait. */
const MAX_POLL_FACTOR = 16;

export class Reader {
  readonly #options: ReaderOptions;
  /** What was fetched and did not fit the window. */
  readonly #sources: KeptSources;
  /** Waits for data or for another try, by partition. */
  readonly #waits = new Map<HeldPartition, Cancel>();
  /** Since when a partition waits for a wider window, monotonic ms. */
  readonly #lingering = new Map<HeldPartition, number>();
  readonly #faulty = new Set<HeldPartition>();
  #running = false;
  #again = false;
  #stopped = false;
  #cancelTimer: Cancel | null = null;
  #pollMs: number;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#sources = new KeptSources(options);
    this.#pollMs = options.limits.backpressurePollMs;
  }

  /** Delivers what can be delivered. To be called after anything that may have changed that. */
  pump(): void {
    this.#again = true;
    if (this.#running || this.#stopped) return;
    this.#running = true;
    void this.#run();
  }

  /** Forgets what was fetched or waited for on behalf of a partition that is no longer held. */
  drop(held: HeldPartition): void {
    this.#sources.delete(held);
    this.#lingering.delete(held);
    this.#faulty.delete(held);
    this.#waits.get(held)?.();
    this.#waits.delete(held);
  }

  /** Lets go of fetched bytes that the client's pace does not need; they can be fetched again. */
  release(): void {
    if (!this.#running) this.#sources.clear();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer?.();
    for (const cancel of this.#waits.values()) cancel();
    this.#waits.clear();
    this.#sources.clear();
  }

  async #run(): Promise<void> {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false;
        while (await this.#turn()) await this.#options.yieldToEventLoop();
      }
    } finally {
      this.#running = false;
    }
  }

  /** One turn; false when nothing can be done for now. Then a timer, a waiter or a frame of the client calls `pump`. */
  async #turn(): Promise<boolean> {
    const { clock, session, outbox, limits } = this.#options;
    if (this.#stopped) return false;
    this.#cancelTimer?.();
    const turn = session.nextTurn(clock.monotonic());
    if (session.passedSkips) this.#options.onPassedSkips();
    if (turn === null) {
      const dueAt = session.nextRedeliveryAt();
      if (dueAt !== null) this.#pumpAfter(Math.max(0, dueAt - clock.monotonic()));
      return false;
    }
    if (!outbox.writable) {
      if (outbox.isTight) this.#sources.clear();
      if (!outbox.closed) this.#pumpAfter(this.#pollMs);
      this.#pollMs = Math.min(this.#pollMs * 2, limits.backpressurePollMs * MAX_POLL_FACTOR);
      return false;
    }
    this.#pollMs = limits.backpressurePollMs;
    if (turn.kind === "read") await this.#read(turn);
    else await this.#redeliver(turn);
    return !this.#stopped;
  }

  #pumpAfter(delayMs: number): void {
    this.#cancelTimer = this.#options.timers.after(delayMs, () => this.pump());
  }

  async #read(turn: ReadTurn): Promise<void> {
    const { session } = this.#options;
    const { held } = turn;
    if (this.#isHeldBack(held)) return;
    try {
      const source = await this.#sourceOf(turn);
      if (this.#stopped || !session.stillWanted(turn)) return;
      if (held.hold === "keys" && !(await this.#admit(turn, source))) return;
      // Word of the group may have come just now: what was admitted is to be asked for again.
      if (!session.stillWanted(turn) || turn.position >= held.readTo) return;
      this.#deliver(turn, source);
      this.#faulty.delete(held);
    } catch (error) {
      this.#sources.delete(held);
      if (!this.#stopped && session.holds(held)) this.#failed(held, asBrokerError(error));
    }
  }

  async #sourceOf(turn: ReadTurn): Promise<Source> {
    const { held, position } = turn;
    const kept = this.#sources.get(held);
    if (kept?.position === position) return kept;
    this.#sources.delete(held);
    const { broker, parcels, outbox, maxBatchBytes, limits } = this.#options;
    const isolation = "read_committed" as const;
    const turnBytes = outbox.turnBytes(maxBatchBytes);
    // What is fetched beyond the window would have to be fetched again.
    const maxBytes = this.#sources.isFull ? Math.min(turnBytes, limits.tightTurnBytes) : turnBytes;
    const { zone } = this.#options;
    const options = { maxBytes, isolation, ...(zone === undefined ? {} : { zone }) };
    const fetch = () => broker.fetch(held, position, options);
    return parcels.open(held, await this.#sources.fetching(maxBytes, fetch), position);
  }

  #deliver(turn: ReadTurn, source: Source): void {
    const { session, outbox, maxBatchBytes, quota } = this.#options;
    const { held } = turn;
    // Other consumers of the tenant have had their turns meanwhile.
    if (this.#isHeldBack(held)) return this.#sources.keep(held, source);
    // Others have filled their sockets meanwhile.
    if (!outbox.writable) return this.#sources.keep(held, source);
    const turnBytes = outbox.turnBytes(maxBatchBytes);
    const maxBytes = Math.min(turnBytes, quota?.roomBytes(held.topic) ?? Infinity);
    const bounds = { room: session.readRoom, maxBytes };
    const parcel = source.next({ ...bounds, to: held.readTo, skips: held.skips });
    if (parcel === null) return this.#atEnd(turn, source);
    if (this.#lingers(turn.held, parcel)) return this.#sources.keep(turn.held, source);
    source.accept(parcel);
    this.#send(turn, { parcel, highWatermark: source.highWatermark });
    if (parcel.nextOffset < source.highWatermark) this.#sources.keep(turn.held, source);
    else this.#atLogEnd(turn.held, parcel.nextOffset);
  }

  /**
   * Finds out which of the next messages have to wait for one with their key, and passes over those. False when the turn is
   * no longer to be carried out.
   */
  async #admit(turn: ReadTurn, source: Source): Promise<boolean> {
    const { session, parked } = this.#options;
    const { held, position } = turn;
    if (position < held.admittedTo) return true;
    const end = Math.min(position + MAX_ADMITTED, source.highWatermark);
    const offsets: number[] = [];
    for (let offset = position; offset < end; offset++) {
      if (!held.skips.has(offset)) offsets.push(offset);
    }
    // What is nacked meanwhile takes this back.
    held.admittedTo = end;
    const waiting = offsets.length === 0 ? [] : await parked(held, offsets);
    if (this.#stopped || !session.stillWanted(turn)) return false;
    for (const offset of waiting) held.skip(offset);
    // The next turn passes over what must not be first.
    return held.admittedTo === end && !held.skips.has(position);
  }

  #send(turn: ReadTurn, sent: { parcel: Parcel; highWatermark: number }): void {
    const { session, outbox, onDelivered, quota } = this.#options;
    const { parcel, highWatermark } = sent;
    if (parcel.frame !== null) {
      outbox.sendEncoded(parcel.frame);
      quota?.delivered(turn.held.topic, parcel.frame.length);
    }
    session.delivered(turn, { ...parcel, highWatermark });
    onDelivered(turn.held, parcel);
  }

  /** Whether the quota has no room for anything of a partition now: it is looked at again when there may be. */
  #isHeldBack(held: HeldPartition): boolean {
    const { quota, timers } = this.#options;
    const delayMs = quota?.delayMs(held.topic) ?? 0;
    if (delayMs > 0) this.#wait(held, (wake) => timers.after(delayMs, wake));
    return delayMs > 0;
  }

  /** Nothing is left of what was fetched: read on, or wait where the log ends. */
  #atEnd(turn: ReadTurn, source: Source): void {
    const { held, position } = turn;
    const isKept = this.#sources.get(held) === source;
    if (source.sizeBytes === 0) return this.#atLogEnd(held, position);
    this.#sources.delete(held);
    if (isKept) return;
    throw new BrokerError("CORRUPT_LOG", `${held.key} has no batch that holds offset ${position}`);
  }

  #atLogEnd(held: HeldPartition, offset: number): void {
    const { waiters } = this.#options;
    this.#sources.delete(held);
    this.#wait(held, (wake) => waiters.wait(held, offset, wake));
  }

  /** A batch that does not fit has to be sent again for its rest: better wait a moment for commits than for every one of them. */
  #lingers(held: HeldPartition, parcel: Parcel): boolean {
    const { session, clock, timers, limits } = this.#options;
    const since = this.#lingering.get(held);
    const now = clock.monotonic();
    if (!parcel.cut || session.inFlight === 0) {
      this.#lingering.delete(held);
      return false;
    }
    if (since !== undefined && now - since >= limits.narrowLingerMs) {
      this.#lingering.delete(held);
      return false;
    }
    if (since === undefined) this.#lingering.set(held, now);
    const leftMs = limits.narrowLingerMs - (now - (since ?? now));
    this.#wait(held, (wake) => timers.after(leftMs, wake));
    return true;
  }

  async #redeliver(turn: RedeliveryTurn): Promise<void> {
    const { broker, session, outbox, parcels, clock, quota } = this.#options;
    const { held, redelivery } = turn;
    const delayMs = quota?.delayMs(held.topic) ?? 0;
    if (delayMs > 0) return session.postpone(turn, clock.monotonic() + delayMs);
    try {
      const fetched = await this.#fetchOne(broker, turn);
      if (this.#stopped || !session.stillWanted(turn)) return;
      const frame = fetched === null ? null : parcels.redelivery(held, fetched, redelivery);
      if (frame === null) {
        this.#options.onLost(held, redelivery.offset);
        return session.forget(turn);
      }
      // In flight for the first time still: the client has it.
      if (!held.inFlight.has(redelivery.offset)) {
        outbox.sendEncoded(frame);
        quota?.delivered(held.topic, frame.length);
      }
      session.redelivered(turn);
      this.#options.onRedelivered(held, redelivery.offset);
    } catch (error) {
      if (this.#stopped || !session.holds(held)) return;
      const { limits } = this.#options;
      session.postpone(turn, clock.monotonic() + limits.retryMs);
      this.#tellFault(held, asBrokerError(error));
    }
  }

  /** Null when retention has taken the message. */
  async #fetchOne(
    broker: Pick<Broker, "fetch">,
    turn: RedeliveryTurn,
  ): Promise<FetchResult | null> {
    try {
      const { offset } = turn.redelivery;
      const isolation = "read_committed" as const;
      return await broker.fetch(turn.held, offset, { maxBytes: ONE_BATCH_BYTES, isolation });
    } catch (error) {
      if (asBrokerError(error).code === "OFFSET_OUT_OF_RANGE") return null;
      throw error;
    }
  }

  #failed(held: HeldPartition, error: BrokerError): void {
    const { timers, limits, onOutOfRange } = this.#options;
    if (error.code === "OFFSET_OUT_OF_RANGE") {
      this.#wait(held, () => () => {});
      onOutOfRange(held);
      return;
    }
    this.#wait(held, (wake) => timers.after(limits.retryMs, wake));
    this.#tellFault(held, error);
  }

  #tellFault(held: HeldPartition, error: BrokerError): void {
    if (this.#faulty.has(held)) return;
    this.#faulty.add(held);
    this.#options.onFault(held, error);
  }

  #wait(held: HeldPartition, start: (wake: () => void) => Cancel): void {
    const { session } = this.#options;
    session.wait(held);
    this.#waits.get(held)?.();
    const cancel = start(() => {
      this.#waits.delete(held);
      session.wake(held);
      this.pump();
    });
    this.#waits.set(held, cancel);
  }
}
