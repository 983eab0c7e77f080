// Owns proof that a broker killed by signal 9 keeps retries and writes every dead letter once (I1, I4).
// Refuses to own single steps (retry_dead_letters_test.ts). Invariant: it speaks to the real process over HTTP alone.
import assert from "node:assert/strict";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const MESSAGES = 400;
const KILLS = 6;
const KILL_AFTER_MAX_MS = 120;

interface Nacked {
  /** Offsets whose nack was answered. */
  readonly answered: Set<number>;
}

async function post(url: string, path: string, body: unknown): Promise<Response> {
  return await fetch(url + path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** Nacks what was not answered yet until the broker is gone: even offsets for good, odd ones for a retry in an hour. */
async function nackAll(url: string, { answered }: Nacked): Promise<void> {
  const left = Array.from({ length: MESSAGES }, (_, offset) => offset)
    .filter((offset) => !answered.has(offset));
  const next = left[Symbol.iterator]();
  const worker = async () => {
    for (const offset of next) {
      const how = offset % 2 === 0 ? { code: "NON_RETRYABLE" } : { delayMs: 3_600_000 };
      const body = {
        groupId: "billing",
        topic: "orders",
        partition: 0,
        offset,
        attempt: 1,
        ...how,
      };
      const response = await post(url, "/api/messages:nack", body);
      // Also when its answer was lost with the last process, and it is a dead letter by now.
      assert.ok([200, 503].includes(response.status), `${response.status}`);
      await response.text();
      if (response.status === 200) answered.add(offset);
    }
  };
  await Promise.all(Array.from({ length: 8 }, () => worker().catch(ignoreLost)));
}

/** A nack alone makes no group. Half of what fails is committed past. */
async function makeGroup(url: string): Promise<void> {
  const offsets = [{ topic: "orders", partition: 0, offset: MESSAGES / 2 }];
  const response = await post(url, "/api/offsets:commit", { groupId: "billing", offsets });
  assert.equal(response.status, 200, await response.text());
}

/** The process is gone. */
function ignoreLost(error: unknown): void {
  if (!(error instanceof TypeError)) throw error;
}

async function deadLetters(url: string): Promise<number[]> {
  const offsets: number[] = [];
  for (let cursor = "";;) {
    const response = await fetch(`${url}/api/dlq?topic=orders&limit=200${cursor}`);
    const page = await response.json();
    for (const { origin } of page.deadLetters) offsets.push(origin.offset);
    if (page.nextCursor === undefined) return offsets;
    cursor = `&cursor=${page.nextCursor}`;
  }
}

async function until<T>(look: () => Promise<T>, isDone: (seen: T) => boolean): Promise<T> {
  for (let tries = 0;; tries++) {
    const seen = await look();
    if (isDone(seen) || tries === 100) return seen;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

Deno.test(`broker killed ${KILLS} times amid nacks keeps every retry and writes every dead letter once`, async () => {
  await withDataDir(async (dataDir) => {
    const nacked: Nacked = { answered: new Set() };
    for (let kill = 0; kill <= KILLS; kill++) {
      const broker = await startBrokerProcess({ dataDir });
      if (kill === 0) {
        await (await post(broker.url, "/api/topics", { name: "orders" })).text();
        const messages = Array.from({ length: MESSAGES }, (_, n) => ({ key: `k${n}`, value: n }));
        const published = await post(broker.url, "/api/messages:publish", {
          topic: "orders",
          messages,
        });
        assert.equal(published.status, 200, await published.text());
        await makeGroup(broker.url);
      }
      const nacking = nackAll(broker.url, nacked);
      if (kill < KILLS) {
        const afterMs = 5 + Math.random() * KILL_AFTER_MAX_MS;
        await new Promise((resolve) => setTimeout(resolve, afterMs));
        await broker.stop("SIGKILL");
        await nacking;
        continue;
      }
      await nacking;
      assert.equal(nacked.answered.size, MESSAGES);
      const expected = Array.from({ length: MESSAGES / 2 }, (_, n) => 2 * n);
      const seen = await until(
        () => deadLetters(broker.url),
        (offsets) => offsets.length >= expected.length,
      );
      assert.deepEqual(seen.toSorted((a, b) => a - b), expected);
      const group = await (await fetch(`${broker.url}/api/groups/billing`)).json();
      assert.deepEqual(group.retries, {
        waiting: MESSAGES / 2,
        inHand: 0,
        deadLettersToWrite: 0,
      });
      await broker.stop("SIGTERM");
    }
  });
});
