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
  ["a port that is no number, and shows it", { args: ["--port", "abc"] }, /received "abc"/],
  ["a number without digits", { args: ["--port", "true"] }, /0 to 65535, received "true"/],
  ["an origin that is none", { args: ["--allowed-origins", "foo"] }, /https:.*received "foo"/],
  ["an origin with a path", { args: ["--allowed-origins=https://a.example/"] }, /an origin/],
  ["a token that no header carries", { args: ["--admin-token", "a b"] }, /--admin-token/],
  [
    "two sources of a secret",
    { args: ["--admin-token=a", "--admin-token-file=b"], file: "b" },
    /adminToken and adminTokenFile/,
  ],
  [
    "a secret's file that is not there",
    { args: ["--jwt-secret-file=x"] },
    /jwtSecretFile x .*no such/,
  ],
  ["a short secret in a file", { args: ["--jwt-secret-file=x"], file: "short" }, /jwtSecretFile x/],
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

Deno.test("configuration reads secrets from files of their own, and shows none of them", () => {
  const secret = "0123456789abcdef0123456789abcdef";
  const files: Record<string, string> = {
    "/run/admin": "the-token\n",
    "/run/jwt": `${secret}\r\n`,
  };
  const config = read({
    args: ["--admin-token-file=/run/admin"],
    environment: { WAYBILL_JWT_SECRET_FILE: "/run/jwt" },
    readFile: (path) => files[path]!,
  });
  assert.deepEqual([config.adminToken, config.jwtSecret], ["the-token", secret]);
  files["/run/jwt"] = "too-short";
  assert.throws(
    () => read({ args: ["--jwt-secret-file=/run/jwt"], readFile: (path) => files[path]! }),
    (error: Error) => !error.message.includes("too-short"),
  );
});

Deno.test("configuration's help names the choices, and keeps its column", () => {
  const help = configHelp();
  for (const choice of ["trace, debug, info, warning or error", "text or json", "RS256, RS384"]) {
    assert.ok(help.includes(choice), choice);
  }
  const columns = help.split("\n").filter((line) => line.startsWith("  --"))
    .map((line) => line.search(/ {2}\S[^-]/) >= 0 ? /^ {2}--\S+ +/.exec(line)![0].length : -1);
  assert.equal(new Set(columns).size, 1, "one column of meanings");
  assert.ok(Math.min(...help.matchAll(/^ {2}--(\S+)( +)/gm).map((found) => found[2]!.length)) >= 2);
});

Deno.test("configuration shows what is wrong, but nothing as long as a secret", () => {
  for (const args of [["--port=s3cr3t-of-others"], ["--allowed-origins=s3cr3t-of-others"]]) {
    assert.throws(() => read({ args }), (error: Error) => {
      return !error.message.includes("s3cr3t") && /a text of 16 characters/.test(error.message);
    });
  }
  assert.throws(() => read({ args: ["--port="] }), /received ""/);
});

/** Of keys without a default. */
const EXAMPLES: Partial<Record<ConfigKey, string>> = {
  adminToken: "token",
  allowedOrigins: "https://console.example.com",
  publishThreads: "2",
  alertWebhookSecret: "whsec_AAECAwQFBgcICQ==",
  peerSecret: "0123456789abcdef",
  advertisedPort: "80",
  jwtSecret: "0123456789abcdef0123456789abcdef",
};

Deno.test("configuration offers every key as flag, variable and file key", () => {
  for (const name of Object.keys(CONFIG_KEYS) as ConfigKey[]) {
    const fallback = read({})[name];
    const text = EXAMPLES[name] ?? String(fallback === "" ? "x" : fallback);
    const boolean = typeof fallback === "boolean";
    const flag = boolean ? [`--${flagName(name)}`] : [`--${flagName(name)}`, text];
    const readFile = (path: string) => path === "x" ? `${name}: "${text}"` : "s".repeat(40);
    assert.doesNotThrow(() => read({ args: flag, readFile }), `flag of ${name}`);
    assert.doesNotThrow(() => read({ environment: { [environmentName(name)]: text }, readFile }));
    assert.doesNotThrow(() => read({ args: ["--config=x"], readFile }));
    assert.match(configHelp(), new RegExp(`--${flagName(name)}\\b`));
  }
});

Deno.test("configuration answers help when asked", () => {
  assert.equal(readConfig(sources({ args: ["--help"] })), "help");
});
