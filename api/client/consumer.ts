// Owns what an application consumes with: iterators, commit, nack, pause, close.
// Refuses to own membership (membership.ts) and finding the next message (message_source.ts).
// Invariant: nothing is committed but what the application was given and has settled, or come back from.
import type { Timers } from "../../storage/ports.ts";
import { notAssigned } from "./commit_queue.ts";
import { ConsumedMessage, MessageBatch } from "./consumed.ts";
import { type ConsumerOptions, resolveConsumerOptions } from "./consumer_options.ts";
import type { Cursor } from "./cursor.ts";
import { WaybillError } from "./errors.ts";
import type { PartitionOffset, TopicPartition } from "./frames.ts";
import { type ConsumerEnv, Membership } from "./membership.ts";
import { MessageSource } from "./message_source.ts";
import type { NackOptions } from "./nacks.ts";

/** What can be committed: what was handed out, or a place. */
export type Committable = ConsumedMessage | MessageBatch | PartitionOffset;

/**
 * Consumes topics as a member of a group; an AsyncIterable of messages. It connects when the first is asked for, comes
 * back by itself after a lost connection, and then hands out no message twice as long as the broker still knows the
 * member; when partitions have moved meanwhile, delivery is at least once.
 *
 * The broker sends at most `maxInFlight` messages ahead of what is committed or nacked: an application that does neither
 * (and has no `autoCommit`) gets that many and no more, which `onLagging` tells.
 *
 * Errors are WaybillErrors. The iterator rejects for what another attempt cannot cure (UNAUTHENTICATED, FORBIDDEN,
 * UNKNOWN_TOPIC, REPLACED, UNSUPPORTED_COMPRESSION, CORRUPT_BATCH, …); everything else goes to `onError`.
 */
