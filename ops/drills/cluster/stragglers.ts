// Owns requests that are sent to a broker which cannot answer, and are waited for until it can.
// Refuses to own pausing it. Invariant: what it acknowledges late is an acknowledgement like any other.
import type { AckChecker } from "../ack_checker.ts";
import { ask, Unanswered } from "./broker_http.ts";
import type { ReadTarget } from "./cluster_read_back.ts";

const WAIT_MS = 40_000;

export class Stragglers {
  readonly violations: string[] = [];
  readonly #requests: Promise<boolean>[] = [];

  constructor(
    private readonly url: string,
    private readonly target: ReadTarget,
    private readonly checker: AckChecker,
  ) {}

  /** A message of a producer of its own to each of the partitions. */
  send(partitions: readonly number[]): void {
    for (const partition of partitions) this.#requests.push(this.#publish(partition));
  }

  /** How many were acknowledged in the end. */
  async settle(): Promise<number> {
    return (await Promise.all(this.#requests)).filter((isAcknowledged) => isAcknowledged).length;
  }

  async #publish(partition: number): Promise<boolean> {
    const { token, topic, padding } = this.target;
    const value = `waiting${partition}:0`;
    try {
      const { status, body } = await ask(`${this.url}/api/messages:publish`, {
        token,
        timeoutMs: WAIT_MS,
        method: "POST",
        body: { topic, partition, acks: "all", messages: [{ value: value + padding }] },
      });
      if (status !== 200) return false;
      const { offset } = body.results[0];
      this.violations.push(...this.checker.acknowledged({ partition, offset, value }));
      return true;
    } catch (error) {
      if (error instanceof Unanswered) return false;
      throw error;
    }
  }
}
