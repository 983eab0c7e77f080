// Owns a small OTLP/HTTP collector on loopback that keeps the spans it is sent (as JSON).
// Refuses to own what they should be. Invariant: nothing is kept but what arrived.

// deno-lint-ignore no-explicit-any -- OTLP's JSON, checked by what is read of it
type Any = any;

export interface CollectedSpan {
  readonly name: string;
  /** Library that made it: `waybill`, or the runtime's `deno`. */
  readonly scope: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: none. */
  readonly parentSpanId: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly isError: boolean;
  readonly attributes: Readonly<Record<string, string>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

export interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
  /** Requests of any kind: spans, logs, metrics. */
  readonly requests: readonly string[];
}

const STATUS_ERROR = 2;
const NS_IN_MS = 1_000_000n;

export function startCollector(): Collector {
  const spans: CollectedSpan[] = [];
  const requests: string[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const { pathname } = new URL(request.url);
    requests.push(pathname);
    const body = await request.json();
    if (pathname === "/v1/traces") spans.push(...spansIn(body));
    return Response.json({});
  });
  return {
    url: `http://127.0.0.1:${(server.addr as Deno.NetAddr).port}`,
    spans,
    requests,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

function spansIn({ resourceSpans }: Any): CollectedSpan[] {
  return resourceSpans.flatMap(({ scopeSpans }: Any) =>
    scopeSpans.flatMap(({ scope, spans }: Any) =>
      spans.map((span: Any) => ({
        name: span.name,
        scope: scope?.name ?? "",
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? "",
        startMs: Number(BigInt(span.startTimeUnixNano) / NS_IN_MS),
        endMs: Number(BigInt(span.endTimeUnixNano) / NS_IN_MS),
        isError: span.status?.code === STATUS_ERROR,
        attributes: Object.fromEntries(
          span.attributes.map(({ key, value }: Any) => [key, String(Object.values(value)[0])]),
        ),
        links: span.links.map(({ traceId, spanId }: Any) => ({ traceId, spanId })),
      }))
    )
  );
}
