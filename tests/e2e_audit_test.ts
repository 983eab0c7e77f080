// Owns proof that the audit log of the real process holds what it promises: through kills in the middle of changes, and
// against whoever edits its file.
// Refuses to own each rule on its own (audit_log_test.ts, audit_tamper_test.ts).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { AuditEntry } from "../actors/audit/types.ts";
import { call } from "./support/api_calls.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const KILLS = 3;
const WRITERS = 8;
const KILL_AFTER_MS = 400;

async function exportOf(url: string): Promise<AuditEntry[]> {
  const response = await fetch(`${url}/api/audit?order=oldest`, {
    headers: { accept: "application/x-ndjson" },
  });
  const lines = (await response.text()).trimEnd().split("\n");
  return lines.map((line) => {
    const entry: AuditEntry = JSON.parse(line);
    // As anybody can who has the line alone: it is canonical but for its hash.
    const unsealed = line.replace(`"hash":"${entry.hash}",`, "");
    assert.equal(createHash("sha256").update(unsealed).digest("hex"), entry.hash);
    return entry;
  });
}

/** Makes topics until the broker is killed; the request ids of those that it said are made. */
async function changeUntilKilled(url: string, round: number): Promise<string[]> {
  const made: string[] = [];
  await Promise.all(Array.from({ length: WRITERS }, async (_, writer) => {
    for (let change = 0;; change++) {
      const name = `t-${round}-${writer}-${change}`;
      try {
        const headers = { "x-request-id": name };
        const { status } = await call(url, "/api/topics", { headers, json: { name } });
        if (status === 201) made.push(name);
      } catch {
        return;
      }
    }
  }));
  return made;
}

Deno.test("a broker that is killed while topics are made has an intent for each one it made, and an outcome for each one it answered", async () => {
  await withDataDir(async (dataDir) => {
    const answered: string[] = [];
    for (let round = 0; round < KILLS; round++) {
      await using broker = await startBrokerProcess({ dataDir });
      const changes = changeUntilKilled(broker.url, round);
      await new Promise((resolve) => setTimeout(resolve, KILL_AFTER_MS));
      await broker.stop("SIGKILL");
      answered.push(...await changes);
    }
    assert.ok(answered.length > KILLS, `${answered.length} changes`);
    await using broker = await startBrokerProcess({ dataDir });
    const { url } = broker;
    const { body } = await call(url, "/api/audit:verify");
    assert.equal(body.intact, true, JSON.stringify(body));
    const entries = await exportOf(url);
    assert.equal(entries.length, body.entries);
    const outcomes = new Map<number, string>();
    for (const { intent, outcome } of entries) if (intent !== null) outcomes.set(intent, outcome);
    const intents = entries.filter(({ outcome }) => outcome === "intended");
    const byRequest = new Map(
      intents.map(({ requestId, sequence }) => [requestId, outcomes.get(sequence)]),
    );
    for (const name of answered) assert.equal(byRequest.get(name), "success", name);
    assert.equal(intents.every(({ sequence }) => outcomes.has(sequence)), true);
    const { body: { topics } } = await call(url, "/api/topics?limit=1000");
    for (const { name, internal } of topics) {
      assert.ok(internal || byRequest.has(name), `${name} was made unaudited`);
    }
  });
});

Deno.test("a byte changed in the file of the audit log is found by the broker that runs, and by the one after it", async () => {
  await withDataDir(async (dataDir) => {
    let path: string;
    {
      await using broker = await startBrokerProcess({ dataDir });
      const { url } = broker;
      for (let change = 0; change < 20; change++) {
        assert.equal(
          (await call(url, "/api/topics", { json: { name: `t${change}` } })).status,
          201,
        );
      }
      assert.equal((await call(url, "/api/topics/t0", { method: "DELETE" })).status, 204);
      for (const { remoteAddress } of await exportOf(url)) assert.equal(remoteAddress, "127.0.0.1");
      path = await auditFile(dataDir, url);
      const bytes = await Deno.readFile(path);
      const at = bytes.length >> 1;
      bytes[at]! ^= 1;
      await Deno.writeFile(path, bytes);
      const { body } = await call(url, "/api/audit:verify");
      assert.equal(body.intact, false);
      assert.ok(body.firstFault.sequence > 15 && body.firstFault.sequence < 25);
      await broker.stop("SIGTERM");
    }
    await using broker = await startBrokerProcess({ dataDir });
    const { body } = await call(broker.url, "/api/audit:verify");
    assert.equal(body.intact, false);
    assert.ok(body.firstFault.sequence > 15 && body.firstFault.sequence < 25);
    const more = await call(broker.url, "/api/topics", { json: { name: "more" } });
    assert.equal(more.status, 201);
  });
});

async function auditFile(dataDir: string, url: string): Promise<string> {
  const { body: { topicId } } = await call(url, "/api/topics/__audit");
  return `${dataDir}/topics/${topicId}/0/${"0".repeat(20)}.log`;
}
