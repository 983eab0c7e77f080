// Owns proof that whoever is allowed nothing learns nothing and changes nothing, whatever it asks.
// Refuses to own what ACLs allow (acl_*_test.ts) and the table of routes (access_table_test.ts).
// Invariant: what exists is answered to a stranger word for word as what does not.
import assert from "node:assert/strict";
import fc from "fast-check";
import { openApiDocument } from "../api/openapi.ts";
import { fuzzRuns } from "./support/fuzz_runs.ts";
import {
  type HostileRequest,
  operationsOf,
  ready,
  requestsTo,
  VOCABULARY,
} from "./support/hostile_requests.ts";
import { type HostileWorld, hostileWorld } from "./support/hostile_world.ts";

const ADMIN_TOKEN = "the-administrators-token";
const RUNS = 15;
const REQUESTS_PER_RUN = 16;

/** Names of things that exist, and of things that do not: as long, so that no length tells them apart. */
const GHOSTS: Readonly<Record<string, readonly [string, string]>> = {
  topic: ["orders", "ghosts"],
  letters: ["dlq.orders", "dlq.ghosts"],
  group: ["billing", "phantom"],
  tenant: ["acme", "none"],
  snapshotId: ["{{snapshotId}}", "s0-0"],
};
const UUIDS = ["memberId", "leaseToken", "jobId", "keyId", "aclId"];
const GHOST_UUID = "00000000-0000-4000-8000-000000000000";

const WORDS = {
  ...VOCABULARY,
  topic: ["{{topic}}", "{{topic}}", "{{letters}}"],
  topics: ["{{topic}}"],
  name: ["{{topic}}"],
  pattern: ["{{topic}}"],
  group: ["{{group}}"],
  groupId: ["{{group}}"],
  tenant: ["{{tenant}}"],
  snapshotId: ["{{snapshotId}}"],
  leaseToken: ["{{leaseToken}}"],
  memberId: ["{{memberId}}"],
  transactionId: ["{{transactionId}}"],
  // Whose a transactional id is, is told (403): it is chosen by whoever uses it, not found.
  transactionalId: ["my-own"],
  jobId: ["{{jobId}}"],
};

/** What a stranger may leave behind: ids of producers and transactions of its own. */
const OWN =
  /^(?:__transactions\/|__requests\/|metadata (?:(?:own-)?producer-ids|topics\/__|request-keys))/;

function namesIn(world: HostileWorld, which: 0 | 1): Record<string, string> {
  const names: Record<string, string> = { ...world.names };
  for (const [name, pair] of Object.entries(GHOSTS)) {
    if (!pair[which].startsWith("{{")) names[name] = pair[which];
    else if (which === 1) names[name] = pair[1];
  }
  if (which === 0) return names;
  for (const name of UUIDS) names[name] = GHOST_UUID;
  // Its form tells its shard, and the rest is a number and an id.
  names.transactionId = names.transactionId!.replace(/payments/, "paymants");
  return names;
}

async function othersThings(world: HostileWorld): Promise<Record<string, unknown>> {
  const all = Object.entries(await world.everything());
  return Object.fromEntries(all.filter(([key]) => !OWN.test(key)));
}

/** The answer, with every name of a thing, real or not, in the same words. */
async function answerIn(
  world: HostileWorld,
  request: HostileRequest,
  names: Record<string, string>,
) {
  const { method, path, headers, ...options } = ready(request, names);
  const authorization = `Bearer ${world.names.strangerKey}`;
  const { status, body } = await world.ask(method, path, {
    ...options,
    headers: { ...headers, authorization },
  });
  const text = body instanceof Uint8Array ? `${body.length} bytes` : JSON.stringify(body) ?? "";
  const hidden = [...Object.values(GHOSTS).flat(), ...Object.values(names)];
  const said = hidden.reduce((rest, name) => rest.replaceAll(name, "…"), text)
    .replaceAll(/"requestId":"[^"]*"/g, "").replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "…");
  return { status, said };
}

Deno.test("a stranger learns of no topic, group, member, job, key or tenant, and changes none", async () => {
  const first = await hostileWorld({ adminToken: ADMIN_TOKEN });
  const document = openApiDocument(first.api.app.routes, "0.1.0-test");
  await first.close();
  const operations = operationsOf(document).filter(({ path }) => path.startsWith("/api/"));
  const any = fc.oneof(...operations.map((operation) => requestsTo(operation, document, WORDS)));
  await fc.assert(
    fc.asyncProperty(
      fc.array(any, { minLength: REQUESTS_PER_RUN, maxLength: REQUESTS_PER_RUN }),
      async (requests) => {
        const worlds = [
          await hostileWorld({ adminToken: ADMIN_TOKEN }),
          await hostileWorld({ adminToken: ADMIN_TOKEN }),
        ] as const;
        try {
          const before = await othersThings(worlds[0]);
          for (const request of requests) {
            const real = await answerIn(worlds[0], request, namesIn(worlds[0], 0));
            const ghost = await answerIn(worlds[1], request, namesIn(worlds[1], 1));
            assert.deepEqual(real, ghost, request.operation);
            assert.deepEqual(await othersThings(worlds[0]), before, request.operation);
          }
          for (const { api } of worlds) assert.deepEqual(api.faults, []);
        } finally {
          for (const world of worlds) await world.close();
        }
      },
    ),
    fuzzRuns(RUNS),
  );
});
