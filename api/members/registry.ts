// Owns which HTTP members this broker keeps state for: joining, finding, taking over after a restart, forgetting.
// Refuses to own what a member does (member.ts).
// Invariant: at most `maxMembers`; a member that its group has removed is not among them.
import { BrokerError } from "../../storage/broker_error.ts";
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
  #draining = false;

  constructor(private readonly services: MemberServices) {}

  get size(): number {
    return this.#members.size;
  }

  /** Throws OVERLOADED, SHUTTING_DOWN, and what Join does. */
  async join(
    request: JoinRequest,
    options: { readonly autoOffsetReset: AutoOffsetReset; readonly signal: AbortSignal },
  ): Promise<PollAnswer & { readonly memberId: string }> {
    this.#refuseBeyond(this.services.limits.maxMembers - 1);
    const { group } = request;
    const member: HttpMember = this.#make(group, options.autoOffsetReset, () => member.memberId);
    const answer = await member.join(request, options.signal, (memberId) => {
      this.#members.set(keyOf({ group, memberId }), Promise.resolve(member));
    });
    return { ...answer, memberId: member.memberId };
  }

  /** Throws UNKNOWN_MEMBER and what polling does. */
  async poll(at: MemberAt, request: PollRequest): Promise<PollAnswer> {
    const member = await this.#find(at, request.leaseToken);
    return await member.poll(request);
  }

  /** Throws UNKNOWN_MEMBER. */
  async leave(at: MemberAt): Promise<void> {
    const known = await this.#members.get(keyOf(at));
    if (known !== undefined) known.end("left");
    this.#members.delete(keyOf(at));
    await this.services.broker.group({ type: "Leave", ...at });
  }

  /** Ends every wait and refuses new joins and polls. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const member of await Promise.allSettled(this.#members.values())) {
      if (member.status === "fulfilled") member.value.interrupt();
    }
  }

  #make(group: string, autoOffsetReset: AutoOffsetReset, memberId: () => string): HttpMember {
    const onRemoved = () => this.#members.delete(keyOf({ group, memberId: memberId() }));
    return new HttpMember({ services: this.services, group, autoOffsetReset, onRemoved });
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
      if (this.#members.get(key) === adopted) this.#members.delete(key);
      throw error;
    }
  }

  async #adopt({ group, memberId }: MemberAt, reset: AutoOffsetReset): Promise<HttpMember> {
    const { members } = await this.#describe({ group, memberId });
    const found = members.find((member) => member.memberId === memberId);
    if (found?.transport !== "http") throw unknownMember({ group, memberId });
    // It is among those that are counted already.
    this.#refuseBeyond(this.services.limits.maxMembers);
    const member = this.#make(group, reset, () => memberId);
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
