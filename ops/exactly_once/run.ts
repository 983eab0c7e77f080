// Owns the run of the exactly-once example: a broker, two instances of an application, kills by signal 9, and the count.
// Refuses to own the application (application.ts) and how the outcome is shown (main.ts).
// Invariant: it speaks to the broker as any user does; no process and no file of it outlives the run.
import { WaybillClient } from "../../api/client.ts";
import { type BrokerChild, startBrokerChild } from "../broker_child.ts";

const INPUT = "numbers";
const OUTPUT = "doubled";
const GROUP = "doubler";
const INSTANCES = 2;
const PARTITIONS = 2;
/** How long after something new was written somebody is killed, at most. */
const KILL_WITHIN_MS = 100;
const POLL_MS = 100;
const PAGE_MESSAGES = 10_000;

export interface ExactlyOnceOptions {
  /** Numbers to double. */
  readonly messages: number;
  /** Signals 9, two of three for an instance, each third for the broker. */
  readonly kills: number;
  /** The run gives up waiting for what is missing after this. */
  readonly timeoutMs: number;
  /** Hears in words what happens. */
  readonly onEvent: (what: string) => void;
}

export interface ExactlyOnceOutcome {
  readonly inputs: number;
  /** What read_committed shows. */
  readonly outputs: number;
  readonly missing: number;
  readonly twice: number;
  readonly sum: number;
  readonly expectedSum: number;
  /** Outputs that were written and aborted: the work that kills have cut off. */
  readonly aborted: number;
  /** What the group has committed, over all partitions. */
  readonly committed: number;
  readonly holds: boolean;
}

interface Output {
  readonly of: number;
  readonly doubled: number;
}

interface Stage {
  readonly dataDir: string;
  readonly client: WaybillClient;
  readonly url: string;
  broker: BrokerChild;
  readonly instances: Deno.ChildProcess[];
}

/** Runs it in a directory of its own that is removed afterwards. */
export async function runExactlyOnce(options: ExactlyOnceOptions): Promise<ExactlyOnceOutcome> {
  const dataDir = await Deno.makeTempDir({ prefix: "waybill-exactly-once-" });
  const broker = await startBrokerChild({ dataDir, stderr: "keep" });
  const client = new WaybillClient({ url: broker.url });
  const stage: Stage = { dataDir, client, url: broker.url, broker, instances: [] };
  try {
    await fill(client, options.messages);
    for (let number = 0; number < INSTANCES; number++) startInstance(stage, number);
    await killAll(stage, options);
    return await outcome(stage, options);
  } finally {
    for (const instance of stage.instances) await killed(instance);
    await client.close();
    await stage.broker.kill("SIGKILL");
    await Deno.remove(dataDir, { recursive: true });
  }
}

async function fill(client: WaybillClient, messages: number): Promise<void> {
  for (const name of [INPUT, OUTPUT]) await client.topics.create({ name, partitions: PARTITIONS });
  const producer = client.producer();
  const numbers = Array.from({ length: messages }, (_, value) => value);
  await producer.sendMany(INPUT, numbers.map((value) => ({ key: `k${value % 97}`, value })));
  await producer.close();
}

function startInstance(stage: Stage, number: number): void {
  const script = new URL("./application.ts", import.meta.url).pathname;
  stage.instances[number] = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, stage.url, `${GROUP}-${number}`, GROUP, INPUT, OUTPUT],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

async function killed(process: Deno.ChildProcess): Promise<void> {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
  await process.status;
}

/** Each kill comes at a random moment after something new was written. */
async function killAll(stage: Stage, { kills, timeoutMs, onEvent }: ExactlyOnceOptions) {
  const deadline = performance.now() + timeoutMs;
  let written = 0;
  for (let kill = 0; kill < kills; kill++) {
    const before = written;
    while (written <= before && performance.now() < deadline) {
      await pause(POLL_MS);
      written = (await outputs(stage.client, "read_uncommitted")).length;
    }
    await pause(Math.random() * KILL_WITHIN_MS);
    const victim = kill % (INSTANCES + 1);
    if (victim < INSTANCES) {
      await killed(stage.instances[victim]!);
      onEvent(`${written} outputs are written; instance ${victim} of the application was killed`);
      startInstance(stage, victim);
    } else {
      const port = Number(new URL(stage.url).port);
      await stage.broker.kill("SIGKILL");
      onEvent(`${written} outputs are written; the broker was killed`);
      stage.broker = await startBrokerChild({ dataDir: stage.dataDir, port, stderr: "keep" });
    }
  }
}

async function outcome(
  { client }: Stage,
  { messages, timeoutMs }: ExactlyOnceOptions,
): Promise<ExactlyOnceOutcome> {
  const deadline = performance.now() + timeoutMs;
  let seen = await outputs(client, "read_committed");
  while (seen.length < messages && performance.now() < deadline) {
    await pause(POLL_MS);
    seen = await outputs(client, "read_committed");
  }
  const all = await outputs(client, "read_uncommitted");
  const different = new Set(seen.map(({ of }) => of)).size;
  const lag = await client.lag(GROUP);
  const counted = {
    inputs: messages,
    outputs: seen.length,
    missing: messages - different,
    twice: seen.length - different,
    sum: seen.reduce((total, { doubled }) => total + doubled, 0),
    expectedSum: messages * (messages - 1),
    aborted: all.length - seen.length,
    committed: lag.partitions.reduce((sum, { committedOffset }) => sum + (committedOffset ?? 0), 0),
  };
  const { missing, twice, sum, expectedSum, committed } = counted;
  const holds = missing === 0 && twice === 0 && sum === expectedSum && committed === messages;
  return { ...counted, holds };
}

async function outputs(
  client: WaybillClient,
  isolation: "read_committed" | "read_uncommitted",
): Promise<Output[]> {
  const found: Output[] = [];
  for (let partition = 0; partition < PARTITIONS; partition++) {
    for (let offset = 0;;) {
      const at = { topic: OUTPUT, partition, offset, isolation, maxMessages: PAGE_MESSAGES };
      const { messages, nextOffset } = await client.read(at);
      for (const { value } of messages) found.push(value as unknown as Output);
      if (nextOffset === offset) break;
      offset = nextOffset;
    }
  }
  return found;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
