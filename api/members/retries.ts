// Owns what one HTTP member and its group say to each other about retries, and reading those for an answer.
// Refuses to own leases and positions (member.ts) and every decision (the group's actor).
// Invariant: what is taken in hand is in the next answer; what the group cannot be asked for is asked for by the next poll.
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import { asBrokerError, type BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { HeldPartition } from "../stream/held_partition.ts";
import { partitionKey } from "../stream/held_partition.ts";
import type { Session } from "../stream/session.ts";
import type { AnswerRoom, Found, LeaseReader, Portion } from "./lease_reader.ts";
import type { LeasedRetry } from "./leases.ts";

export interface PolledRetriesOptions {
  readonly broker: Pick<Broker, "group">;
  readonly reader: LeaseReader;
  readonly group: string;
  readonly memberId: () => string;
  readonly session: Session;
  readonly onError: (error: BrokerError) => void;
}

export class PolledRetries {
  readonly #options: PolledRetriesOptions;
  #due = true;

  constructor(options: PolledRetriesOptions) {
    this.#options = options;
  }

  /** The group has something to say. */
  wake(): void {
    this.#due = true;
  }

  /** Whether the group should be asked before anything is waited for. */
  get due(): boolean {
    const { session } = this.#options;
    return this.#due || session.passedSkips || session.withoutRetries().length > 0;
  }

  /** Takes retries that are due, as far as there is room, and reads them. Errors: those of TakeRetries and of fetch. */
  async read(room: AnswerRoom): Promise<readonly Portion[]> {
    if (this.due) await this.#take(room.messages);
    const { session, reader } = this.#options;
    const portions: Portion[] = [];
    while (!room.full) {
      const turn = session.nextTurn(0);
      if (turn?.kind !== "redelivery") break;
      const { held, redelivery: { offset, attempt } } = turn;
      const record = await reader.readOne(held.toJSON(), offset, room);
      if (!session.stillWanted(turn)) continue;
      if (record === null) {
        session.forget(turn);
        this.#forget(held, offset);
        continue;
      }
      session.redelivered(turn);
      portions.push({ ...held.toJSON(), records: [record], attempt });
    }
    return portions;
  }

  /** Leaves out what comes as a retry, or waits behind one. */
  async withoutWaiting(found: Found): Promise<Found> {
    const { held, portion } = found;
    const to = held.hold === "all" ? held.holdFrom : Infinity;
    const nextOffset = Math.min(found.nextOffset, to);
    const records = portion.records.filter(({ offset }) => offset < to && !held.skips.has(offset));
    const parked = new Set(held.hold === "keys" ? await this.#parked(held, records) : []);
    for (const offset of parked) held.skip(offset);
    const left = records.filter(({ offset }) => !parked.has(offset));
    return { ...found, nextOffset, portion: { ...portion, records: left } };
  }

  /** Of a lease, the retries that are still in hand. */
  async inHand(retries: readonly LeasedRetry[]): Promise<readonly LeasedRetry[]> {
    if (retries.length === 0) return [];
    const { broker, group, memberId } = this.#options;
    const holding = retries.map(({ topic, partition, offset }) => ({ topic, partition, offset }));
    const command = { type: "TakeRetries" as const, group, memberId: memberId(), max: 0, holding };
    const { inHand } = await broker.group(command);
    const held = new Set(inHand.map((at) => `${partitionKey(at)}@${at.offset}`));
    return retries.filter((at) => held.has(`${partitionKey(at)}@${at.offset}`));
  }

  /** Of messages that were handed out before, those that are neither nacked nor done since. */
  async withoutNacked(portions: readonly Portion[]): Promise<readonly Portion[]> {
    const { broker, group, memberId } = this.#options;
    const looking = portions.filter(({ records }) => records.length > 0)
      .map(({ topic, partition, records }) => ({ topic, partition, offset: records[0]!.offset }));
    if (looking.length === 0) return portions;
    const command = { type: "TakeRetries" as const, group, memberId: memberId(), max: 0, looking };
    const { skips } = await broker.group(command);
    const skipped = new Map(skips.map((at) => [partitionKey(at), new Set(at.offsets)]));
    return portions.map((portion) => {
      const gone = skipped.get(partitionKey(portion));
      if (gone === undefined) return portion;
      return { ...portion, records: portion.records.filter(({ offset }) => !gone.has(offset)) };
    });
  }

  async #take(max: number): Promise<void> {
    const { broker, group, memberId, session } = this.#options;
    this.#due = false;
    session.passedSkips = false;
    const asked = session.withoutRetries();
    const starting = asked.map(({ held, position }) => ({ ...held.toJSON(), offset: position }));
    const upTo = [...session.held.values()].filter(({ skips }) => skips.size > 0)
      .map((held) => ({ ...held.toJSON(), offset: held.position ?? 0 }));
    try {
      const reply = await broker.group({
        type: "TakeRetries",
        group,
        memberId: memberId(),
        max,
        starting,
        upTo: [...upTo, ...starting],
      });
      session.takeRetries(reply, asked);
      this.#due ||= reply.more;
    } catch (error) {
      this.#due = true;
      throw error;
    }
  }

  async #parked(
    held: HeldPartition,
    records: readonly DecodedRecord[],
  ): Promise<readonly number[]> {
    const { broker, group, memberId } = this.#options;
    if (records.length === 0) return [];
    const { parked } = await broker.group({
      type: "ParkBlocked",
      group,
      memberId: memberId(),
      ...held.toJSON() as TopicPartition,
      offsets: records.map(({ offset }) => offset),
    });
    return parked;
  }

  #forget(held: HeldPartition, offset: number): void {
    const { broker, group, onError } = this.#options;
    const retries = [{ ...held.toJSON(), offset }];
    broker.group({ type: "ForgetRetries", group, retries })
      .catch((error) => onError(asBrokerError(error)));
  }
}
