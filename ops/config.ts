// Owns how configuration is read: flag, then environment, then file, then default; unknown keys are an error.
// Refuses to own what the keys mean (config_keys.ts) or any other use of the environment.
// Invariant: a configuration that is returned is whole and checked; anything else is a ConfigError that names key and source.
import { parseArgs } from "node:util";
import { parse as parseYaml } from "yaml";
import { z } from "zod";
import { clusterProblem } from "./cluster/cluster_settings.ts";
import {
  type Config,
  CONFIG_KEYS,
  type ConfigKey,
  environmentName,
  flagName,
  SECRET_FILES,
} from "./config_keys.ts";

/** The configuration cannot be used; the message says which key, from where, and why. */
export class ConfigError extends Error {
  override name = "ConfigError";
}

export interface ConfigSources {
  /** Command line without the program's name. */
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Reads a text file, throws when it cannot. */
  readFile(path: string): string;
}

const NAMES = Object.keys(CONFIG_KEYS) as ConfigKey[];
/** Not a key: says where the file is, as flag or environment variable. */
const FILE_ENVIRONMENT = "WAYBILL_CONFIG";
/** Every variable that is read. */
export const ENVIRONMENT_NAMES: readonly string[] = [
  FILE_ENVIRONMENT,
  ...NAMES.map((name) => environmentName(name)),
];
const BOOLEAN_KEYS: ReadonlySet<ConfigKey> = new Set<ConfigKey>([
  "insecure",
  "encryptInternalTopics",
]);

/** Reads and checks the configuration; `help` when `--help` was asked for. Throws ConfigError. */
export function readConfig(sources: ConfigSources): Config | "help" {
  const flags = readFlags(sources.args);
  if (flags.get("help") === true) return "help";
  const environment = readEnvironment(sources.environment);
  const path = flags.get("config") ?? sources.environment[FILE_ENVIRONMENT];
  const file = path === undefined ? new Map<string, unknown>() : readFile(String(path), sources);
  const config: Record<string, unknown> = {};
  for (const name of NAMES) {
    const [value, source] = flags.has(name)
      ? [flags.get(name), `flag --${flagName(name)}`]
      : environment.has(name)
      ? [environment.get(name), `environment variable ${environmentName(name)}`]
      : file.has(name)
      ? [file.get(name), `key ${name} of ${path}`]
      : [undefined, "default"];
    const parsed = CONFIG_KEYS[name].schema.safeParse(value);
    if (!parsed.success) {
      throw new ConfigError(`${source} is not usable: ${z.prettifyError(parsed.error)}`);
    }
    config[name] = parsed.data;
  }
  const whole = { ...config, ...readSecrets(config as Config, sources) } as Config;
  const given = new Set(
    NAMES.filter((name) => [flags, environment, file].some((of) => of.has(name))),
  );
  const problem = clusterProblem(whole, given);
  if (problem !== null) throw new ConfigError(problem);
  return whole;
}

function readSecrets(config: Config, sources: ConfigSources): Partial<Config> {
  const secrets: Record<string, unknown> = {};
  for (const fileKey of Object.keys(SECRET_FILES) as (keyof typeof SECRET_FILES)[]) {
    const path = config[fileKey];
    if (path === undefined) continue;
    const name = SECRET_FILES[fileKey];
    if (config[name] !== undefined) {
      throw new ConfigError(`${name} and ${fileKey} are both set: there is one source`);
    }
    const parsed = CONFIG_KEYS[name].schema.safeParse(readSecret(path, { fileKey, sources }));
    if (!parsed.success) {
      throw new ConfigError(`${fileKey} ${path} is not usable: ${z.prettifyError(parsed.error)}`);
    }
    secrets[name] = parsed.data;
  }
  return secrets;
}

