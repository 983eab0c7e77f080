// Owns what a message of the SDK is as JSON, and what a consumer says of options that are missing.
// Refuses to own delivery. Invariant: what is printed of a message is what the broker's own JSON says of it.
import assert from "node:assert/strict";
import { resolveConsumerOptions } from "../api/client/consumer_options.ts";
import type { ConsumerOptions } from "../api/client/consumer_options.ts";
import { Message } from "../api/client/received.ts";
import { messageFromRecord } from "../api/message.ts";
import type { DecodedRecord } from "../storage/format/decode.ts";

const encoder = new TextEncoder();

Deno.test("a message is the same JSON as from the broker, whatever its key and value are", () => {
  const type: [string, Uint8Array] = ["content-type", encoder.encode("application/json")];
  const parts: Pick<DecodedRecord, "key" | "value" | "headers">[] = [
    { key: encoder.encode("k"), value: encoder.encode("text"), headers: [] },
    { key: null, value: encoder.encode('{"a":[1]}'), headers: [type] },
    { key: new Uint8Array([0xff]), value: new Uint8Array([0xfe, 0]), headers: [] },
    { key: null, value: null, headers: [["own", encoder.encode("x")]] },
  ];
  for (const [offset, part] of parts.entries()) {
    const record = { offset, timestamp: 1_000 + offset, ...part } as DecodedRecord;
    for (const attempt of [1, 3]) {
      const message = new Message("orders", 2, record, attempt);
      const place = { topic: "orders", partition: 2, ...(attempt === 1 ? {} : { attempt }) };
      assert.deepEqual(
        JSON.parse(JSON.stringify(message)),
        JSON.parse(JSON.stringify(messageFromRecord(record, place))),
      );
    }
  }
});

Deno.test("a consumer without group or topics is refused by name", () => {
  const refusal = (options: object) => {
    let detail = "";
    assert.throws(() => resolveConsumerOptions(options as ConsumerOptions), (error: Error) => {
      assert.equal((error as Error & { code: string }).code, "INVALID_REQUEST");
      detail = error.message;
      return true;
    });
    return detail;
  };
  for (const topics of [undefined, [], "orders"]) {
    assert.match(refusal({ group: "billing", topics }), /topic/);
  }
  assert.match(refusal({ topics: ["orders"] }), /group/);
});
