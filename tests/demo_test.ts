// Owns proof that the demo's verdict can be trusted: it is refused for every kind of doctored evidence,
// and given for a real run over all 20,000 flights with a killed member and a killed broker.
import assert from "node:assert/strict";
import { type Flight, loadFlights } from "../ops/demo/flights.ts";
import { LedgerReader, LedgerWriter } from "../ops/demo/ledger.ts";
import { parseOptions } from "../ops/demo/options.ts";
import { type Evidence, type Proof, prove, type Receipt } from "../ops/demo/proof.ts";

const DEMO = new URL("../ops/demo/main.ts", import.meta.url).pathname;
const RUN_LIMIT_MS = 120_000;
const FLIGHTS = 20_000;

function flight(number: number, origin: string, originNumber: number): Flight {
  const date = "2001/01/01 00:47";
  return { number, originNumber, date, delay: 66, distance: 1750, origin, destination: "LAS" };
}

const SIX = ["DTW", "HNL", "DTW", "DTW", "HNL", "HNL"].map((origin, index, origins) =>
  flight(index + 1, origin, origins.slice(0, index + 1).filter((each) => each === origin).length)
);

function receipt(of: Flight, partition: number, offset: number): Receipt {
  // As they come out of the ledger: equal, not the same.
  const value = JSON.parse(JSON.stringify(of));
  return { member: "member 1", partition, offset, key: of.origin, value };
}

/** Detroit in partition 0, Honolulu in partition 1, each at offsets from 0. */
function goodEvidence() {
  const at = SIX.map((each) => ({
    each,
    partition: each.origin === "DTW" ? 0 : 1,
    offset: each.originNumber - 1,
  }));
  return {
    flights: SIX,
    acknowledgements: at.map(({ each, partition, offset }) => ({
      number: each.number,
      partition,
      offset,
    })),
    receipts: at.map(({ each, partition, offset }) => receipt(each, partition, offset)),
  };
}

type Counts = Partial<Omit<Proof, "faults">>;

function assertProof(evidence: Evidence, expected: Counts): void {
  const { faults, ...counts } = prove(evidence);
  const good: Counts = {
    published: 6,
    acknowledged: 6,
    consumed: 6,
    lost: 0,
    outOfOrder: 0,
    altered: 0,
    redelivered: 0,
    publishedTwice: 0,
    origins: 2,
    holds: true,
  };
  assert.deepEqual(counts, { ...good, ...expected });
  assert.equal(faults.length === 0, counts.holds, faults.join("; "));
}

Deno.test("proof holds when every acknowledged flight arrived once and in order", () => {
  assertProof(goodEvidence(), {});
});

Deno.test("proof reports a flight that was acknowledged and never received", () => {
  const evidence = goodEvidence();
  evidence.receipts.splice(3, 1);
  assertProof(evidence, { consumed: 5, lost: 1, holds: false });
});

Deno.test("proof reports an acknowledged offset that was skipped although the flight came from another", () => {
  const evidence = goodEvidence();
  evidence.receipts[5] = receipt(SIX[5]!, 1, 7);
  assertProof(evidence, { lost: 1, holds: false });
});

Deno.test("proof reports flights of one origin that came in the wrong order", () => {
  const evidence = goodEvidence();
  const [first, , third] = evidence.receipts;
  evidence.receipts[0] = third!;
  evidence.receipts[2] = first!;
  assertProof(evidence, { outOfOrder: 1, holds: false });
});

Deno.test("proof lets origins overtake each other", () => {
  const evidence = goodEvidence();
  evidence.receipts.sort((a, b) => b.partition - a.partition);
  assertProof(evidence, {});
});

Deno.test("proof reports flights that were never acknowledged", () => {
  const evidence = goodEvidence();
  evidence.acknowledgements.pop();
  assertProof(evidence, { acknowledged: 5, holds: false });
});

Deno.test("proof counts the same offset again as redelivered, in whatever order", () => {
  const evidence = goodEvidence();
  const [first, , third] = evidence.receipts;
  evidence.receipts.push({ ...first!, member: "member 3" }, { ...third!, member: "member 3" });
  assertProof(evidence, { redelivered: 2 });
});

Deno.test("proof tells a flight at two offsets from a redelivery", () => {
  const evidence = goodEvidence();
  // The first two of Detroit were stored before the broker died, stored again, and acknowledged there.
  evidence.acknowledgements[0]!.offset = 3;
  evidence.acknowledgements[2]!.offset = 4;
  evidence.acknowledgements[3]!.offset = 5;
  evidence.receipts[3] = receipt(SIX[3]!, 0, 5);
  evidence.receipts.splice(3, 0, receipt(SIX[0]!, 0, 3), receipt(SIX[2]!, 0, 4));
  assertProof(evidence, { publishedTwice: 2 });
  evidence.receipts.push(receipt(SIX[0]!, 0, 3));
  assertProof(evidence, { publishedTwice: 2, redelivered: 1 });
});

