// Owns tests of the commands on topics and messages against a broker in memory, over a loopback port.
// Refuses to own how command lines are read (cli_words_test.ts), and groups (cli_group_commands_test.ts).
import assert from "node:assert/strict";
import { done, withBroker } from "./support/cli_broker.ts";

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
