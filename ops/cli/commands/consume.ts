// Owns consuming to standard output: of partitions without a group, or as a member of one.
// Refuses to own where messages come from: the client reads and consumes.
// Invariant: as a member, what was not written out is not committed.
import { type ConsumedMessage, type Message, WaybillClient } from "../../../api/client.ts";
import { type Command, type Context, flag, oneOf, option, word } from "../command.ts";
import { UsageError } from "../failures.ts";
import { pathOf, type Position, position } from "../grammar.ts";
import { printable, time } from "../output.ts";
import { urlsIn } from "../profiles.ts";

/** Of one read. */
const READ_MESSAGES = 1_000;
/** A follower waits for so long where there is nothing. */
const FOLLOW_WAIT_MS = 500;
/** Partitions that a follower waits for at the same time. */
const CONCURRENT_READS = 64;
/** Without --follow a member ends when nothing has come for so long. */
const IDLE_MS = 3_000;
/** What a member is sent ahead of what it has written out. */
const MAX_IN_FLIGHT = 1_000;

export const consume: Command = {
  describes: "Print messages: of partitions, or as a member of a group",
  options: {
    topic: word("Name of the topic"),
    partition: option("n", "This partition alone; default all"),
    from: option("offset", "Where to start; default earliest"),
    to: option("offset", "Where to end, this one not included; default the end as it is now"),
    max: { ...option("n", "Messages at most"), alias: "n" },
    follow: { ...flag("Go on with what comes, until interrupted"), alias: "f" },
    isolation: oneOf(["read_committed", "read_uncommitted"], "Default read_committed"),
    group: { ...option("group", "As a member of this group"), alias: "g" },
    "no-commit": flag("As a member: commit nothing"),
    "client-id": option("id", "As a member: the name of this client"),
  },
  examples: [
    ["orders --partition 0 --from 100 --to 200", "a hundred messages"],
    ["orders --from @15m --json", "of the last 15 minutes, as NDJSON"],
    ["orders --from latest --follow", "what comes from now on"],
    ["orders --group billing --follow", "as a member, committing what is printed"],
  ],
  run: (context) => context.given.text("group") === undefined ? read(context) : join(context),
};

class Printer {
  #left: number;

  constructor(private readonly context: Context) {
    this.#left = context.given.integer("max") ?? Infinity;
  }

  get isDone(): boolean {
    return this.#left <= 0 || this.context.terminal.interrupted.aborted;
  }

  get left(): number {
    return this.#left;
  }

