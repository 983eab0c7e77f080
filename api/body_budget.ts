// Owns how many bytes of request bodies may be in memory at once, and how many of them may be one tenant's or principal's.
// Refuses to own reading them (body.ts) and what a tenant's quota says of them (quota/request_use.ts).
// Invariant: a tenant never takes more than it leaves for all others, nor a principal more than it leaves for the others of
// its tenant, so that bodies that never end keep nobody else out; what is taken is given back exactly once.
import { BrokerError } from "../storage/broker_error.ts";
import { type Access, ANONYMOUS } from "./auth/access.ts";

/** Whose share a body counts in, from the widest to the narrowest; nobody's: all that is left may be taken. */
export type BodyHolder = readonly string[];

/** Strangers on open routes are nobody's tenant; an administrator is held to no share. */
export function bodyHolderOf(access: Access): BodyHolder {
  if (access === ANONYMOUS) return ["strangers"];
  if (access.isAdministrator) return [];
  const { tenant, principal } = access;
  return [`tenant ${tenant}`, `principal ${tenant} ${principal}`];
}

/** All bodies of one broker. */
export class BodyBudget {
  #takenBytes = 0;
  readonly #heldBytes = new Map<string, number>();

  constructor(private readonly limitBytes: number) {}

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** How much more may be taken: of what is left, each share has as much as then is left beside all that it holds. */
  roomBytes(holder: BodyHolder): number {
    let room = this.limitBytes - this.#takenBytes;
    for (const name of holder) room = Math.floor((room - this.#heldBy(name)) / 2);
    return room;
  }

  /** Takes `bytes` for a body that has `ownBytes`, or throws OVERLOADED. The only body there is always passes. */
  take(holder: BodyHolder, bytes: number, ownBytes: number): void {
    if (this.#takenBytes > ownBytes && bytes > this.roomBytes(holder)) throw this.#refusal(holder);
    this.#takenBytes += bytes;
    for (const name of holder) this.#heldBytes.set(name, this.#heldBy(name) + bytes);
  }

  give(holder: BodyHolder, bytes: number): void {
    if (bytes === 0) return;
    this.#takenBytes -= bytes;
    for (const name of holder) {
      const left = this.#heldBy(name) - bytes;
      if (left === 0) this.#heldBytes.delete(name);
      else this.#heldBytes.set(name, left);
    }
  }

  #heldBy(name: string): number {
    return this.#heldBytes.get(name) ?? 0;
  }

  /** A tenant is told what is its principal's alone: the rest is others'. */
  #refusal(holder: BodyHolder): BrokerError {
    const narrowest = holder.at(-1);
    const heldBytes = narrowest === undefined ? this.#takenBytes : this.#heldBy(narrowest);
    return new BrokerError(
      "OVERLOADED",
      `request bodies that are not answered yet, ${heldBytes} bytes of yours, leave no room for another one`,
      { pendingBytes: heldBytes, limitBytes: this.limitBytes },
    );
  }
}

/** The bytes one request holds of the budget of all bodies. */
export class HeldBytes {
  #bytes = 0;

  /** `onTake` hears of bytes before they are taken, and may refuse them too. */
  constructor(
    private readonly budget: BodyBudget,
    private readonly holder: BodyHolder,
    private readonly onTake: (bytes: number) => void = () => {},
  ) {}

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws OVERLOADED when all requests together, or those of the same holder, hold too much; else what `onTake` does. */
  take(bytes: number): void {
    this.onTake(bytes);
    this.budget.take(this.holder, bytes, this.#bytes);
    this.#bytes += bytes;
  }

  /** The request is answered. */
  release(): void {
    this.budget.give(this.holder, this.#bytes);
    this.#bytes = 0;
  }
}
