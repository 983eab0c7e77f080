// Owns the spans of consuming: one for each delivery of traced messages, and one for each commit that passes some.
// Refuses to own publishing (otel_tracing.ts), delivering and committing.
// Invariant: made beside the work, in its order, from a bounded queue; nobody waits for it, and what is too much is left out.
import {
  type Context,
  ROOT_CONTEXT,
  type SpanContext,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import type { Broker, TopicPartition } from "../../actors/broker.ts";
import type { Delivered } from "../../api/telemetry.ts";
import { carriedIn, linksTo, MAX_LINKS, onlyTrace } from "./carried_parents.ts";

/** Deliveries and commits that wait to be looked at. */
const MAX_WAITING = 1_000;
/** What is read of a delivery to find its traces. */
const LOOK_BYTES = 1_048_576;
/** Deliveries that a commit may link to: of a partition, and partitions. */
const MAX_UNCOMMITTED = 64;
const MAX_PARTITIONS = 10_000;

export interface ConsumingSpansOptions {
  readonly tracer: Tracer;
  readonly broker: Pick<Broker, "fetch">;
  /** Told once, when spans begin to be left out. */
  readonly report: (message: string) => void;
}

export interface Committed {
  readonly group: string;
  readonly member: string | undefined;
  readonly offsets: readonly (TopicPartition & { readonly offset: number })[];
  readonly startedMs: number;
  readonly endedMs: number;
  /** Of the request that committed; undefined: none is known. */
  readonly parent: Context | undefined;
}

/** A delivery that was told, until it is committed. */
interface Told {
  readonly from: number;
  readonly span: SpanContext;
}

export class ConsumingSpans {
  readonly #waiting: (() => Promise<void>)[] = [];
  #working: Promise<void> | null = null;
  #isShort = false;
  /** By group, topic and partition, oldest first. */
  readonly #told = new Map<string, Told[]>();

  constructor(private readonly options: ConsumingSpansOptions) {}

  /** `parent`: of the request that was answered with it. */
  delivered(delivery: Delivered, atMs: number, parent: Context | undefined): void {
    this.#enqueue(() => this.#deliver(delivery, atMs, parent));
  }

  committed(commit: Committed): void {
    if (this.#told.size === 0 && this.#waiting.length === 0 && this.#working === null) return;
    this.#enqueue(() => Promise.resolve(this.#commit(commit)));
  }

  async settled(): Promise<void> {
    while (this.#working !== null) await this.#working;
  }

  #enqueue(work: () => Promise<void>): void {
    if (this.#waiting.length >= MAX_WAITING) {
      if (!this.#isShort) {
        this.options.report("more is consumed than can be traced: spans are left out");
      }
      this.#isShort = true;
      return;
    }
    this.#waiting.push(work);
    this.#working ??= this.#work().finally(() => this.#working = null);
  }

  async #work(): Promise<void> {
    for (let work = this.#waiting.shift(); work !== undefined; work = this.#waiting.shift()) {
      // Gone or unreadable by now: then there is no span.
      await work().catch(() => undefined);
    }
  }

  async #deliver(delivery: Delivered, atMs: number, parent: Context | undefined): Promise<void> {
    const { group, member, topic, partition, spans, attempt, messages, bytes } = delivery;
    const [first] = spans;
    if (first === undefined) return;
    const { broker, tracer } = this.options;
    const fetched = await broker.fetch({ topic, partition }, first.from, {
      maxBytes: LOOK_BYTES,
      isolation: "read_committed",
    });
    const carried = carriedIn(fetched, spans);
    if (carried.length === 0) return;
    const span = tracer.startSpan(`deliver ${topic}`, {
      startTime: atMs,
      links: linksTo(carried),
      attributes: {
        "messaging.system": "waybill",
        "messaging.operation.type": "receive",
        "messaging.operation.name": "deliver",
        "messaging.destination.name": topic,
        "messaging.destination.partition.id": String(partition),
        "messaging.batch.message_count": messages,
        "waybill.offset.first": first.from,
        "waybill.offset.last": spans.at(-1)!.to - 1,
        "waybill.attempt": attempt,
        "waybill.bytes": bytes,
        ...(group === null ? {} : { "messaging.consumer.group.name": group }),
        ...(member === null ? {} : { "messaging.client.id": member }),
      },
    }, parent ?? childOf(onlyTrace(carried)));
    span.end(atMs);
    if (group === null) return;
    this.#remember(keyOf(group, { topic, partition }), {
      from: first.from,
      span: span.spanContext(),
    });
  }

  #remember(key: string, told: Told): void {
    const known = this.#told.get(key);
    if (known !== undefined) {
      known.push(told);
      if (known.length > MAX_UNCOMMITTED) known.shift();
      return;
    }
    if (this.#told.size >= MAX_PARTITIONS) this.#told.delete(this.#told.keys().next().value!);
    this.#told.set(key, [told]);
  }

  #commit({ group, member, offsets, startedMs, endedMs, parent }: Committed): void {
    const passed: SpanContext[] = [];
    for (const { offset, ...at } of offsets) {
      const key = keyOf(group, at);
      const known = this.#told.get(key);
      if (known === undefined) continue;
      const left = known.filter(({ from }) => from >= offset);
      passed.push(...known.filter(({ from }) => from < offset).map(({ span }) => span));
      if (left.length === 0) this.#told.delete(key);
      else this.#told.set(key, left);
    }
    if (passed.length === 0) return;
    const [first] = offsets;
    const span = this.options.tracer.startSpan(`commit ${group}`, {
      startTime: startedMs,
      links: linksTo(passed.slice(-MAX_LINKS)),
      attributes: {
        "messaging.system": "waybill",
        "messaging.operation.type": "settle",
        "messaging.operation.name": "commit",
        "messaging.consumer.group.name": group,
        "waybill.partitions": offsets.length,
        ...(member === undefined ? {} : { "messaging.client.id": member }),
        ...(offsets.length > 1 || first === undefined ? {} : {
          "messaging.destination.name": first.topic,
          "messaging.destination.partition.id": String(first.partition),
          "waybill.offset.committed": first.offset,
        }),
      },
    }, parent ?? childOf(onlyTrace(passed)));
    span.end(endedMs);
  }
}

function childOf(span: SpanContext | null): Context {
  return span === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, span);
}

/** None of the names has spaces. */
function keyOf(group: string, { topic, partition }: TopicPartition): string {
  return `${group} ${topic} ${partition}`;
}
