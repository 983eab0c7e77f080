// Owns tests of commands against a broker in memory, over a loopback port.
// Refuses to own how command lines are read (cli_words_test.ts).
import assert from "node:assert/strict";
import { cli, type CliWorld } from "./support/cli_run.ts";
import { consumingServer } from "./support/consuming_server.ts";
import { lagOf, sampleOf } from "./support/sample_run.ts";
import { toyRunbook } from "./support/runbook_scene.ts";

type Run = (words: string, world?: CliWorld) => ReturnType<typeof cli>;

/** Runs `test` with a broker; words of a command are split at spaces, `_` stands for a space. */
async function withBroker(test: (run: Run, url: string) => Promise<void>): Promise<void> {
  const server = await consumingServer({ partitions: 2 });
  try {
    await test((words, world = {}) => {
      const split = words.split(" ").map((word) => word.replaceAll("_", " "));
      return cli(split, { ...world, environment: { WAYBILLCTL_URL: server.url } });
    }, server.url);
    assert.deepEqual(server.faults, []);
  } finally {
    await server.close();
  }
}

async function done(end: ReturnType<typeof cli>) {
  const ended = await end;
  assert.equal(ended.code, 0, ended.err);
  return ended;
}

Deno.test("a topic is created, altered, shown and deleted from the command line", () =>
  withBroker(async (run) => {
    const made =
      (await done(run("topics create bills --partitions 2 --retention-bytes 1000000 --json")))
        .json();
    assert.equal(made.partitions.length, 2);
    assert.equal(made.retentionBytes, 1_000_000);
    await done(run("topics alter bills --partitions 3 --retention-bytes none"));
    const { json } = await done(run("topics show bills --json"));
    assert.equal(json().retentionBytes, null);
    assert.equal(json().partitions.length, 3);
    const listed = await done(run("topics list"));
    assert.match(listed.out, /^TOPIC +PARTITIONS/);
    assert.match(listed.out, /^bills +3 /m);
    assert.doesNotMatch(listed.out, /__/);
    await done(run("topics delete bills --yes"));
    const gone = await run("topics show bills --json");
    assert.equal(gone.code, 1);
    assert.equal(JSON.parse(gone.err).error.code, "UNKNOWN_TOPIC");
  }));

Deno.test("what destroys asks at a terminal, and needs --yes where nobody is", () =>
  withBroker(async (run) => {
    const unasked = await run("topics delete orders");
    assert.equal(unasked.code, 2);
    assert.match(unasked.err, /give --yes/);
    const no = await run("topics delete orders", { answers: ["no"] });
    assert.equal(no.code, 1);
    assert.match(no.err, /Really delete topic orders with all its messages\?/);
    await done(run("topics show orders"));
    await done(run("topics delete orders", { answers: ["y"] }));
    assert.equal((await run("topics show orders")).code, 1);
  }));

Deno.test("words, lines and messages are published, and come out as they went in", () =>
  withBroker(async (run) => {
    await done(run("publish orders first the_second --partition 0 -H a=b=c --header d=e"));
    await done(run("publish orders --partition 0", { input: "third\r\nfourth" }));
    await done(run(`publish orders {"n":1} --format json --partition 0 --key k`));
    await done(run("publish orders --partition 0 --key k --tombstone"));
    const { lines } = await done(run("consume orders --json"));
    const messages = lines().map((line) => JSON.parse(line));
    assert.deepEqual(messages.map(({ offset, value, key }) => [offset, value, key]), [
      [0, "first", null],
      [1, "the second", null],
      [2, "third", null],
      [3, "fourth", null],
      [4, { n: 1 }, "k"],
      [5, null, "k"],
    ]);
    assert.deepEqual(messages[0].headers, { a: "b=c", d: "e" });
    assert.equal(messages[0].topic, "orders");
  }));

