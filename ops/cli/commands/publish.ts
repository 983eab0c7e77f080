// Owns publishing from arguments, files and standard input.
// Refuses to own values: they go as they are written.
// Invariant: a request is sent under a key of its own, so that one whose answer was lost can be sent again, stored once.
import type { Json } from "../broker_api.ts";
import { type Command, type Context, flag, oneOf, option, word } from "../command.ts";
import { FailedError, UsageError } from "../failures.ts";
import { pairsFrom } from "../grammar.ts";
import { count } from "../output.ts";
import { WaybillError } from "../../../api/client.ts";

/** Messages of one request, and about their size as JSON. */
const MAX_BATCH_MESSAGES = 1_000;
const MAX_BATCH_CHARS = 1_000_000;
/** A line that is longer is no message that a broker takes. */
const MAX_LINE_CHARS = 64 * 1_048_576;
const MAX_SEND_ATTEMPTS = 3;
const RESEND_AFTER_MS = 500;

/** Fields of a line of NDJSON, those of a message that was read included. */
const MESSAGE_FIELDS = new Set(
  ["key", "value", "valueBase64", "headers", "timestamp", "partition", "idempotencyKey"],
);
const READ_FIELDS = new Set(["topic", "partition", "offset", "attempt"]);

type Message = Record<string, unknown>;

export const publish: Command = {
  describes: "Publish messages: words, lines of a file, or lines of standard input",
  options: {
    topic: word("Name of the topic; values may follow it"),
    file: option("file", "A message a line; - is standard input"),
    format: oneOf(
      ["text", "json", "ndjson"],
      "What values are: text (default), JSON, or a whole message as a JSON object each",
    ),
    key: { ...option("key", "Key of every message"), alias: "k" },
    partition: option("n", "Partition of every message; default by key"),
    header: { ...option("name=value", "Header of every message; may be repeated"), alias: "H" },
    "idempotency-key": option("key", "Of the one message: stored once, however often it is sent"),
    tombstone: flag("One message without a value, for --key"),
    acks: oneOf(["all", "leader", "none"], "What is waited for; default all"),
  },
  many: ["header"],
  takesRest: true,
  examples: [
    ["orders hello world", "two messages"],
    [`orders --key customer-7 --format json '{"total":12.5}'`, "one JSON value"],
    ["orders --file lines.txt", "a message a line"],
    ["copy --format ndjson < messages.ndjson", "what `waybill consume … --json` wrote"],
    ["prices --key EUR --tombstone", "lets a compacted topic forget the key"],
  ],
  run,
};

async function run(context: Context): Promise<void> {
  const { output, given } = context;
  const sender = new Sender(context);
  for await (const message of messagesOf(context)) {
    if (context.terminal.interrupted.aborted) break;
    await sender.add(message);
  }
  await sender.flush();
  const { sent, duplicates, failed } = sender;
  const topic = given.need("topic");
  const again = duplicates === 0 ? "" : `, ${count(duplicates)} of them stored before`;
  output.remark(`${count(sent)} published to ${topic}${again}`);
  if (failed > 0) throw new FailedError(`${failed} messages were not stored`);
}

/** Sends what it is given in requests of a bounded size, and tells each result. */
class Sender {
  sent = 0;
  duplicates = 0;
  failed = 0;
  #batch: Message[] = [];
  #chars = 0;

  constructor(private readonly context: Context) {}

  async add(message: Message): Promise<void> {
    const chars = JSON.stringify(message).length;
    if (this.#batch.length > 0 && this.#chars + chars > MAX_BATCH_CHARS) await this.flush();
    this.#batch.push(message);
    this.#chars += chars;
    if (this.#batch.length >= MAX_BATCH_MESSAGES) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#batch.length === 0) return;
    const { given, output } = this.context;
    const topic = given.need("topic");
    const acks = given.text("acks");
    const messages = this.#batch;
    this.#batch = [];
    this.#chars = 0;
    const { results } = await this.#send({
      topic,
      messages,
      ...(acks === undefined ? {} : { acks }),
    });
    for (const { error, duplicate } of results) {
      if (error !== undefined) this.failed++;
      else this.sent++;
      if (duplicate === true) this.duplicates++;
    }
    await output.lines(results.map((result: Json) => ({ topic, ...result })), lineOf);
  }

