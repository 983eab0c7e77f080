// Owns what the requests that make jobs share: places in a partition, and who a repeat of a request is.
// Refuses to own the jobs and their routes (routes/replays.ts, routes/redrive.ts).
// Invariant: the same principal of a tenant, operation and Idempotency-Key always name the same job.
import { z } from "zod";
import { DEFAULT_TENANT } from "../actors/access_key/types.ts";
import type { JobView, Place, RedriveRequest, ReplayRequest } from "../actors/job/types.ts";
import type { ErrorCode } from "../storage/broker_error.ts";
import type { Randomness } from "../storage/ports.ts";
import type { Access } from "./auth/access.ts";
import { offset } from "./fields.ts";
import { heldToRights, jobOwnerOf } from "./job_rights.ts";
import { parseOffset } from "./offset_query.ts";
import { REQUEST_KEY_HEADER, requestKeyOf } from "./request_key.ts";
import type { ApiDependencies, Reply, RouteContext } from "./route.ts";

const MAX_RATE_PER_SECOND = 1_000_000;
const MIN_RATE_PER_SECOND = 0.1;
/** Half of a SHA-256: enough that two keys never share a job. */
const JOB_ID_BYTES = 16;
const encoder = new TextEncoder();

const PLACE_WHAT =
  "must be an offset, earliest, latest, or @ and a time (ms since the epoch or RFC 3339)";

/** A place in a partition, in a body. */
export const place = z.union([
  offset,
  z.string().max(64).meta({
    description: "`earliest`, `latest`, or `@` and a time: ms since the epoch or RFC 3339.",
  }),
], { error: PLACE_WHAT }).transform((given, context): Place => {
  const parsed = typeof given === "number"
    ? { kind: "offset", offset: given } as const
    : parseOffset(given);
  if (parsed !== null) return parsed;
  context.addIssue({ code: "custom", message: PLACE_WHAT });
  return z.NEVER;
}).meta({ examples: [0, "earliest", "@2026-01-01T00:00:00Z"] });

export const ratePerSecond = z.number().min(MIN_RATE_PER_SECOND).max(MAX_RATE_PER_SECOND)
  .meta({ description: "Most messages a second; left out: as fast as it goes." });

export const REPEAT_HEADER = {
  [REQUEST_KEY_HEADER]:
    "Names this request: the same key and body answer the same job, for as long as it is kept: 24 hours after it ended " +
    "at least, a dry run until there are too many.",
};

export const REPEATED_HEADER = { "Idempotency-Replayed": "`true` when the job was there before." };

/** Codes that answer a request for a job, besides those of every route. */
export const JOB_ERRORS: readonly ErrorCode[] = [
  "UNKNOWN_TOPIC",
  "UNKNOWN_PARTITION",
  "UNKNOWN_GROUP",
  "INTERNAL_TOPIC",
  "FORBIDDEN",
  "OFFSET_OUT_OF_RANGE",
  "ARCHIVE_UNAVAILABLE",
  "IDEMPOTENCY_KEY_REUSED",
  "LIMIT_REACHED",
];

/** Who a request is. */
interface RequestIdentity {
  readonly jobId: string;
  readonly fingerprint: string;
}

/** What a job is to do; who asks for it, and which job it is, is the request's. */
type WithoutIdentity<Request> = Omit<Request, keyof RequestIdentity | "principal" | "owner">;

/**
 * 202 with the job that the request makes, or has made. Rejects with INVALID_REQUEST for a malformed key, and as
 * `Jobs.submit` does.
 */
export async function submitJob(
  { request, access, body, intend, audited }: Pick<
    RouteContext<unknown, unknown, unknown>,
    "request" | "access" | "body" | "intend" | "audited"
  >,
  asked: WithoutIdentity<ReplayRequest> | WithoutIdentity<RedriveRequest>,
  { broker, authorizer, randomness }: ApiDependencies,
): Promise<Reply> {
  const { principal } = access;
  const owner = jobOwnerOf(access);
  const named = { operation: asked.kind, access, body };
  const identity = await identityOf(request, named, randomness);
  await intend();
  const owned = owner === null ? {} : { owner };
  const answer = await broker.jobs.submit({ ...asked, ...identity, principal, ...owned });
  const job = answer.repeated
    ? answer.job
    : await heldToRights({ broker, authorizer }, { job: answer.job, owner });
  const { jobId, state, total } = job;
  const after = { jobId, state, total, repeated: answer.repeated };
  audited({ resource: { type: "job", name: jobId }, after });
  return submitted({ ...answer, job });
}

async function identityOf(
  request: Request,
  asked: { operation: string; access: Access; body: unknown },
  randomness: Randomness,
): Promise<RequestIdentity> {
  const key = requestKeyOf(request.headers);
  const fingerprint = await digestOf(canonical(asked.body));
  if (key === null) return { jobId: randomness.uuid(), fingerprint: fingerprint.toHex() };
  const { principal, tenant } = asked.access;
  // The default tenant stands in no name, as before there were others.
  const who = tenant === DEFAULT_TENANT ? [principal] : [tenant, principal];
  const name = await digestOf(JSON.stringify([asked.operation, ...who, key]));
  return { jobId: name.slice(0, JOB_ID_BYTES).toHex(), fingerprint: fingerprint.toHex() };
}

function submitted(answer: { job: JobView; repeated: boolean }): Reply {
  const headers = answer.repeated ? { "idempotency-replayed": "true" } : undefined;
  return { status: 202, data: answer.job, ...(headers === undefined ? {} : { headers }) };
}

async function digestOf(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

/** JSON in which the order of fields does not matter. */
function canonical(data: unknown): string {
  return JSON.stringify(data, (_, value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1));
  });
}
