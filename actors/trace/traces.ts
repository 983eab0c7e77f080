// Owns answering what became of a trace, and giving the follower its time.
// Refuses to own the parts: the index (follower.ts), messages (stored_messages.ts), groups (group_walk.ts), deliveries.
// Invariant: few answer at a time, each within its bounds; following stops when the broker closes.
import { BrokerError } from "../../storage/broker_error.ts";
import type { Cancel, Clock, Timers } from "../../storage/ports.ts";
import { Slots, Turn } from "../../storage/turns.ts";
import type { Jobs } from "../job/types.ts";
import type { Topic } from "../broker.ts";
import { DeliveryRing } from "./deliveries.ts";
import { type FollowedPartition, type PlacedRun, TraceFollower } from "./follower.ts";
import { type GroupJournal, walkGroups } from "./group_walk.ts";
import { MessageRanges } from "./message_ranges.ts";
import { storedMessages } from "./stored_messages.ts";
import type { FoundTrace, TraceDelivery, TraceEvent, TraceRequest, Traces } from "./types.ts";
import type { TraceSettings } from "./types.ts";

/** Answers made at a time, and those that wait. */
const MAX_AT_A_TIME = 2;
const MAX_WAITING = 32;
/** Of one asker, under way or waiting. */
const MAX_OF_ASKER = 4;
/** What an answer looks at that was published just before it was asked for. */
const CATCH_UP_BYTES = 64 * 1_048_576;
/** Runs and events of one answer. */
const MAX_RUNS = 1_000;
const MAX_EVENTS = 10_000;
const SECOND_MS = 1_000;

export interface TracesOptions {
  readonly settings: TraceSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  topics(): Iterable<Topic>;
  topic(name: string): Topic | null;
  partitionsOf(topic: string): readonly FollowedPartition[];
  /** Of all groups, a journal a shard. */
  readonly groupJournals: readonly GroupJournal[];
  readonly jobs: Pick<Jobs, "get">;
  report(event: { level: "warning"; message: string; error?: unknown }): void;
}

export class LocalTraces implements Traces {
  readonly #options: TracesOptions;
  readonly #follower: TraceFollower;
  readonly #deliveries: DeliveryRing;
  readonly #turn = new Turn();
  readonly #slots = new Slots(MAX_AT_A_TIME);
  /** How many answers each asker waits for; only those who do. */
  readonly #askers = new Map<string, number>();
  #asking = 0;
  #isClosed = false;
  #cancel: Cancel = () => {};

  constructor(options: TracesOptions) {
    this.#options = options;
    const { settings: { maxDeliveries }, clock } = options;
    this.#deliveries = new DeliveryRing({ clock, maxDeliveries });
    this.#follower = new TraceFollower({ ...options, yieldTurn: this.#yieldTurn });
    this.#schedule();
  }

  delivered(delivery: TraceDelivery): void {
    this.#deliveries.note(delivery);
  }

  async find(request: TraceRequest): Promise<FoundTrace> {
    const { asker } = request;
    const asked = this.#askers.get(asker) ?? 0;
    if (asked >= MAX_OF_ASKER || this.#asking >= MAX_AT_A_TIME + MAX_WAITING) {
      throw new BrokerError("OVERLOADED", "too many traces are asked for at a time");
    }
    this.#asking++;
    this.#askers.set(asker, asked + 1);
    try {
      return await this.#slots.run(() => this.#find(request));
    } finally {
      this.#asking--;
      const left = this.#askers.get(asker)! - 1;
      if (left === 0) this.#askers.delete(asker);
      else this.#askers.set(asker, left);
    }
  }

  /** Resolves when nothing is looked at any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancel();
    await this.#turn.run(() => Promise.resolve());
  }

  async #find({ traceId, topics, known }: TraceRequest): Promise<FoundTrace> {
    const { groupJournals: journals, jobs } = this.#options;
    const yieldTurn = this.#yieldTurn;
    await this.#turn.run(() => this.#follower.follow(CATCH_UP_BYTES));
    const wanted = new Set(topics);
    const { indexedFrom, hasGaps } = this.#follower.coverage(wanted);
    const indexed = this.#follower.find(traceId, wanted, MAX_RUNS);
    const messages = await storedMessages({
      traceId,
      runs: indexed.runs,
      maxEvents: MAX_EVENTS,
      partition: (run) => this.#partition(run),
      kindOfJob: (jobId) => jobs.get(jobId).then(({ kind }) => kind, nothingKnown),
      yieldTurn,
    });
    const runs = distinct([...messages.runs, ...known ?? []]);
    const ranges = new MessageRanges(runs);
    const sinceMs = runs.reduce((least, { at }) => Math.min(least, at), Infinity);
    const left = MAX_EVENTS - messages.events.length;
    const groups = runs.length === 0
      ? { events: [], isCut: false }
      : await walkGroups({ journals, ranges, sinceMs, maxEvents: left, yieldTurn });
    const events: TraceEvent[] = [...messages.events, ...groups.events];
    let isCut = indexed.isCut || messages.isCut || groups.isCut;
    for (const event of this.#deliveries.eventsOf(ranges)) {
      if (events.length >= MAX_EVENTS) {
        isCut = true;
        break;
      }
      events.push(event);
    }
    const { fromMs: deliveriesFrom } = this.#deliveries;
    return {
      events: events.sort(inOrder),
      isTruncated: hasGaps || isCut,
      indexedFrom,
      deliveriesFrom,
      ...(known === undefined ? {} : { messages: messages.runs }),
    };
  }

  #partition({ topic, partition }: PlacedRun): FollowedPartition | null {
    const found = this.#options.partitionsOf(topic)[partition] ?? null;
    return found?.leads === false ? null : found;
  }

  #schedule(): void {
    const { settings, timers, report } = this.#options;
    if (settings.followEveryMs <= 0 || this.#isClosed) return;
    const maxBytes = settings.followBytesPerSecond * settings.followEveryMs / SECOND_MS;
    this.#cancel = timers.after(settings.followEveryMs, () => {
      if (this.#isClosed) return;
      this.#turn.run(() => this.#follower.follow(maxBytes))
        .catch((error) => {
          report({ level: "warning", message: "the index of traces could not go on", error });
        })
        .finally(() => this.#schedule());
    });
  }

  readonly #yieldTurn = (): Promise<void> =>
    new Promise((resolve) => void this.#options.timers.after(0, resolve));
}

function nothingKnown(error: unknown): null {
  if (error instanceof BrokerError) return null;
  throw error;
}

/** What happens to a message in the order in which it must, where times are equal. */
const ORDER: readonly TraceEvent["kind"][] = [
  "published",
  "redriven",
  "replayed",
  "delivered",
  "retried",
  "nacked",
  "parked",
  "dead-lettered",
  "committed",
  "rewound",
  "skipped",
  "lost",
];

function inOrder(a: TraceEvent, b: TraceEvent): number {
  return a.at - b.at || ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) ||
    (a.topic < b.topic ? -1 : a.topic > b.topic ? 1 : 0) ||
    a.partition - b.partition || a.offset - b.offset;
}

/** What was found here is among what all have found. */
function distinct(runs: readonly PlacedRun[]): PlacedRun[] {
  const place = ({ topic, partition, firstOffset }: PlacedRun) =>
    `${topic} ${partition} ${firstOffset}`;
  return [...new Map(runs.map((run) => [place(run), run])).values()];
}
