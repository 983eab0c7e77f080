// Owns the routes of the audit log: find entries, export them, verify the chain.
// Refuses to own the log (actors/audit/) and writing to it (../audit/).
// Invariant: an entry is shown whole, as it was hashed.
import { z } from "zod";
import type { ErrorCode } from "../../storage/broker_error.ts";
import type { AuditFilter, AuditPage } from "../../actors/audit/types.ts";
import { entryLines } from "../audit/entry_lines.ts";
import { booleanText, integerText, label, timestampMs } from "../fields.ts";
import { NDJSON_TYPE } from "../media.ts";
import { cursorOfKey, keyOfCursor, nextCursor, pageQuery } from "../paging.ts";
import { time } from "../past_place.ts";
import { invalidRequest } from "../plain_data.ts";
import { type ApiDependencies, defineRoute, type Route } from "../route.ts";

const TAG = "Operations";
const PATH = "/api/audit";
/** Where the log cannot be read now. */
const LOG_ERRORS: readonly ErrorCode[] = [
  "STORAGE_FAILED",
  "LEADER_NOT_AVAILABLE",
  "ENCRYPTION_KEY_UNAVAILABLE",
];
/** Entries of one page of an export. */
const EXPORT_PAGE = 500;
/** Of an export. */
const MAX_LINES = 1_000_000_000;

const OUTCOMES = ["intended", "success", "failure", "unknown"] as const;

const hash = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 hexadecimal digits");
const headSchema = z.strictObject({
  sequence: z.int().meta({ description: "0: there is no entry yet." }),
  hash: z.string(),
}).meta({
  id: "AuditHead",
  description:
    "The newest entry. Kept elsewhere, it proves later that nothing up to it was changed.",
});

export const entrySchema = z.strictObject({
  version: z.literal(1),
  sequence: z.int().meta({ description: "From 1, without gaps." }),
  at: timestampMs,
  actor: z.string().meta({ description: "Principal; parts of the broker are called `system:…`." }),
  tenant: z.string().nullable(),
  remoteAddress: z.string(),
  action: z.string().meta({ examples: ["topic.create"] }),
  resource: z.strictObject({ type: z.string(), name: z.string() }).nullable(),
  outcome: z.enum(OUTCOMES).meta({
    description:
      "A change has two entries: it is intended before it is made, and its outcome follows. unknown: the broker ended in between.",
  }),
  code: z.string().nullable().meta({ description: "Of a failure: why." }),
  intent: z.int().nullable().meta({
    description: "Sequence of the intent this is the outcome of.",
  }),
  before: z.unknown(),
  after: z.unknown().meta({ description: "Of an intent: what was asked for." }),
  reason: z.string().nullable(),
  requestId: z.string().nullable(),
  leaderEpoch: z.int(),
  previousHash: z.string(),
  hash: z.string().meta({
    description:
      "SHA-256 of this entry without `hash`, as JSON without spaces and with sorted names (RFC 8785).",
  }),
}).meta({ id: "AuditEntry" });

const faultSchema = z.strictObject({
  sequence: z.int().meta({ description: "Of the first entry that was changed or is missing." }),
  upTo: z.int().optional().meta({ description: "Of the last one, where that is another." }),
  reason: z.string(),
}).meta({ id: "AuditFault" });

export const verificationSchema = z.strictObject({
  intact: z.boolean(),
  entries: z.int().meta({ description: "Entries found as they were written." }),
  firstSequence: z.int().nullable().meta({ description: "Of the first entry kept." }),
  head: headSchema,
  firstFault: faultSchema.optional(),
  faults: z.array(faultSchema).optional().meta({ description: "The first hundred." }),
  faultCount: z.int().optional().meta({ description: "Of all." }),
}).meta({ id: "AuditVerification" });

/** The routes of the audit log. */
export function auditRoutes(dependencies: ApiDependencies): Route[] {
  return [queryRoute(dependencies), verifyRoute(dependencies)];
}

