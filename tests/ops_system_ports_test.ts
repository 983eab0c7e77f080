// Owns the tests of the real clock, timers and chance.
import assert from "node:assert/strict";
import {
  MAX_TIMEOUT_MS,
  systemClock,
  systemRandomness,
  systemTimers,
  timersOver,
} from "../ops/system_ports.ts";

/** A platform whose timeouts fire `earlyMs` before they are due, in its own time. */
function platform(earlyMs: number) {
  let now = 0;
  let armed: { run: () => void; delayMs: number } | null = null;
  return {
    delays: [] as number[],
    monotonic: () => now,
    timeout(run: () => void, delayMs: number) {
      this.delays.push(delayMs);
      armed = { run, delayMs };
      return () => armed = null;
    },
    fire(): boolean {
      if (armed === null) return false;
      const { run, delayMs } = armed;
      armed = null;
      now += Math.max(0.25, delayMs - earlyMs);
      run();
      return true;
    },
  };
}

Deno.test("system timers wait out a delay that is longer than the platform's longest", () => {
  const source = platform(0);
  let ranAt = -1;
  const delayMs = MAX_TIMEOUT_MS * 2 + 1_234.5;
  timersOver(source).after(delayMs, () => ranAt = source.monotonic());
  while (source.fire());
  assert.ok(ranAt >= delayMs, `ran at ${ranAt}`);
  assert.ok(source.delays.every((ms) => ms <= MAX_TIMEOUT_MS && Number.isInteger(ms)));
});

Deno.test("system timers do not run early when the platform fires early", () => {
  const source = platform(0.75);
  let ranAt = -1;
  timersOver(source).after(100, () => ranAt = source.monotonic());
  while (source.fire());
  assert.ok(ranAt >= 100, `ran at ${ranAt}`);
});

Deno.test("system timers can be cancelled before, between the parts of, and after a long delay", () => {
  const source = platform(0);
  let runs = 0;
  const timers = timersOver(source);
  timers.after(5, () => runs++)();
  assert.equal(source.fire(), false);
  const cancel = timers.after(MAX_TIMEOUT_MS + 10, () => runs++);
  source.fire();
  cancel();
  assert.equal(source.fire(), false);
  const late = timers.after(0, () => runs++);
  source.fire();
  late();
  assert.equal(runs, 1);
});

Deno.test("system timers refuse a delay that is no finite number", () => {
  assert.throws(() => systemTimers.after(NaN, () => {}), /finite/);
  assert.throws(() => systemTimers.after(Infinity, () => {}), /finite/);
});

Deno.test("system timers run on the real monotonic clock", async () => {
  const startedAt = systemClock.monotonic();
  await new Promise<void>((resolve) => systemTimers.after(3, resolve));
  assert.ok(systemClock.monotonic() - startedAt >= 3);
});

Deno.test("system clock and randomness speak the shapes of their ports", () => {
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 1_000);
  assert.match(systemRandomness.uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-/);
  const drawn = systemRandomness.fraction();
  assert.ok(drawn >= 0 && drawn < 1);
});
