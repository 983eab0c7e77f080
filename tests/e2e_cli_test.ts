// Owns tests of the real command line, as a user runs it: `deno task waybill …` with the permissions of the task.
// Refuses to own what commands do (cli_commands_test.ts).
import assert from "node:assert/strict";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";

const ROOT = new URL("../", import.meta.url).pathname;

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

interface World {
  readonly input?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

async function waybill(words: readonly string[], world: World = {}): Promise<Ended> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["task", "--quiet", "waybill", ...words],
    cwd: ROOT,
    // Colour is asked for as loudly as can be: there is none, for nobody looks.
    env: { CI: "", NO_COLOR: "", TERM: "xterm-256color", ...world.environment },
    stdin: world.input === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (world.input !== undefined) {
    await new Blob([world.input]).stream().pipeTo(child.stdin);
  }
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

Deno.test("the command line works as a process, from the first topic to a broker that has gone", () =>
  withDataDir(async (dataDir) => {
    await using broker = await startBrokerProcess({
      dataDir,
      environment: { WAYBILL_ADMIN_TOKEN: "e2e-admin-token" },
    });
    const profiles = `${dataDir}/profiles.yaml`;
    const tokenFile = `${dataDir}/token`;
    await Deno.writeTextFile(tokenFile, "e2e-admin-token\n");
    await Deno.writeTextFile(
      profiles,
      JSON.stringify({ default: "local", profiles: { local: { url: broker.url, tokenFile } } }),
    );
    const run = (line: string, world?: World) =>
      waybill([...line.split(" "), "--config", profiles], world);

    const refused = await waybill(["topics", "list", "--url", broker.url]);
    assert.equal(refused.code, 1, refused.err);
    assert.match(refused.err, /UNAUTHENTICATED|UNAUTHORIZED/);

    const created = await run("topics create orders --partitions 2");
    assert.equal(created.code, 0, created.err);
    const published = await run("publish orders --key k --json", { input: "one\ntwo\n" });
    assert.equal(published.code, 0, published.err);
    assert.equal(published.out.trim().split("\n").length, 2);
    const consumed = await run("consume orders --group billing --json --max 2");
    assert.equal(consumed.code, 0, consumed.err);
    const values = consumed.out.trim().split("\n").map((line) => JSON.parse(line).value);
    assert.deepEqual(values, ["one", "two"]);
    const lag = await run("groups lag billing --json");
    assert.equal(JSON.parse(lag.out).totalLag, 0);

    const well = await run("doctor");
    assert.equal(well.code, 0, well.out);
    assert.match(well.out, /^disk +(?:ok|warn) .*free/m);
    const usage = await run("topics delete orders");
    assert.deepEqual([usage.code, usage.out], [2, ""]);

    await broker.stop("SIGTERM");
    const gone = await run("doctor --json");
    assert.equal(gone.code, 3);
    const all = [refused, created, published, consumed, lag, well, usage, gone];
    for (const { out, err } of all) {
      assert.ok(!`${out}${err}`.includes("e2e-admin-token"));
      // deno-lint-ignore no-control-regex -- there must be none
      assert.doesNotMatch(`${out}${err}`, /\x1b/);
    }
  }));
