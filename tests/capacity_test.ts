// Owns tests of the capacity calculator: its formulas, its command line, and that the handbook's tables are its own.
// Refuses to own the figures: the bench measures them. Invariant: what is expected is reckoned here by hand, once.
import assert from "node:assert/strict";
import fc from "fast-check";
import { factorAt, figuresOf, MEASURED } from "../ops/capacity/figures.ts";
import { CAPACITY_HELP, parseOptions } from "../ops/capacity/options.ts";
import { type Demand, planFor } from "../ops/capacity/plan.ts";
import { renderPlan } from "../ops/capacity/report.ts";
import { tableUnder } from "./support/handbook_pages.ts";

const DEMAND: Demand = {
  rate: 100_000,
  bytes: 1_024,
  retentionHours: 24,
  replicas: 1,
  groups: 2,
  publish: "batch",
  consume: "batch",
  memberRate: 5_000,
  publishers: 100,
  utilisation: 0.5,
  diskFill: 0.7,
  networkMegabytesPerSecond: 1_250,
};

function close(actual: number, expected: number): void {
  assert.ok(Math.abs(actual - expected) <= 1e-9 * Math.abs(expected), `${actual}, not ${expected}`);
}

Deno.test("capacity of a demand follows from the measured figures", () => {
  const plan = planFor(DEMAND, MEASURED);
  close(plan.storedBytes, 1_034.61);
  // 100,000 × (1/222,600 + 2/486,400) s of an event loop, of which half is used.
  close(plan.brokersBy["event loop"], 2 * (100_000 / 222_600 + 200_000 / 486_400));
  close(plan.brokersBy.disk, 103.461 / 78);
  close(plan.brokersBy.network, 2 * 1_034 / 10 / 625);
  assert.deepEqual([plan.bound, plan.brokers], ["event loop", 2]);
  assert.deepEqual([plan.members, plan.partitions], [20, 40]);
  close(plan.keptBytes, 100_000 * 1_034.61 * 86_400);
  const { perBroker } = plan;
  close(perBroker.diskBytes, plan.keptBytes / 2 / 0.7);
  close(perBroker.pageCacheBytes, 50_000 * 1_034.61 * 60);
  assert.equal(perBroker.partitionReplicas, 20);
  assert.equal(perBroker.connections, 140);
  assert.equal(perBroker.memoryBytes, 122e6 + 704 * 1_048_576 + 20 * 36_000 + 40 * 95_000);
  assert.equal(perBroker.fileDescriptors, 140 + 20 + 173);
});

Deno.test("a copy costs a read and an append, the disk and the network once more", () => {
  const one = planFor(DEMAND, MEASURED);
  const three = planFor({ ...DEMAND, replicas: 3 }, MEASURED);
  close(
    three.brokersBy["event loop"] - one.brokersBy["event loop"],
    2 * 2 * (100_000 / 222_600 + 100_000 / 486_400),
  );
  close(three.brokersBy.disk, 3 * one.brokersBy.disk);
  close(three.keptBytes, 3 * one.keptBytes);
  assert.ok(three.cautions.some((caution) => /do not replicate yet/.test(caution)));
  assert.ok(!one.cautions.some((caution) => /replicate/.test(caution)));
});

Deno.test("what was not measured is said: several brokers, sizes, partitions", () => {
  const cautions = (demand: Partial<Demand>) =>
    planFor({ ...DEMAND, ...demand }, MEASURED).cautions.join("\n");
  assert.match(cautions({}), /2 brokers today are 2 separate ones/);
  assert.doesNotMatch(cautions({ rate: 1_000 }), /separate|extrapolated/);
  assert.match(cautions({ rate: 10, bytes: 10_241 }), /10241 is extrapolated/);
  assert.doesNotMatch(cautions({ rate: 10, bytes: 10_240 }), /extrapolated/);
  assert.match(cautions({ rate: 10_000, memberRate: 10 }), /2000 partitions on one broker: 1000/);
  assert.match(cautions({ publish: "json-single" }), /most expensive way/);
});

