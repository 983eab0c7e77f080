// Owns the tests of what is told of a certificate's period. Refuses to own its exchange (e2e_tls_test.ts).
import assert from "node:assert/strict";
import { warningOf } from "../ops/door/certificates.ts";
import { openDoor } from "../ops/door/door.ts";
import { systemClock, systemTimers } from "../ops/system_ports.ts";
import { withDataDir } from "./support/broker_process.ts";
import { selfSigned, writePair } from "./support/self_signed.ts";

const DAY_MS = 86_400_000;

Deno.test("a certificate that has expired, soon will, or does not count yet is warned of", async () => {
  const certificate = await selfSigned("one", { endsInMs: 30 * DAY_MS });
  const now = Date.now();
  assert.equal(warningOf(certificate, now), null);
  assert.match(warningOf(certificate, now + 17 * DAY_MS)!, /expires at 20.*, in 12 days/);
  assert.match(warningOf(certificate, now + 31 * DAY_MS)!, /expired at 20.*Z: clients refuse/);
  assert.match(warningOf(certificate, now - DAY_MS)!, /not valid before/);
});

Deno.test("the door warns of its certificate when it opens, and each day", async () => {
  await withDataDir(async (directory) => {
    const tls = await writePair(directory, await selfSigned("old", { endsInMs: -1_000 }));
    const daily: (() => void)[] = [];
    const warnings: string[] = [];
    const door = await openDoor({
      hostname: "127.0.0.1",
      port: 0,
      tls,
      limits: {
        maxConnections: 100,
        maxConnectionsPerAddress: 100,
        headerTimeoutMs: 1_000,
        bodyTimeoutMs: 1_000,
        idleTimeoutMs: 1_000,
      },
      fetch: () => new Response(""),
      clock: systemClock,
      timers: {
        ...systemTimers,
        after: (delayMs, run) => {
          if (delayMs !== DAY_MS) return systemTimers.after(delayMs, run);
          daily.push(run);
          return () => {};
        },
      },
      report: (level, message) => void (level === "warning" && warnings.push(message)),
    });
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /the certificate expired/);
    daily[0]!();
    assert.equal(warnings.length, 2);
    await door.shutdown();
  });
});
