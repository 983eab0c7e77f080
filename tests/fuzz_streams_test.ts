// Owns proof that no frame of a client, in whatever order or shape, breaks a stream or what others get of the group.
// Refuses to own single refusals by name (stream_frames_test.ts) and sockets (stream_socket_test.ts).
// Invariant: no fault of the broker's own; every error is a known one; a client beside it gets and commits everything.
import assert from "node:assert/strict";
import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { z } from "zod";
import {
  clientFrameSchema,
  CLOSE,
  STREAM_FORMATS,
  type StreamFormat,
} from "../api/stream/frames.ts";
import type { JsonObject } from "../api/openapi.ts";
import { STREAM_LIMITS } from "../api/stream/limits.ts";
import { ERROR_CODES } from "../storage/broker_error.ts";
import { fuzzRuns } from "./support/fuzz_runs.ts";
import {
  type ByteSpoil,
  byteSpoil,
  spoiledBytes,
  spoiledValue,
  type ValueSpoil,
  valueSpoil,
} from "./support/hostile_bytes.ts";
import { valuesOf } from "./support/schema_values.ts";
import { type FakeClient, StreamWorld } from "./support/stream_fakes.ts";

const RUNS = 100;
const FRAMES_PER_RUN = 20;
const MESSAGES = 20;
const PARTITIONS = 2;
/** What one hostile client may have been sent in a run: its messages a few times over, and an answer to each frame. */
const MAX_SENT_BYTES = 200_000;
const MAX_ANSWER_BYTES = 1_000;
/** More than any queue of a session holds. */
const FLOOD_FRAMES = 2_000;

/** What a hostile client does next. */
type Step =
  | {
    readonly do: "send";
    readonly frame: unknown;
    readonly spoils: readonly ValueSpoil[];
    readonly byteSpoils: readonly ByteSpoil[];
    readonly packed: boolean;
    readonly times: number;
  }
  | { readonly do: "bytes"; readonly bytes: Uint8Array; readonly packed: boolean }
  | { readonly do: "huge" }
  | { readonly do: "wait"; readonly ms: number }
  | { readonly do: "come back" };

const VOCABULARY = {
  topic: ["orders", "orders", "orders", "other"],
  partition: [0, 0, 1, 2],
  offset: [0, 1, 2, 5, MESSAGES, MESSAGES + 1],
  delayMs: [0, 100],
  code: ["TIMEOUT", "NON_RETRYABLE"],
  id: [1, "a"],
};

const few = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constant<T[]>([]) },
    { weight: 1, arbitrary: fc.array(arbitrary, { minLength: 1, maxLength: 2 }) },
  );

function steps(): fc.Arbitrary<Step[]> {
  const context = { schemas: {}, vocabulary: VOCABULARY };
  const frames = clientFrameSchema.options.map((option) => ({
    arbitrary: valuesOf(z.toJSONSchema(option, { io: "input" }) as JsonObject, "", context),
    weight: option.shape.type.value === "leave" ? 1 : 4,
  }));
  const sent: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("send"),
    frame: fc.oneof(...frames),
    spoils: few(valueSpoil),
    byteSpoils: few(byteSpoil),
    packed: fc.boolean(),
    times: fc.oneof(
      { weight: 60, arbitrary: fc.constant(1) },
      { weight: 1, arbitrary: fc.constant(FLOOD_FRAMES) },
    ),
  });
  const bytes: fc.Arbitrary<Step> = fc.record({
    do: fc.constant("bytes"),
    bytes: fc.uint8Array({ maxLength: 60 }),
    packed: fc.boolean(),
  });
  const ms = fc.constantFrom(0, 10, 1_000, 40_000);
  const wait: fc.Arbitrary<Step> = fc.record({ do: fc.constant("wait"), ms });
  const step = fc.oneof(
    { weight: 40, arbitrary: sent },
    { weight: 2, arbitrary: bytes },
    { weight: 6, arbitrary: wait },
    { weight: 3, arbitrary: fc.constant<Step>({ do: "come back" }) },
    { weight: 1, arbitrary: fc.constant<Step>({ do: "huge" }) },
  );
  return fc.array(step, { minLength: FRAMES_PER_RUN, maxLength: FRAMES_PER_RUN });
}

