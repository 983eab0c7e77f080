// Owns canaries as users see them: routes, members that poll and that stream, the audit log, figures, the alert.
// Refuses to own their rules (canary_decide_test.ts). Invariant: real sockets on loopback over a broker in memory.
import assert from "node:assert/strict";
import { type Consumer, WaybillClient } from "../api/client.ts";
import { withdrawnReadings } from "./support/canary_readings.ts";
import { consumingServer } from "./support/consuming_server.ts";

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
type Data = any;
type Ask = (
  method: string,
  path: string,
  body?: unknown,
) => Promise<{ status: number; body: Data }>;

const CANARY = "/api/groups/billing/canary";

async function withServer(
  test: (
    world: { ask: Ask; client: WaybillClient; server: Awaited<ReturnType<typeof consumingServer>> },
  ) => Promise<void>,
): Promise<void> {
  const server = await consumingServer({ partitions: 4 });
  const client = new WaybillClient({ url: server.url });
  const ask: Ask = async (method, path, body) => {
    const response = await fetch(server.url + path, {
      method,
      ...(body === undefined
        ? {}
        : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text === "" ? null : JSON.parse(text) };
  };
  try {
    await test({ ask, client, server });
    assert.deepEqual(server.faults, []);
  } finally {
    await client.close().catch(() => {});
    await server.close();
  }
}

async function until<T>(look: () => Promise<T | null> | T | null): Promise<T> {
  for (let tries = 0; tries < 3_000; tries++) {
    const found = await look();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it did not come about");
}

class Poller {
  memberId = "";
  #token = "";

  constructor(private readonly ask: Ask, private readonly version: string) {}

  async join(): Promise<this> {
    const { status, body } = await this.ask("POST", "/api/groups/billing/members", {
      topics: ["orders"],
      version: this.version,
    });
    assert.equal(status, 200, JSON.stringify(body));
    this.memberId = body.memberId;
    this.#token = body.leaseToken;
    return this;
  }

  async poll(): Promise<Data> {
    const { status, body } = await this.ask(
      "POST",
      `/api/groups/billing/members/${this.memberId}:poll`,
      { leaseToken: this.#token, maxMessages: 1_000 },
    );
    assert.equal(status, 200, JSON.stringify(body));
    this.#token = body.leaseToken;
    return body;
  }

  /** Polls, nacks all or nothing of what came, and commits past it. */
  async work(bad: boolean): Promise<Data> {
    const polled = await this.poll();
    const ends = new Map<number, number>();
    for (const { partition, offset, attempt } of polled.messages) {
      if (attempt === undefined) ends.set(partition, offset + 1);
      if (!bad) continue;
      const nack = { groupId: "billing", memberId: this.memberId, topic: "orders" };
      await this.ask("POST", "/api/messages:nack", { ...nack, partition, offset });
    }
    for (const [partition, offset] of ends) await this.#commit(partition, offset);
    // What comes again is settled on its own.
    for (const { partition, offset, attempt } of polled.messages) {
      if (attempt !== undefined && !bad) await this.#commit(partition, offset + 1);
    }
    return polled;
  }

  async #commit(partition: number, offset: number): Promise<void> {
    const offsets = [{ topic: "orders", partition, offset }];
    const { status, body } = await this.ask("POST", "/api/offsets:commit", {
      groupId: "billing",
      memberId: this.memberId,
      offsets,
    });
    assert.equal(status, 200, JSON.stringify(body));
  }
}

/** One member of each version, which has committed in each partition; a quarter is the canary's. */
async function trial(ask: Ask, client: WaybillClient) {
  const publish = async (count: number) => {
    for (let partition = 0; partition < 4; partition++) {
      const messages = Array.from({ length: count }, (_, value) => ({ value, partition }));
      await client.producer().sendMany("orders", messages);
    }
  };
  const stable = await new Poller(ask, "1.0").join();
  await publish(1);
  await until(async () => (await stable.work(false)).messages.length > 0 ? true : null);
  const canary = await new Poller(ask, "2.0").join();
  const settled = async (count: number) =>
    await until(async () => {
      await stable.work(false);
      const { assignment } = await canary.poll();
      return assignment.length === count ? true : null;
    });
  await settled(2);
  return { stable, canary, publish, settled };
}

Deno.test("a canary is set, shown with its group, withdrawn by itself, told to its members, audited, and removed", () =>
  withServer(async ({ ask, client, server }) => {
    const { stable, canary, publish, settled } = await trial(ask, client);
    const settings = { version: "2.0", percent: 25, minObservations: 10, reason: "release" };
    const dry = await ask("PUT", CANARY, { ...settings, dryRun: true });
    assert.deepEqual([dry.status, dry.body.dryRun, dry.body.partitions.length], [200, true, 1]);
    assert.equal((await ask("GET", CANARY)).body.code, "UNKNOWN_CANARY");

    const set = await ask("PUT", CANARY, settings);
    assert.equal(set.status, 200, JSON.stringify(set.body));
    assert.equal(set.body.moved.length, 1);
    assert.deepEqual(
      [set.body.windowSeconds, set.body.factor, set.body.margin, set.body.maxLostSessions],
      [600, 2, 0.02, 5],
    );
    await settled(1);
    const group = (await ask("GET", "/api/groups/billing")).body;
    assert.deepEqual(
      [group.canary.state, group.canary.version, group.canary.members],
      ["running", "2.0", 1],
    );
    assert.deepEqual(
      group.members.map(({ version }: Data) => version).sort(),
      ["1.0", "2.0"],
    );

    await publish(20);
    await until(async () => {
      await stable.work(false);
      await canary.work(true);
      return (await ask("GET", CANARY)).body.state === "withdrawn" ? true : null;
    });
    const told = await until(async () => {
      await stable.work(false);
      const polled = await canary.poll();
      return polled.assignment.length === 0 ? polled : null;
    });
    assert.equal(told.withdrawn.version, "2.0");
    assert.match(told.withdrawn.reason, /^nacks: 100% \(\d+ of \d+\) of the canary's messages, 0%/);
    const joined = await ask("POST", "/api/groups/billing/members", {
      topics: ["orders"],
      version: "2.0",
    });
    assert.deepEqual([joined.body.assignment, joined.body.withdrawn.version], [[], "2.0"]);
    // All of it comes to the others in the end.
    await until(async () => {
      await stable.work(false);
      const { retries } = (await ask("GET", "/api/groups/billing")).body;
      return retries.waiting + retries.inHand === 0 ? true : null;
    });
    assert.equal((await ask("GET", "/api/dlq?topic=orders")).body.deadLetters.length, 0);
    assert.equal((await ask("GET", "/api/groups/billing/lag")).body.totalLag, 0);

    const { canariesWithdrawn, canaries } = server.broker.activity();
    assert.equal(canariesWithdrawn, 1);
    const reason = told.withdrawn.reason;
    assert.deepEqual(canaries, [
      { group: "billing", version: "2.0", percent: 25, state: "withdrawn", reason },
    ]);
    assert.deepEqual(withdrawnReadings(canaries), [{
      resource: { type: "group", name: "billing", labels: { group: "billing", version: "2.0" } },
      value: 1,
      detail: `version 2.0: ${reason}`,
    }]);

    assert.equal((await ask("POST", `${CANARY}:promote`)).body.code, "INVALID_CANARY_STATE");
    assert.equal((await ask("DELETE", `${CANARY}?reason=rolled%20back`)).status, 204);
    assert.equal((await ask("DELETE", CANARY)).status, 404);
    const { assignment, withdrawn } = await until(async () => {
      await stable.work(false);
      const polled = await canary.poll();
      return polled.assignment.length > 0 ? polled : null;
    });
    assert.ok(assignment.length > 0);
    assert.equal(withdrawn, undefined);
    assert.deepEqual(server.broker.activity().canaries, []);

    const audit = async (action: string) =>
      (await ask("GET", `/api/audit?action=${action}&order=oldest`)).body.entries as Data[];
    const [changed, ...others] = await audit("canary.set");
    assert.equal(others.length, 0, "a dry run is not audited");
    assert.equal(changed.before.canary, null);
    assert.deepEqual([changed.after.canary.version, changed.after.canary.percent], ["2.0", 25]);
    const [taken] = await until(async () => {
      const entries = await audit("canary.withdraw");
      return entries.length === 1 ? entries : null;
    });
    assert.equal(taken.actor, "system:canary-judge");
    assert.deepEqual(taken.resource, { type: "group", name: "billing" });
    assert.equal(taken.after.canary.canary.nacked, taken.after.canary.canary.answered);
    assert.equal(taken.reason, reason);
    const [removed] = await audit("canary.remove");
    assert.equal(removed.before.canary.state, "withdrawn");
  }));

Deno.test("a canary that does as well as the rest stays, and is promoted", () =>
  withServer(async ({ ask, client }) => {
    const { stable, canary, publish, settled } = await trial(ask, client);
    await ask("PUT", CANARY, { version: "2.0", percent: 50, minObservations: 10 });
    await settled(2);
    await publish(30);
    const shown = await until(async () => {
      await stable.work(false);
      await canary.work(false);
      const { body } = await ask("GET", CANARY);
      return body.verdict.state === "ok" ? body : null;
    });
    assert.deepEqual([shown.state, shown.canary.nackRate, shown.rest.nackRate], ["running", 0, 0]);
    const promoted = await client.groups.promoteCanary("billing", "it is fine");
    assert.deepEqual([promoted.state, promoted.reason], ["promoted", "it is fine"]);
    await client.groups.removeCanary("billing");
    await assert.rejects(client.groups.canary("billing"), { code: "UNKNOWN_CANARY" });
  }));

Deno.test("a consumer of the SDK says its version, and is told that it was withdrawn", () =>
  withServer(async ({ client }) => {
    const told: { version: string; reason: string }[] = [];
    const assigned = new Map<string, number>();
    const consumer = (version: string): Consumer =>
      client.consumer({
        group: "billing",
        topics: ["orders"],
        version,
        onAssigned: (partitions) => assigned.set(version, partitions.length),
        onWithdrawn: (withdrawn) => told.push(withdrawn),
      });
    const run = async (of: Consumer, isBad: boolean) => {
      for await (const message of of) {
        if (isBad) of.nack(message, { reason: "bad release" });
        await of.commit(message).catch(() => {});
      }
    };
    const stable = consumer("1.0");
    const canary = consumer("2.0");
    const working = [run(stable, false), run(canary, true)];
    const send = (count: number) =>
      client.producer().sendMany(
        "orders",
        Array.from({ length: count }, (_, i) => ({ value: i, partition: i % 4 })),
      );
    await until(() => assigned.size === 2 ? true : null);
    await send(40);
    const set = await client.groups.setCanary("billing", {
      version: "2.0",
      percent: 50,
      minObservations: 10,
    });
    assert.equal(set.members, 1);
    await until(async () => {
      await send(40);
      return (await client.groups.canary("billing")).state === "withdrawn" ? true : null;
    });
    await until(() => told.length > 0 ? true : null);
    assert.equal(told[0]!.version, "2.0");
    await Promise.all([stable.close(), canary.close()]);
    await Promise.all(working);
  }));
