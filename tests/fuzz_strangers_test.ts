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
import type { Vocabulary } from "./support/schema_values.ts";

const ADMIN_TOKEN = "the-administrators-token";
const RUNS = 10;
const REQUESTS_PER_RUN = 16;

/** Names of things that exist, and of things that do not: as long, so that no length tells them apart. */
const GHOSTS: Readonly<Record<string, readonly [string, string]>> = {
  topic: ["orders", "ghosts"],
  letters: ["dlq.orders", "dlq.ghosts"],
  group: ["billing", "phantom"],
  tenant: ["acme", "nope"],
};
/** Of ids that were given out, what makes others of the same form that were not. */
const GHOST_IDS: Readonly<Record<string, (id: string) => string>> = {
  memberId: ghostUuid,
  leaseToken: ghostUuid,
  jobId: ghostUuid,
  keyId: ghostUuid,
  aclId: ghostUuid,
  snapshotId: (id) => id.replace(/^s1-/, "s9-"),
  // Of "paymants".
  transactionId: (id) => id.replace("cGF5bWVudHM", "cGF5bWFudHM"),
};

function ghostUuid(id: string): string {
  return id.replace(/[0-9a-f]{4}-/, "0000-");
}

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

/** Milliseconds of the days of virtual time. */
const TIME = /\b17672\d{8}\b/g;

/** What a stranger may leave behind: ids of producers and transactions of its own. */
const OWN =
  /^(?:__transactions\/|__requests\/|metadata (?:(?:own-)?producer-ids|topics\/__|request-keys))/;

function namesIn(world: HostileWorld, isGhost: boolean): Record<string, string> {
  const names: Record<string, string> = { ...world.names };
  for (const [name, pair] of Object.entries(GHOSTS)) names[name] = pair[isGhost ? 1 : 0];
  for (const [name, ghostOf] of Object.entries(GHOST_IDS)) {
    const ghost = ghostOf(names[name]!);
    assert.notEqual(ghost, names[name]);
    if (isGhost) names[name] = ghost;
  }
  return names;
}

async function othersThings(
  world: HostileWorld,
  own: RegExp,
): Promise<Record<string, unknown>> {
  const all = Object.entries(await world.everything());
  return Object.fromEntries(all.filter(([key]) => !own.test(key)));
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
    .replaceAll(/"requestId":"[^"]*"/g, "").replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "…")
    // Virtual time goes on while digests are made, on other threads, in either world.
    .replaceAll(TIME, "…");
  return { status, said };
}

/** What may be found changed of a stranger who has things of its own: they, and what actors write down. */
const OF_ITS_OWN =
  /^(?:__|(?:dlq\.)?mine\/|metadata (?!topics\/(?!__|(?:dlq\.)?mine$)|keys|acls|quotas))/;
const MINE = "mine";
const WORDS_OF_AN_OWNER = {
  ...WORDS,
  topic: [MINE, MINE, "{{topic}}"],
  topics: [MINE, "{{topic}}"],
  pattern: [MINE, "{{topic}}"],
  group: [MINE, "{{group}}"],
  groupId: [MINE, "{{group}}"],
};

interface Stranger {
  readonly words: Vocabulary;
  readonly owns?: string;
  /** Of what is stored, what it may change. */
  readonly own: RegExp;
  readonly runs: number;
}

/** The same requests in two worlds: what one of them names is there, and in the other it is not. */
async function checkStranger({ words, owns, own, runs }: Stranger): Promise<void> {
  const world = () =>
    hostileWorld({
      adminToken: ADMIN_TOKEN,
      ...(owns === undefined ? {} : { strangerOwns: owns }),
    });
  const first = await world();
  const document = openApiDocument(first.api.app.routes, "0.1.0-test");
  await first.close();
  const operations = operationsOf(document).filter(({ path }) => path.startsWith("/api/"));
  const any = fc.oneof(...operations.map((operation) => requestsTo(operation, document, words)));
  const checkAll = async (requests: readonly HostileRequest[]) => {
    const worlds = [await world(), await world()] as const;
    try {
      const before = await othersThings(worlds[0], own);
      for (const request of requests) {
        const real = await answerIn(worlds[0], request, namesIn(worlds[0], false));
        const ghost = await answerIn(worlds[1], request, namesIn(worlds[1], true));
        assert.deepEqual(real, ghost, request.operation);
        assert.deepEqual(await othersThings(worlds[0], own), before, request.operation);
      }
      for (const { api } of worlds) assert.deepEqual(api.faults, []);
    } finally {
      for (const one of worlds) await one.close();
    }
  };
  const sequence = fc.array(any, { minLength: REQUESTS_PER_RUN, maxLength: REQUESTS_PER_RUN });
  await fc.assert(fc.asyncProperty(sequence, checkAll), fuzzRuns(runs));
}

Deno.test("a stranger learns of no topic, group, member, job, key or tenant, and changes none", async () => {
  await checkStranger({ words: WORDS, own: OWN, runs: RUNS });
});

Deno.test("who has a topic and a group of its own learns of no other, whatever it does with them, and changes none", async () => {
  await checkStranger({ words: WORDS_OF_AN_OWNER, owns: MINE, own: OF_ITS_OWN, runs: RUNS });
});