Deno.test("proof reports content that is not what was published", () => {
  const changed = goodEvidence();
  changed.receipts[1] = { ...changed.receipts[1]!, value: { ...SIX[1]!, delay: 67 } };
  assertProof(changed, { altered: 1, consumed: 5, holds: false });
  const otherKey = goodEvidence();
  otherKey.receipts[1] = { ...otherKey.receipts[1]!, key: "LAX" };
  assertProof(otherKey, { altered: 1, consumed: 5, holds: false });
  const foreign = goodEvidence();
  foreign.receipts.push({ ...foreign.receipts[1]!, offset: 9, value: "not a flight" });
  assertProof(foreign, { altered: 1, holds: false });
});

Deno.test("proof reports an offset that changes its content between deliveries", () => {
  const evidence = goodEvidence();
  evidence.receipts.push(receipt(SIX[2]!, 0, 0));
  assertProof(evidence, { altered: 1, redelivered: 1, holds: false });
});

Deno.test("proof reports an offset that holds another flight than was acknowledged there", () => {
  const evidence = goodEvidence();
  evidence.acknowledgements[0]!.offset = 1;
  evidence.acknowledgements[2]!.offset = 0;
  assertProof(evidence, { altered: 2, holds: false });
});

Deno.test("flights are numbered over all and per origin without gaps", async () => {
  const flights = await loadFlights();
  assert.equal(flights.length, FLIGHTS);
  const latest = new Map<string, number>();
  flights.forEach(({ number, origin, originNumber }, index) => {
    assert.equal(number, index + 1);
    assert.equal(originNumber, (latest.get(origin) ?? 0) + 1);
    latest.set(origin, originNumber);
  });
  assert.equal(latest.size, 220);
});

Deno.test("ledger gives back what several members wrote, in one order, as it grows", async () => {
  const path = await Deno.makeTempFile();
  const reader = new LedgerReader(path);
  try {
    const writers = [new LedgerWriter(path), new LedgerWriter(path)];
    assert.deepEqual(await reader.readOn(), []);
    const written = SIX.map((each, index) => ({
      ...receipt(each, 0, index),
      member: `member ${index % 2}`,
    }));
    written.forEach((each, index) => writers[index % 2]!.write(each));
    assert.deepEqual(await reader.readOn(), written);
    writers[0]!.write(written[0]!);
    assert.deepEqual(await reader.readOn(), [written[0]]);
    assert.deepEqual(reader.receipts, [...written, written[0]]);
    for (const writer of writers) writer.close();
  } finally {
    reader.close();
    await Deno.remove(path);
  }
});

Deno.test("options out of bounds are refused", () => {
  assert.deepEqual(parseOptions([]), { rate: 1000, kills: 1, fast: false, json: false });
  assert.deepEqual(parseOptions(["--fast", "--json", "--kills", "3"]), {
    rate: 10_000,
    kills: 3,
    fast: true,
    json: true,
  });
  for (const args of [["--rate", "0"], ["--kills", "51"], ["--rate=1.5"], ["--speed"], ["now"]]) {
    assert.throws(() => parseOptions(args), Error, args.join(" "));
  }
});

Deno.test("demo proves itself over all flights with a killed member and a killed broker", async () => {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", DEMO, "--fast", "--json"],
    stdin: "null",
    // A run that hangs is told to clean up and go.
    signal: AbortSignal.timeout(RUN_LIMIT_MS),
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  const proof = JSON.parse(new TextDecoder().decode(stdout));
  assert.equal(proof.holds, true);
  assert.equal(proof.published, FLIGHTS);
  assert.equal(proof.acknowledged, FLIGHTS);
  assert.equal(proof.consumed, FLIGHTS);
  assert.equal(proof.lost, 0);
  assert.equal(proof.outOfOrder, 0);
  assert.equal(proof.altered, 0);
  assert.equal(proof.finalLag, 0);
  assert.equal(proof.memberKills, 1);
  assert.equal(proof.brokerKills, 1);
  assert.equal(proof.recoveries.length, 1);
  assert.equal(proof.origins, 220);
  // All deliveries are accounted for: each is a first one, a repeat, or of a flight that is stored twice.
  const deliveries = Object.values<number>(proof.deliveries).reduce((sum, own) => sum + own, 0);
  assert.equal(deliveries, proof.consumed + proof.publishedTwice + proof.redelivered);
});
