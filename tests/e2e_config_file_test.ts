// Owns proof that a configuration file works with the permissions of the start task, whatever is in the environment.
// What files may say is config_test.ts's matter.
import assert from "node:assert/strict";
import { startBrokerProcess, withDataDir } from "./support/broker_process.ts";

/** Variables that the YAML parser looks at: it would write all that it reads, secrets too, to standard output. */
const PARSER_VARIABLES = { LOG_TOKENS: "1", LOG_STREAM: "1" };
const ROOT = new URL("../", import.meta.url).pathname;

Deno.test("a broker starts from a YAML file, and from JSON named by the environment", async () => {
  await withDataDir(async (dataDir) => {
    const yaml = `${dataDir}/waybill.yaml`;
    const json = `${dataDir}/waybill.json`;
    await Deno.writeTextFile(yaml, "# of a test\nadminToken: from-the-yaml-file\n");
    await Deno.writeTextFile(json, JSON.stringify({ adminToken: "from-the-json-file" }));
    const ways = [
      { args: [`--config=${yaml}`], environment: PARSER_VARIABLES, token: "from-the-yaml-file" },
      { args: [], environment: { WAYBILL_CONFIG: json }, token: "from-the-json-file" },
    ];
    for (const [index, { token, ...way }] of ways.entries()) {
      await using broker = await startBrokerProcess({ dataDir: `${dataDir}/${index}`, ...way });
      const headers = { authorization: `Bearer ${token}` };
      const answer = await fetch(`${broker.url}/api/topics`, { headers });
      await answer.body?.cancel();
      assert.equal(answer.status, 200);
      assert.ok(!broker.output().includes("stream-start"), broker.output());
      assert.ok(!`${broker.log()}${broker.output()}`.includes(token));
    }
  });
});

Deno.test("the start task says what is wrong with a configuration file, and ends with exit code 2", async () => {
  await withDataDir(async (dataDir) => {
    const wrong = [
      { text: "port: [8080\n", said: /waybill\.yaml cannot be read: .*line 2/ },
      { text: "prot: 8080\n", said: /key prot of configuration file .* is not known/ },
      { text: null, said: /waybill\.yaml cannot be read: No such file/ },
    ];
    for (const { text, said } of wrong) {
      const path = `${dataDir}/waybill.yaml`;
      if (text === null) await Deno.remove(path);
      else await Deno.writeTextFile(path, text);
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["task", "start", "--config", path, "--port", "0", "--data-dir", `${dataDir}/d`],
        cwd: ROOT,
        env: { NO_COLOR: "1" },
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).output();
      const decoder = new TextDecoder();
      assert.deepEqual([code, decoder.decode(stdout)], [2, ""]);
      assert.match(decoder.decode(stderr), said);
    }
  });
});
