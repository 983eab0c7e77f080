// Owns proof that no record batch, however it was spoiled before or behind its CRC, breaks the broker or what it stores.
// Refuses to own the codec without a broker (format_properties_test.ts) and bombs (e2e_bombs_test.ts).
// Invariant: what is refused left nothing; what is stored can be read whole, in every format.
import assert from "node:assert/strict";
import { crc32c } from "@node-rs/crc32";
import fc from "fast-check";
import { allCodecs } from "../storage/format/all_codecs.ts";
import { codecNamed, COMPRESSIONS, installCodecs } from "../storage/format/compression.ts";
import { encodeBatch } from "../storage/format/encode.ts";
import { batchSpans, readHeader } from "../storage/format/record_batch.ts";
import { type ApiUnderTest, apiUnderTest } from "./support/api_app.ts";
import { changed } from "./support/format_samples.ts";
import { fuzzRuns } from "./support/fuzz_runs.ts";
import { type ByteSpoil, byteSpoil, spoiledBytes } from "./support/hostile_bytes.ts";

installCodecs(allCodecs);

const TYPE = "application/vnd.waybill.batch";
const HEADER_BYTES = 61;
const RUNS = 60;
const REQUESTS_PER_RUN = 10;

/** Fields of the header, by where they lie and how many bytes they have. */
const FIELDS = {
  baseOffset: [0, 8],
  batchLength: [8, 4],
  leaderEpoch: [12, 4],
  magic: [16, 1],
  attributes: [21, 2],
  lastOffsetDelta: [23, 4],
  baseTimestamp: [27, 8],
  maxTimestamp: [35, 8],
  producerId: [43, 8],
  producerEpoch: [51, 2],
  baseSequence: [53, 4],
  recordCount: [57, 4],
} as const;

interface HeaderSpoil {
  readonly field: keyof typeof FIELDS;
  readonly value: bigint;
}

/** One batch: its records may be spoiled before they are compressed, its header before and its bytes after its CRC. */
interface HostileBatch {
  readonly values: readonly (string | null)[];
  readonly key: string | null;
  readonly headers: readonly (readonly [string, string | null])[];
  readonly timestamp: number;
  readonly compression: typeof COMPRESSIONS[number];
  readonly producer: Readonly<Record<string, number>>;
  readonly recordSpoils: readonly ByteSpoil[];
  readonly headerSpoils: readonly HeaderSpoil[];
  readonly byteSpoils: readonly ByteSpoil[];
}

const rarely = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.oneof(
    { weight: 3, arbitrary: fc.constant<T[]>([]) },
    { weight: 1, arbitrary: fc.array(arbitrary, { minLength: 1, maxLength: 2 }) },
  );

const number = fc.oneof(
  fc.constantFrom(
    0n,
    1n,
    2n,
    5n,
    -1n,
    -2n,
    127n,
    255n,
    2n ** 15n - 1n,
    2n ** 31n - 1n,
    -(2n ** 31n),
  ),
  fc.constantFrom(2n ** 53n - 1n, 2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 32n, 2n ** 48n),
  fc.bigInt({ min: 0n, max: 70n }),
);

const hostileBatch: fc.Arbitrary<HostileBatch> = fc.record({
  values: fc.array(fc.constantFrom("", "value", "x".repeat(500), '{"a":1}', "é", null), {
    minLength: 1,
    maxLength: 5,
  }),
  key: fc.constantFrom(null, "", "k", "\u0000"),
  headers: fc.constantFrom(
    [],
    [["h", "v"]] as const,
    [["idempotency-key", "once"]] as const,
    [["content-type", "application/json"], ["traceparent", "x"]] as const,
    [["waybill-origin-offset", "NaN"], ["", null]] as const,
  ),
  timestamp: fc.constantFrom(0, -1, 1_000, Number.MAX_SAFE_INTEGER - 1),
  compression: fc.constantFrom(...COMPRESSIONS),
  producer: fc.oneof(
    { weight: 4, arbitrary: fc.constant({}) },
    {
      weight: 1,
      arbitrary: fc.record({
        producerId: fc.constantFrom(0, 7, 2 ** 32, 2 ** 48),
        producerEpoch: fc.constantFrom(0, 1, 32_767),
        baseSequence: fc.constantFrom(0, 1, 2 ** 31 - 1),
      }, { noNullPrototype: true }),
    },
  ),
  recordSpoils: rarely(byteSpoil),
  headerSpoils: rarely(fc.record({
    field: fc.constantFrom(...Object.keys(FIELDS) as (keyof typeof FIELDS)[]),
    value: number,
  })),
  byteSpoils: rarely(byteSpoil),
});

interface BatchRequest {
  readonly topic: "plain" | "compacted";
  readonly query: string;
  readonly batches: readonly HostileBatch[];
}

