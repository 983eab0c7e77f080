// Owns how many bytes of answers may be in memory at once, from the reading of what they hold until their callers have
// taken them.
// Refuses to own what an answer holds and how it is sent (answer_body.ts).
// Invariant: a tenant never takes more than it leaves for all others, so that whoever does not read what it asks for is
// the first whose answers become small, and then late; what is taken is given back exactly once.
import { BrokerError } from "../storage/broker_error.ts";
import type { Timers } from "../storage/ports.ts";

/** While a tenant may take less than this share of all at once, it is tight: its answers become small. */
const TIGHT_SHARE = 0.25;
/** Of what it may take, an answer then has this part, */
const TIGHT_PART = 1 / 64;
/** but no less than this; one message or batch is always told. */
export const MIN_ANSWER_BYTES = 65_536;
/** Room comes when others have been read: so long it is waited for. */
const MAX_WAIT_MS = 5_000;
/** Answers that wait for room; more are refused at once. */
const MAX_WAITING = 10_000;

interface Waiting {
  readonly wantBytes: number;
  readonly granted: (bytes: number) => void;
}

/** All answers of one broker. */
export class AnswerBudget {
  #takenBytes = 0;
  readonly #heldBytes = new Map<string, number>();
  /** By tenant, who came first goes first. */
  readonly #waiting = new Map<string, Set<Waiting>>();
  #waitingCount = 0;

  /** `timers` null: nobody waits for room. */
  constructor(private readonly limitBytes: number, private readonly timers: Timers | null) {}

  get takenBytes(): number {
    return this.#takenBytes;
  }

  heldBy(tenant: string): number {
    return this.#heldBytes.get(tenant) ?? 0;
  }

  /** How much more `tenant` may take: as much as then is left beside all that it holds. */
  roomBytes(tenant: string): number {
    return Math.floor((this.limitBytes - this.#takenBytes - this.heldBy(tenant)) / 2);
  }

  /**
   * Takes `wantBytes`, or less while it is tight, and resolves to how much. Rejects with OVERLOADED when there is no room
   * for a while. Who has gone (`signal`) waits no longer.
   */
  async take(tenant: string, wantBytes: number, signal: () => AbortSignal): Promise<number> {
    const isFirst = !this.#waiting.has(tenant);
    const granted = isFirst ? this.#grant(tenant, wantBytes) : null;
    if (granted !== null) return granted;
    if (this.timers === null || this.#waitingCount >= MAX_WAITING) throw this.refusal(tenant);
    return await this.#wait(tenant, wantBytes, { signal: signal(), timers: this.timers });
  }

  /** Takes beside what there is: for what is in memory already. */
  add(tenant: string, bytes: number): void {
    this.#takenBytes += bytes;
    this.#heldBytes.set(tenant, this.heldBy(tenant) + bytes);
  }

  give(tenant: string, bytes: number): void {
    if (bytes === 0) return;
    this.#takenBytes -= bytes;
    const left = this.heldBy(tenant) - bytes;
    if (left === 0) this.#heldBytes.delete(tenant);
    else this.#heldBytes.set(tenant, left);
    if (this.#waitingCount > 0) this.#grantWaiting();
  }

  refusal(tenant: string): BrokerError {
    return new BrokerError(
      "OVERLOADED",
      `answers that are not read yet leave no room for another one of ${tenant}`,
      { heldBytes: this.heldBy(tenant), limitBytes: this.limitBytes },
    );
  }

  #grant(tenant: string, wantBytes: number): number | null {
    const roomBytes = this.roomBytes(tenant);
    const isTight = roomBytes < this.limitBytes * TIGHT_SHARE;
    const partBytes = Math.max(MIN_ANSWER_BYTES, Math.floor(roomBytes * TIGHT_PART));
    const bytes = Math.min(wantBytes, isTight ? partBytes : roomBytes);
    if (bytes > roomBytes) return null;
    this.add(tenant, bytes);
    return bytes;
  }

  async #wait(
    tenant: string,
    wantBytes: number,
    { signal, timers }: { signal: AbortSignal; timers: Timers },
  ): Promise<number> {
    const { promise, resolve } = Promise.withResolvers<number | null>();
    const waiting = { wantBytes, granted: resolve };
    const before = this.#waiting.get(tenant);
    if (before === undefined) this.#waiting.set(tenant, new Set([waiting]));
    else before.add(waiting);
    this.#waitingCount++;
    const giveUp = () => {
      if (this.#drop(tenant, waiting)) resolve(null);
    };
    const cancel = timers.after(MAX_WAIT_MS, giveUp);
    signal.addEventListener("abort", giveUp);
    if (signal.aborted) giveUp();
    const granted = await promise;
    cancel();
    signal.removeEventListener("abort", giveUp);
    if (granted === null) throw this.refusal(tenant);
    return granted;
  }

  /** Each tenant's first: what one of them has given back is room for all. */
  #grantWaiting(): void {
    for (const [tenant, queue] of [...this.#waiting]) {
      for (const waiting of queue) {
        const granted = this.#grant(tenant, waiting.wantBytes);
        if (granted === null) break;
        this.#drop(tenant, waiting);
        waiting.granted(granted);
      }
    }
  }

  /** False when it does not wait any more. */
  #drop(tenant: string, waiting: Waiting): boolean {
    const queue = this.#waiting.get(tenant);
    if (queue === undefined || !queue.delete(waiting)) return false;
    if (queue.size === 0) this.#waiting.delete(tenant);
    this.#waitingCount--;
    return true;
  }
}

/** What one answer holds of the budget. */
export class AnswerHold {
  #bytes = 0;
  #isKept = false;

  constructor(
    private readonly budget: AnswerBudget,
    private readonly tenant: string,
    private readonly request: Pick<Request, "signal">,
  ) {}

  get bytes(): number {
    return this.#bytes;
  }

  /** How much may be read for the answer, instead of what it held before. Rejects with OVERLOADED. */
  async room(wantBytes: number): Promise<number> {
    this.release();
    this.#bytes = await this.budget.take(this.tenant, wantBytes, () => this.request.signal);
    return this.#bytes;
  }

  /** The answer has as many bytes. Throws OVERLOADED when they do not fit beside other answers of the tenant. */
  cover(bytes: number): void {
    const more = bytes - this.#bytes;
    if (more <= 0) return;
    const isAlone = this.budget.heldBy(this.tenant) === this.#bytes;
    if (!isAlone && more > this.budget.roomBytes(this.tenant)) {
      throw this.budget.refusal(this.tenant);
    }
    this.settle(bytes);
  }

  /** The same of an answer that has to be given; also when it is less than was held. */
  settle(bytes: number): void {
    const more = bytes - this.#bytes;
    this.#bytes = bytes;
    if (more > 0) this.budget.add(this.tenant, more);
    else this.budget.give(this.tenant, -more);
  }

  /** So much of it is in memory no more. */
  give(bytes: number): void {
    this.settle(Math.max(0, this.#bytes - bytes));
  }

  /** The body goes on holding when the request is answered, and releases. */
  keep(): void {
    this.#isKept = true;
  }

  /** The request is answered. */
  done(): void {
    if (!this.#isKept) this.release();
  }

  release(): void {
    this.settle(0);
  }
}
