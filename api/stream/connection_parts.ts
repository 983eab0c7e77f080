// Owns putting the parts of one connection together: what each is handed, and what it calls when.
// Refuses to own what the parts do, and the order of a connection's life (connection.ts).
// Invariant: parts know each other through these callbacks alone.
import type { Broker } from "../../actors/broker.ts";
import type { BrokerError } from "../../storage/broker_error.ts";
import type { Clock, Randomness, Timers } from "../../storage/ports.ts";
import type { Access } from "../auth/access.ts";
import type { ConsumerQuota } from "../quota/consumer_quota.ts";
import type { Authorizer } from "../auth/authorizer.ts";
import type { Telemetry } from "../telemetry.ts";
import { Assignment } from "./assignment.ts";
import { AutoCommit } from "./auto_commit.ts";
import { Commits } from "./commits.ts";
import { countedParcels } from "./counted_parcels.ts";
import type { DataWaiters } from "./data_waiters.ts";
import type { StreamFormat } from "./frames.ts";
import type { HeldPartition } from "./held_partition.ts";
import type { StreamLimits } from "./limits.ts";
import type { JoinRequest, MemberLink } from "./member_link.ts";
import type { BufferBudget, FrameSocket, Outbox } from "./outbox.ts";
import { parcelsFor } from "./parcels.ts";
import { Reader } from "./reader.ts";
import { Retries } from "./retries.ts";
import type { Session } from "./session.ts";
import type { AutoOffsetReset, CommittedOffsets } from "./start_offsets.ts";

/** What all connections of a broker share. */
export interface StreamServices {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly randomness: Randomness;
  readonly yieldToEventLoop: () => Promise<void>;
  readonly waiters: DataWaiters;
  readonly committedOffsets: CommittedOffsets;
  readonly budget: BufferBudget;
  readonly limits: StreamLimits;
  readonly authorizer: Pick<Authorizer, "allows" | "onChanged">;
  readonly telemetry: Telemetry;
  /** Hears of the broker's own faults. */
  readonly onError: (error: unknown) => void;
}

/** What the client asked for, checked. */
export interface StreamRequest extends JoinRequest {
  readonly principal: string;
  /** Who it is, and whether the credential still holds. */
  readonly access: Access;
  readonly format: StreamFormat;
  readonly autoOffsetReset: AutoOffsetReset;
  readonly maxInFlight: number;
  readonly maxBatchBytes: number;
  /** Of whoever consumes. */
  readonly zone?: string | undefined;
  readonly autoCommit: boolean;
  /** How fast it is delivered to; left out: without limit. Ends with the connection. */
  readonly quota?: ConsumerQuota;
}

export interface ConnectionOptions {
  readonly services: StreamServices;
  readonly request: StreamRequest;
  readonly socket: FrameSocket;
  /** Called when the member is known; an older connection of the same member is to be replaced. */
  readonly onJoined: (memberId: string) => void;
}

/** What exists once the group has let the member in. */
export interface Joined {
  readonly commits: Commits;
  readonly retries: Retries;
  readonly autoCommit: AutoCommit | null;
}

/** What the parts of a connection know of each other. */
export interface Parts {
  readonly session: Session;
  readonly outbox: Outbox;
  readonly link: MemberLink;
  /** Of messages that are about to be delivered, those that wait behind a retry. */
  readonly parked: (held: HeldPartition, offsets: readonly number[]) => Promise<readonly number[]>;
  readonly commitsSettled: () => Promise<void>;
  readonly onPassedSkips: () => void;
  readonly onRetryLost: (held: HeldPartition, offset: number) => void;
  readonly onReady: () => void;
  readonly onSettled: () => void;
  readonly onDropped: (held: HeldPartition) => void;
  readonly onDelivered: (held: HeldPartition, nextOffset: number) => void;
  readonly onRedelivered: (held: HeldPartition, offset: number) => void;
  readonly onOutOfRange: (held: HeldPartition) => void;
  /** A commit was refused because another member owns these by now. */
  readonly onLost: (partitions: readonly { topic: string; partition: number }[]) => void;
  readonly onFault: (held: HeldPartition, error: BrokerError) => void;
}

export function makeAssignment({ services, request }: ConnectionOptions, parts: Parts): Assignment {
  const { session, outbox, link, onReady, onDropped, onFault, commitsSettled } = parts;
  return new Assignment({
    ...services,
    session,
    group: request.group,
    topics: request.topics,
    autoOffsetReset: request.autoOffsetReset,
    retryMs: services.limits.retryMs,
    monotonic: () => services.clock.monotonic(),
    send: (frame) => outbox.send(frame),
    release: (partitions) => void link.release(partitions),
    onReady,
    onDropped,
    onFault,
    commitsSettled,
  });
}

export function makeReader({ services, request }: ConnectionOptions, parts: Parts): Reader {
  const { session, outbox, link, onDelivered, onOutOfRange, onFault } = parts;
  return new Reader({
    ...services,
    session,
    outbox,
    parcels: countedParcels(parcelsFor(request.format, services.limits), {
      ...services,
      group: request.group,
      member: () => link.memberId,
    }),
    maxBatchBytes: request.maxBatchBytes,
    zone: request.zone,
    ...(request.quota === undefined ? {} : { quota: request.quota }),
    parked: parts.parked,
    onLost: parts.onRetryLost,
    onPassedSkips: parts.onPassedSkips,
    onDelivered: (held, parcel) => onDelivered(held, parcel.nextOffset),
    onRedelivered: parts.onRedelivered,
    onOutOfRange,
    onFault,
  });
}

export function makeJoined(
  { services, request }: ConnectionOptions,
  parts: Parts & { readonly memberId: string },
): Joined {
  const { session, outbox, memberId, onSettled, onLost } = parts;
  const { group, principal, maxInFlight } = request;
  const { broker, timers, limits, randomness, onError } = services;
  const retries = new Retries({
    broker,
    group,
    memberId,
    principal,
    session,
    randomness,
    timers,
    limits,
    answer: (frame) => outbox.send(frame),
    onReady: parts.onReady,
    onSettled,
    onError: (error) => {
      if (error.code === "INTERNAL") onError(error.cause ?? error);
    },
  });
  const commits = new Commits({
    broker,
    group,
    memberId,
    principal,
    session,
    limits,
    nacksSettled: () => retries.settled(),
    answer: (frame) => outbox.send(frame),
    onSettled,
    onRefused: ({ offsets }, error) => {
      if (error.code === "INTERNAL") onError(error.cause ?? error);
      if (error.code === "STALE_GENERATION") onLost(offsets);
    },
  });
  const autoCommit = request.autoCommit
    ? new AutoCommit({ session, outbox, commits, timers, maxInFlight, limits })
    : null;
  return { commits, retries, autoCommit };
}
