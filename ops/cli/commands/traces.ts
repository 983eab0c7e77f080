// Owns the command on traces. Refuses to own what a trace tells (the broker does).
// Invariant: what is missing is told beside what is there.
import type { Json } from "../broker_api.ts";
import { type CommandGroup, type Context, LIMIT, word } from "../command.ts";
import { UsageError } from "../failures.ts";
import { pathOf } from "../grammar.ts";
import { time } from "../output.ts";

const PAGE_ENTRIES = 500;
const TRACE = /^(?:[0-9a-f]{2}-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?$/;

export const traces: CommandGroup = {
  describes: "See what became of the messages that carried a trace",
  commands: {
    show: {
      describes: "Show what happened to the messages of a trace, oldest first",
      options: { trace: word("Trace id, or a whole traceparent"), ...LIMIT },
      examples: [
        ["4bf92f3577b34da6a3ce929d0e0e4736", "published, delivered, committed: where and when"],
        ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "as services log it"],
      ],
      run: show,
    },
  },
};

async function show({ given, api, terminal, output }: Context): Promise<void> {
  const text = given.need("trace");
  const id = TRACE.exec(text)?.[1];
  if (id === undefined) throw new UsageError(`"${text}" is no trace id: it is 32 hex digits`);
  const limit = given.integer("limit")!;
  const events: Json[] = [];
  let page: Json;
  do {
    page = await api.get(pathOf`/api/traces/${id}`, {
      limit: Math.min(PAGE_ENTRIES, limit - events.length),
      cursor: page?.nextCursor,
    });
    events.push(...page.events);
  } while (
    page.nextCursor !== undefined && events.length < limit && !terminal.interrupted.aborted
  );
  const { traceId, isTruncated, indexedFrom, deliveriesFrom, nextCursor } = page;
  await output.result(
    { traceId, events, isTruncated, indexedFrom, deliveriesFrom },
    () =>
      output.table(
        ["AT", "WHAT", "MESSAGE", "GROUP", "MEMBER", "ATTEMPT", "RELATED", "DETAIL"],
        events.map((event) => [
          time(event.at),
          event.kind,
          placeOf(event),
          event.group,
          event.member,
          event.attempt,
          event.related === undefined ? "" : placeOf(event.related),
          detailOf(event.detail),
        ]),
        "nothing is known of this trace",
      ),
  );
  if (nextCursor !== undefined) output.remark(`there are more: --limit ${limit * 10}`);
  if (isTruncated) output.remark("more may have happened than is told");
  if (indexedFrom !== null) {
    output.remark(`messages published before ${time(indexedFrom)} are not found`);
  }
  output.remark(`deliveries are known from ${time(deliveriesFrom)} on`);
}

function placeOf({ topic, partition, offset, lastOffset }: Json): string {
  const last = lastOffset === undefined ? "" : `-${lastOffset}`;
  return `${topic}/${partition} ${offset}${last}`;
}

function detailOf(detail: Json): string {
  return Object.entries(detail ?? {}).map(([name, value]) => `${name}=${value}`).join(" ");
}
