// Owns the proof that the client SDK publishes and consumes under Node, bundled as for a browser.
// Needs `node` from version 20 on, and the bundler of Deno; where either is missing the test is left out, visibly.
import assert from "node:assert/strict";
import { consumingServer } from "./support/consuming_server.ts";

const ENTRY = new URL("../api/client.ts", import.meta.url).pathname;

const PROGRAM = `
import { WaybillClient } from "./client.js";
const client = new WaybillClient({ url: process.argv[2] });
const sent = await client.producer().sendMany(
  "orders",
  Array.from({ length: 500 }, (_, index) => ({ key: "k" + index % 7, value: { index } })),
);
const consumer = client.consumer({
  group: "node", topics: ["orders"], autoOffsetReset: "earliest", autoCommit: true,
});
const seen = new Set();
for await (const message of consumer) {
  seen.add(message.value.index);
  if (seen.size === 500) break;
}
await consumer.commitAll();
const { totalLag } = await client.lag("node");
await client.close();
console.log(JSON.stringify({ sent: sent.count, seen: seen.size, totalLag }));
`;

function run(command: string, args: readonly string[]): Deno.CommandOutput | null {
  try {
    return new Deno.Command(command, { args: [...args] }).outputSync();
  } catch {
    return null;
  }
}

const version = run("node", ["--version"]);
const major = Number(/^v(\d+)/.exec(new TextDecoder().decode(version?.stdout))?.[1] ?? 0);

Deno.test({
  name: "the client publishes and consumes under Node",
  ignore: major < 20,
  fn: async (context) => {
    const directory = Deno.makeTempDirSync();
    const server = await consumingServer({ partitions: 2 });
    try {
      const bundle = run(Deno.execPath(), [
        "bundle",
        "--platform=browser",
        `--output=${directory}/client.js`,
        ENTRY,
      ]);
      const isBundled = bundle?.success === true;
      await context.step({
        name: "with the bundle of Deno's bundler",
        // The bundler itself is fetched on first use, which a machine without a registry cannot do.
        ignore: !isBundled,
        fn: async () => {
          Deno.writeTextFileSync(`${directory}/package.json`, '{"type":"module"}');
          Deno.writeTextFileSync(`${directory}/program.js`, PROGRAM);
          const bundled = Deno.readTextFileSync(`${directory}/client.js`);
          assert.doesNotMatch(bundled, /^import /m);
          assert.doesNotMatch(bundled, /node:/);
          const flags = major < 22 ? ["--experimental-websocket", "--no-warnings"] : [];
          const output = await new Deno.Command("node", {
            args: [...flags, `${directory}/program.js`, server.url],
          }).output();
          const said = new TextDecoder().decode(output.stdout);
          assert.ok(output.success, new TextDecoder().decode(output.stderr));
          assert.deepEqual(JSON.parse(said), { sent: 500, seen: 500, totalLag: 0 });
        },
      });
    } finally {
      await server.close();
      Deno.removeSync(directory, { recursive: true });
    }
  },
});