Deno.test("what was consumed as NDJSON can be published elsewhere, without where it was", () =>
  withBroker(async (run) => {
    await done(run("topics create copy"));
    await done(run("publish orders --format json --partition 1 --key k [1] [2] -H a=b"));
    const { out } = await done(run("consume orders --json"));
    await done(run("publish copy --format ndjson", { input: out }));
    const copied = (await done(run("consume copy --json"))).lines().map((line) => JSON.parse(line));
    assert.deepEqual(copied.map(({ partition, value }) => [partition, value]), [[0, [1]], [0, [
      2,
    ]]]);
    assert.equal(copied[0].headers.a, "b");
    const original = out.split("\n").slice(0, -1).map((line) => JSON.parse(line).timestamp);
    assert.deepEqual(copied.map(({ timestamp }) => timestamp), original);
    const wrong = await run("publish copy --format ndjson", { input: `{"valu":1}` });
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /line 1: "valu" cannot be published/);
  }));

Deno.test("more lines than one request takes are published in their order", () =>
  withBroker(async (run) => {
    const lines = Array.from({ length: 2_345 }, (_, at) => `line ${at}`);
    const files = { "/lines.txt": `${lines.join("\n")}\n` };
    const { err } = await done(run("publish orders --file /lines.txt --partition 1", { files }));
    assert.match(err, /2,345 published/);
    const { lines: consumed } = await done(run("consume orders --partition 1 --json"));
    assert.deepEqual(consumed().map((line) => JSON.parse(line).value), lines);
  }));

Deno.test("a repeat under the message's own key is told to be stored before", () =>
  withBroker(async (run) => {
    await done(run("publish orders paid --idempotency-key order-1 --key k"));
    const { out, err } = await done(run("publish orders paid --idempotency-key order-1 --key k"));
    assert.match(out, /stored before/);
    assert.match(err, /1 of them stored before/);
  }));

Deno.test("a range is read from and to offsets, of one partition or all, and no more than --max", () =>
  withBroker(async (run) => {
    await done(run("publish orders a b c d --partition 0"));
    await done(run("publish orders e f --partition 1"));
    const values = async (words: string) =>
      (await done(run(`consume orders ${words} --json`))).lines().map((line) =>
        JSON.parse(line).value
      );
    assert.deepEqual(await values("--partition 0 --from 1 --to 3"), ["b", "c"]);
    assert.deepEqual(await values("--max 3"), ["a", "b", "c"]);
    assert.deepEqual(await values("--from @1h"), ["a", "b", "c", "d", "e", "f"]);
    assert.deepEqual(await values("--from latest"), []);
    const past = await run("consume orders --partition 0 --from 9 --to 12");
    assert.equal(past.code, 1);
    assert.match(past.err, /OFFSET_OUT_OF_RANGE/);
  }));

Deno.test("a follower gets what comes to any partition, and ends with --max", () =>
  withBroker(async (run) => {
    await done(run("publish orders before --partition 0"));
    const following = done(run("consume orders --follow --max 3 --json"));
    await done(run("publish orders later --partition 1"));
    await done(run("publish orders last --partition 0"));
    const values = (await following).lines().map((line) => JSON.parse(line).value);
    assert.deepEqual(values.toSorted(), ["before", "last", "later"]);
  }));

Deno.test("a member prints, commits what it printed, and goes on there", () =>
  withBroker(async (run) => {
    await done(run("publish orders a b c --partition 0"));
    const values = async (words: string) =>
      (await done(run(`consume orders --group billing ${words} --json`))).lines().map((line) =>
        JSON.parse(line).value
      );
    assert.deepEqual(await values("--max 1 --no-commit"), ["a"]);
    assert.deepEqual(await values("--max 2"), ["a", "b"]);
    assert.deepEqual(await values("--max 1"), ["c"]);
    const lag = (await done(run("groups lag billing --json"))).json();
    assert.equal(lag.totalLag, 0);
  }));

