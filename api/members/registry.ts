// Owns which HTTP members this broker keeps state for: joining, finding, taking over after a restart, forgetting.
// Refuses to own what a member does (member.ts).
// Invariant: at most `maxMembers`; a member that its group has removed is not among them; another's is as unknown.
import { mayActOn, type Owner, ownerFor } from "../../actors/ownership.ts";
import { asBrokerError, BrokerError } from "../../storage/broker_error.ts";
import { type Access, endedError } from "../auth/access.ts";
import { askerOf } from "../auth/asker.ts";
import type { JoinRequest } from "../stream/member_link.ts";
import { DEFAULT_OFFSET_RESET } from "../stream/query.ts";
import type { AutoOffsetReset } from "../stream/start_offsets.ts";
import { HttpMember } from "./member.ts";
import { type MemberServices, type PollAnswer, type PollRequest, resetOfToken } from "./polling.ts";

export interface MemberAt {
  readonly group: string;
  readonly memberId: string;
}

export class HttpMembers {
  /** Members, and those that are being taken over. */
  readonly #members = new Map<string, Promise<HttpMember>>();
  /** Who speaks for each of them. */
  readonly #accesses = new Map<string, { readonly at: MemberAt; readonly access: Access }>();
  #draining = false;

  constructor(private readonly services: MemberServices) {
    services.broker.accessKeys.onDeleted(() => this.#dismissEnded());
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
    const { group } = request;
    const asker = askerOf(options.access);
    const member: HttpMember = this.#make(group, {
      autoOffsetReset: options.autoOffsetReset,
      owner: ownerFor(asker),
      memberId: () => member.memberId,
    });
    const answer = await member.join({ ...request, asker }, options.signal, (memberId) => {
      this.#members.set(keyOf({ group, memberId }), Promise.resolve(member));
      this.#speaks({ group, memberId }, options.access);
    });
    await this.#refuseEnded({ group, memberId: member.memberId }, options.access);
    return { ...answer, memberId: member.memberId };
  }

  /** Throws UNKNOWN_MEMBER, UNAUTHENTICATED when the credential ends meanwhile, and what polling does. */
  async poll(at: MemberAt, request: PollRequest, access: Access): Promise<PollAnswer> {
    const member = await this.#find(at, request.leaseToken);
    if (!mayActOn(member.owner, askerOf(access))) throw unknownMember(at);
    this.#speaks(at, access);
    const waitMs = Math.min(request.waitMs, access.leftMs());
    try {
      return await member.poll({ ...request, waitMs });
    } finally {
      await this.#refuseEnded(at, access);
    }
  }

  /** `access` left out: the broker itself makes it leave. Throws UNKNOWN_MEMBER. */
  async leave(at: MemberAt, access?: Access): Promise<void> {
    const asker = access === undefined ? undefined : askerOf(access);
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
    for (const member of await Promise.allSettled(this.#members.values())) {
      if (member.status === "fulfilled") member.value.interrupt();
    }
  }

  #make(
    group: string,
    { memberId, ...options }: {
      autoOffsetReset: AutoOffsetReset;
      owner: Owner | null;
      memberId: () => string;
    },
  ): HttpMember {
    const onRemoved = () => this.#forget(keyOf({ group, memberId: memberId() }));
    return new HttpMember({ services: this.services, group, ...options, onRemoved });
  }

  #speaks(at: MemberAt, access: Access): void {
    const key = keyOf(at);
    if (this.#members.has(key)) this.#accesses.set(key, { at, access });
  }

  #forget(key: string): void {
    this.#members.delete(key);
    this.#accesses.delete(key);
  }

  /** A member whose credential has ended is one no more, and is told nothing of what it asked for. */
  async #refuseEnded(at: MemberAt, access: Access): Promise<void> {
    const end = access.ended();
    if (end === null) return;
    await this.#dismiss(at);
    throw endedError(end);
  }

  #dismissEnded(): void {
    for (const { at, access } of [...this.#accesses.values()]) {
      if (access.ended() !== null) void this.#dismiss(at);
    }
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
    const member = this.#make(group, { autoOffsetReset, owner, memberId: () => memberId });
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

  #refuseBeyond(count: number): void {
    if (this.#draining) throw new BrokerError("SHUTTING_DOWN", "the broker is shutting down");
    const { maxMembers } = this.services.limits;
    if (this.#members.size <= count) return;
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
