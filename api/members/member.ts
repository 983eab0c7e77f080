// Owns one member that polls over HTTP: its place in the group, its positions, its lease, one poll at a time.
// Refuses to own requests and answers (routes.ts), who else is a member (registry.ts), reading (lease_reader.ts).
// Invariant: positions move only when a lease is renewed, so an answer that was lost can be made again.
import type { TopicPartition } from "../../actors/broker.ts";
import type { GroupNotification, JoinReply } from "../../actors/group/types.ts";
import type { Owner } from "../../actors/ownership.ts";
import { BrokerError } from "../../storage/broker_error.ts";
import type { DecodedRecord } from "../../storage/format/decode.ts";
import type { AnswerHold } from "../answer_budget.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import { contentBytes } from "../record_reader.ts";
import { Assignment } from "../stream/assignment.ts";
import type { HeldPartition } from "../stream/held_partition.ts";
import { type JoinRequest, MemberLink } from "../stream/member_link.ts";
import { Session } from "../stream/session.ts";
import { AnswerRoom, type Found, type Portion } from "./lease_reader.ts";
import { type HttpMemberOptions, newToken, type PollAnswer, type PollRequest } from "./polling.ts";
import { type Lease, type LeasedRange, type LeasedRetry, Leases } from "./leases.ts";
import { PolledRetries } from "./retries.ts";
import { Wakeup } from "./wakeup.ts";