Deno.test("offsets go back by a dry run first, then with a reason, and the history tells it", () =>
  withBroker(async (run) => {
    await done(run("publish orders a b c --partition 0"));
    const place = "billing --topic orders --partition 0";
    await done(run(`offsets commit ${place} --offset 3`));
    const back = await run(`offsets commit ${place} --offset 1`);
    assert.equal(back.code, 1);
    assert.match(back.err, /OFFSET_ROLLBACK/);
    assert.equal(
      (await run(`offsets commit ${place} --offset 1 --allow-rewind --reason x`)).code,
      2,
    );
    await done(run(`offsets commit ${place} --offset 1 --allow-rewind --reason x --yes`));
    await done(run(`offsets commit ${place} --offset 3`));

    const snapshot = (await done(run("offsets snapshot billing --json"))).json().snapshotId;
    const dry = (await done(run(`offsets reset ${place} --to -2 --dry-run --json`))).json();
    assert.deepEqual(dry.changes, [{
      topic: "orders",
      partition: 0,
      from: 3,
      to: 1,
      redeliver: 2,
    }]);
    const lagBefore = (await done(run("groups lag billing --json"))).json().totalLag;
    assert.equal(lagBefore, 0);
    assert.equal((await run(`offsets reset ${place} --to -2 --reason again`)).code, 2);
    const asked = await done(
      run(`offsets reset ${place} --to -2 --reason again`, { answers: ["yes"] }),
    );
    assert.match(asked.err, /2 messages are delivered again \(dry run/);
    assert.doesNotMatch(asked.err, /resume/, "it is not paused");
    assert.equal((await done(run("groups lag billing --json"))).json().totalLag, 2);
    await done(run(`offsets rollback billing --snapshot ${snapshot} --reason done --yes`));
    await done(run("groups pause billing --reason repair"));
    const still = await done(run(`offsets reset ${place} --to 3 --reason none --yes`));
    assert.match(still.err, /waybill groups resume billing/);
    await done(run("groups resume billing"));
    assert.equal((await done(run("groups lag billing --json"))).json().totalLag, 0);
    const { history } = (await done(run("offsets history billing --json"))).json();
    assert.deepEqual(
      history.slice(0, 2).map((each: Record<string, unknown>) => [each.action, each.reason]),
      [["rollback", "done"], ["reset", "again"]],
    );
    assert.match((await done(run("offsets snapshots billing"))).out, new RegExp(snapshot));
  }));

Deno.test("groups are listed, paused with a reason, resumed and deleted", () =>
  withBroker(async (run) => {
    await done(run("offsets commit billing --topic orders --partition 0 --offset 0"));
    assert.match((await done(run("groups list"))).out, /billing +empty/);
    await done(run("groups pause billing --reason bad_release"));
    assert.match((await done(run("groups show billing"))).out, /state +paused[\s\S]*bad release/);
    await done(run("groups resume billing"));
    assert.doesNotMatch((await done(run("groups show billing"))).out, /bad release/);
    assert.match((await done(run("groups rebalances billing"))).out, /there were none/);
    await done(run("groups delete billing --yes"));
    assert.equal((await run("groups show billing")).code, 1);
  }));

Deno.test("a canary is tried out in a dry run, set, shown beside the rest, promoted and removed", () =>
  withBroker(async (run, url) => {
    for (const version of ["1.0", "2.0"]) {
      const joined = await fetch(`${url}/api/groups/billing/members`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ topics: ["orders"], clientId: `c-${version}`, version }),
      });
      assert.equal(joined.status, 200, await joined.text());
    }
    const none = await run("groups canary billing --json");
    assert.equal(JSON.parse(none.err).error.code, "UNKNOWN_CANARY");
    const dry = await done(run("groups canary billing set --version 2.0 --percent 50 --dry-run"));
    assert.match(dry.out, /this was a dry run: nothing has changed/);
    assert.equal((await run("groups canary billing")).code, 1);
    const words = "groups canary billing set --version 2.0 --percent 50 --window 5m --factor 3";
    const set = (await done(run(`${words} --reason release --json`))).json();
    assert.deepEqual(
      [set.state, set.percent, set.windowSeconds, set.factor, set.margin, set.partitions.length],
      ["running", 50, 300, 3, 0.02, 1],
    );
    const shown = await done(run("groups canary billing"));
    assert.match(shown.out, /^partitions +1 of 2: orders\/[01]$/m);
    assert.match(shown.out, /^verdict +undecided: /m);
    assert.match(shown.out, /^rest +0 +0 /m);
    assert.match((await done(run("groups show billing"))).out, /^canary +2.0, 50%, running$/m);
    assert.match((await done(run("groups show billing"))).out, / c-2.0 +- +2.0 +http/);
    const promoted = await done(run("groups canary billing promote --reason fine --json"));
    assert.equal(promoted.json().state, "promoted");
    assert.equal((await run("groups canary billing promote")).code, 1);
    await done(run("groups canary billing remove --reason over"));
    assert.equal((await run("groups canary billing")).code, 1);
    for (const wrong of ["pause", "set --version 2.0", "set --percent 5", "remove --percent 5"]) {
      assert.equal((await run(`groups canary billing ${wrong}`)).code, 2, wrong);
    }
  }));

