// Owns proof that no request, however nearly right or wrong, breaks the HTTP edge: cases come from the OpenAPI document.
// Refuses to own single kinds of rubbish by name (api_rubbish_test.ts) and sockets (e2e_hostile_test.ts).
// Invariant: no fault of the broker's own; a refusal is a problem that stores nothing; afterwards the broker serves.
import assert from "node:assert/strict";
import fc from "fast-check";
import { openApiDocument } from "../api/openapi.ts";
import { fuzzRuns } from "./support/fuzz_runs.ts";
import {
  type HostileRequest,
  type Operation,
  operationsOf,
  ready,
  requestsTo,
} from "./support/hostile_requests.ts";
import { type HostileWorld, hostileWorld } from "./support/hostile_world.ts";
import { settle } from "./support/virtual_time.ts";

const REQUESTS_PER_RUN = 5;
/** Each run has a broker of its own, and asks one operation more often than the others. */
const RUNS_PER_OPERATION = 1;
const CALM_TURNS = 30;

/**
 * What a refusal may leave in journals: which partitions and groups a transaction was about to touch is written down first,
 * so that a crash in between leaves nothing behind.
 */
const WRITTEN_AHEAD: Readonly<Record<string, RegExp>> = {
  "POST /api/transactions/{transactionId}:commit": /^__(?:transactions|groups)\//,
  "POST /api/messages:publish": /^__transactions\//,
  "POST /api/topics/{topic}/partitions/{partition}/messages": /^__transactions\//,
};

async function stored(world: HostileWorld, operation: string): Promise<Record<string, unknown>> {
  const all = Object.entries(await world.everything());
  return Object.fromEntries(all.filter(([key]) => !WRITTEN_AHEAD[operation]?.test(key)));
}

async function calm(): Promise<void> {
  for (let turn = 0; turn < CALM_TURNS; turn++) await settle();
}

/** Sends it; the status. */
async function checkOne(world: HostileWorld, request: HostileRequest): Promise<number> {
  const before = await stored(world, request.operation);
  const { method, path, ...options } = ready(request, world.names);
  const { status, body, atOnce } = await world.ask(method, path, options);
  const told = `${request.operation}: ${status} ${JSON.stringify(body)?.slice(0, 500)}`;
  assert.deepEqual(world.api.faults, [], told);
  assert.ok(status < 500 || body.retryable === true, told);
  if (status < 400) {
    await calm();
    return status;
  }
  // Whatever else the broker does takes time, and none has passed.
  if (atOnce) assert.deepEqual(await stored(world, request.operation), before, told);
  return status;
}

async function requests() {
  const world = await hostileWorld();
  const document = openApiDocument(world.api.app.routes, "0.1.0-test");
  await world.close();
  const operations = operationsOf(document);
  const any = fc.oneof(...operations.map((operation) => requestsTo(operation, document)));
  return { document, operations, any };
}

Deno.test("no request made from the OpenAPI document, spoiled or not, breaks the broker", async () => {
  const { document, operations, any } = await requests();
  const answered = new Map<string, number>();
  const oneOf = (operation: Operation) =>
    fc.array(
      fc.oneof(
        { weight: 3, arbitrary: requestsTo(operation, document) },
        { weight: 1, arbitrary: any },
      ),
      { minLength: REQUESTS_PER_RUN, maxLength: REQUESTS_PER_RUN },
    );
  const sequences = operations.map(oneOf);
  await fc.assert(
    fc.asyncProperty(fc.nat(sequences.length - 1).chain((at) => sequences[at]!), async (given) => {
      const world = await hostileWorld();
      try {
        for (const request of given) {
          const status = await checkOne(world, request);
          const kind = `${Math.floor(status / 100)}xx`;
          answered.set(kind, (answered.get(kind) ?? 0) + 1);
        }
        await world.checkServing();
      } finally {
        await world.close();
      }
    }),
    fuzzRuns(RUNS_PER_OPERATION * operations.length),
  );
  // Rubbish alone would prove little: some of it must get through to what lies behind the schemas.
  const total = [...answered.values()].reduce((sum, count) => sum + count, 0);
  assert.ok((answered.get("2xx") ?? 0) > total / 20, JSON.stringify([...answered]));
});
