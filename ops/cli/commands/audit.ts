// Owns the commands on the audit log. Refuses to own the chain: the broker verifies it.
// Invariant: an export ends whole or tells that it did not.
import type { Json } from "../broker_api.ts";
import { type CommandGroup, type Context, LIMIT, option } from "../command.ts";
import { EXIT_FAILED, EXIT_OK } from "../failures.ts";
import type { Options } from "../given.ts";
import { instant } from "../grammar.ts";
import { count, counted, json, time } from "../output.ts";

const PAGE_ENTRIES = 500;
/** Reading a long chain takes its time. */
const VERIFY_TIMEOUT_MS = 600_000;

const FILTER: Options = {
  actor: option("principal", "Who did it"),
  action: option("action", "What was done"),
  resource: option("name", "To what"),
  from: option("time", "From then on: RFC 3339, ms, or so long ago (1d)"),
  to: option("time", "Until then"),
};

export const audit: CommandGroup = {
  describes: "Query, export and verify the audit log",
  commands: {
    query: {
      describes: "Show who changed what, newest first",
      options: { ...FILTER, ...LIMIT },
      examples: [["--from 1d --actor billing", "what one did since yesterday"]],
      run: query,
    },
    export: {
      describes: "Write entries as NDJSON, oldest first, all of them",
      options: FILTER,
      examples: [["--from 2026-11-01T00:00:00Z > november.ndjson", "a file a month"]],
      run: exportEntries,
    },
    verify: {
      describes: "Verify the chain of entries; exit code 1 when it is broken",
      options: {
        sequence: option("n", "Of an entry that was noted before"),
        hash: option("hash", "The hash that was noted with it"),
      },
      examples: [["", "the whole chain"], ["--sequence 41 --hash 9f2c", "and one entry of it"]],
      run: verify,
    },
  },
};

function filterIn({ given, terminal }: Context) {
  const at = (name: string) => {
    const text = given.text(name);
    return text === undefined ? undefined : instant(text, terminal.now());
  };
  return {
    actor: given.text("actor"),
    action: given.text("action"),
    resource: given.text("resource"),
    from: at("from"),
    to: at("to"),
  };
}

async function query(context: Context): Promise<void> {
  const { given, api, output } = context;
  const limit = given.integer("limit")!;
  const { entries, more } = await api.list("/api/audit", "entries", {
    limit,
    query: filterIn(context),
  });
  await output.result({ entries }, () =>
    output.table(
      ["ENTRY", "AT", "ACTOR", "FROM", "ACTION", "RESOURCE", "OUTCOME", "REASON"],
      entries.map((entry) => [
        entry.sequence,
        time(entry.at),
        entry.actor,
        entry.remoteAddress,
        entry.action,
        entry.resource === null ? "" : `${entry.resource.type} ${entry.resource.name}`,
        entry.code === null ? entry.outcome : `${entry.outcome} ${entry.code}`,
        entry.reason,
      ]),
      "there are no such entries",
    ));
  if (more) output.remark(`there are more: --limit ${limit * 10}`);
}

async function exportEntries(context: Context): Promise<number> {
  const { api, terminal, output } = context;
  const filter = filterIn(context);
  let [cursor, exported, unreadable]: [string | undefined, number, number] = [undefined, 0, 0];
  do {
    const page: Json = await api.get("/api/audit", {
      ...filter,
      order: "oldest",
      all: "true",
      limit: PAGE_ENTRIES,
      cursor,
    });
    const lines = page.entries.map((entry: Json) => `${json(entry)}\n`);
    if (lines.length > 0) await terminal.write(lines.join(""));
    exported += lines.length;
    unreadable += page.unreadable ?? 0;
    cursor = page.nextCursor;
  } while (cursor !== undefined && !terminal.interrupted.aborted);
  output.remark(counted(exported, "entry", "entries"));
  if (cursor === undefined && unreadable === 0) return EXIT_OK;
  terminal.tell(
    unreadable > 0
      ? `waybill: ${counted(unreadable, "entry", "entries")} cannot be read`
      : "waybill: interrupted",
  );
  return EXIT_FAILED;
}

async function verify({ given, api, output }: Context): Promise<number> {
  const answer = await api.json("GET", "/api/audit:verify", {
    query: { sequence: given.integer("sequence"), hash: given.text("hash") },
    timeoutMs: VERIFY_TIMEOUT_MS,
  });
  const { intact, entries, head, firstFault } = answer;
  await output.result(
    answer,
    () =>
      intact
        ? `the chain of ${count(entries)} entries is whole; head ${head.sequence} ${head.hash}`
        : `the chain is broken at entry ${firstFault?.sequence}: ${firstFault?.reason}`,
  );
  return intact ? EXIT_OK : EXIT_FAILED;
}
