// Owns proof that the broker runs with the permissions of its task, and that none of these is one too many.
// That they suffice is shown by every test that starts a broker: all do it with the task's own words.
import assert from "node:assert/strict";
import config from "../deno.json" with { type: "json" };
import { startArguments } from "../ops/start_arguments.ts";
import { withDataDir } from "./support/broker_process.ts";
import { endedProcess } from "./support/ended_process.ts";

const PERMISSION = /^--allow-/;

Deno.test("start and dev run with the same permissions, and with none for all of a kind that has names", () => {
  const [start, dev] = [config.tasks.start, config.tasks.dev].map((task) =>
    task.split(" ").filter((word) => PERMISSION.test(word))
  );
  assert.deepEqual(start, dev);
  const allowed = start!.map((word) => word.split("=")[0]!.replace(PERMISSION, ""));
  assert.deepEqual(allowed.sort(), ["env", "ffi", "net", "read", "sys", "write"]);
  const system = start!.find((word) => word.startsWith("--allow-sys"));
  assert.equal(
    system,
    "--allow-sys=statfs",
    "free space of the disk, and nothing else of the system",
  );
  const names = start!.find((word) => word.startsWith("--allow-env"))!.split("=")[1]!;
  assert.ok(names.split(",").every((name) => /^[A-Z]+(_[A-Z]+)*_\*$/.test(name)), names);
});

Deno.test("the broker asks for nothing when a permission is missing, and does not start", async () => {
  const words = startArguments();
  await withDataDir(async (dataDir) => {
    for (const missing of words.filter((word) => PERMISSION.test(word))) {
      const { code, stdout, stderr } = await endedProcess(
        ["--port=0", `--data-dir=${dataDir}/d`],
        { words: words.filter((word) => word !== missing) },
      );
      assert.ok(code === 1 || code === 2, `without ${missing}: exit code ${code}`);
      assert.equal(stdout, "", `without ${missing}`);
      assert.match(stderr, /Requires|NotCapable/, `without ${missing}`);
    }
  });
});

Deno.test("a misspelt variable of ours is an error although the environment cannot be listed", async () => {
  const { code, stderr } = await endedProcess(["--port=0", "--data-dir=/nowhere"], {
    environment: { WAYBILL_ADMIN_TOKENN: "misspelt", OTHERS_SECRET: "not-ours" },
  });
  assert.equal(code, 2);
  assert.match(stderr, /WAYBILL_ADMIN_TOKENN is not a known key/);
  assert.ok(!stderr.includes("misspelt") && !stderr.includes("OTHERS"));
});
