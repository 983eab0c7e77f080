// Owns tests of the commands on groups, against a broker in memory: members, offsets, canaries, dead letters, replays.
// Refuses to own how command lines are read (cli_words_test.ts).
import assert from "node:assert/strict";
import { done, until, withBroker } from "./support/cli_broker.ts";

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