const batchRequest: fc.Arbitrary<BatchRequest> = fc.record({
  topic: fc.constantFrom("plain", "plain", "compacted"),
  query: fc.constantFrom("", "", "", "?acks=leader", "?acks=none", "?transactionId=none"),
  batches: fc.array(hostileBatch, { minLength: 1, maxLength: 3 }),
});

function bytesOf(batch: HostileBatch): Uint8Array {
  const { values, key, headers, timestamp, compression, producer } = batch;
  const records = values.map((value) => ({ key, value, headers, timestamp }));
  const plain = encodeBatch(records, { crc32c, ...producer });
  const spoiled = spoiledBytes(plain.subarray(HEADER_BYTES), batch.recordSpoils);
  const packed = compression === "none" ? spoiled : codecNamed(compression).compress(spoiled);
  const whole = new Uint8Array(HEADER_BYTES + packed.length);
  whole.set(plain.subarray(0, HEADER_BYTES));
  whole.set(packed, HEADER_BYTES);
  const sealed = changed(whole, (view) => {
    view.setInt16(21, COMPRESSIONS.indexOf(compression));
    for (const spoil of batch.headerSpoils) put(view, spoil);
  });
  // The length lies before what the CRC covers: sealing has mended it.
  const view = new DataView(sealed.buffer);
  for (const spoil of batch.headerSpoils) if (spoil.field === "batchLength") put(view, spoil);
  return spoiledBytes(sealed, batch.byteSpoils);
}

function put(view: DataView, { field, value }: HeaderSpoil): void {
  const [at, size] = FIELDS[field];
  for (let index = 0; index < size; index++) {
    view.setUint8(at + index, Number(BigInt.asUintN(8, value >> BigInt(8 * (size - 1 - index)))));
  }
}

async function checkRequest(api: ApiUnderTest, request: BatchRequest): Promise<number> {
  const path = `/api/topics/${request.topic}/partitions/0/messages`;
  const parts = request.batches.map(bytesOf);
  const raw = new Uint8Array(parts.flatMap((part) => [...part]));
  const before = await api.stored();
  const { status, body } = await api.ask("POST", `${path}${request.query}`, {
    raw,
    headers: { "content-type": TYPE },
  });
  const told = `${status} ${JSON.stringify(body)}`;
  assert.deepEqual(api.faults, [], told);
  assert.ok(status < 500, told);
  const after = await api.stored();
  if (status >= 400) {
    assert.deepEqual(after, before, told);
    return status;
  }
  const records = [...batchSpans(raw)].reduce(
    (sum, { at }) => sum + readHeader(raw, at).recordCount,
    0,
  );
  const partition = `${request.topic}/0`;
  // Records with a key that was there before are in neither count nor log.
  const duplicates = told.includes('"duplicate":true');
  if (!duplicates) assert.equal(after[partition]! - before[partition]!, records, told);
  return status;
}

/** Everything that is stored is there, message by message, as JSON and as batches. */
async function checkReadable(api: ApiUnderTest): Promise<void> {
  for (const [partition, end] of Object.entries(await api.stored())) {
    const path = `/api/topics/${partition.replace("/", "/partitions/")}/messages?maxMessages=10000`;
    for (const isolation of ["read_committed", "read_uncommitted"]) {
      const { status, body } = await api.ask("GET", `${path}&isolation=${isolation}`);
      assert.equal(status, 200, JSON.stringify(body));
      assert.equal(body.messages.length, end);
    }
    const packed = await api.ask("GET", path, { format: "msgpack" });
    assert.equal(packed.body.messages.length, end);
    const lines = await api.ask("GET", path, { headers: { accept: "application/x-ndjson" } });
    assert.equal(
      new TextDecoder().decode(lines.body).trim().split("\n").filter(Boolean).length,
      end,
    );
  }
}

Deno.test("no record batch, spoiled before or behind its CRC, breaks the broker or what it stores", async () => {
  const answered = { stored: 0, refused: 0 };
  await fc.assert(
    fc.asyncProperty(
      fc.array(batchRequest, { minLength: REQUESTS_PER_RUN, maxLength: REQUESTS_PER_RUN }),
      async (requests) => {
        const api = await apiUnderTest();
        try {
          await api.ask("POST", "/api/topics", { body: { name: "plain" } });
          const compacted = { name: "compacted", cleanupPolicy: "compact" };
          await api.ask("POST", "/api/topics", { body: compacted });
          for (const request of requests) {
            const status = await checkRequest(api, request);
            answered[status < 400 ? "stored" : "refused"]++;
          }
          await checkReadable(api);
          assert.deepEqual(api.faults, []);
        } finally {
          await api.close();
        }
      },
    ),
    fuzzRuns(RUNS),
  );
  const { stored, refused } = answered;
  assert.ok(stored > 10 && refused > 10, `${stored} were stored, ${refused} were refused`);
});
