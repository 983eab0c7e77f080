// Owns proof that a broker killed by signal 9 at random moments loses nothing it acknowledged (I1, I2, I4, I6).
// The negative control runs the same load with acks "none" and must be seen to lose: a checker that cannot fail proves nothing.
import assert from "node:assert/strict";
import { AckChecker } from "../ops/drills/ack_checker.ts";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";
import { createTopic, NumberedProducer, readPartition } from "./support/numbered_load.ts";

const KILLS = 200;
/** The broker dies between these two times after it was ready. */
const KILL_AFTER_MIN_MS = 10;
const KILL_AFTER_MAX_MS = 160;
/** Between whole reads from the first offset, only the newest part is read again. */
const FULL_READ_EVERY = 25;
const REREAD_OFFSETS = 500;
const CONTROL_KILLS_MAX = 60;
const ENCRYPTED_KILLS = 30;
const ENCRYPTION_KEY = "5a".repeat(32);
const TOPIC = { name: "kills", partitions: 3, segmentBytes: 65_536 };

interface Run {
  readonly kills: number;
  readonly acks: "all" | "none";
  /** Larger messages take longer to write: time in which one that was acknowledged too early is lost. */
  readonly padding: number;
  /** Stops early once something was found. */
  readonly untilViolation: boolean;
  /** All topics of the broker are, internal ones too. */
  readonly isEncrypted?: boolean;
}

async function killOver(
  dataDir: string,
  run: Run,
): Promise<{ violations: string[]; acked: number }> {
  const checker = new AckChecker();
  const violations: string[] = [];
  const load = { acks: run.acks, padding: run.padding };
  const producers = ["a", "b", "c"].flatMap((name, partition) => [
    new NumberedProducer(name, partition, { topic: TOPIC.name, perRequest: 1, ...load }),
    new NumberedProducer(name + name, partition, {
      topic: TOPIC.name,
      perRequest: 7,
      ...load,
    }),
  ]);
  const ends = producers.map(() => 0);
  const isEncrypted = run.isEncrypted === true;
  const encryption = isEncrypted ? "aes-256-gcm" : "none";
  const keys = [`--encryption-key=${ENCRYPTION_KEY}`, "--encrypt-internal-topics"];
  const args = isEncrypted ? keys : [];
  for (let kill = 0; kill <= run.kills; kill++) {
    const broker = await startBrokerProcess({ dataDir, args });
    if (kill === 0) await createTopic(broker.url, { ...TOPIC, encryption });
    for (let partition = 0; partition < TOPIC.partitions; partition++) {
      const whole = kill % FULL_READ_EVERY === 0 || kill === run.kills;
      const from = whole ? 0 : Math.max(0, ends[partition]! - REREAD_OFFSETS);
      const seen = await readPartition(broker.url, TOPIC.name, { partition, from });
      violations.push(...checker.check(partition, from, seen));
      ends[partition] = from + seen.length;
    }
    if (kill === run.kills || (run.untilViolation && violations.length > 0)) {
      await broker.stop("SIGTERM");
      break;
    }
    const stop = new AbortController();
    const running = producers.map((each) => each.run(broker.url, checker, stop.signal));
    const afterMs = KILL_AFTER_MIN_MS + Math.random() * (KILL_AFTER_MAX_MS - KILL_AFTER_MIN_MS);
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    await broker.stop("SIGKILL");
    stop.abort();
    violations.push(...(await Promise.all(running)).flat());
    if (violations.length > 0 && !run.untilViolation) break;
  }
  return { violations, acked: checker.ackedCount };
}

Deno.test(`broker killed ${KILLS} times under load loses, changes and doubles nothing`, async () => {
  await withDataDir(async (dataDir) => {
    const { violations, acked } = await killOver(dataDir, {
      kills: KILLS,
      acks: "all",
      padding: 0,
      untilViolation: false,
    });
    assert.deepEqual(violations.slice(0, 10), []);
    assert.ok(acked > KILLS, `only ${acked} messages were acknowledged in ${KILLS} runs`);
  });
});

Deno.test(`broker killed ${ENCRYPTED_KILLS} times with encrypted topics loses, changes and doubles nothing`, async () => {
  await withDataDir(async (dataDir) => {
    const { violations, acked } = await killOver(dataDir, {
      kills: ENCRYPTED_KILLS,
      acks: "all",
      padding: 500,
      untilViolation: false,
      isEncrypted: true,
    });
    assert.deepEqual(violations.slice(0, 10), []);
    assert.ok(acked > ENCRYPTED_KILLS, `only ${acked} messages were acknowledged`);
  });
});

Deno.test("checker sees the loss when publishes are acknowledged before they are written", async () => {
  await withDataDir(async (dataDir) => {
    const { violations } = await killOver(dataDir, {
      kills: CONTROL_KILLS_MAX,
      acks: "none",
      padding: 50_000,
      untilViolation: true,
    });
    assert.ok(
      violations.some((violation) => violation.startsWith("I1") || violation.startsWith("I2")),
      `${CONTROL_KILLS_MAX} kills with acks "none" lost nothing`,
    );
  });
});
