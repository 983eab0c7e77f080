// Owns what a session delivers next and how much of it: new messages and retries, one turn at a time.
// Refuses to own reading and sending (reader.ts), and which partitions are held (session.ts).
// Invariant: messages in flight never exceed `maxInFlight`, and reading of a partition never goes back.
import type { Redelivery } from "./redeliveries.ts";
import type { Delivery, ReadTurn, RedeliveryTurn, Turn } from "./turns.ts";
import type { Window } from "./window.ts";
import type { WindowRetries } from "./window_retries.ts";

export class WindowTurns {
  /** The group is paused by an operator: nothing is delivered. */
  groupPaused = false;
  readonly #maxInFlight: number;
  readonly #window: Window;
  readonly #retries: Pick<WindowRetries, "isHeldByKey">;

  constructor(maxInFlight: number, window: Window, retries: Pick<WindowRetries, "isHeldByKey">) {
    this.#maxInFlight = maxInFlight;
    this.#window = window;
    this.#retries = retries;
  }

  /** How many more messages may be delivered now. */
  get room(): number {
    return this.#maxInFlight - this.#window.inFlight;
  }

  /**
   * How many more new messages may be delivered now. While messages wait behind a retry with their key, one place is kept
   * for retries: a client may hold on to all it was given behind the first that waits.
   */
  get readRoom(): number {
    return this.#maxInFlight > 1 && this.#retries.isHeldByKey ? this.room - 1 : this.room;
  }

  /** What to deliver now; null when nothing can be. Redeliveries that are due go first. */
  nextTurn(nowMs: number): Turn | null {
    if (this.groupPaused || this.room <= 0) return null;
    const redelivery = this.#window.redeliveries.firstDue(nowMs, this.#isOpen);
    if (redelivery !== null) {
      return { kind: "redelivery", held: this.#window.held.get(redelivery.key)!, redelivery };
    }
    if (this.readRoom <= 0) return null;
    const held = this.#window.rotate();
    if (held === null) return null;
    this.#window.passSkips(held);
    return { kind: "read", held, position: held.position! };
  }

  /** Monotonic time of the next redelivery; null when none can be sent before something else happens. */
  nextRedeliveryAt(): number | null {
    if (this.groupPaused || this.room <= 0) return null;
    return this.#window.redeliveries.nextDueAt(this.#isOpen);
  }

  /** Whether the turn may still be carried out: reading took time, and the world may have changed. */
  stillWanted(turn: Turn): boolean {
    if (this.groupPaused || this.room <= 0) return false;
    if (!this.#window.holds(turn.held) || !turn.held.open) return false;
    if (turn.kind === "redelivery") {
      return this.#window.redeliveries.waiting.includes(turn.redelivery);
    }
    const { held, position } = turn;
    if (this.readRoom <= 0) return false;
    return held.position === position && held.retriesKnown && !held.heldUp;
  }

  delivered(turn: ReadTurn, delivery: Delivery): void {
    const { held } = turn;
    for (const run of delivery.runs) {
      this.#window.add(held, run);
      held.sentCount += run.to - run.from;
    }
    if (this.room < 0) throw new Error(`window of ${this.#maxInFlight} exceeded`);
    if (delivery.nextOffset < turn.position) {
      throw new Error(`${held.key} went back from ${turn.position} to ${delivery.nextOffset}`);
    }
    held.position = delivery.nextOffset;
    this.#window.passSkips(held);
    held.highWatermark = Math.max(held.highWatermark, delivery.highWatermark);
  }

  redelivered(turn: RedeliveryTurn): void {
    const { held, redelivery } = turn;
    // It may be in flight for the first time still, when somebody else wants it to come again.
    const isKnown = held.inFlight.has(redelivery.offset);
    const at = { position: held.position ?? 0, ordinal: held.sentCount + 1, isKnown };
    if (!this.#window.redeliveries.sent(redelivery, at)) {
      throw new Error("redelivered what did not wait");
    }
    if (isKnown) return;
    held.sentCount++;
    this.#window.add(held, { from: redelivery.offset, to: redelivery.offset + 1 });
  }

  /** The message is no longer in the log. */
  forget(turn: RedeliveryTurn): void {
    this.#window.redeliveries.forget(turn.redelivery);
  }

  /** The message could not be read: its redelivery waits until `dueAt`. */
  postpone(turn: RedeliveryTurn, dueAt: number): void {
    if (!this.#window.redeliveries.forget(turn.redelivery)) return;
    this.#window.redeliveries.schedule({ ...turn.redelivery, dueAt });
  }

  /** One beyond the position could not be committed without what lies before it. */
  readonly #isOpen = ({ key, offset }: Redelivery): boolean => {
    const held = this.#window.held.get(key);
    return held !== undefined && held.open && offset < held.position!;
  };
}