Deno.test("a replay counts in a dry run, is watched to its end, and started once under its key", () =>
  withBroker(async (run) => {
    await done(run("publish orders a b c --partition 0"));
    const range = "orders --partition 0 --from 0 --to 3";
    const dry = (await done(run(`replay start ${range} --dry-run --watch --json`))).json();
    assert.equal(dry.total, 3);
    const job = (await done(run(`replay start ${range} --idempotency-key r1 --watch --json`)))
      .json();
    assert.deepEqual([job.state, job.done], ["completed", 3]);
    const same = (await done(run(`replay start ${range} --idempotency-key r1 --json`))).json();
    assert.equal(same.jobId, job.jobId);
    assert.match(
      (await done(run("replay list"))).out,
      new RegExp(`${job.jobId} +replay +completed`),
    );
    const { lines } = await done(run("consume orders --partition 0 --json"));
    assert.equal(lines().length, 6);
    const over = await run(`replay cancel ${job.jobId} --yes`);
    assert.equal(over.code, 1);
    assert.equal((await run(`replay show nothing`)).code, 1);
  }));

Deno.test("a replay that names no partition replays them all", () =>
  withBroker(async (run) => {
    await done(run("publish orders a b --partition 0"));
    await done(run("publish orders c --partition 1"));
    const dry = await done(run("replay start orders --from earliest --dry-run"));
    assert.match(dry.out, /^3 messages \(dry run: nothing was done\)$/m);
    const { jobs } =
      (await done(run("replay start orders --from earliest --idempotency-key r --watch --json")))
        .json();
    // deno-lint-ignore no-explicit-any -- checked by the assertion
    const told = jobs.map(({ sources: [{ partition }], done }: any) => [partition, done]);
    assert.deepEqual(told, [[0, 2], [1, 1]]);
    await done(run("replay start orders --from earliest --idempotency-key r"));
    const { lines } = await done(run("consume orders --json"));
    assert.equal(lines().length, 6);
    const offsets = await run("replay start orders --from 1");
    assert.equal(offsets.code, 2);
    assert.match(offsets.err, /give --partition/);
  }));