Deno.test("work by size goes in straight lines through what was measured", () => {
  const { json } = MEASURED.publishFactors;
  for (const [bytes, factor] of json) assert.equal(factorAt(json, bytes), factor);
  assert.equal(factorAt(json, 1), 0.61);
  close(factorAt(json, (1_024 + 10_240) / 2), (1 + 6.9) / 2);
  close(factorAt(json, 10_240 + 9_216), 6.9 + 5.9);
});

Deno.test("more demand never needs less of anything, and no broker is planned beyond its share", () => {
  const demands = fc.record({
    rate: fc.integer({ min: 1, max: 5_000_000 }),
    bytes: fc.integer({ min: 1, max: 100_000 }),
    replicas: fc.integer({ min: 1, max: 5 }),
    groups: fc.integer({ min: 0, max: 10 }),
    publish: fc.constantFrom("json-single" as const, "json" as const, "batch" as const),
    consume: fc.constantFrom("json" as const, "batch" as const),
  });
  fc.assert(fc.property(demands, (varied) => {
    const demand = { ...DEMAND, ...varied };
    const plan = planFor(demand, MEASURED);
    const more = planFor({ ...demand, rate: demand.rate * 2 }, MEASURED);
    assert.ok(more.brokers >= plan.brokers);
    assert.ok(more.partitions >= plan.partitions && plan.partitions % plan.brokers === 0);
    assert.ok(plan.perBroker.eventLoopShare <= 0.5 + 1e-9);
    assert.ok(plan.perBroker.diskMegabytesPerSecond <= 78 + 1e-9);
    assert.ok(plan.perBroker.networkOutMegabytesPerSecond <= 625 + 1e-9);
    assert.ok(plan.perBroker.fileDescriptors >= 2 * plan.perBroker.connections);
    assert.ok(plan.brokers >= demand.replicas);
  }));
});

Deno.test("rates and the disk can be those of a run of the bench", () => {
  const figure = (name: string, messagesPerSecond: number) => ({ name, messagesPerSecond });
  const figures = [
    figure("publish JSON, 1 a request", 1_000),
    figure("publish JSON, 100 a request", 2_000),
    figure("publish SDK, 4 partitions, idempotent", 3_000),
    figure("consume over WebSocket, json", 4_000),
    figure("consume over WebSocket, batch", 5_000),
  ];
  const limits = { diskMegabytesPerSecond: 600 };
  const bench = { machine: { cores: 4, os: "linux 6" }, limits, figures };
  const read = figuresOf(bench);
  assert.deepEqual(read.publishPerSecond, { "json-single": 1_000, json: 2_000, batch: 3_000 });
  assert.deepEqual(read.consumePerSecond, { json: 4_000, batch: 5_000 });
  assert.equal(read.diskMegabytesPerSecond, 600);
  assert.throws(
    () => figuresOf({ ...bench, figures: figures.slice(1) }),
    /no figure "publish JSON, 1/,
  );
});

Deno.test("the bench still has the names that its figures are read by", async () => {
  const cases = await Deno.readTextFile(new URL("../ops/bench/cases.ts", import.meta.url));
  for (const part of ['"JSON, 1 a request"', '"JSON, 100 a request"', "`publish ${name}`"]) {
    assert.ok(cases.includes(part), part);
  }
  assert.ok(cases.includes("`publish SDK, 4 partitions, ${kind}`"));
  assert.ok(cases.includes('["idempotent", idempotent]'));
  assert.ok(cases.includes("`consume over WebSocket, ${format}`"));
});

