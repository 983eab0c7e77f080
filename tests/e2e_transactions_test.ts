// Owns proof that consume-transform-produce is exactly once when the application and the broker are killed (signal 9).
// Refuses to own single rules (transaction_decide_test.ts, api_transactions_test.ts).
// Invariant: at the end every input has one output that read_committed shows, and the sums are those of no failure.
import assert from "node:assert/strict";
import { WaybillClient } from "../api/client.ts";
import { type BrokerProcess, startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const MESSAGES = 3_000;
const PARTITIONS = 2;
const KILLS = 6;
/** How long after something new was written somebody is killed, at most. */
const KILL_WITHIN_MS = 100;
const DONE_TIMEOUT_MS = 120_000;
const INPUT = "numbers";
const OUTPUT = "doubled";

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** An instance of the application; `kill` waits until it is gone. */
function startWorker(url: string, name: string): { kill(): Promise<void> } {
  const script = new URL("./support/transform_worker.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script, url, name, INPUT, OUTPUT],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    async kill() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

interface Output {
  readonly of: number;
  readonly doubled: number;
}

async function outputs(
  client: WaybillClient,
  isolation: "read_committed" | "read_uncommitted",
): Promise<Output[]> {
  const found: Output[] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let offset = 0;;) {
      const at = { topic: OUTPUT, partition, offset, isolation, maxMessages: 10_000 };
      const { messages, nextOffset } = await client.read(at);
      for (const { value } of messages) found.push(value as unknown as Output);
      if (nextOffset === offset) break;
      offset = nextOffset;
    }
  }
  return found;
}

/** Resolves when more is written than `before`, or all is committed; to how much is. */
async function progress(client: WaybillClient, before: number): Promise<number> {
  const deadline = performance.now() + DONE_TIMEOUT_MS;
  for (;;) {
    const written = (await outputs(client, "read_uncommitted")).length;
    if (written > before || performance.now() > deadline) return written;
    await pause(50);
  }
}

async function fill(client: WaybillClient): Promise<void> {
  for (const name of [INPUT, OUTPUT]) await client.topics.create({ name, partitions: PARTITIONS });
  const producer = client.producer();
  const numbers = Array.from({ length: MESSAGES }, (_, value) => value);
  await producer.sendMany(INPUT, numbers.map((value) => ({ key: `k${value % 97}`, value })));
  await producer.close();
}

Deno.test(`application and broker killed ${KILLS} times: every message is transformed exactly once`, async () => {
  await withDataDir(async (dataDir) => {
    let broker: BrokerProcess = await startBrokerProcess({ dataDir });
    const { url } = broker;
    const { port } = new URL(url);
    const client = new WaybillClient({ url });
    await fill(client);
    const workers = [startWorker(url, "doubler-0"), startWorker(url, "doubler-1")];
    try {
      let written = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        written = await progress(client, written);
        await pause(Math.random() * KILL_WITHIN_MS);
        const victim = kill % 3;
        if (victim === 2) {
          await broker.stop("SIGKILL");
          broker = await startBrokerProcess({ dataDir, args: [`--port=${port}`] });
        } else {
          await workers[victim]!.kill();
          workers[victim] = startWorker(url, `doubler-${victim}`);
        }
      }
      const deadline = performance.now() + DONE_TIMEOUT_MS;
      let seen = await outputs(client, "read_committed");
      while (seen.length < MESSAGES && performance.now() < deadline) {
        await pause(200);
        seen = await outputs(client, "read_committed");
      }
      const counts = new Map<number, number>();
      for (const { of } of seen) counts.set(of, (counts.get(of) ?? 0) + 1);
      const twice = [...counts].filter(([, count]) => count > 1);
      assert.deepEqual(twice.slice(0, 10), [], "nothing twice");
      assert.equal(counts.size, MESSAGES, "nothing missing");
      const sum = seen.reduce((total, { doubled }) => total + doubled, 0);
      assert.equal(sum, MESSAGES * (MESSAGES - 1));
      const lag = await client.lag("doubler");
      assert.equal(
        lag.partitions.reduce((read, { committedOffset }) => read + committedOffset!, 0),
        MESSAGES,
      );
      const all = (await outputs(client, "read_uncommitted")).length;
      assert.ok(all > MESSAGES, "no kill has met an open transaction: nothing was shown");
    } finally {
      for (const worker of workers) await worker.kill();
      await client.close();
      await broker.stop("SIGKILL");
    }
  });
});
