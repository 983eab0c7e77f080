// Owns which HTTP members this broker keeps state for: joining, finding, taking over after a restart, forgetting.
// Refuses to own what a member does (member.ts).
// Invariant: at most `maxMembers`; a member that its group has removed is not among them; another's is as unknown.
import { mayActOn, type Owner, ownerFor } from "../../actors/ownership.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import type { Access } from "../auth/access.ts";
import { askerOf } from "../auth/asker.ts";
import { consumingRefusal } from "../auth/lasting_rights.ts";
import { Rechecks } from "../auth/rechecks.ts";
import type { JoinRequest } from "../stream/member_link.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import { sizeOf } from "../stream/parcels.ts";
import { DEFAULT_OFFSET_RESET } from "../stream/query.ts";
import { ageMsAt, spansOf } from "../telemetry.ts";
import type { Portion } from "./lease_reader.ts";
import type { AutoOffsetReset } from "../stream/start_offsets.ts";
import { HttpMember } from "./member.ts";
import { type MemberServices, type PollAnswer, type PollRequest, resetOfToken } from "./polling.ts";

export interface MemberAt {
  readonly group: string;
  readonly memberId: string;
}

/** Who speaks for a member, of which topics. */
interface Speaker {
  readonly at: MemberAt;
  readonly access: Access;
  readonly topics: readonly string[];
  /** It counts among its tenant's consumers. */
  readonly quota: ConsumerQuota;
}

/** What a caller hands in; the rest is the member's. */
export type PollAsked = Omit<PollRequest, "quota">;

export class HttpMembers {
  /** Members, and those that are being taken over. */
  readonly #members = new Map<string, Promise<HttpMember>>();
  /** Of each of them, who spoke for it last. */
  readonly #speakers = new Map<string, Speaker>();
  readonly #rechecks: Rechecks;
  /** Joins under way that are not among the members yet. */
  #joining = 0;
  #draining = false;

