// Owns proof that consume-transform-produce is exactly once when the application and the broker are killed (signal 9).
// Refuses to own single rules (transaction_decide_test.ts, api_transactions_test.ts).
// Invariant: at the end every input has one output that read_committed shows, and the sums are those of no failure.
import assert from "node:assert/strict";
import { runExactlyOnce } from "../ops/exactly_once/run.ts";

const MESSAGES = 3_000;
const KILLS = 6;
const TIMEOUT_MS = 120_000;

Deno.test(`application and broker killed ${KILLS} times: every message is transformed exactly once`, async () => {
  const events: string[] = [];
  const options = { messages: MESSAGES, kills: KILLS, timeoutMs: TIMEOUT_MS };
  const outcome = await runExactlyOnce({ ...options, onEvent: (what) => events.push(what) });
  const { aborted, ...counted } = outcome;
  assert.deepEqual(counted, {
    inputs: MESSAGES,
    outputs: MESSAGES,
    missing: 0,
    twice: 0,
    sum: MESSAGES * (MESSAGES - 1),
    expectedSum: MESSAGES * (MESSAGES - 1),
    committed: MESSAGES,
    holds: true,
  });
  assert.equal(events.length, KILLS);
  assert.ok(aborted > 0, "no kill has met an open transaction: nothing was shown");
});
