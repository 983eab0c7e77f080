// Owns how many bytes of publishes may be in memory at once, over all partitions.
// Refuses to own the queues themselves.
// Invariant: what is taken is given back exactly once; the sum never passes the limit, but one request alone may.
import { BrokerError } from "../../storage/broker_error.ts";

export class ByteBudget {
  private taken = 0;

  constructor(private readonly limitBytes: number) {}

  /** Takes `bytes`, or throws OVERLOADED. A request larger than the whole budget passes when nothing else is there. */
  take(bytes: number): void {
    if (this.taken > 0 && this.taken + bytes > this.limitBytes) {
      throw new BrokerError(
        "OVERLOADED",
        `${this.taken} bytes of publishes already wait for the disk, the limit is ${this.limitBytes}`,
        { pendingBytes: this.taken, limitBytes: this.limitBytes },
      );
    }
    this.taken += bytes;
  }

  give(bytes: number): void {
    this.taken -= bytes;
  }

  get takenBytes(): number {
    return this.taken;
  }
}
