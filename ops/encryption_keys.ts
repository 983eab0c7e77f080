// Owns where the master keys of encryption at rest come from, noticing new ones, and having all data keys wrapped with them.
// Refuses to own what keys do (storage/encryption/).
// Invariant: keys that cannot be used are an error at the start, and afterwards a word in the log while the old ones stay.
// No message holds anything of a key but its id, which is a digest.
import { AesGcm } from "../storage/encryption/aes_gcm.ts";
import { MasterKeys, MasterKeyTextError } from "../storage/encryption/master_keys.ts";
import { rewrapAll, type RewrappableLog } from "../storage/encryption/rewrapping.ts";
import type { Cancel, Timers } from "../storage/ports.ts";
import { ConfigError } from "./config.ts";
import type { Config } from "./config_keys.ts";

/** How often the file is looked at; new keys are used when it was the same at two looks, since it may be half written. */
const LOOK_MS = 2_000;

export interface KeyWatchOptions {
  readonly timers: Timers;
  /** Encrypted logs that are open now. */
  logs(): Iterable<RewrappableLog>;
  /** Whether all logs there are are open. */
  isWhole(): boolean;
  report(event: { level: "info" | "warning"; message: string; error?: unknown }): void;
}

type KeyConfig = Pick<Config, "encryptionKeyFile" | "encryptionKey" | "encryptInternalTopics">;

/** The keys that `config` names, null when it names none. Rejects with ConfigError. */
export async function encryptionKeysOf(config: KeyConfig): Promise<EncryptionKeys | null> {
  const { encryptionKeyFile: file, encryptionKey: text } = config;
  if (file !== undefined && text !== undefined) {
    throw new ConfigError("encryptionKeyFile and encryptionKey are both set: there is one source");
  }
  if (file !== undefined) return new EncryptionKeys(await readKeys(file), file);
  if (text !== undefined) return new EncryptionKeys(text.replaceAll(",", "\n"), null);
  if (config.encryptInternalTopics) {
    throw new ConfigError("encryptInternalTopics needs encryptionKeyFile or encryptionKey");
  }
  return null;
}

export class EncryptionKeys {
  readonly masterKeys: MasterKeys;
  #text: string;
  #seen: string;
  readonly #stopped = new AbortController();
  /** Logs whose failure was told since the keys were read. */
  readonly #told = new Set<string>();
  #cancel: Cancel | null = null;

  constructor(text: string, private readonly file: string | null) {
    try {
      this.masterKeys = MasterKeys.parse(text, new AesGcm());
    } catch (error) {
      throw configError(error, file ?? "encryptionKey");
    }
    this.#text = this.#seen = text;
  }

  /** Looks at the file, and wraps data keys anew where an old master key has wrapped them, until `stop`. */
  watch(options: KeyWatchOptions): void {
    options.report({ level: "info", message: described(this.masterKeys) });
    const again = async () => {
      await this.look(options);
      if (!this.#stopped.signal.aborted) this.#cancel = options.timers.after(LOOK_MS, again);
    };
    this.#cancel = options.timers.after(0, again);
  }

  stop(): void {
    this.#stopped.abort();
    this.#cancel?.();
  }

  /** One look. */
  async look(options: KeyWatchOptions): Promise<void> {
    if (this.file !== null) await this.#reload(this.file, options);
    const { currentId } = this.masterKeys;
    const { signal } = this.#stopped;
    const { rewrapped, failed } = await rewrapAll(options.logs(), {
      signal,
      onProgress: ({ done, of }) =>
        options.report({
          level: "info",
          message:
            `encryption key ${currentId}: ${done} of ${of} logs have their data keys wrapped`,
        }),
      onFailure: ({ log, error }) => {
        if (this.#told.has(log)) return;
        this.#told.add(log);
        const message = `log ${log} keeps data keys that an old encryption key has wrapped`;
        options.report({ level: "warning", message, error });
      },
    });
    if (rewrapped === 0) return;
    const message =
      `encryption key ${currentId} has wrapped the data keys of ${counted(rewrapped, "log")}: ` +
      this.#nextStep(failed, options);
    options.report({ level: "info", message });
  }

  #nextStep(failed: number, { isWhole }: KeyWatchOptions): string {
    if (failed > 0) return `${counted(failed, "log")} still need another`;
    const old = this.masterKeys.ids.slice(1);
    if (old.length === 0) return "no open log needs another";
    const keys = `${old.length === 1 ? "key" : "keys"} ${old.join(", ")}`;
    return isWhole()
      ? `${keys} can be removed`
      : `${keys} must stay until all partitions are online`;
  }

  async #reload(file: string, { report }: KeyWatchOptions): Promise<void> {
    let text: string;
    try {
      text = await Deno.readTextFile(file);
    } catch {
      // While it is replaced it may be missing; the keys that were read hold.
      return;
    }
    const isSettled = text === this.#seen;
    this.#seen = text;
    if (!isSettled || text === this.#text) return;
    this.#text = text;
    try {
      if (!this.masterKeys.replace(text)) return;
      this.#told.clear();
      report({ level: "info", message: `${file} was read again: ${described(this.masterKeys)}` });
    } catch (error) {
      if (!(error instanceof MasterKeyTextError)) throw error;
      const message = `${file} cannot be used, the encryption keys stay as they were`;
      report({ level: "warning", message: `${message}: ${error.message}` });
    }
  }
}

/** Ids in the order of the source, so that whoever reads the log can tell the lines of the file apart. */
function described({ ids: [current, ...others] }: MasterKeys): string {
  const count = counted(1 + others.length, "encryption key");
  const rest = others.length === 0 ? "" : `, then ${others.join(", ")}`;
  return `${count}: ${current} wraps${rest}`;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

async function readKeys(file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (error) {
    throw new ConfigError(`encryptionKeyFile ${file} cannot be read: ${(error as Error).message}`);
  }
}

function configError(error: unknown, source: string): unknown {
  if (!(error instanceof MasterKeyTextError)) return error;
  return new ConfigError(`${source} holds no usable encryption keys: ${error.message}`);
}
