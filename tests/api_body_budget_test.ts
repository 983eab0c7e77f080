// Owns proof that the bodies of all requests together stay within their budget, and that it is always given back.
import assert from "node:assert/strict";
import { ByteBudget } from "../actors/partition/byte_budget.ts";
import { HeldBytes, readBody } from "../api/body.ts";
import { BrokerError } from "../storage/broker_error.ts";

const MAX_BODY_BYTES = 1_048_576;
const hasCode = (code: string) => (error: unknown) =>
  error instanceof BrokerError && error.code === code;

function request(bytes: number, options: { declared: boolean }): Request {
  const headers = options.declared ? { "content-length": String(bytes) } : undefined;
  const chunks = Array.from(
    { length: Math.ceil(bytes / 65_536) },
    (_, index) => new Uint8Array(Math.min(65_536, bytes - index * 65_536)),
  );
  return new Request("http://localhost/", {
    method: "POST",
    body: ReadableStream.from(chunks),
    ...(headers === undefined ? {} : { headers }),
  });
}

for (const declared of [true, false]) {
  for (const size of [1_000, 400_000]) {
    const kind = `${size} bytes ${declared ? "with" : "without"} declared length`;
    Deno.test(`a body of ${kind} counts until its request is answered`, async () => {
      const budget = new ByteBudget(500_000, "request bodies");
      const held = new HeldBytes(budget);
      const bytes = await readBody(request(size, { declared }), MAX_BODY_BYTES, held);
      assert.equal(bytes.length, size);
      assert.equal(budget.takenBytes, size);
      held.release();
      held.release();
      assert.equal(budget.takenBytes, 0);
    });
  }
}

Deno.test("a body that does not fit beside the others is refused, and what came of it is given back", async () => {
  const budget = new ByteBudget(500_000, "request bodies");
  const first = new HeldBytes(budget);
  await readBody(request(400_000, { declared: true }), MAX_BODY_BYTES, first);
  for (const declared of [true, false]) {
    const second = new HeldBytes(budget);
    await assert.rejects(
      readBody(request(400_000, { declared }), MAX_BODY_BYTES, second),
      hasCode("OVERLOADED"),
    );
    second.release();
    assert.equal(budget.takenBytes, 400_000);
  }
  first.release();
  const third = new HeldBytes(budget);
  await readBody(request(400_000, { declared: true }), MAX_BODY_BYTES, third);
});

Deno.test("a body larger than one may be is refused before it is read, or while it comes", async () => {
  for (const declared of [true, false]) {
    const held = new HeldBytes(new ByteBudget(10_000_000, "request bodies"));
    await assert.rejects(
      readBody(request(MAX_BODY_BYTES + 1, { declared }), MAX_BODY_BYTES, held),
      hasCode("REQUEST_TOO_LARGE"),
    );
  }
});
