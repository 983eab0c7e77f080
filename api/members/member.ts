// Owns one member that polls over HTTP: its place in the group, what it hears from there, and the course of a poll.
// Refuses to own requests and answers (routes.ts), who else is a member (registry.ts), reading (poll_reading.ts), and
// positions and leases (handouts.ts).
// Invariant: a poll waits only while there is nothing to answer and nothing has changed for the member.
import type { TopicPartition } from "../../actors/broker.ts";
import type { GroupNotification, JoinReply } from "../../actors/group/types.ts";
import type { Owner } from "../../actors/ownership.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import { Assignment } from "../stream/assignment.ts";
import type { HeldPartition } from "../stream/held_partition.ts";
import { type JoinRequest, MemberLink } from "../stream/member_link.ts";
import { Session } from "../stream/session.ts";
import { GroupPause } from "./group_pause.ts";
import { type Handout, Handouts } from "./handouts.ts";
import { AnswerRoom } from "./lease_reader.ts";
import { PollQueue } from "./poll_queue.ts";
import { PollReading } from "./poll_reading.ts";
import { type HttpMemberOptions, newToken, type PollAnswer, type PollRequest } from "./polling.ts";
import { PolledRetries } from "./retries.ts";
import { Wakeup } from "./wakeup.ts";

export class HttpMember {
  readonly #options: HttpMemberOptions;
  readonly #session: Session;
  readonly #link: MemberLink;
  readonly #assignment: Assignment;
  readonly #wakeup: Wakeup;
  readonly #retries: PolledRetries;
  readonly #reading: PollReading;
  readonly #pause: GroupPause;
  readonly #handouts: Handouts;
  readonly #polls: PollQueue;
  #sessionTimeoutMs = 0;
  #removed: string | null = null;
  /** Rises with every word of the group and every start of a partition. */
  #changes = 0;
  /** As the group said last. */
  #withdrawn: { readonly version: string; readonly reason: string } | null = null;