Deno.test("keys, ACLs and quotas are made, listed and deleted; a key is shown once", () =>
  withBroker(async (run) => {
    const made = (await done(run("keys create billing --tenant shop --expires 30d --json"))).json();
    assert.ok(made.expiresAt > Date.now() + 29 * 86_400_000);
    assert.ok(!(await done(run("keys list --json"))).out.includes(made.key));
    await done(run(`keys delete ${made.keyId} --yes`));
    assert.match((await done(run("keys list"))).out, /there are no keys/);

    const rule = "--principal billing --resource topic --pattern orders --operation read";
    const acl = (await done(run(`acls create ${rule} --json`))).json();
    assert.equal((await done(run("acls list --principal billing --json"))).json().acls.length, 1);
    assert.equal((await done(run("acls list --principal other --json"))).json().acls.length, 0);
    await done(run(`acls delete ${acl.aclId} --yes`));

    await done(run("quotas set shop --connections 5 --requests-per-second 100"));
    const quota = (await done(run("quotas set shop --connections none --json"))).json();
    assert.deepEqual([quota.connections, quota.requestsPerSecond], [null, 100]);
    assert.match((await done(run("quotas list"))).out, /shop +tenant/);
    await done(run("quotas delete shop --yes"));
  }));

Deno.test("alerts are listed, and a threshold is changed in one thing and put back", () =>
  withBroker(async (run) => {
    assert.match((await done(run("alerts list --fail-if-firing"))).out, /there are no alerts/);
    assert.equal((await run("alerts acknowledge nothing")).code, 1);
    const before = (await done(run("thresholds show consumer-lag --json"))).json();
    const after = (await done(run("thresholds set consumer-lag --limit 7 --json"))).json();
    assert.deepEqual([after.limit, after.severity, after.runbook], [7, "P1", before.runbook]);
    await done(run("thresholds reset consumer-lag --yes"));
    assert.equal((await done(run("thresholds show consumer-lag --json"))).json().limit, 500_000);
    assert.match((await done(run("thresholds list"))).out, /consumer-lag +P1 +500,000/);
  }));

Deno.test("alerts of one group are told apart by topic and partition", async () => {
  const server = await consumingServer();
  try {
    const lags = [0, 1].flatMap((partition) => lagOf(600_000, { partition }).lags!);
    server.broker.alerts.observe(sampleOf({ at: Date.now(), monotonic: 1, lags }));
    const world = { environment: { WAYBILLCTL_URL: server.url } };
    const listed = await done(cli(["alerts", "list"], world));
    for (const partition of [0, 1]) {
      assert.match(listed.out, new RegExp(`group billing, orders/${partition} `));
    }
    const { json } = await done(cli(["alerts", "list", "--json"], world));
    const shown = await done(cli(["alerts", "show", json().alerts[0].alertId], world));
    assert.match(shown.out, /^resource +group billing, orders\/[01]$/m);
  } finally {
    await server.close();
  }
});

Deno.test("dead letters are listed by what they are, counted, and sent back once", () =>
  withBroker(async (run, url) => {
    await done(run("publish orders bad good --partition 0"));
    await done(run("offsets commit billing --topic orders --partition 0 --offset 2"));
    const response = await fetch(`${url}/api/messages:nack`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        groupId: "billing",
        topic: "orders",
        partition: 0,
        offset: 0,
        code: "NON_RETRYABLE",
        reason: "cannot be read",
      }),
    });
    assert.equal((await response.json()).deadLettered, true);
    const listed = await until(
      () => done(run("dlq list --topic orders --group billing")),
      ({ out }) => out.includes("orders/0@0"),
    );
    assert.match(listed.out, /NON_RETRYABLE +cannot be read/);
    assert.match((await done(run("dlq list --code OTHER"))).out, /there are no dead letters/);
    const dry = (await done(run("dlq redrive orders --dry-run --watch --json"))).json();
    assert.deepEqual([dry.dryRun, dry.total], [true, 1]);
    assert.equal((await run("dlq redrive orders")).code, 2);
    const job = (await done(run("dlq redrive orders --reason fixed --watch --json"))).json();
    assert.deepEqual([job.state, job.done], ["completed", 1]);
    const again = (await done(run("dlq redrive orders --reason fixed --watch --json"))).json();
    assert.deepEqual([again.done, again.alreadyRedriven], [0, 1]);
    assert.match((await done(run("dlq list"))).out, /yes$/m);
  }));