  constructor(private readonly services: MemberServices) {
    services.broker.accessKeys.onDeleted(() => this.#dismissRefused());
    this.#rechecks = new Rechecks({ ...services, run: () => this.#dismissRefused() });
    services.authorizer.onChanged(() => this.#rechecks.changed());
  }

  get size(): number {
    return this.#members.size;
  }

  /** Throws OVERLOADED, SHUTTING_DOWN, and what Join does. */
  async join(
    request: JoinRequest,
    options: {
      readonly autoOffsetReset: AutoOffsetReset;
      readonly signal: AbortSignal;
      readonly access: Access;
    },
  ): Promise<PollAnswer & { readonly memberId: string }> {
    this.#refuseBeyond(this.services.limits.maxMembers - 1);
    this.#refuseBeyondShare(options.access);
    const quota = this.services.quota.connect(options.access);
    let isJoining = true;
    const onJoined = () => {
      if (isJoining) this.#joining--;
      isJoining = false;
    };
    this.#joining++;
    try {
      return await this.#join(request, { ...options, quota, onJoined });
    } catch (error) {
      quota.end();
      throw error;
    } finally {
      onJoined();
    }
  }

  async #join(
    request: JoinRequest,
    options: {
      readonly autoOffsetReset: AutoOffsetReset;
      readonly signal: AbortSignal;
      readonly access: Access;
      readonly quota: ConsumerQuota;
      readonly onJoined: () => void;
    },
  ): Promise<PollAnswer & { readonly memberId: string }> {
    const { group, topics } = request;
    const { access, quota } = options;
    const asker = askerOf(access);
    const member: HttpMember = this.#make(group, {
      topics,
      autoOffsetReset: options.autoOffsetReset,
      owner: ownerFor(asker),
      memberId: () => member.memberId,
    });
    const answer = await member.join({ ...request, asker }, options.signal, (memberId) => {
      options.onJoined();
      this.#members.set(keyOf({ group, memberId }), Promise.resolve(member));
      this.#speaks({ group, memberId }, { access, topics, quota });
    });
    const at = { group, memberId: member.memberId };
    await this.#refuseEnded(at, { access, topics });
    return { ...answer, memberId: member.memberId };
  }

  /** Throws UNKNOWN_MEMBER, UNAUTHENTICATED or FORBIDDEN when credential or right end meanwhile, and what polling does. */
  async poll(at: MemberAt, request: PollAsked, access: Access): Promise<PollAnswer> {
    const member = await this.#find(at, request.leaseToken);
    if (!mayActOn(member.owner, askerOf(access))) throw unknownMember(at);
    const speaker = { access, topics: member.topics };
    await this.#refuseEnded(at, speaker);
    const quota = this.#speakers.get(keyOf(at))?.quota ?? this.services.quota.connect(access);
    this.#speaks(at, { ...speaker, quota });
    // Who asks without waiting is held back too while there is no room.
    const heldMs = quota.delayMsOfAny(member.topics);
    const waitMs = Math.min(Math.max(request.waitMs, heldMs), access.leftMs());
    try {
      const answer = await member.poll({ ...request, waitMs, quota });
      for (const portion of answer.portions) {
        const bytes = portion.records.reduce((sum, record) => sum + sizeOf(record), 0);
        quota.delivered(portion.topic, bytes);
        this.#tell(at, portion, bytes);
      }
      return answer;
    } finally {
      await this.#refuseEnded(at, speaker);
    }
  }

  #tell({ group, memberId }: MemberAt, portion: Portion, bytes: number): void {
    const { topic, partition, records, attempt } = portion;
    if (records.length === 0) return;
    const { telemetry, clock } = this.services;
    // How old a message is that comes again says nothing of how fast it is delivered.
    const newestMs = attempt === undefined ? records.at(-1)!.timestamp : -1;
    const ageMs = ageMsAt(clock.now(), newestMs);
    telemetry.delivered({
      group,
      member: memberId,
      topic,
      partition,
      spans: spansOf(records),
      attempt: attempt ?? 1,
      messages: records.length,
      bytes,
      ageMs,
      path: "http",
    });
  }

  /** `access` left out: the broker itself makes it leave. Throws UNKNOWN_MEMBER. */
  async leave(at: MemberAt, access?: Access): Promise<void> {
    const asker = access === undefined ? undefined : askerOf(access, this.services.authorizer);
    const known = await this.#members.get(keyOf(at));
    if (known !== undefined) {
      if (!mayActOn(known.owner, asker)) throw unknownMember(at);
      known.end("left");
      this.#forget(keyOf(at));
    }
    const asked = asker === undefined ? {} : { asker };
    await this.services.broker.group({ type: "Leave", ...at, ...asked });
  }

  /** Ends every wait and refuses new joins and polls. */
  async drain(): Promise<void> {
    this.#draining = true;
    this.#rechecks.stop();
    for (const member of await Promise.allSettled(this.#members.values())) {
      if (member.status === "fulfilled") member.value.interrupt();
    }
  }

  #make(
    group: string,
    { memberId, ...options }: {
      topics: readonly string[];
      autoOffsetReset: AutoOffsetReset;
      owner: Owner | null;
      memberId: () => string;
    },
  ): HttpMember {
    const onRemoved = () => this.#forget(keyOf({ group, memberId: memberId() }));
    return new HttpMember({ services: this.services, group, ...options, onRemoved });
  }

  #speaks(at: MemberAt, speaker: Omit<Speaker, "at">): void {
    const key = keyOf(at);
    const before = this.#speakers.get(key);
    if (before?.quota !== speaker.quota) before?.quota.end();
    if (this.#members.has(key)) this.#speakers.set(key, { at, ...speaker });
    else speaker.quota.end();
  }

  #forget(key: string): void {
    this.#members.delete(key);
    this.#speakers.get(key)?.quota.end();
    this.#speakers.delete(key);
  }

  /** A member whose credential or right has ended is one no more, and is told nothing of what it asked for. */
  async #refuseEnded(at: MemberAt, speaker: Omit<Speaker, "at" | "quota">): Promise<void> {
    const refusal = this.#refusal({ at, ...speaker });
    if (refusal === null) return;
    await this.#dismiss(at);
    throw refusal;
  }

  #dismissRefused(): void {
    for (const speaker of [...this.#speakers.values()]) {
      if (this.#refusal(speaker) !== null) void this.#dismiss(speaker.at);
    }
  }

  #refusal({ at: { group }, access, topics }: Omit<Speaker, "quota">): BrokerError | null {
    return consumingRefusal(this.services.authorizer, access, { group, topics });
  }

  /** Never rejects: a member that could not leave is removed when its session times out. */
  async #dismiss(at: MemberAt): Promise<void> {
    try {
      await this.leave(at);
    } catch (error) {
      const failure = asBrokerError(error);
      if (failure.code === "INTERNAL") this.services.onError(error);
    }
  }

  /** A member that is known to its group but not here joined in an earlier life of this broker. */
  async #find(at: MemberAt, leaseToken: string | undefined): Promise<HttpMember> {
    const key = keyOf(at);
    const known = this.#members.get(key);
    if (known !== undefined) return await known;
    const adopted = this.#adopt(at, resetOfToken(leaseToken) ?? DEFAULT_OFFSET_RESET);
    this.#members.set(key, adopted);
    try {
      return await adopted;
    } catch (error) {
      if (this.#members.get(key) === adopted) this.#forget(key);
      throw error;
    }
  }

  async #adopt(
    { group, memberId }: MemberAt,
    autoOffsetReset: AutoOffsetReset,
  ): Promise<HttpMember> {
    const { members } = await this.#describe({ group, memberId });
    const found = members.find((member) => member.memberId === memberId);
    if (found?.transport !== "http") throw unknownMember({ group, memberId });
    // It is among those that are counted already.
    this.#refuseBeyond(this.services.limits.maxMembers);
    const owner = found.owner ?? null;
    const { topics } = found;
    const member = this.#make(group, { topics, autoOffsetReset, owner, memberId: () => memberId });
    await member.adopt(memberId, found.sessionTimeoutMs);
    return member;
  }

  async #describe(at: MemberAt) {
    try {
      return await this.services.broker.group({ type: "Describe", group: at.group });
    } catch (error) {
      if (error instanceof BrokerError && error.code === "UNKNOWN_GROUP") throw unknownMember(at);
      throw error;
    }
  }

  #refuseBeyondShare({ tenant, isAdministrator }: Access): void {
    const { maxMembers, maxTenantShare } = this.services.limits;
    const maxOwn = maxMembers * maxTenantShare;
    if (isAdministrator || this.#members.size < maxOwn) return;
    const own = this.#speakers.values()
      .reduce((count, { access }) => access.tenant === tenant ? count + 1 : count, 0);
    if (own < maxOwn) return;
    throw new BrokerError("OVERLOADED", `tenant ${tenant} has ${own} members that poll already`);
  }

  #refuseBeyond(count: number): void {
    if (this.#draining) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    const { maxMembers } = this.services.limits;
    if (this.#members.size + this.#joining <= count) return;
    throw new BrokerError("OVERLOADED", `${maxMembers} members poll over HTTP already`);
  }
}

function keyOf({ group, memberId }: MemberAt): string {
  return `${group}\n${memberId}`;
}

function unknownMember({ group, memberId }: MemberAt): BrokerError {
  const detail =
    `group ${group} has no member ${memberId} that polls; it may have been removed: join again`;
  return new BrokerError("UNKNOWN_MEMBER", detail, { groupId: group, memberId });
}