function sendBytes(client: FakeClient, bytes: Uint8Array, packed: boolean): void {
  if (packed) client.sendBytes(bytes);
  else client.send(new TextDecoder().decode(bytes));
}

/** Does one step; the frames that were sent. */
function take(client: FakeClient, step: Exclude<Step, { do: "wait" | "come back" }>): number {
  if (step.do === "huge") {
    client.send(" ".repeat(STREAM_LIMITS.maxFrameBytes + 1));
    return 1;
  }
  if (step.do === "bytes") {
    sendBytes(client, step.bytes, step.packed);
    return 1;
  }
  const value = spoiledValue(step.frame, step.spoils);
  const bytes = step.packed
    ? encode(value, { maxDepth: 1_000 })
    : new TextEncoder().encode(JSON.stringify(value));
  const spoiled = spoiledBytes(bytes, step.byteSpoils);
  for (let sent = 0; sent < step.times; sent++) sendBytes(client, spoiled, step.packed);
  return step.times;
}

function checkClient(client: FakeClient, sentFrames: number): void {
  for (const frame of client.ofType("error")) {
    const known = ERROR_CODES[frame.code as keyof typeof ERROR_CODES];
    assert.ok(known !== undefined, JSON.stringify(frame));
    assert.notEqual(frame.code, "INTERNAL");
    assert.equal(frame.retryable, known.retryable);
    assert.ok(JSON.stringify(frame).length < 3_000, "an error repeats little of what came in");
  }
  const sentBytes = client.socket.sent.reduce((sum, data) => sum + data.length, 0);
  const mostBytes = MAX_SENT_BYTES + sentFrames * MAX_ANSWER_BYTES;
  assert.ok(sentBytes < mostBytes, `${sentBytes} bytes were sent to ${sentFrames} frames`);
  const codes: readonly number[] = Object.values(CLOSE);
  assert.ok(client.closeCode === null || codes.includes(client.closeCode), `${client.closeCode}`);
}

/** Another group reads and commits everything, and the broken one can be joined anew. */
async function checkOthers(world: StreamWorld): Promise<void> {
  await world.publish(1);
  const before = await world.broker.describeTopic("orders");
  const wanted = before.partitions.reduce((sum, { logEndOffset }) => sum + logEndOffset, 0);
  const other = await world.consumer({ group: "others" });
  await world.until(() => other.messages().length === wanted, "every message");
  for (const { partition, logEndOffset } of before.partitions) {
    if (logEndOffset > 0) other.commit(logEndOffset, { partition, id: partition });
  }
  await world.until(
    () => other.ofType("committed").length + other.ofType("error").length > 0,
    "an answer to a commit",
  );
  assert.deepEqual(other.ofType("error"), []);
  await world.consumer({ group: "billing" });
}

async function run(
  { given, format }: { given: readonly Step[]; format: StreamFormat },
  frames: { refused: number; taken: number },
): Promise<void> {
  const world = await StreamWorld.open({ partitions: PARTITIONS });
  try {
    for (let partition = 0; partition < PARTITIONS; partition++) {
      await world.publish(MESSAGES, { partition });
    }
    const clients = [world.connect({ format })];
    await world.until(() => clients[0]!.last("assigned") !== undefined, "an assignment");
    let sentFrames = 0;
    for (const step of given) {
      const client = clients.at(-1)!;
      if (step.do === "wait") await world.time.advance(step.ms);
      else if (step.do === "come back") clients.push(world.connect({ format }));
      else sentFrames += take(client, step);
      await world.calm();
    }
    for (const client of clients) {
      checkClient(client, sentFrames);
      frames.refused += client.ofType("error").length;
      frames.taken += client.ofType("committed").length + client.ofType("nacked").length;
    }
    await checkOthers(world);
    assert.deepEqual(world.faults, []);
  } finally {
    await world.close();
  }
}

Deno.test("no frames of a client, spoiled or in the wrong order, break a stream or what others get", async () => {
  const frames = { refused: 0, taken: 0 };
  await fc.assert(
    fc.asyncProperty(
      steps(),
      fc.constantFrom(...STREAM_FORMATS),
      (given, format) => run({ given, format }, frames),
    ),
    fuzzRuns(RUNS),
  );
  assert.ok(frames.refused > 10 && frames.taken > 10, JSON.stringify(frames));
});