function queryRoute({ broker, limits, yieldToEventLoop, onError }: ApiDependencies): Route {
  const { cursor } = pageQuery(limits).shape;
  return defineRoute({
    method: "GET",
    path: PATH,
    operationId: "listAudit",
    tag: TAG,
    summary: "Who changed what, newest first",
    description:
      "A page may hold less than `limit` and still have a `nextCursor`: one page looks at 10,000 entries at most. " +
      "As `application/x-ndjson` all that match are streamed, one a line in the form that is hashed; `limit` is then how many at most. " +
      "An intent whose outcome is an entry too is left out of a page unless `all=true` or `outcome=intended` asks for it; " +
      "the stream has them all. " +
      'A line `{"see":…,"unreadable":n}` stands for n entries before it that cannot be read.',
    query: z.strictObject({
      actor: label.optional().meta({ description: "Principal." }),
      principal: label.optional().meta({ description: "The same as `actor`." }),
      tenant: label.optional().meta({ description: "Whom the actor belongs to." }),
      outcome: z.enum(OUTCOMES).optional(),
      code: z.string().regex(/^[A-Z_]{1,100}$/, "must be a code").optional().meta({
        description: "Of a failure, `FORBIDDEN` for example.",
      }),
      all: booleanText.prefault(false).meta({
        description: "Also intents whose outcome is an entry.",
      }),
      action: z.string().regex(/^[a-z.-]{1,100}\*?$/, "must be an action, or a beginning and *")
        .optional().meta({ description: "`topic.delete`, or a beginning of it and `*`." }),
      resource: label.optional().meta({ description: "A name, or type and name: `topic:orders`." }),
      from: timeText.optional().meta({ description: "From this time on: ms, or RFC 3339." }),
      to: timeText.optional().meta({ description: "Before this time." }),
      order: z.enum(["newest", "oldest"]).default("newest"),
      limit: integerText(z.int().min(1).max(MAX_LINES)).optional().meta({
        description: `Most entries; of a page ${limits.maxPageEntries}.`,
      }),
      cursor,
    }),
    produces: [NDJSON_TYPE],
    responses: {
      200: {
        description: "A page of entries",
        schema: z.strictObject({
          entries: z.array(entrySchema),
          head: headSchema,
          unreadable: z.int().optional().meta({
            description:
              "Entries that cannot be read, of those that were looked at: see `:verify`.",
          }),
          nextCursor,
        }),
        otherTypes: { [NDJSON_TYPE]: "One entry a line, or how many cannot be read" },
      },
    },
    errors: ["CORRUPT_LOG", ...LOG_ERRORS],
    handler: async ({ query, accept, requestId }) => {
      const { order, limit, cursor, all, principal, ...rest } = query;
      const filter: AuditFilter = rest;
      const actor = actorOf(filter.actor, principal);
      const withoutEnded = accept !== NDJSON_TYPE && !all && filter.outcome !== "intended";
      const pageFrom = (at: number | null, limit: number): Promise<AuditPage> =>
        broker.audit.query({ ...filter, actor, order, withoutEnded, at, limit });
      const at = cursor === undefined ? null : placeOf(cursor);
      if (accept !== NDJSON_TYPE) {
        const head = await broker.audit.head();
        const wanted = Math.min(limit ?? limits.defaultPageEntries, limits.maxPageEntries);
        const { next, ...page } = await pageFrom(at, wanted);
        return { data: { ...page, head, ...next === null ? {} : { nextCursor: cursorAt(next) } } };
      }
      const lines = entryLines({
        first: await pageFrom(at, EXPORT_PAGE),
        limit: limit ?? null,
        pageFrom: (at) => pageFrom(at, EXPORT_PAGE),
        yieldToEventLoop,
        onError: (error) => onError(error, requestId),
      });
      const headers = { "content-type": NDJSON_TYPE, "cache-control": "no-store" };
      return new Response(lines, { headers });
    },
  });
}

function verifyRoute({ broker }: ApiDependencies): Route {
  return defineRoute({
    method: "GET",
    path: `${PATH}:verify`,
    operationId: "verifyAudit",
    tag: TAG,
    summary: "Verify the chain of audit entries",
    description:
      "Reads the whole log from the disk. A changed, removed or moved entry, and a missing end, is told in `faults`, and what follows it is verified as well. " +
      "With `sequence` and `hash` of a head that was kept elsewhere, that entry must be on the chain. " +
      "With `from`, faults of entries before that sequence are known: they are not told, and the rest is intact without them.",
    query: z.strictObject({
      sequence: integerText(z.int().min(1).max(Number.MAX_SAFE_INTEGER)).optional(),
      hash: hash.optional(),
      from: integerText(z.int().min(1).max(Number.MAX_SAFE_INTEGER)).optional(),
    }),
    responses: { 200: { description: "What was found", schema: verificationSchema } },
    errors: ["OFFSET_OUT_OF_RANGE", ...LOG_ERRORS],
    handler: async ({ query: { sequence, hash, from } }) => {
      if ((sequence === undefined) !== (hash === undefined)) {
        const message = "sequence and hash name a head together";
        throw invalidRequest([{ path: sequence === undefined ? "sequence" : "hash", message }]);
      }
      const expected = sequence === undefined ? undefined : { sequence, hash: hash! };
      return { data: await broker.audit.verify(expected, from) };
    },
  });
}

/** Entries call it actor, everything else principal. */
function actorOf(actor: string | undefined, principal: string | undefined): string | undefined {
  if (actor !== undefined && principal !== undefined && actor !== principal) {
    throw invalidRequest([{ path: "principal", message: "is another one than actor" }]);
  }
  return actor ?? principal;
}

/** A time as it stands in a query. */
const timeText = z.preprocess(
  (text) => typeof text === "string" && /^\d{1,16}$/.test(text) ? Number(text) : text,
  time,
);

function cursorAt(place: number): string {
  return cursorOfKey(String(place));
}

function placeOf(cursor: string): number {
  const key = keyOfCursor(cursor);
  if (/^\d{1,16}$/.test(key)) return Number(key);
  throw invalidRequest([{ path: "cursor", message: "is not a cursor of this list" }]);
}
