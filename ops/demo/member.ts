// Owns one member of the group, as a process of its own: it consumes, and writes down all that it gets.
// Refuses to own reconnecting and committing: the client does both.
// Invariant: a message is in the ledger before it can be committed, so what the group has passed over was received.
import { WaybillClient } from "../../api/client.ts";
import { LedgerWriter } from "./ledger.ts";
import type { MemberSpec } from "./member_spec.ts";

/** What was consumed since the last commit comes again when a member dies: long enough to be seen. */
const COMMIT_EVERY_MS = 250;

const { url, topic, group, member, ledger: path }: MemberSpec = JSON.parse(Deno.args[0]!);

/** The end of its input is the sign to go. */
async function inputEnds(): Promise<void> {
  for await (const _ of Deno.stdin.readable) { /* nothing is said to it */ }
}

// Ctrl-C in a terminal reaches every process; the demo tells this one itself when to go.
Deno.addSignalListener("SIGINT", () => {});

const ledger = new LedgerWriter(path);
const client = new WaybillClient({ url });
const consumer = client.consumer({
  group,
  topics: [topic],
  clientId: member,
  autoOffsetReset: "earliest",
  autoCommit: true,
  autoCommitIntervalMs: COMMIT_EVERY_MS,
});
const closed = inputEnds().then(() => consumer.close());
for await (const { partition, offset, key, value } of consumer) {
  ledger.write({ member, partition, offset, key, value });
}
await closed;
Deno.exit(0);
