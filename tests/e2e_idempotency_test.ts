// Owns proof that clients that repeat until they are answered have every message stored once, though the broker is killed
// by signal 9 again and again: with an Idempotency-Key, with a key for each message, with both (I1, I4).
// Refuses to own each single step (api_request_keys_test.ts, message_keys_append_test.ts).
import assert from "node:assert/strict";
import { call, pause } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic, readPartition } from "./support/numbered_load.ts";

const KILLS = 25;
/** The broker dies between these two times after it was ready. */
const KILL_AFTER_MIN_MS = 20;
const KILL_AFTER_MAX_MS = 250;
const TOPIC = { name: "once", partitions: 3, segmentBytes: 65_536 };
const MESSAGES_PER_REQUEST = 6;
const REPEAT_AFTER_MS = 5;

type Kind = "request" | "messages" | "both";

interface Sent {
  readonly headers: Readonly<Record<string, string>>;
  readonly json: { topic: string; messages: readonly { value: string }[] };
}

interface Answered {
  readonly sent: Sent;
  readonly results: readonly { partition: number; offset: number; duplicate: boolean }[];
}

/** Sends one request after the other, each until it is answered. */
class Repeater {
  readonly answered: Answered[] = [];
  /** Requests of which a killed broker had stored something. */
  resumed = 0;
  readonly faults: string[] = [];
  #number = 0;
  #sending: Sent | null = null;

  constructor(private readonly name: string, private readonly kind: Kind) {}

  async run(url: string, signal: AbortSignal): Promise<void> {
    // What was begun is carried on to its answer, while there is a broker.
    while (!signal.aborted || this.#sending !== null) {
      const isRepeat = this.#sending !== null;
      const sent = this.#sending ??= this.#next();
      const answer = await call(url, "/api/messages:publish", sent).catch(() => null);
      if (answer === null) return;
      if (answer.status === 200) {
        this.#settle(sent, answer.body.results, {
          isResumed: isRepeat && answer.headers.get("idempotency-replayed") === "true",
        });
      } else if (answer.status < 500 && answer.status !== 409 && answer.status !== 207) {
        this.faults.push(`${this.name}: ${answer.status} ${JSON.stringify(answer.body)}`);
        return;
      } else await pause(REPEAT_AFTER_MS);
    }
  }

  #settle(sent: Sent, results: Answered["results"], { isResumed }: { isResumed: boolean }): void {
    this.#sending = null;
    this.answered.push({ sent, results });
    if (isResumed || results.some(({ duplicate }) => duplicate)) this.resumed++;
  }

  #next(): Sent {
    const id = `${this.name}-${this.#number++}`;
    const messages = Array.from({ length: MESSAGES_PER_REQUEST }, (_, index) => ({
      value: `${id}/${index}`,
      ...(index % 2 === 0 ? {} : { key: `${id}/${index}` }),
      ...(this.kind === "messages" || (this.kind === "both" && index % 3 === 0)
        ? { idempotencyKey: `${id}/${index}` }
        : {}),
    }));
    const headers: Record<string, string> = this.kind === "messages"
      ? {}
      : { "idempotency-key": id };
    return { headers, json: { topic: TOPIC.name, messages } };
  }
}

/** Offsets of each value that is stored, as `partition/offset`. */
async function storedIn(url: string): Promise<Map<string, string[]>> {
  const stored = new Map<string, string[]>();
  for (let partition = 0; partition < TOPIC.partitions; partition++) {
    for (const { value, offset } of await readPartition(url, TOPIC.name, { partition, from: 0 })) {
      stored.set(value, [...stored.get(value) ?? [], `${partition}/${offset}`]);
    }
  }
  return stored;
}

Deno.test(`broker killed ${KILLS} times stores what is repeated with a key once, where it said`, async () => {
  await withDataDir(async (dataDir) => {
    const kinds: readonly Kind[] = ["request", "messages", "both"];
    const repeaters = kinds.flatMap((kind) =>
      ["a", "b", "c"].map((name) => new Repeater(`${kind}-${name}`, kind))
    );
    for (let kill = 0; kill < KILLS; kill++) {
      const broker = await startBrokerProcess({ dataDir });
      if (kill === 0) await createTopic(broker.url, TOPIC);
      const stop = new AbortController();
      const running = repeaters.map((repeater) => repeater.run(broker.url, stop.signal));
      await pause(KILL_AFTER_MIN_MS + Math.random() * (KILL_AFTER_MAX_MS - KILL_AFTER_MIN_MS));
      await broker.stop("SIGKILL");
      stop.abort();
      await Promise.all(running);
    }
    await using broker = await startBrokerProcess({ dataDir });
    // What the last kill cut off is finished as well.
    const enough = new AbortController();
    enough.abort();
    const last = repeaters.map((repeater) => repeater.run(broker.url, enough.signal));
    await Promise.all(last);
    assert.deepEqual(repeaters.flatMap(({ faults }) => faults), []);
    const stored = await storedIn(broker.url);
    const answered = repeaters.flatMap((repeater) => repeater.answered);
    for (const { sent, results } of answered) {
      sent.json.messages.forEach(({ value }, index) => {
        const { partition, offset } = results[index]!;
        assert.deepEqual(stored.get(value), [`${partition}/${offset}`], value);
      });
    }
    assert.equal(stored.size, answered.length * MESSAGES_PER_REQUEST);
    for (const { sent, results } of answered.filter((_, index) => index % 10 === 0)) {
      const again = await call(broker.url, "/api/messages:publish", sent);
      const places = (list: Answered["results"]) =>
        list.map(({ partition, offset }) => [partition, offset]);
      assert.deepEqual(places(again.body.results), places(results));
    }
    assert.equal((await storedIn(broker.url)).size, stored.size);
    // Else the kills came where nothing can go wrong, and the test shows nothing.
    const resumed = repeaters.reduce((sum, repeater) => sum + repeater.resumed, 0);
    assert.ok(resumed > 0, `of ${answered.length} requests none was repeated after it was stored`);
    await broker.stop("SIGTERM");
  });
});
