// Owns which broker a command speaks to and with which credential: options, environment, profiles file, default.
// Refuses to own speaking to it. Invariant: a profiles file holds no credential, and none is ever written anywhere.
import { parse } from "yaml";
import type { Given } from "./given.ts";
import { UsageError } from "./failures.ts";
import type { Terminal } from "./terminal.ts";

const DEFAULT_URL = "http://127.0.0.1:8080";
/** A credential that is larger is none. */
const MAX_TOKEN_CHARS = 16_384;
/** Variables of the broker's own prefix would be refused by a broker that is started in the same shell. */
const PREFIX = "WAYBILLCTL_";

export interface Profile {
  readonly url: string;
  /** A file with the credential alone. */
  readonly tokenFile?: string;
  /** The variable that holds it. */
  readonly tokenEnv?: string;
}

export interface Profiles {
  readonly path: string | null;
  readonly default: string | null;
  readonly profiles: Readonly<Record<string, Profile>>;
}

export interface Broker {
  /** Of a cluster several, with commas between. */
  readonly url: string;
  readonly token: string | null;
  /** In words, for people: never the credential itself. */
  readonly credential: string;
  readonly profile: string | null;
}

type World = Pick<Terminal, "environment" | "readText">;

/** The profiles that there are; none without a file. UsageError for a file that cannot be used. */
export async function readProfiles(given: Given, world: World): Promise<Profiles> {
  const named = given.text("config");
  const path = named ?? defaultPath(world);
  if (path === null) return { path: null, default: null, profiles: {} };
  let text: string;
  try {
    text = await world.readText(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw new UsageError(`${path} cannot be read`);
    if (named !== undefined) throw new UsageError(`there is no file ${path}`);
    return { path: null, default: null, profiles: {} };
  }
  return profilesIn(text, path);
}

/** The broker that the command is for. UsageError for a profile that there is not. */
export async function brokerFor(
  given: Given,
  profiles: Profiles,
  world: World,
): Promise<Broker> {
  const url = given.text("url");
  const chosen = given.text("profile") ?? world.environment(`${PREFIX}PROFILE`);
  if (url !== undefined && given.text("profile") !== undefined) {
    throw new UsageError("--url and --profile exclude each other");
  }
  const environmentUrl = world.environment(`${PREFIX}URL`);
  const name = url !== undefined
    ? null
    : chosen ?? (environmentUrl === undefined ? profiles.default : null);
  if (name === null || name === undefined) {
    const address = url ?? environmentUrl ?? DEFAULT_URL;
    return { url: checkedUrl(address), profile: null, ...await credentialOf(given, null, world) };
  }
  const profile = Object.hasOwn(profiles.profiles, name) ? profiles.profiles[name]! : null;
  if (profile === null) {
    const known = Object.keys(profiles.profiles).join(", ") || "none";
    throw new UsageError(`there is no profile "${name}" (there are: ${known})`);
  }
  return {
    url: checkedUrl(profile.url),
    profile: name,
    ...await credentialOf(given, profile, world),
  };
}

async function credentialOf(
  given: Given,
  profile: Profile | null,
  world: World,
): Promise<{ token: string | null; credential: string }> {
  const file = given.text("token-file") ?? profile?.tokenFile;
  if (file !== undefined) return await tokenFrom(file, world);
  const variable = profile?.tokenEnv ?? `${PREFIX}TOKEN`;
  const token = world.environment(variable);
  if (token !== undefined && token !== "") {
    return {
      token: checkedToken(token, `the variable ${variable}`),
      credential: `variable ${variable}`,
    };
  }
  if (profile?.tokenEnv !== undefined) {
    throw new UsageError(`the variable ${variable}, which the profile names, is not set`);
  }
  const environmentFile = world.environment(`${PREFIX}TOKEN_FILE`);
  if (environmentFile) return await tokenFrom(environmentFile, world);
  return { token: null, credential: "none" };
}

async function tokenFrom(file: string, world: World) {
  const path = file.replace(/^~(?=\/)/, world.environment("HOME") ?? "~");
  let text: string;
  try {
    text = await world.readText(path);
  } catch {
    throw new UsageError(`the token file ${path} cannot be read`);
  }
  return { token: checkedToken(text, `the file ${path}`), credential: `file ${path}` };
}

/** Without its line end. What could not stand in a header is refused without being told. */
function checkedToken(text: string, where: string): string {
  const token = text.trim();
  if (token === "" || token.length > MAX_TOKEN_CHARS || !/^[\x21-\x7e]+$/.test(token)) {
    throw new UsageError(`${where} holds no token`);
  }
  return token;
}

/** The addresses in a text: of one broker, or of several of a cluster with commas between. */
export function urlsIn(text: string): string[] {
  return text.split(",").map((url) => url.trim().replace(/\/+$/, ""));
}

function checkedUrl(text: string): string {
  for (const url of urlsIn(text)) checkOneUrl(url);
  return text;
}

function checkOneUrl(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new UsageError(`"${text}" is no address of a broker, such as http://127.0.0.1:8080`);
  }
  if (url.username !== "" || url.password !== "") {
    throw new UsageError("an address holds no credential: use --token-file or WAYBILLCTL_TOKEN");
  }
}

function defaultPath(world: World): string | null {
  const base = world.environment("XDG_CONFIG_HOME");
  if (base) return `${base}/waybill/profiles.yaml`;
  const home = world.environment("HOME");
  return home ? `${home}/.config/waybill/profiles.yaml` : null;
}

function profilesIn(text: string, path: string): Profiles {
  let file: unknown;
  try {
    file = parse(text);
  } catch {
    throw new UsageError(`${path} is no YAML`);
  }
  const { default: standard = null, profiles = {}, ...others } = objectIn(file, path);
  refuseOthers(others, path);
  if (standard !== null && typeof standard !== "string") {
    throw new UsageError(`${path}: default is the name of a profile`);
  }
  const entries = Object.entries(objectIn(profiles, `${path}: profiles`));
  return {
    path,
    default: standard,
    profiles: Object.fromEntries(
      entries.map(([name, entry]) => [name, profileIn(entry, `${path}: profile ${name}`)]),
    ),
  };
}

function profileIn(entry: unknown, where: string): Profile {
  const { url, tokenFile, tokenEnv, ...others } = objectIn(entry, where);
  if ("token" in others) {
    throw new UsageError(`${where}: a token does not stand here; use tokenFile or tokenEnv`);
  }
  refuseOthers(others, where);
  if (typeof url !== "string") throw new UsageError(`${where} needs a url`);
  for (const [name, value] of Object.entries({ tokenFile, tokenEnv })) {
    if (value !== undefined && typeof value !== "string") {
      throw new UsageError(`${where}: ${name} is a text`);
    }
  }
  if (typeof tokenEnv === "string" && !tokenEnv.startsWith(PREFIX)) {
    throw new UsageError(`${where}: the name in tokenEnv starts with ${PREFIX}`);
  }
  return { url, ...(tokenFile ? { tokenFile } : {}), ...(tokenEnv ? { tokenEnv } : {}) } as Profile;
}

function objectIn(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new UsageError(`${where} must hold names and values`);
  }
  return value as Record<string, unknown>;
}

function refuseOthers(others: Record<string, unknown>, where: string): void {
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new UsageError(`${where}: "${unknown}" is not known`);
}
