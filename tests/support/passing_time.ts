// Owns waiting for an answer in virtual time: it passes only while somebody waits.
// Refuses to own the clock (virtual_time.ts).
// Invariant: no time passes for an answer that needs none, however busy the machine is.
import assert from "node:assert/strict";
import { settle, type VirtualClock } from "./virtual_time.ts";

/** Turns of the event loop in which an answer comes that needs nothing else. */
const SETTLE_TURNS = 60;
/** Digests are made on other threads, which know nothing of virtual time. */
const DIGEST_TURNS = 10;
const STEP_MS = 20;
/** In virtual time: longer than the longest wait a caller may ask for, and every retry behind it. */
const LONGEST_ANSWER_MS = 120_000;

/** As `promise`, while virtual time moves on by steps as long as it has not settled. */
export async function passing<T>(
  time: VirtualClock,
  promise: Promise<T>,
  { stepMs = STEP_MS }: { readonly stepMs?: number } = {},
): Promise<T> {
  let isSettled = false;
  promise.finally(() => isSettled = true).catch(() => {});
  for (let turn = 0; turn < SETTLE_TURNS && !isSettled; turn++) await settle();
  for (let turn = 0; turn < DIGEST_TURNS && !isSettled; turn++) await otherThreads();
  const givenUpAt = time.monotonic() + LONGEST_ANSWER_MS;
  while (!isSettled && time.monotonic() < givenUpAt) {
    await time.advance(stepMs);
    await otherThreads();
  }
  assert.ok(isSettled, "no answer came");
  return await promise;
}

/** Resolves when they have done what they were given before, as far as one can tell: a digest queues behind others. */
async function otherThreads(): Promise<void> {
  await crypto.subtle.digest("SHA-256", new Uint8Array());
  await settle();
}
