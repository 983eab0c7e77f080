// Owns how many bytes of one kind may be in memory at once: publishes over all partitions, bodies over all requests.
// Refuses to own what holds them.
// Invariant: what is taken is given back exactly once; the sum never passes the limit, but one request alone may.
import { BrokerError } from "../../storage/broker_error.ts";

export class ByteBudget {
  private taken = 0;

  /** `what` says in a refusal what the bytes are, "publishes that wait for the disk" for example. */
  constructor(private readonly limitBytes: number, private readonly what: string) {}

  /** Takes `bytes`, or throws OVERLOADED. A request larger than the whole budget passes when nothing else is there. */
  take(bytes: number): void {
    if (this.taken > 0 && this.taken + bytes > this.limitBytes) {
      throw new BrokerError(
        "OVERLOADED",
        `there are ${this.taken} bytes of ${this.what} already, the limit is ${this.limitBytes}`,
        { pendingBytes: this.taken, limitBytes: this.limitBytes },
      );
    }
    this.taken += bytes;
  }

  give(bytes: number): void {
    this.taken -= bytes;
  }

  /** Runs `work` while `bytes` are taken. Rejects with OVERLOADED, before it begins, or as `work` does. */
  async holding<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    this.take(bytes);
    try {
      return await work();
    } finally {
      this.give(bytes);
    }
  }

  get takenBytes(): number {
    return this.taken;
  }
}