Deno.test("options take units, and refuse what is not understood", () => {
  const words = "--rate 2M --bytes 1k --retention 7d --replicas 3 --json".split(" ");
  const options = parseOptions(words);
  assert.ok(options !== "help");
  const { rate, bytes, retentionHours, replicas, groups, utilisation } = options.demand;
  assert.deepEqual([rate, bytes, retentionHours, replicas, groups, utilisation], [
    2e6,
    1_000,
    168,
    3,
    1,
    0.5,
  ]);
  assert.equal(options.json, true);
  assert.equal(parseOptions(["--help"]), "help");
  const refuse = (changed: string, why: RegExp) =>
    assert.throws(() => parseOptions([...words, ...changed.split(" ")]), why);
  refuse("--rate 0", /--rate takes a number from 1 on/);
  refuse("--rate 0.0000001", /--rate takes a number from 1 on.*not 0\.0000001/);
  refuse("--bytes 0.5", /--bytes takes a number from 1 on/);
  refuse("--member-rate 0.0000001", /from 0\.001 on/);
  refuse("--utilisation 0.0000001", /a share from 0\.01/);
  refuse("--retention 99999999d", /a hundred years at most/);
  refuse("--rate many", /not many/);
  refuse("--retention 7", /90m, 24h, 7d, a hundred years at most; not 7/);
  refuse("--replicas 0", /from 1 on/);
  refuse("--utilisation 1.5", /a share/);
  refuse("--publish xml", /one of json-single, json, batch/);
  assert.throws(() => parseOptions([]), /--rate takes a number from 1 on.*not nothing/);
});

Deno.test("the plan shows every figure for people, and every option stands in the help", () => {
  const text = renderPlan(planFor({ ...DEMAND, replicas: 3 }, MEASURED));
  assert.match(text, /^100,000 messages\/s of 1,024 bytes, 3 copies/);
  assert.match(text, /bound by the event loop/);
  assert.match(text, /- brokers do not replicate yet/);
  for (const name of ["rate", "bytes", "retention", "bench", "disk-mbs", "member-rate", "json"]) {
    assert.ok(CAPACITY_HELP.includes(`--${name} `), name);
  }
});

Deno.test("figures that capacity is planned from are those that README.md tells", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const told = tableUnder(readme, "Figures");
  const rateOf = (name: string) => {
    const row = told.find(([figure]) => figure === name);
    assert.ok(row !== undefined, name);
    return Number(row[1]!.replaceAll(",", ""));
  };
  const { publishPerSecond, consumePerSecond, diskMegabytesPerSecond } = MEASURED;
  const where =
    "ops/capacity/figures.ts and ops/handbook/capacity.md name README.md as their source";
  assert.equal(
    publishPerSecond["json-single"],
    rateOf("publish JSON, 1 a request, 64 connections"),
    where,
  );
  assert.equal(publishPerSecond.json, rateOf("publish JSON, 100 a request"), where);
  assert.equal(publishPerSecond.batch, rateOf("publish through the client, 4 partitions"), where);
  assert.equal(consumePerSecond.json, rateOf("consume over WebSocket, JSON"), where);
  assert.equal(consumePerSecond.batch, rateOf("consume over WebSocket, record batches"), where);
  assert.ok(readme.includes(`${diskMegabytesPerSecond} MB/s`), where);
});

Deno.test("the handbook's tables of capacity are what the calculator says", async () => {
  const page = await Deno.readTextFile(
    new URL("../ops/handbook/capacity.md", import.meta.url),
  );
  const headings = [
    ["One broker, or several beside each other (no copies)", 1],
    ["Three copies (when brokers replicate: extrapolated)", 3],
  ] as const;
  const number = (text: string) => Number(text.replaceAll(",", ""));
  for (const [heading, replicas] of headings) {
    const rows = tableUnder(page, heading);
    assert.equal(rows.length, 12);
    for (const [rate, bytes, brokers, bound, partitions, members, , disk, , out] of rows) {
      const demand = { ...DEMAND, rate: number(rate!), bytes: number(bytes!), replicas };
      const plan = planFor(demand, MEASURED);
      const shown = `${rate} ${bytes} ${replicas}`;
      assert.equal(number(brokers!), plan.brokers, shown);
      assert.equal(bound, plan.bound, shown);
      assert.equal(number(partitions!), plan.partitions, shown);
      assert.equal(number(members!), plan.members, shown);
      assert.ok(Math.abs(number(disk!) / plan.perBroker.diskMegabytesPerSecond - 1) < 0.01, shown);
      assert.ok(
        Math.abs(number(out!) / plan.perBroker.networkOutMegabytesPerSecond - 1) < 0.01,
        shown,
      );
    }
  }
});
