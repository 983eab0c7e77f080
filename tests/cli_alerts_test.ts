// Owns tests of how the command line shows alerts. Refuses to own alerts. Invariant: answers are those of the API.
import assert from "node:assert/strict";
import { cli } from "./support/cli_run.ts";
import { alertOf } from "./support/alert_news.ts";

Deno.test("alerts list says why a runbook did not start, and nothing where a broker does not tell", async () => {
  const { runbookProblem: _, ...ofEarlierRelease } = alertOf("b");
  const alerts = [
    { ...alertOf("a"), runbook: "lag-growing", runbookProblem: "group billing is being repaired" },
    ofEarlierRelease,
  ];
  const server = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    () => Response.json({ alerts }),
  );
  const environment = { WAYBILLCTL_URL: `http://127.0.0.1:${server.addr.port}` };
  try {
    const { code, out } = await cli(["alerts", "list"], { environment });
    assert.equal(code, 0);
    assert.match(out, /no runbook yet: group billing is being repaired/);
    assert.equal(out.match(/no runbook yet/g)!.length, 1);
  } finally {
    await server.shutdown();
  }
});
