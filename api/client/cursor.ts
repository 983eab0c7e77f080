// Owns where an application stands within what was handed out: what it was given, what it has come back from.
// Refuses to own where more comes from.
// Invariant: consumed <= given; what was not given can be put back.
import type { HandOut } from "./partition_state.ts";

export class Cursor {
  /** Records that the application has. */
  given = 0;
  /** Records after which it has asked for more. */
  consumed = 0;

  constructor(readonly handOut: HandOut) {}

  get finished(): boolean {
    return this.given === this.handOut.records.length;
  }

  /** Gives the next `count` records. */
  give(count: number): void {
    const { state, records } = this.handOut;
    const end = this.given + count;
    for (; this.given < end; this.given++) {
      state.give(records[this.given]!.offset, this.handOut);
    }
    if (this.finished) state.handedOut(this.handOut);
  }

  /** Next offset after what was given. */
  get nextOffset(): number {
    const { records, nextOffset } = this.handOut;
    return this.finished ? nextOffset : records[this.given]!.offset;
  }
}