Deno.test("a runbook is executed, waits for approval, is followed to its end, and tells a partial one", async () => {
  const server = await consumingServer();
  const environment = { WAYBILLCTL_URL: server.url };
  const run = (...words: string[]) => cli(["runbooks", ...words], { environment });
  try {
    server.broker.runbooks.use([
      toyRunbook("mend", [{ name: "look", kind: "check" }, { name: "act", kind: "action" }]),
      toyRunbook("fail", [{
        name: "act",
        kind: "action",
        run: () => ({ outcome: "manual", detail: "somebody must look" }),
      }]),
    ]);
    assert.match((await done(run("list"))).out, /^mend +group broker none +2 /m);
    assert.match((await done(run("show", "mend"))).out, /^act +action/m);
    const start = ["execute", "mend", "--target", "group:billing", "--reason", "x"];
    const waiting = (await done(run(...start, "--mode", "approve", "--json"))).json();
    const id = waiting.executionId;
    await until(
      async () => (await done(run("execution", id, "--json"))).json(),
      ({ state }) => state === "waiting",
    );
    assert.match((await done(run("executions", "--state", "waiting"))).out, new RegExp(id));
    assert.equal((await run("approve", id)).code, 2);
    const other = await run("approve", id, "--step", "look", "--yes");
    assert.notEqual(other.code, 0);
    assert.match(other.err, /waits for approval of step act, not of look/);
    const ended = await done(run("approve", id, "--yes", "--watch"));
    assert.match(ended.err, /^act: act/m);
    assert.match(ended.err, /^approved step act$/m);
    assert.match(ended.out, /^state +verified$/m);
    assert.match(ended.err, /act done: act is done/);
    const shown = await done(run(...start));
    assert.doesNotMatch(shown.out, /^state +running$/m);
    assert.match(shown.out, /^look +check +done /m);
    const asked = await done(run(...start, "--mode", "approve"));
    assert.match(asked.err, /it waits: waybill runbooks approve /);
    await done(run("abort", /approve (\S+)/.exec(asked.err)![1]!, "--yes"));
    const observed = await done(run(...start, "--watch", "--json"));
    assert.equal(observed.json().steps[1].state, "skipped");
    const failed = await run(
      "execute",
      "fail",
      "--reason",
      "x",
      "--mode",
      "auto",
      "--yes",
      "--watch",
    );
    assert.equal(failed.code, 1);
    assert.match(failed.err, /partial: manual intervention required/);
  } finally {
    await server.close();
  }
});

/** What `ask` gives once it is as `isThere` wants it: dead letters are written a little later. */
async function until<T>(ask: () => Promise<T>, isThere: (value: T) => boolean): Promise<T> {
  for (let attempt = 1;; attempt++) {
    const value = await ask();
    if (isThere(value)) return value;
    assert.ok(attempt < 500, "it does not come");
  }
}

Deno.test("what became of a trace is shown, by its id or a whole traceparent", () =>
  withBroker(async (run) => {
    const id = "4bf92f3577b34da6a3ce929d0e0e4736";
    const parent = `00-${id}-00f067aa0ba902b7-01`;
    await done(run(`publish orders one two --partition 1 -H traceparent=${parent}`));
    await done(run("consume orders --partition 1 --json"));
    const told = (await done(run(`traces show ${id} --json`))).json();
    assert.equal(told.traceId, id);
    assert.equal(told.isTruncated, false);
    const [published, delivered] = told.events;
    assert.deepEqual(
      [published.kind, published.partition, published.offset, published.lastOffset],
      ["published", 1, 0, 1],
    );
    assert.equal(delivered.kind, "delivered");
    const table = await done(run(`traces show ${parent}`));
    assert.match(table.out, /^AT +WHAT +MESSAGE/);
    assert.match(table.out, /published +orders\/1 0-1 /);
    assert.match(table.err, /deliveries are known from/);
    assert.match((await done(run(`traces show ${"f".repeat(32)}`))).out, /nothing is known/);
    const wrong = await run("traces show nothing");
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /no trace id/);
  }));
