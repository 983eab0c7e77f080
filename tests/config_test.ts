// Owns proof that configuration is read as promised: flag, environment, file, default; unknown keys are an error.
import assert from "node:assert/strict";
import { ConfigError, configHelp, type ConfigSources, readConfig } from "../ops/config.ts";
import { CONFIG_KEYS, type ConfigKey, environmentName, flagName } from "../ops/config_keys.ts";

function sources(given: Partial<ConfigSources> & { file?: string }): ConfigSources {
  return {
    args: given.args ?? [],
    environment: given.environment ?? {},
    readFile: given.readFile ?? (() => {
      if (given.file === undefined) throw new Error("no such file");
      return given.file;
    }),
  };
}

function read(given: Partial<ConfigSources> & { file?: string }) {
  const config = readConfig(sources(given));
  assert.notEqual(config, "help");
  return config as Exclude<typeof config, "help">;
}

Deno.test("configuration has the contract's defaults when nothing is said", () => {
  const config = read({});
  assert.equal(config.host, "127.0.0.1");
  assert.equal(config.port, 8080);
  assert.equal(config.dataDir, "./data");
  assert.equal(config.adminToken, undefined);
  assert.equal(config.logLevel, "info");
});

Deno.test("configuration takes a flag before the environment before the file", () => {
  const file = "port: 3\nhost: 0.0.0.0\nlogLevel: debug\n";
  const environment = { WAYBILL_PORT: "2", WAYBILL_HOST: "::1" };
  const config = read({ args: ["--config", "x.yaml", "--port", "1"], environment, file });
  assert.deepEqual([config.port, config.host, config.logLevel], [1, "::1", "debug"]);
});

Deno.test("configuration finds its file through the environment too", () => {
  const config = read({ environment: { WAYBILL_CONFIG: "x.yaml" }, file: "port: 0" });
  assert.equal(config.port, 0);
});

Deno.test("configuration treats an empty environment variable as not set", () => {
  assert.equal(read({ environment: { WAYBILL_PORT: "" } }).port, 8080);
});

const REFUSED: [string, Partial<ConfigSources> & { file?: string }, RegExp][] = [
  ["an unknown flag", { args: ["--prot", "1"] }, /--prot/],
  ["a stray word", { args: ["start"] }, /start/],
  ["an unknown variable", { environment: { WAYBILL_PROT: "1" } }, /WAYBILL_PROT/],
  ["an unknown file key", { args: ["--config=x"], file: "prot: 1" }, /prot/],
  ["a file that is a list", { args: ["--config=x"], file: "- port" }, /keys and values/],
  ["a file that is not there", { args: ["--config=x"] }, /no such file/],
  ["a port beyond 65535", { args: ["--port", "65536"] }, /--port/],
  ["a port that is no number", { environment: { WAYBILL_PORT: "http" } }, /WAYBILL_PORT/],
  ["a log level that is none", { args: ["--log-level", "loud"] }, /--log-level/],
];
for (const [name, given, message] of REFUSED) {
  Deno.test(`configuration refuses ${name} and names it`, () => {
    assert.throws(() => readConfig(sources(given)), (error) => {
      assert.ok(error instanceof ConfigError);
      assert.match(error.message, message);
      return true;
    });
  });
}

/** Of keys without a default. */
const EXAMPLES: Partial<Record<ConfigKey, string>> = {
  adminToken: "token",
  publishThreads: "2",
  alertWebhookSecret: "whsec_AAECAwQFBgcICQ==",
  jwtSecret: "0123456789abcdef0123456789abcdef",
};

Deno.test("configuration offers every key as flag, variable and file key", () => {
  for (const name of Object.keys(CONFIG_KEYS) as ConfigKey[]) {
    const fallback = read({})[name];
    const text = EXAMPLES[name] ?? String(fallback === "" ? "x" : fallback);
    const boolean = typeof fallback === "boolean";
    const flag = boolean ? [`--${flagName(name)}`] : [`--${flagName(name)}`, text];
    assert.doesNotThrow(() => read({ args: flag }), `flag of ${name}`);
    assert.doesNotThrow(() => read({ environment: { [environmentName(name)]: text } }));
    assert.doesNotThrow(() => read({ args: ["--config=x"], file: `${name}: "${text}"` }));
    assert.match(configHelp(), new RegExp(`--${flagName(name)}\\b`));
  }
});

Deno.test("configuration answers help when asked", () => {
  assert.equal(readConfig(sources({ args: ["--help"] })), "help");
});
