// Owns what the journalled events of groups say of the messages of a trace.
// Refuses to own finding them in the journals (group_walk.ts).
// Invariant: an event of a group is told of exactly those messages that it is about.
import type { GroupEvent, OffsetsCommitted, OffsetsMoved } from "../group/events.ts";
import { offsetsOf, valueIn } from "../group/retry/events.ts";
import type { DeadLettersDue, RetriesScheduled, RetriesSettled } from "../group/retry/events.ts";
import type { MessageRanges } from "./message_ranges.ts";
import type { TraceDetail, TraceEvent, TraceEventKind } from "./types.ts";

/** Types of journalled events that may be about messages. */
export const TOLD_TYPES: ReadonlySet<string> = new Set(
  [
    "OffsetsCommitted",
    "OffsetsMoved",
    "RetriesScheduled",
    "RetriesSettled",
    "DeadLettersDue",
  ] satisfies GroupEvent["type"][],
);

interface Told {
  readonly at: number;
  readonly group: string;
  readonly member?: string;
}

/** What `event` of `group` says. */
export function* groupTraceEvents(
  group: string,
  event: GroupEvent,
  ranges: MessageRanges,
): Generator<TraceEvent> {
  switch (event.type) {
    case "OffsetsCommitted":
      return yield* committed(told(group, event), event, ranges);
    case "OffsetsMoved":
      return yield* moved({ at: event.at, group }, event, ranges);
    case "RetriesScheduled":
      return yield* scheduled(told(group, event), event, ranges);
    case "RetriesSettled":
      return yield* settled({ at: event.at, group }, event, ranges);
    case "DeadLettersDue":
      return yield* dead(told(group, event), event, ranges);
  }
}

function told(group: string, { at, memberId }: { at: number; memberId: string | null }): Told {
  return { at, group, ...(memberId === null ? {} : { member: memberId }) };
}

function* committed(
  of: Told,
  { offsets }: OffsetsCommitted,
  ranges: MessageRanges,
): Generator<TraceEvent> {
  for (const { topic, partition, offset, previous } of offsets) {
    const at = { topic, partition };
    const isBack = previous !== null && offset < previous;
    const [from, to] = isBack ? [offset, previous] : [previous ?? 0, offset];
    const detail: TraceDetail = isBack
      ? { committedOffset: offset, action: "rewind" }
      : { committedOffset: offset };
    for (const found of ranges.within(at, { from, to, atMs: of.at })) {
      yield { kind: isBack ? "rewound" : "committed", ...of, ...found, detail };
    }
  }
}

function* moved(of: Told, event: OffsetsMoved, ranges: MessageRanges): Generator<TraceEvent> {
  for (const { topic, partition, offset, previous } of event.offsets) {
    const isBack = previous !== null && offset < previous;
    const [from, to] = isBack ? [offset, previous] : [previous ?? 0, offset];
    const detail: TraceDetail = { committedOffset: offset, action: event.action };
    for (const found of ranges.within({ topic, partition }, { from, to, atMs: of.at })) {
      yield { kind: isBack ? "rewound" : "skipped", ...of, ...found, detail };
    }
  }
}

const SCHEDULED: Readonly<Record<RetriesScheduled["cause"], TraceEventKind>> = {
  nack: "nacked",
  parked: "parked",
  job: "replayed",
};

function* scheduled(
  of: Told,
  event: RetriesScheduled,
  ranges: MessageRanges,
): Generator<TraceEvent> {
  const { cause, job } = event;
  for (const { topic, partition, offsets, attempts, waitsMs } of event.retries) {
    for (const [i, from] of offsetsOf(offsets).entries()) {
      for (
        const found of ranges.within({ topic, partition }, { from, to: from + 1, atMs: of.at })
      ) {
        const detail: TraceDetail = {
          nextAttemptAt: of.at + valueIn(waitsMs, i),
          ...(job === undefined ? {} : { jobId: job.jobId }),
        };
        const attempt = cause === "nack" ? { attempt: valueIn(attempts, i) - 1 } : {};
        yield { kind: SCHEDULED[cause], ...of, ...found, ...attempt, detail };
      }
    }
  }
}

function* settled(of: Told, event: RetriesSettled, ranges: MessageRanges): Generator<TraceEvent> {
  const kind = event.reason === "committed" ? "committed" : "lost";
  for (const { topic, partition, offsets } of event.settled) {
    for (const from of offsetsOf(offsets)) {
      for (
        const found of ranges.within({ topic, partition }, { from, to: from + 1, atMs: of.at })
      ) {
        yield { kind, ...of, ...found, detail: { retry: true } };
      }
    }
  }
}

/** The last nack; that the letter was written, the letter tells. What it says of the failure is the letter's, too. */
function* dead(of: Told, event: DeadLettersDue, ranges: MessageRanges): Generator<TraceEvent> {
  for (const { topic, partition, offset: from, attempts } of event.letters) {
    for (const found of ranges.within({ topic, partition }, { from, to: from + 1, atMs: of.at })) {
      yield { kind: "nacked", ...of, ...found, attempt: attempts, detail: { deadLetter: true } };
    }
  }
}
