// Owns the shapes of polling: what a member is made from, what a poll asks and is answered, what a token says.
// Refuses to own any behaviour. Invariant: plain data, but for the services.
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import type { Owner } from "../../actors/ownership.ts";
import type { Clock, Randomness, Timers } from "../../storage/ports.ts";
import type { AnswerHold } from "../answer_budget.ts";
import type { Authorizer } from "../auth/authorizer.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import type { QuotaGate } from "../quota/gate.ts";
import type { DataWaiters } from "../stream/data_waiters.ts";
import type { AutoOffsetReset, CommittedOffsets } from "../stream/start_offsets.ts";
import type { LeaseReader, Portion } from "./lease_reader.ts";
import type { MemberLimits } from "./limits.ts";
import type { Telemetry } from "../telemetry.ts";

/** What all HTTP members of a broker share. */
export interface MemberServices {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  readonly waiters: DataWaiters;
  readonly committedOffsets: CommittedOffsets;
  readonly reader: LeaseReader;
  readonly limits: MemberLimits;
  readonly authorizer: Authorizer;
  readonly quota: QuotaGate;
  readonly telemetry: Telemetry;
  /** Hears of the broker's own faults. */
  readonly onError: (error: unknown) => void;
}

export interface HttpMemberOptions {
  readonly services: MemberServices;
  readonly group: string;
  readonly topics: readonly string[];
  readonly autoOffsetReset: AutoOffsetReset;
  /** Whose it is; null: anyone's. */
  readonly owner: Owner | null;
  /** The group has removed it: nothing is to be kept for it. */
  readonly onRemoved: () => void;
}

export interface PollRequest {
  readonly maxMessages: number;
  readonly waitMs: number;
  readonly leaseToken?: string | undefined;
  readonly signal: AbortSignal;
  /** Holds what is read for the answer. */
  readonly hold: AnswerHold;
  /** How fast the member is delivered to. */
  readonly quota: ConsumerQuota;
}

export interface PollAnswer {
  readonly leaseToken: string;
  readonly generation: number;
  readonly assignment: readonly TopicPartition[];
  readonly portions: readonly Portion[];
  /** There while an operator has paused the group: nothing comes until it is resumed. */
  readonly paused?: { readonly reason: string };
  /** There while the member gets nothing, since its version was taken out. */
  readonly withdrawn?: { readonly version: string; readonly reason: string };
}

/** Tokens carry the member's autoOffsetReset over a restart of the broker. */
export function newToken({ services, autoOffsetReset }: HttpMemberOptions): string {
  return `${autoOffsetReset}.${services.randomness.uuid()}`;
}

/** The autoOffsetReset that a token of an earlier life of the broker was made with; null when it says none. */
export function resetOfToken(token: string | undefined): AutoOffsetReset | null {
  const reset = token?.split(".", 1)[0];
  return reset === "earliest" || reset === "latest" ? reset : null;
}