function readSecret(
  path: string,
  { fileKey, sources }: { readonly fileKey: string; readonly sources: ConfigSources },
): string {
  try {
    // Editors and shells end a line where the secret has none.
    return sources.readFile(path).replace(/\r?\n$/, "");
  } catch (error) {
    throw new ConfigError(`${fileKey} ${path} cannot be read: ${(error as Error).message}`);
  }
}

/** Help text: of each key its flag, its environment variable, its meaning and its default. */
export function configHelp(): string {
  const lines = NAMES.map((name) => {
    const parsed = CONFIG_KEYS[name].schema.safeParse(undefined);
    const fallback = parsed.success && parsed.data !== undefined && String(parsed.data) !== ""
      ? ` (default ${String(parsed.data)})`
      : "";
    return helpOf(flagName(name), environmentName(name), `${CONFIG_KEYS[name].help}${fallback}`);
  });
  return [
    "Waybill: an event-sourced message broker",
    "",
    "Usage: deno task start [--config waybill.yaml] [flags]",
    "",
    "A flag beats its environment variable, which beats the file; file keys are the flags in camelCase.",
    "",
    helpOf("config", FILE_ENVIRONMENT, "file with keys in camelCase, as YAML"),
    ...lines,
    "",
  ].join("\n");
}

/** Column of the meanings. */
const HELP_COLUMN = 2 + 2 + Math.max(...NAMES.map((name) => flagName(name).length)) + 2;

function helpOf(flag: string, variable: string, help: string): string {
  return `${`  --${flag}`.padEnd(HELP_COLUMN)}${help}\n${" ".repeat(HELP_COLUMN)}${variable}`;
}

function readFlags(args: readonly string[]): Map<string, unknown> {
  const options: Record<string, { type: "string" | "boolean" }> = {
    help: { type: "boolean" },
    config: { type: "string" },
  };
  for (const name of NAMES) {
    options[flagName(name)] = { type: BOOLEAN_KEYS.has(name) ? "boolean" : "string" };
  }
  try {
    const { values } = parseArgs({
      args: [...args],
      options,
      strict: true,
      allowPositionals: false,
    });
    const byFlag = new Map<string, unknown>(Object.entries(values));
    const flags = new Map<string, unknown>();
    for (const name of ["help", "config"]) {
      if (byFlag.has(name)) flags.set(name, byFlag.get(name));
    }
    for (const name of NAMES) {
      if (byFlag.has(flagName(name))) flags.set(name, byFlag.get(flagName(name)));
    }
    return flags;
  } catch (error) {
    throw new ConfigError(`the command line is not usable: ${(error as Error).message}`);
  }
}

function readEnvironment(environment: Readonly<Record<string, string>>): Map<ConfigKey, string> {
  const byVariable = new Map(NAMES.map((name) => [environmentName(name), name]));
  const values = new Map<ConfigKey, string>();
  for (const [variable, value] of Object.entries(environment)) {
    // Empty is how shells and compose files say "not set".
    if (!variable.startsWith("WAYBILL_") || variable === FILE_ENVIRONMENT || value === "") continue;
    const name = byVariable.get(variable);
    if (name === undefined) {
      throw new ConfigError(`environment variable ${variable} is not a known key`);
    }
    values.set(name, value);
  }
  return values;
}

function readFile(path: string, sources: ConfigSources): Map<string, unknown> {
  let parsed: unknown;
  try {
    parsed = parseYaml(sources.readFile(path)) ?? {};
  } catch (error) {
    throw new ConfigError(`configuration file ${path} cannot be read: ${(error as Error).message}`);
  }
  if (typeof parsed !== "object" || Array.isArray(parsed)) {
    throw new ConfigError(`configuration file ${path} must hold keys and values`);
  }
  for (const name of Object.keys(parsed as object)) {
    if (!Object.hasOwn(CONFIG_KEYS, name)) {
      throw new ConfigError(`key ${name} of configuration file ${path} is not known`);
    }
  }
  return new Map(Object.entries(parsed as object));
}
