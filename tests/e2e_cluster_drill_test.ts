// Owns proof that cluster drills run end to end through their command: killed leaders lose nothing, and the control does.
// Refuses to own the other drills: `deno task drill cluster all` runs them. Invariant: every wait is bounded.
import assert from "node:assert/strict";
import { ClusterStage } from "../ops/drills/cluster/cluster_stage.ts";
import { namePrefixOf } from "../ops/drills/cluster/net_spaces.ts";
import type { DrillReport } from "../ops/drills/types.ts";
import { requireOrSkip, run, works } from "./support/system_needs.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const LIMIT_MS = 180_000;

const hasPrograms = await works("ip", "-V") && await works("etcd", "--version");
const why = await ClusterStage.impossible();
const lacks = requireOrSkip("iproute2 and etcd", hasPrograms, "brokers run in namespaces");
// What no installation can give, a machine's permission, is told and not asked for.
if (!lacks && why !== null) console.warn(`skipped, no network namespaces here: ${why}`);
const ignore = why !== null;

Deno.test(
  "cluster drills pass when leaders are killed, and tell of what is lost when nothing was replicated",
  {
    ignore,
  },
  async () => {
    const out = await Deno.makeTempDir({ prefix: "waybill-test-" });
    try {
      const child = new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", `${ROOT}ops/drills/main.ts`, "cluster"],
          ...["broker-killed", "acknowledged-early"],
          ...["--kills", "1", "--rate", "500", "--json", "--out", out],
        ],
        cwd: ROOT,
        env: { NO_COLOR: "1" },
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
        signal: AbortSignal.timeout(LIMIT_MS),
      }).spawn();
      const { code, stdout, stderr } = await child.output();
      const decoder = new TextDecoder();
      const progress = decoder.decode(stderr);
      assert.equal(code, 0, progress);
      const [killed, control] = JSON.parse(decoder.decode(stdout)) as DrillReport[];
      assert.ok(killed !== undefined && control !== undefined);
      assert.deepEqual([killed.passed, killed.messages.lost, killed.messages.duplicated], [
        true,
        0,
        0,
      ]);
      assert.ok(killed.messages.acknowledged > 500, progress);
      assert.ok(killed.recovery.rtoMs !== null && killed.recovery.rtoMs < 10_000);
      assert.match(killed.command, /^deno task drill cluster broker-killed --kills 1 /);
      assert.ok(control.passed && control.messages.lost > 0, progress);
      const files = [...Deno.readDirSync(`${out}/cluster`)].map(({ name }) => name).sort();
      assert.deepEqual(files, [
        ...["acknowledged-early.json", "acknowledged-early.md"],
        ...["broker-killed.json", "broker-killed.md", "index.md"],
      ]);
      const left = await run("ip", "netns", "list");
      assert.ok(!left.includes(namePrefixOf(child.pid)), `namespaces are left: ${left}`);
    } finally {
      await Deno.remove(out, { recursive: true });
    }
  },
);