  constructor(options: HttpMemberOptions) {
    this.#options = options;
    const { services, group } = options;
    const { broker, randomness, onError } = services;
    this.#session = new Session({ maxInFlight: Infinity, asksForRetries: true });
    const onNotification = (notification: GroupNotification) => this.#hear(notification);
    this.#link = new MemberLink({ broker, randomness, group, onNotification, onError });
    this.#wakeup = new Wakeup(services);
    this.#retries = new PolledRetries({
      broker,
      reader: services.reader,
      group,
      memberId: () => this.memberId,
      session: this.#session,
      onError: (error) => this.#report(error),
    });
    this.#reading = new PollReading({
      session: this.#session,
      retries: this.#retries,
      reader: services.reader,
      onOutOfRange: (held) => this.#restart(held),
    });
    this.#pause = new GroupPause({
      group,
      session: this.#session,
      committedOffsets: services.committedOffsets,
      recheck: () => this.#assignment.recheck(),
    });
    this.#polls = new PollQueue({
      maxQueued: services.limits.maxQueuedPolls,
      wake: () => this.#wakeup.wake(),
    });
    this.#handouts = new Handouts({
      group,
      session: this.#session,
      retries: this.#retries,
      committedOffsets: services.committedOffsets,
      newToken: () => newToken(options),
    });
    this.#assignment = new Assignment({
      ...services,
      session: this.#session,
      group,
      topics: options.topics,
      autoOffsetReset: options.autoOffsetReset,
      retryMs: services.limits.retryMs,
      monotonic: () => services.clock.monotonic(),
      send: () => {},
      release: (partitions) => void this.#link.release(partitions),
      onDropped: () => {},
      onReady: () => this.#changed(),
      onFault: (_held, error) => this.#report(error),
    });
  }

  /** What it subscribes to. */
  get topics(): readonly string[] {
    return this.#options.topics;
  }

  /** Whose it is; null: anyone's. */
  get owner(): Owner | null {
    return this.#options.owner;
  }

  get memberId(): string {
    return this.#link.memberId!;
  }

  /** Joins and waits a while for the first assignment; `onJoined` hears of it at once. Errors: those of Join. */
  async join(
    request: JoinRequest,
    signal: AbortSignal,
    onJoined: (memberId: string) => void,
  ): Promise<PollAnswer> {
    const reply = await this.#join(request);
    onJoined(reply.memberId);
    this.#sessionTimeoutMs = request.sessionTimeoutMs;
    this.#session.generation = reply.generation;
    if (reply.resumed || reply.assignment.length > 0) {
      this.#assignment.assigned(reply.generation, reply.assignment);
    }
    this.#link.listen();
    if (this.#changes === 0) {
      const { limits } = this.#options.services;
      await this.#wakeup.wait({ waitMs: limits.joinWaitMs, signal, partitions: [] });
    }
    await this.#assignment.started();
    return this.#answer(this.#handouts.first);
  }

  /** Goes on for a member that joined in an earlier life of the broker: from the committed offsets. Throws UNKNOWN_MEMBER. */
  async adopt(memberId: string, sessionTimeoutMs: number): Promise<void> {
    const { generation, assignment, paused, withdrawn } = await this.#link.adopt(memberId);
    this.#withdrawn = withdrawn ?? null;
    this.#sessionTimeoutMs = sessionTimeoutMs;
    this.#handouts.adopted();
    // Word of it went to the edge of that life.
    if (paused !== null) void this.#pause.begin(paused.reason);
    this.#assignment.assigned(generation, assignment);
    this.#link.listen();
  }

  /** One poll; a later one ends the wait of those before. Throws UNKNOWN_MEMBER, STALE_LEASE, OVERLOADED, and what reading does. */
  poll(request: PollRequest): Promise<PollAnswer> {
    return this.#polls.run((mayWait) => this.#poll(request, mayWait));
  }

  /** Ends the wait of every poll. */
  interrupt(): void {
    this.#polls.interrupt();
  }

  /** No longer a member, for `reason`; polls that are under way are told so. */
  end(reason: string): void {
    if (this.#removed !== null) return;
    this.#removed = reason;
    this.#link.end();
    this.#assignment.stop();
    this.#wakeup.wake();
    this.#options.onRemoved();
  }

  async #join(request: JoinRequest): Promise<JoinReply> {
    try {
      return await this.#link.join(request);
    } catch (error) {
      this.#link.end();
      throw error;
    }
  }

  async #poll(request: PollRequest, mayWait: () => boolean): Promise<PollAnswer> {
    const { clock } = this.#options.services;
    const until = clock.monotonic() + request.waitMs;
    await this.#beat();
    this.#releaseRevoked();
    const before = this.#changes;
    const again = await this.#handouts.again(request.leaseToken);
    if (again !== null) {
      const portions = await this.#reading.again(again.lease, again.open, request.hold);
      const isEmpty = portions.every(({ records }) => records.length === 0);
      // All of it may have been nacked since, or retention has taken it.
      if (!isEmpty || again.lease.token !== request.leaseToken) {
        return this.#answer({ token: again.lease.token, portions });
      }
    }
    for (;;) {
      const heldMs = request.quota.delayMsOfAny(this.#options.topics);
      // While there is no room for anything, nothing is taken.
      const maxBytes = heldMs > 0 ? 0 : await request.hold.room(this.#roomBytes(request.quota));
      const room = new AnswerRoom(request.maxMessages, maxBytes);
      const news = await this.#reading.news(room, request.quota);
      if (news.found.length + news.retries.length > 0) {
        return this.#answer(this.#handouts.renew(news, request.leaseToken));
      }
      const leftMs = until - clock.monotonic();
      request.hold.release();
      const isOver = leftMs <= 0 || request.signal.aborted || !mayWait();
      if (isOver || before !== this.#changes) {
        return this.#answer(this.#handouts.nothing(request.leaseToken));
      }
      if (heldMs > 0) await this.#heldBack(Math.min(leftMs, heldMs), request.signal);
      else if (!this.#retries.due) await this.#wait(leftMs, request.signal);
      await this.#beat();
      this.#releaseRevoked();
    }
  }

  /** A poll is a sign of life, while it waits too. Throws UNKNOWN_MEMBER. */
  async #beat(): Promise<void> {
    this.#refuseRemoved();
    const reply = await this.#link.heartbeat();
    this.#refuseRemoved();
    if (reply !== null) {
      this.#withdrawn = reply.withdrawn ?? null;
      this.#assignment.resync(reply);
    }
    await this.#assignment.started();
  }

  /** Who polls has done with what was handed out before: partitions that the group wants back are given up. */
  #releaseRevoked(): void {
    const revoked = this.#session.revokedBefore(Infinity);
    if (revoked.length > 0) this.#assignment.giveUp(revoked);
    this.#handouts.keepOnly((at) => this.#find(at) !== undefined);
  }

  #answer({ token, portions }: Handout): PollAnswer {
    const assignment = [...this.#session.held.values()].filter(({ revoking }) => !revoking)
      .map((held) => held.toJSON());
    const { generation } = this.#session;
    const { reason } = this.#pause;
    const paused = reason === null ? {} : { paused: { reason } };
    const withdrawn = this.#withdrawn === null ? {} : { withdrawn: this.#withdrawn };
    return { leaseToken: token, generation, assignment, portions, ...paused, ...withdrawn };
  }

  async #wait(leftMs: number, signal: AbortSignal): Promise<void> {
    const waitMs = Math.min(leftMs, this.#sessionTimeoutMs / 3);
    const partitions = this.#session.groupPaused ? [] : this.#reading.readable();
    await this.#wakeup.wait({ waitMs, signal, partitions });
  }

  #roomBytes(quota: ConsumerQuota): number {
    const { maxBytes } = this.#options.services.limits;
    const ofQuota = Math.max(...this.#options.topics.map((topic) => quota.roomBytes(topic)));
    return Math.min(maxBytes, Math.ceil(ofQuota));
  }

  async #heldBack(delayMs: number, signal: AbortSignal): Promise<void> {
    const waitMs = Math.min(delayMs, this.#sessionTimeoutMs / 3);
    await this.#wakeup.wait({ waitMs, signal, partitions: [] });
  }

  #hear(notification: GroupNotification): void {
    switch (notification.type) {
      case "assigned":
        this.#assignment.assigned(notification.generation, notification.partitions);
        break;
      case "revoked":
        this.#assignment.revoked(notification.generation, notification.partitions);
        break;
      case "removed":
        this.end(notification.reason);
        break;
      case "withdrawn": {
        const { version, reason } = notification;
        this.#withdrawn = { version, reason };
        break;
      }
      case "paused":
        void this.#pause.begin(notification.reason);
        return;
      case "retries":
        // Leases find out what was nacked on their own.
        if (notification.nacked !== undefined && notification.partitions.length === 0) return;
        this.#retries.wake();
        return this.#wakeup.wake();
      case "resumed":
        if (this.#session.groupPaused) void this.#resume();
        return;
    }
    this.#changed();
  }

  async #resume(): Promise<void> {
    const goesOn = await this.#pause.end();
    if (goesOn === null) return;
    // What starts anew comes again from there, not from the lease.
    this.#handouts.keepOnly((at) => {
      const held = this.#find(at);
      return held !== undefined && goesOn(held);
    });
    this.#changed();
  }

  #restart(held: HeldPartition): void {
    this.#handouts.keepOnly((at) => this.#find(at) !== held);
    this.#assignment.restart(held);
  }

  #find(at: TopicPartition): HeldPartition | undefined {
    return this.#session.held.get(`${at.topic}/${at.partition}`);
  }

  #changed(): void {
    this.#changes++;
    this.#wakeup.wake();
  }

  #refuseRemoved(): void {
    if (this.#removed === null) return;
    const { memberId } = this;
    const { group } = this.#options;
    const detail = `${memberId} is no longer a member of group ${group}: ${this.#removed}`;
    throw new BrokerError("UNKNOWN_MEMBER", detail, { groupId: group, memberId });
  }

  #report(error: BrokerError): void {
    if (error.code === "INTERNAL") this.#options.services.onError(error.cause ?? error);
  }
}
