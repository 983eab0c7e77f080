// Owns proof that a drill runs end to end through its command, passes, and fails when what repairs is switched off.
// Refuses to own the other drills: `deno task drill all` runs them. Invariant: every wait is bounded.
import assert from "node:assert/strict";
import type { DrillReport } from "../ops/drills/types.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const LIMIT_MS = 110_000;

async function drill(
  ...args: string[]
): Promise<{ code: number; report: DrillReport; progress: string; files: string[] }> {
  const out = await Deno.makeTempDir({ prefix: "waybill-test-" });
  try {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", `${ROOT}ops/drills/main.ts`, ...args, "--json", "--out", out],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "null",
      signal: AbortSignal.timeout(LIMIT_MS),
    }).output();
    const decoder = new TextDecoder();
    const progress = decoder.decode(stderr);
    const files = [...Deno.readDirSync(out)].map(({ name }) => name).sort();
    return { code, report: JSON.parse(decoder.decode(stdout)), progress, files };
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

Deno.test("drill broker-crash passes with its supervisor, and fails without one", async () => {
  const [passed, failed] = await Promise.all([
    drill("broker-crash"),
    drill("broker-crash", "--repairs", "off"),
  ]);
  const why = `${passed.report.failures.join("; ")}\n${passed.progress}`;
  assert.deepEqual([passed.code, passed.report.passed], [0, true], why);
  const { messages, recovery, timeline } = passed.report;
  assert.ok(messages.acknowledged > 1_000, why);
  assert.deepEqual([messages.lost, messages.duplicated], [0, 0]);
  assert.ok(recovery.rtoMs !== null && recovery.rtoMs > 0 && recovery.rtoMs < 120_000);
  const kinds = timeline.map(({ kind }) => kind);
  for (const kind of ["fault", "repair", "recovered"] as const) assert.ok(kinds.includes(kind));
  assert.match(passed.progress, /signal 9/);
  assert.ok(!passed.progress.includes("\x1b"), "colour where there is no terminal");
  assert.deepEqual(passed.files, ["broker-crash.json", "broker-crash.md"]);

  assert.deepEqual([failed.code, failed.report.passed], [1, false]);
  assert.equal(failed.report.recovery.rtoMs, null);
  assert.match(failed.report.failures.join(), /did not recover/);
  // What was acknowledged is there all the same, once somebody starts the broker.
  assert.deepEqual([failed.report.messages.lost, failed.report.messages.duplicated], [0, 0]);
  assert.deepEqual(failed.files, ["broker-crash.repairs-off.json", "broker-crash.repairs-off.md"]);
});
