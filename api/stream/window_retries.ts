// Owns what a session takes from the group about retries: which are to be sent, and what those that wait hold up.
// Refuses to own asking (retries.ts) and every decision (the group's actor).
// Invariant: nothing of a partition is read before the group has said what of it waits for a retry.
import type { TakeRetriesReply } from "../../actors/group/retry/types.ts";
import { type HeldPartition, partitionKey } from "./held_partition.ts";
import type { Window } from "./window.ts";

const NONE: readonly never[] = Object.freeze([]);

/** A partition that the group is asked about, and where reading of it starts. */
export interface AskedPartition {
  readonly held: HeldPartition;
  readonly position: number;
}

export class WindowRetries {
  readonly #window: Window;
  /** Partitions of which the group has not said what waits for a retry. */
  readonly #unknown = new Set<HeldPartition>();
  /** Of some partition that is held, or was when the group was asked last. */
  #isHeldByKey = false;

  constructor(window: Window) {
    this.#window = window;
  }

  /** Whether messages wait behind a retry with their key. */
  get isHeldByKey(): boolean {
    return this.#isHeldByKey;
  }

  /** The group is to be asked before it is read. */
  expect(held: HeldPartition): void {
    this.#unknown.add(held);
  }

  /** It is no longer held. */
  drop(held: HeldPartition): void {
    this.#unknown.delete(held);
  }

  /** Partitions of which the group has not said yet what waits for a retry. */
  unknown(): readonly AskedPartition[] {
    if (this.#unknown.size === 0) return NONE;
    const unknown = [];
    for (const held of this.#unknown) {
      const { revoking, position } = held;
      if (!revoking && position !== null) unknown.push({ held, position });
    }
    return unknown;
  }

  /**
   * What the group says of retries; `asked` are the partitions that were told to start, and from where on; `nackCount` is
   * what it was when the group was asked.
   */
  take(reply: TakeRetriesReply, asked: readonly AskedPartition[], nackCount: number): void {
    for (const { held, position } of asked) {
      // It may have been started anew, elsewhere, meanwhile.
      if (!this.#window.holds(held) || held.position !== position) continue;
      held.retriesKnown = true;
      this.#unknown.delete(held);
    }
    this.#schedule(reply);
    this.#holdUp(reply, nackCount);
  }

  #schedule({ skips, retries }: TakeRetriesReply): void {
    for (const at of skips) {
      const held = this.#window.find(at);
      for (const offset of at.offsets) held?.skip(offset);
    }
    for (const { offset, attempt, ...at } of retries) {
      const held = this.#window.find(at);
      // Whoever starts the partition next gets it then.
      if (held === undefined) continue;
      held.skip(offset);
      this.#window.redeliveries.schedule({ key: held.key, offset, attempt, dueAt: 0 });
    }
  }

  #holdUp(reply: TakeRetriesReply, nackCount: number): void {
    const holds = new Map(reply.held.map((at) => [partitionKey(at), at]));
    const blocks = new Set(reply.blocks);
    this.#isHeldByKey = reply.held.some(({ hold }) => hold === "keys");
    for (const held of this.#window.held.values()) {
      const hold = holds.get(held.key);
      held.hold = hold?.hold ?? "none";
      held.holdFrom = hold?.from ?? 0;
      // Reading goes up to what waits, and passes over it: then it may come as a retry.
      if (hold !== undefined) held.skip(hold.from);
      this.#window.passSkips(held);
      held.blocks = blocks.has(held.topic);
      if (held.unheardNack <= nackCount) held.unheardNack = 0;
      held.admittedTo = 0;
      this.#window.refresh(held);
    }
  }
}
