// Owns the spans of publishing: one for each request that publishes, one for each partition that stores of it.
// Refuses to own those of consuming (consuming_spans.ts), and exporting: the runtime does.
// Invariant: what is traced behaves as it would untraced; a span ends however its work ends.
import {
  type Context,
  context,
  createContextKey,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import type { AppendReceipt, Broker, TopicPartition } from "../../actors/broker.ts";
import type { App } from "../../api/app.ts";
import { NO_TELEMETRY, type Published, type Telemetry } from "../../api/telemetry.ts";
import { rawPath } from "../../api/request_address.ts";
import { asBrokerError } from "../../storage/broker_error.ts";
import { VERSION } from "../version.ts";
import { carriedIn, linksTo } from "./carried_parents.ts";
import { ConsumingSpans } from "./consuming_spans.ts";
import type { TracingOptions } from "./tracing.ts";
import type { Tracing } from "./types.ts";

const PUBLISHES = /^\/api\/(?:messages:publish|topics\/[^/]+\/partitions\/\d+\/messages)$/;
/** The span of the request that publishes. */
const PUBLISH_SPAN = createContextKey("waybill publish span");
/** What is looked through for messages' own traces when it is stored. */
const MAX_LOOK_BYTES = 1_048_576;
const NAMES = { "messaging.system": "waybill" };

type Append = Broker["append"];
type Group = Broker["group"];

export class OtelTracing implements Tracing {
  readonly #tracer: Tracer = trace.getTracer("waybill", VERSION);
  readonly #consuming: ConsumingSpans;
  readonly telemetry: Telemetry = {
    ...NO_TELEMETRY,
    published: (event) => tellPublished(event),
    delivered: (event) => {
      // A stream delivers in the context of whoever woke it up.
      const parent = event.path === "websocket" ? undefined : activeOrNone();
      this.#consuming.delivered(event, this.options.clock.now(), parent);
    },
  };

  constructor(private readonly options: TracingOptions) {
    this.#consuming = new ConsumingSpans({ ...options, tracer: this.#tracer });
  }

  fetch(fetch: App["fetch"]): App["fetch"] {
    return (request, peer) => {
      const serve = () => fetch(request, peer);
      // A connection outlives the request that made it: what happens on it is none of that request's.
      if (request.headers.has("upgrade")) return context.with(ROOT_CONTEXT, serve);
      const isPublish = request.method === "POST" && PUBLISHES.test(rawPath(request.url));
      return isPublish ? this.#publish(request, serve) : serve();
    };
  }

  broker<B extends Broker>(broker: B): B {
    const traced: Partial<Record<PropertyKey, unknown>> = {
      append: this.#append(broker.append.bind(broker)),
      group: this.#group(broker.group.bind(broker)),
    };
    return new Proxy(broker, {
      get(target, name) {
        if (Object.hasOwn(traced, name)) return traced[name];
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? traced[name] = value.bind(target) : value;
      },
    });
  }

  close(): Promise<void> {
    return this.#consuming.settled();
  }

  async #publish(request: Request, serve: () => Response | Promise<Response>): Promise<Response> {
    const attributes = {
      ...NAMES,
      "messaging.operation.type": "send",
      "messaging.operation.name": "publish",
    };
    const span = this.#tracer.startSpan("publish", { attributes }, parentOf(request));
    const within = trace.setSpan(parentOf(request), span).setValue(PUBLISH_SPAN, span);
    try {
      return await context.with(within, serve);
    } finally {
      span.end();
    }
  }

  #append(append: Append): Append {
    return async (at, batches, options) => {
      const active = context.active();
      const of = active.getValue(PUBLISH_SPAN) as Span | undefined;
      if (of === undefined) return await append(at, batches, options);
      const span = this.#tracer.startSpan(`store ${at.topic}`, {
        attributes: storing(at, batches),
        links: linksTo(ownTraces(batches, of)),
      }, active);
      try {
        const receipt = await append(at, batches, options);
        span.setAttributes(stored(receipt));
        return receipt;
      } catch (error) {
        failed(span, asBrokerError(error).code);
        throw error;
      } finally {
        span.end();
      }
    };
  }

  #group(group: Group): Group {
    return async (command) => {
      if (command.type !== "CommitOffsets") return await group(command);
      const { clock } = this.options;
      const startedMs = clock.now();
      const parent = activeOrNone();
      const reply = await group(command);
      const { group: name, memberId: member, offsets } = command;
      const endedMs = clock.now();
      this.#consuming.committed({ group: name, member, offsets, startedMs, endedMs, parent });
      return reply;
    };
  }
}

/** The runtime has a span for every request; without one, what the request itself says. */
function parentOf(request: Request): Context {
  const active = activeOrNone();
  if (active !== undefined) return active;
  const traceparent = request.headers.get("traceparent");
  return traceparent === null ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, { traceparent });
}

function activeOrNone(): Context | undefined {
  const active = context.active();
  return trace.getSpan(active) === undefined ? undefined : active;
}

function tellPublished({ topic, messages, bytes, code }: Published): void {
  const span = context.active().getValue(PUBLISH_SPAN) as Span | undefined;
  if (span === undefined) return;
  if (topic !== "") {
    span.updateName(`publish ${topic}`);
    span.setAttributes({
      "messaging.destination.name": topic,
      "messaging.batch.message_count": messages,
      "waybill.bytes": bytes,
    });
  }
  if (code !== null) failed(span, code);
}

function failed(span: Span, code: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message: code });
  span.setAttribute("error.type", code);
}

function storing({ topic, partition }: TopicPartition, batches: readonly Uint8Array[]) {
  return {
    ...NAMES,
    "messaging.destination.name": topic,
    "messaging.destination.partition.id": String(partition),
    "waybill.bytes": batches.reduce((sum, { length }) => sum + length, 0),
  };
}

function stored({ baseOffsets, durability }: AppendReceipt) {
  const [first] = baseOffsets;
  return {
    "waybill.durability": durability,
    ...(first === undefined || first < 0 ? {} : { "waybill.offset.first": first }),
  };
}

/** Traces that messages bring themselves, beside that of their request. */
function ownTraces(batches: readonly Uint8Array[], request: Span) {
  const { traceId } = request.spanContext();
  let lookedBytes = 0;
  return batches.flatMap((batch) => {
    lookedBytes += batch.length;
    return lookedBytes > MAX_LOOK_BYTES ? [] : carriedIn({ batches: batch });
  }).filter((carried) => carried.traceId !== traceId);
}