  async #send(body: unknown) {
    const headers = { "idempotency-key": crypto.randomUUID() };
    for (let attempt = 1;; attempt++) {
      try {
        return await this.context.api.json("POST", "/api/messages:publish", { body, headers });
      } catch (error) {
        // A broker that never answered is told of at once; one that did may be about to come back.
        const isLost = error instanceof WaybillError &&
          (error.code === "TIMEOUT" || (error.code === "NETWORK_ERROR" && this.sent > 0));
        if (!isLost || attempt === MAX_SEND_ATTEMPTS) throw error;
        await this.context.terminal.pause(RESEND_AFTER_MS);
      }
    }
  }
}

function lineOf({ topic, partition, offset = "-", duplicate, error }: Json): string {
  const note = error === undefined ? duplicate ? " (stored before)" : "" : ` ${error.code}`;
  return `${topic} ${partition} ${offset}${note}`;
}

async function* messagesOf(context: Context): AsyncGenerator<Message> {
  const { given, terminal } = context;
  const file = given.text("file");
  const values = given.rest;
  const sources = Number(values.length > 0) + Number(file !== undefined) +
    Number(given.flag("tombstone"));
  if (sources > 1) throw new UsageError("values, --file and --tombstone exclude each other");
  if (given.text("idempotency-key") !== undefined && values.length !== 1) {
    throw new UsageError("--idempotency-key goes with one value");
  }
  if (given.flag("tombstone")) {
    if (given.text("key") === undefined) throw new UsageError("--tombstone needs --key");
    yield { ...sharedFields(context), value: null };
    return;
  }
  if (values.length === 0 && file === undefined && terminal.inIsTerminal) {
    throw new UsageError("no values: give some, or --file, or --file - to type them");
  }
  const lines = values.length > 0 ? values : linesOf(await sourceOf(context, file ?? "-"));
  const shared = sharedFields(context);
  let number = 0;
  for await (const line of lines) {
    number++;
    const where = values.length > 0 ? `value ${number}` : `line ${number}`;
    yield messageFrom(line, where, { format: given.text("format") ?? "text", shared });
  }
}

function sharedFields({ given }: Context): Message {
  const headers = pairsFrom(given.all("header"), "header");
  const [key, partition] = [given.text("key"), given.integer("partition")];
  const idempotencyKey = given.text("idempotency-key");
  return {
    ...(key === undefined ? {} : { key }),
    ...(partition === undefined ? {} : { partition }),
    ...(Object.keys(headers).length === 0 ? {} : { headers }),
    ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
  };
}

interface Reading {
  readonly format: string;
  readonly shared: Message;
}

function messageFrom(line: string, where: string, { format, shared }: Reading): Message {
  if (format === "text") return { ...shared, value: line };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new UsageError(`${where} is no JSON`);
  }
  if (format === "json") return { ...shared, value };
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`${where} is no message: a JSON object`);
  }
  return { ...fieldsOf(value as Message, where), ...shared };
}

/** A message that was read goes without where it was: that is not where it comes to lie. */
function fieldsOf(message: Message, where: string): Message {
  const wasRead = "offset" in message;
  const fields: Message = {};
  for (const [name, value] of Object.entries(message)) {
    if (wasRead && READ_FIELDS.has(name)) continue;
    if (wasRead && name === "timestamp" && value === -1) continue;
    if (!MESSAGE_FIELDS.has(name)) throw new UsageError(`${where}: "${name}" cannot be published`);
    if (name === "key" && value === null) continue;
    fields[name] = value;
  }
  return fields;
}

async function sourceOf({ terminal }: Context, file: string) {
  if (file === "-") return terminal.input();
  const bytes = await terminal.readBytes(file);
  if (bytes === null) throw new UsageError(`there is no file ${file}`);
  return bytes;
}

/** Lines without their ends; the last needs none. */
async function* linesOf(bytes: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let held = "";
  for await (const chunk of bytes) {
    const lines = (held + decoder.decode(chunk, { stream: true })).split("\n");
    held = lines.pop()!;
    if (held.length > MAX_LINE_CHARS) throw new UsageError("a line is too long for a message");
    for (const line of lines) yield line.replace(/\r$/, "");
  }
  held += decoder.decode();
  if (held !== "") yield held;
}