export class Consumer implements AsyncIterable<ConsumedMessage> {
  readonly #membership: Membership;
  readonly #source: MessageSource;
  readonly #timers: Timers;
  readonly #closeTimeoutMs: number;
  #iterating = false;
  #started = false;
  #closing: Promise<void> | null = null;
  #onClosed: () => void = () => {};
  /** Resolves when it has been closed. */
  readonly closed: Promise<void> = new Promise((resolve) => this.#onClosed = resolve);

  constructor(env: ConsumerEnv, options: ConsumerOptions) {
    const resolved = resolveConsumerOptions(options);
    this.#timers = env.ports.timers;
    this.#closeTimeoutMs = resolved.closeTimeoutMs;
    this.#membership = new Membership(env, resolved, {
      onNews: () => this.#source.wake(),
      onGone: () => this.#source.dropGone(),
      onFatal: (error) => this.#source.end(error),
    });
    const crc = resolved.verifyCrc ? env.ports.crc : null;
    this.#source = new MessageSource({ membership: this.#membership, crc });
  }

  /** Id of this member, null before the first connection. */
  get memberId(): string | null {
    return this.#membership.link.memberId;
  }

  /** Partitions that are assigned, and from where the application goes on. */
  get assignment(): PartitionOffset[] {
    const { states } = this.#membership.assignment;
    return states.map((state) => ({ ...state.toJSON(), offset: state.handed }));
  }

  /** Connects without waiting for an iterator. */
  start(): void {
    if (this.#started || this.#closing !== null) return;
    this.#started = true;
    this.#membership.link.start();
  }

  /** Messages one by one. Asking for the next means that the one before is consumed. */
  [Symbol.asyncIterator](): AsyncIterableIterator<ConsumedMessage> {
    return this.#iterate((cursor) => {
      cursor.give(1);
      return new ConsumedMessage(cursor.handOut, cursor.given - 1);
    });
  }

  /** Messages as they came, several of one partition at a time. Asking for the next means that all before are consumed. */
  batches(): AsyncIterableIterator<MessageBatch> {
    return this.#iterate((cursor) => {
      const { handOut, given } = cursor;
      cursor.give(handOut.records.length - given);
      return new MessageBatch(handOut, given);
    });
  }

  /**
   * Commits that everything up to and with the message (or batch) is done, or all below a place. Resolves when the
   * broker has it. NOT_ASSIGNED when the partition has moved, TIMEOUT, CLIENT_CLOSED, and the broker's own codes.
   */
  commit(what: Committable | readonly Committable[]): Promise<void> {
    if (!isList(what)) return this.#commitOne(what);
    return Promise.all(what.map((one) => this.#commitOne(one))).then(() => {});
  }

  /** Commits everything that the application was given. */
  async commitAll(): Promise<void> {
    const commits: Promise<void>[] = [];
    for (const state of this.#membership.assignment.states) {
      commits.push(this.#membership.commit(state, state.handed));
      for (const offset of state.redelivered.keys()) {
        const message = { offset, isRedelivery: true };
        commits.push(this.#membership.commit(state, offset + 1, message));
      }
    }
    await Promise.all(commits);
  }

  /**
   * The message failed: it comes again, with `attempt` one higher, after `delayMs` or the broker's backoff. A refusal
   * goes to `onError`. Throws NOT_ASSIGNED when the partition has moved.
   */
  nack(message: ConsumedMessage, options: NackOptions = {}): void {
    const state = ConsumedMessage.stateOf(message);
    if (state.gone) throw notAssigned(state);
    this.#membership.nacks.nack(state, message, options);
    this.#membership.settled();
  }

  /** Hands nothing of these out until `resume`; what is not assigned is passed over. */
  pause(partitions: readonly TopicPartition[]): void {
    this.#membership.setPaused(partitions, true);
  }

  resume(partitions: readonly TopicPartition[]): void {
    this.#membership.setPaused(partitions, false);
  }

  /**
   * Ends the iterators, commits what was consumed (with `autoCommit`), waits for commits on their way, leaves the group.
   * What the application was given and did not commit goes to other members. Never rejects.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { commits, autoCommit, link } = this.#membership;
    this.#source.end(null);
    autoCommit?.commitNow();
    if (this.#membership.isAssigned) {
      await new Promise<void>((resolve) => {
        const cancel = this.#timers.after(this.#closeTimeoutMs, resolve);
        commits.whenIdle(() => {
          cancel();
          resolve();
        });
      });
    }
    await link.close();
    const detail = "the consumer is closed";
    this.#membership.end(new WaybillError("CLIENT_CLOSED", detail, { retryable: false }));
    this.#onClosed();
  }

  #iterate<T>(give: (cursor: Cursor) => T): AsyncIterableIterator<T> {
    if (this.#iterating) throw new Error("a consumer has one iterator at a time");
    this.#iterating = true;
    this.start();
    let before: Promise<unknown> | null = null;
    const next = async (): Promise<IteratorResult<T>> => {
      // Calls that do not wait for each other are served in order.
      await before;
      const cursor = await this.#source.next();
      return cursor === null
        ? { done: true, value: undefined }
        : { done: false, value: give(cursor) };
    };
    const iterator: AsyncIterableIterator<T> = {
      next: () => {
        const result = next();
        const settled = result.then(() => {}, () => {}).then(() => {
          if (before === settled) before = null;
        });
        before = settled;
        return result;
      },
      return: () => {
        this.#iterating = false;
        this.#source.putBack();
        return Promise.resolve({ done: true, value: undefined });
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  }

  #commitOne(what: Committable): Promise<void> {
    if (what instanceof ConsumedMessage) {
      return this.#membership.commit(ConsumedMessage.stateOf(what), what.offset + 1, what);
    }
    if (what instanceof MessageBatch) {
      const { state, isRedelivery, nextOffset } = MessageBatch.handOutOf(what);
      const message = isRedelivery ? { offset: nextOffset - 1, isRedelivery } : undefined;
      return this.#membership.commit(state, nextOffset, message);
    }
    const state = this.#membership.assignment.state(what);
    if (state !== undefined) return this.#membership.commit(state, what.offset);
    const detail = `${what.topic}/${what.partition} is not assigned to this consumer`;
    return Promise.reject(new WaybillError("NOT_ASSIGNED", detail, { retryable: false }));
  }
}

function isList(what: Committable | readonly Committable[]): what is readonly Committable[] {
  return Array.isArray(what);
}