  /** Prints `messages`, no more than are left. */
  async print(messages: readonly Message[]): Promise<void> {
    const printed = messages.slice(0, this.#left);
    this.#left -= printed.length;
    await this.context.output.lines(printed, lineOf);
  }
}

function lineOf(message: Message): string {
  const { topic, partition, offset, timestamp, key } = message;
  const shown = message.value instanceof Uint8Array
    ? `<${message.value.length} bytes>`
    : typeof message.value === "string"
    ? message.value
    : JSON.stringify(message.value);
  const where = `${topic}/${partition}@${offset}`;
  return `${where}  ${time(timestamp) ?? "-"}  ${printable(key ?? "-")}  ${printable(shown)}`;
}

interface Stretch {
  readonly partition: number;
  next: Position;
  /** Null: no end. */
  readonly end: number | null;
}

async function read(context: Context): Promise<void> {
  const { given, terminal } = context;
  if (given.text("client-id") !== undefined) throw new UsageError("--client-id needs --group");
  if (given.flag("no-commit")) throw new UsageError("--no-commit needs --group");
  const isFollowing = given.flag("follow");
  if (isFollowing && given.text("to") !== undefined) {
    throw new UsageError("--follow and --to exclude each other");
  }
  const now = terminal.now();
  const from = position(given.text("from") ?? "earliest", now);
  const to = position(given.text("to") ?? "latest", now);
  await using client = clientOf(context);
  const stretches = await stretchesOf(context, { from, to: isFollowing ? null : to });
  const printer = new Printer(context);
  if (isFollowing) return await followAll(stretches, { context, client, printer });
  for (const stretch of stretches) {
    while (!printer.isDone && !await step(stretch, { context, client, printer }));
  }
}

/** All partitions at the same time, so that none waits for another that is silent. */
async function followAll(stretches: readonly Stretch[], reader: Reader): Promise<void> {
  while (!reader.printer.isDone) {
    for (let at = 0; at < stretches.length; at += CONCURRENT_READS) {
      const some = stretches.slice(at, at + CONCURRENT_READS);
      await Promise.all(some.map((stretch) => step(stretch, reader)));
    }
  }
}

/** Where each partition is read from and to; ends are found out at the start. */
async function stretchesOf(
  context: Context,
  { from, to }: { from: Position; to: Position | null },
): Promise<Stretch[]> {
  const { given, api } = context;
  const topic = given.need("topic");
  const one = given.integer("partition");
  const { partitions } = await api.get(pathOf`/api/topics/${topic}`);
  const numbers: number[] = partitions.map(({ partition }: { partition: number }) => partition);
  const chosen = one === undefined ? numbers : [one];
  return await Promise.all(chosen.map(async (partition) => {
    const end = to === null ? null : await resolved(context, { topic, partition, at: to });
    const next = from === "latest" || typeof from === "string" && from.startsWith("@")
      ? await resolved(context, { topic, partition, at: from })
      : from;
    return { partition, next, end };
  }));
}

/** `at` as a number: that of the first message there, or the end when there is none yet. */
async function resolved(
  { api }: Context,
  { topic, partition, at }: { topic: string; partition: number; at: Position },
): Promise<number> {
  if (typeof at === "number") return at;
  const path = pathOf`/api/topics/${topic}/partitions/${partition}/messages`;
  const query = { offset: at, maxMessages: 1, isolation: "read_uncommitted" };
  const { messages, highWatermark, logStartOffset } = await api.get(path, query);
  if (at === "earliest") return logStartOffset;
  return at === "latest" ? highWatermark : messages[0]?.offset ?? highWatermark;
}

interface Reader {
  readonly context: Context;
  readonly client: WaybillClient;
  readonly printer: Printer;
}

/** Prints some of a stretch; true when it is over. */
async function step(stretch: Stretch, reader: Reader): Promise<boolean> {
  const { context: { given }, client, printer } = reader;
  if (stretch.end !== null && typeof stretch.next === "number" && stretch.next >= stretch.end) {
    return true;
  }
  const answer = await client.read({
    topic: given.need("topic"),
    partition: stretch.partition,
    offset: stretch.next,
    maxMessages: Math.max(1, Math.min(READ_MESSAGES, printer.left)),
    isolation: isolationOf(given.text("isolation")),
    ...(stretch.end === null ? { waitMs: FOLLOW_WAIT_MS } : {}),
  });
  const { end } = stretch;
  await printer.print(
    end === null ? answer.messages : answer.messages.filter(({ offset }) => offset < end),
  );
  const stands = answer.nextOffset === stretch.next;
  stretch.next = answer.nextOffset;
  // Behind the first open transaction nothing can be read, though there is more.
  return end !== null && (stands || answer.nextOffset >= end);
}

function isolationOf(text: string | undefined): "read_committed" | "read_uncommitted" {
  return text === "read_uncommitted" ? text : "read_committed";
}

async function join(context: Context): Promise<void> {
  const { given, terminal } = context;
  for (const name of ["partition", "to", "isolation"]) {
    if (given.text(name) !== undefined) throw new UsageError(`--${name} does not go with --group`);
  }
  const printer = new Printer(context);
  await using client = clientOf(context);
  const consumer = client.consumer({
    group: given.need("group"),
    topics: [given.need("topic")],
    maxInFlight: MAX_IN_FLIGHT,
    autoOffsetReset: startOf(given.text("from")),
    ...(given.text("client-id") === undefined ? {} : { clientId: given.need("client-id") }),
    onError: (error) => context.output.remark(`waybill: ${error.code}: ${error.detail}`),
    onPaused: (reason) => context.output.remark(`waybill: the group is paused: ${reason}`),
  });
  const close = () => void consumer.close().catch(() => undefined);
  terminal.interrupted.addEventListener("abort", close);
  const idle = given.flag("follow") ? null : new Idle(close);
  try {
    for await (const message of consumer) {
      idle?.stop();
      await printer.print([message]);
      if (!given.flag("no-commit")) await settle(consumer, message, printer);
      if (printer.isDone) break;
      idle?.start();
    }
  } finally {
    idle?.stop();
    terminal.interrupted.removeEventListener("abort", close);
  }
}

/** Commits are sent ahead of each other; the last is waited for. */
async function settle(
  consumer: ReturnType<WaybillClient["consumer"]>,
  message: ConsumedMessage,
  printer: Printer,
): Promise<void> {
  const committed = consumer.commit(message);
  if (printer.isDone) await committed;
  // A commit that is refused because the partition went is told by onError; the message comes again elsewhere.
  else committed.catch(() => undefined);
}

function startOf(from: string | undefined): "earliest" | "latest" {
  if (from === undefined || from === "earliest") return "earliest";
  if (from === "latest") return from;
  throw new UsageError("with --group, --from is earliest or latest: see waybill offsets reset");
}

/** Calls back when nothing has come for a while. */
class Idle {
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly onIdle: () => void) {
    this.start();
  }

  start(): void {
    this.stop();
    this.#timer = setTimeout(this.onIdle, IDLE_MS);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

function clientOf({ broker }: Context): WaybillClient {
  const { url, token } = broker;
  return new WaybillClient({ url: urlsIn(url), ...(token === null ? {} : { token }) });
}