export class HttpMember {
  readonly #options: HttpMemberOptions;
  readonly #session: Session;
  readonly #link: MemberLink;
  readonly #assignment: Assignment;
  readonly #wakeup: Wakeup;
  readonly #retries: PolledRetries;
  #leases: Leases;
  #sessionTimeoutMs = 0;
  #removed: string | null = null;
  /** Rises with every word of the group and every start of a partition. */
  #changes = 0;
  #pauses = 0;
  #pauseReason = "";
  /** As the group said last. */
  #withdrawn: { readonly version: string; readonly reason: string } | null = null;
  #polls = 0;
  /** The poll that came last; those before it no longer wait. */
  #newestPoll = 0;
  #tail: Promise<unknown> = Promise.resolve();
  #turn = 0;

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
    this.#leases = new Leases(newToken(options), { adopted: false });
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
    return this.#answer(this.#leases.latest, []);
  }

  /** Goes on for a member that joined in an earlier life of the broker: from the committed offsets. Throws UNKNOWN_MEMBER. */
  async adopt(memberId: string, sessionTimeoutMs: number): Promise<void> {
    const { generation, assignment, paused, withdrawn } = await this.#link.adopt(memberId);
    this.#withdrawn = withdrawn ?? null;
    this.#sessionTimeoutMs = sessionTimeoutMs;
    this.#leases = new Leases(newToken(this.#options), { adopted: true });
    // Word of it went to the edge of that life.
    if (paused !== null) void this.#pause(paused.reason);
    this.#assignment.assigned(generation, assignment);
    this.#link.listen();
  }

  /** One poll; a later one ends the wait of those before. Throws UNKNOWN_MEMBER, STALE_LEASE, OVERLOADED, and what reading does. */
  async poll(request: PollRequest): Promise<PollAnswer> {
    const { maxQueuedPolls } = this.#options.services.limits;
    if (this.#polls > maxQueuedPolls) {
      throw new BrokerError("OVERLOADED", `${maxQueuedPolls} polls of this member wait already`);
    }
    const number = ++this.#newestPoll;
    this.#polls++;
    this.#wakeup.wake();
    const poll = this.#tail.then(() => this.#poll(request, number));
    this.#tail = poll.catch(() => {}).finally(() => this.#polls--);
    return await poll;
  }

  /** Ends the wait of every poll. */
  interrupt(): void {
    this.#newestPoll++;
    this.#wakeup.wake();
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

  async #poll(request: PollRequest, number: number): Promise<PollAnswer> {
    const { clock } = this.#options.services;
    const until = clock.monotonic() + request.waitMs;
    await this.#beat();
    this.#releaseRevoked();
    const before = this.#changes;
    const again = await this.#leaseAgain(request.leaseToken);
    if (again !== null) {
      const portions = await this.#readAgain(again, request.hold);
      const isEmpty = portions.every(({ records }) => records.length === 0);
      // All of it may have been nacked since, or retention has taken it.
      if (!isEmpty || again.lease.token !== request.leaseToken) {
        return this.#answer(again.lease, portions);
      }
    }
    for (;;) {
      const heldMs = request.quota.delayMsOfAny(this.#options.topics);
      // While there is no room for anything, nothing is taken.
      const maxBytes = heldMs > 0 ? 0 : await request.hold.room(this.#roomBytes(request.quota));
      const room = new AnswerRoom(request.maxMessages, maxBytes);
      const retries = this.#session.groupPaused ? [] : await this.#retries.read(room);
      const found = await this.#readNew(room, { retries, quota: request.quota });
      if (found.length + retries.length > 0) {
        return this.#renew({ found, retries }, request.leaseToken);
      }
      const leftMs = until - clock.monotonic();
      request.hold.release();
      const isOver = leftMs <= 0 || request.signal.aborted || number !== this.#newestPoll;
      if (isOver || before !== this.#changes) return this.#nothing(request.leaseToken);
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
    this.#leases.keepOnly((at) => this.#find(at) !== undefined);
  }

  /** With those of its retries that are still in hand. */
  async #leaseAgain(
    token: string | undefined,
  ): Promise<{ lease: Lease; open: readonly LeasedRetry[] } | null> {
    const { committedOffsets } = this.#options.services;
    const open = token === undefined ? [] : await this.#retries.inHand(this.#leases.latest.retries);
    const isNeeded = token !== undefined && this.#leases.latest.ranges.length > 0;
    const offsets = isNeeded ? await committedOffsets.read(this.#options.group) : new Map();
    const isCommitted = (range: LeasedRange) =>
      (offsets.get(`${range.topic}/${range.partition}`) ?? 0) >= range.to;
    const lease = this.#leases.again(token, isCommitted, open);
    return lease === null ? null : { lease, open };
  }

  async #readAgain(
    { lease, open }: { lease: Lease; open: readonly LeasedRetry[] },
    hold: AnswerHold,
  ): Promise<readonly Portion[]> {
    const { reader } = this.#options.services;
    const portions: Portion[] = [];
    let bytes = 0;
    const cover = (record: DecodedRecord) => hold.cover(bytes += contentBytes(record));
    for (const { offset, attempt, topic, partition } of open) {
      const at = { topic, partition };
      const record = await reader.readOne(at, offset, new AnswerRoom(1, Infinity));
      if (record === null) continue;
      cover(record);
      portions.push({ ...at, records: [record], attempt });
    }
    const again = await this.#retries.withoutNacked(await reader.readAgain(lease.ranges, cover));
    return [...portions, ...again];
  }

  /** Something of every partition in turn, another one first each time. A fault counts only when nothing else is found. */
  async #readNew(
    room: AnswerRoom,
    { retries, quota }: { retries: readonly Portion[]; quota: ConsumerQuota },
  ): Promise<readonly Found[]> {
    if (this.#session.groupPaused || room.full) return [];
    const { reader } = this.#options.services;
    const all = this.#readable().filter(({ topic }) => quota.delayMs(topic) === 0);
    const first = all.length === 0 ? 0 : this.#turn++ % all.length;
    const read = await reader.readNew([...all.slice(first), ...all.slice(0, first)], room);
    for (const held of read.outOfRange) this.#restart(held);
    const usable = await this.#usable(read.found);
    if (usable.length + retries.length === 0 && read.fault !== null) throw read.fault;
    return usable;
  }

  async #usable(found: readonly Found[]): Promise<Found[]> {
    const usable: Found[] = [];
    for (const one of found) {
      const left = await this.#retries.withoutWaiting(one);
      usable.push(left);
    }
    return usable.filter((one) => this.#isUsable(one));
  }

  /** Partitions that are to be read on, as far as the group has let on. */
  #readable(): (HeldPartition & { readonly position: number })[] {
    return [...this.#session.assigned()].filter(({ retriesKnown, heldUp }) =>
      retriesKnown && !heldUp
    );
  }

  /** Reading took time, in which partitions may have been taken away, paused or positioned anew. */
  #isUsable({ held, from }: Found): boolean {
    if (this.#session.groupPaused || !this.#session.holds(held)) return false;
    return held.open && held.position === from && held.retriesKnown && !held.heldUp;
  }

  #renew(
    { found, retries }: { found: readonly Found[]; retries: readonly Portion[] },
    asked: string | undefined,
  ): PollAnswer {
    this.#session.settleAll();
    const ranges: LeasedRange[] = [];
    for (const { held, from, nextOffset, portion: { topic, partition, records } } of found) {
      const hasMessages = records.length > 0;
      if (hasMessages) ranges.push({ topic, partition, from, to: nextOffset });
      const runs = hasMessages ? [{ from, to: nextOffset }] : [];
      const turn = { kind: "read" as const, held, position: from };
      this.#session.delivered(turn, { runs, nextOffset, highWatermark: nextOffset });
    }
    // Gaps alone move positions and make no lease.
    if (ranges.length + retries.length === 0) return this.#nothing(asked);
    const leased = retries.map(({ topic, partition, records, attempt }) => ({
      topic,
      partition,
      offset: records[0]!.offset,
      attempt: attempt!,
    }));
    const lease = { token: newToken(this.#options), ranges, retries: leased };
    this.#leases.renew(lease, asked);
    return this.#answer(lease, [...retries, ...found.map(({ portion }) => portion)]);
  }

  /** An empty answer is no loss: the token that was asked with stays the one to ask with. */
  #nothing(asked: string | undefined): PollAnswer {
    const { token } = this.#leases.latest;
    if (asked !== token) {
      this.#leases.renew({ token: newToken(this.#options), ranges: [], retries: [] }, asked);
    }
    return this.#answer(this.#leases.latest, []);
  }

  #answer(lease: Lease, portions: readonly Portion[]): PollAnswer {
    const assignment = [...this.#session.held.values()].filter(({ revoking }) => !revoking)
      .map((held) => held.toJSON());
    const { generation } = this.#session;
    const paused = this.#session.groupPaused ? { paused: { reason: this.#pauseReason } } : {};
    const withdrawn = this.#withdrawn === null ? {} : { withdrawn: this.#withdrawn };
    return { leaseToken: lease.token, generation, assignment, portions, ...paused, ...withdrawn };
  }

  async #wait(leftMs: number, signal: AbortSignal): Promise<void> {
    const waitMs = Math.min(leftMs, this.#sessionTimeoutMs / 3);
    const partitions = this.#session.groupPaused ? [] : this.#readable();
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
        void this.#pause(notification.reason);
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

  /** Remembers what is committed, so that it shows whether an operator moves it while the group is paused. */
  async #pause(reason: string): Promise<void> {
    this.#pauses++;
    this.#pauseReason = reason;
    this.#session.groupPaused = true;
    const { services: { committedOffsets }, group } = this.#options;
    const offsets = await committedOffsets.read(group).catch(() => null);
    if (offsets === null) return;
    for (const held of this.#session.assigned()) held.committed = offsets.get(held.key) ?? null;
  }

  async #resume(): Promise<void> {
    const pauses = this.#pauses;
    const positions = new Map<HeldPartition, number>();
    for (const held of this.#session.assigned()) positions.set(held, held.position);
    await this.#assignment.recheck();
    if (pauses !== this.#pauses) return;
    this.#session.groupPaused = false;
    // What starts anew comes again from there, not from the lease.
    this.#leases.keepOnly((at) => {
      const held = this.#find(at);
      return held !== undefined && positions.get(held) === held.position;
    });
    this.#changed();
  }

  #restart(held: HeldPartition): void {
    this.#leases.keepOnly((at) => this.#find(at) !== held);
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
