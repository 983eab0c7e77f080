// Owns how many bytes of publishes wait for answers, over all producers.
// Refuses to own the bound (the broker's). Invariant: what it counts is at most what the broker holds.
import type { Machine } from "../machine.ts";
import type { World } from "../world.ts";

export class PublishMeter {
  #waitingBytes = 0;
  #waiting = 0;
  #process = 0;
  #isCheckDue = false;

  constructor(private readonly world: World, private readonly machine: Machine) {
    machine.onEnded(() => {
      this.#process++;
      this.#waitingBytes = 0;
      this.#waiting = 0;
    });
  }

  /** Counts a publish until the returned function is called. */
  sending(bytes: number): () => void {
    const process = this.#process;
    this.#waitingBytes += bytes;
    this.#waiting++;
    this.#checkSoon();
    return () => {
      if (process !== this.#process) return;
      this.#waitingBytes -= bytes;
      this.#waiting--;
    };
  }

  /** Once refusals have arrived: they come without any time passing. */
  #checkSoon(): void {
    if (this.#isCheckDue) return;
    this.#isCheckDue = true;
    this.world.time.after(0, () => {
      this.#isCheckDue = false;
      const { maxPendingPublishBytes } = this.world.plan;
      if (this.#waiting < 2 || this.#waitingBytes <= maxPendingPublishBytes) return;
      if (this.machine.broker === null) return;
      this.world.violation(
        `I5: ${this.#waitingBytes} bytes of publishes wait, ${maxPendingPublishBytes} are allowed`,
      );
    });
  }
}
