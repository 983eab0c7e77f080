// Owns what is looked at before a broker starts: whom it would serve, and that its data directory can be used by it alone.
// Refuses to own what the configuration's values may be (../config.ts).
// Invariant: what is refused here has opened nothing, and the message says what to change.
import { resolve } from "node:path";
import {
  DataDirInUseError,
  type DataDirLock,
  lockDataDir,
} from "../../storage/file_log/data_dir_lock.ts";
import type { Config } from "../config_keys.ts";
import { ConfigError } from "../config.ts";
import { hasCredential } from "../token_verifier.ts";
import type { ProcessPorts } from "./ports.ts";
import { reasonOf } from "./reporting.ts";

const SYSTEM_PATH = /^\/(?:proc|sys|dev)(?:\/|$)/;
const LOOPBACK = /^(?:localhost|127(?:\.\d{1,3}){3}|\[?::1\]?)$/;

/** The broker cannot run as it was asked to, and the message says what to change. */
export class CannotStartError extends Error {
  override name = "CannotStartError";
}

/** Without a credential anybody who can reach the port is the administrator. Throws ConfigError. */
export function refuseOpenDoors(config: Config): void {
  if (hasCredential(config) || config.insecure || LOOPBACK.test(config.host)) return;
  throw new ConfigError(
    `host ${config.host} can be reached from other machines and no credential is configured: ` +
      "set --admin-token (or a key for JWTs), or say --insecure to serve everybody as administrator",
  );
}

/** Where the permission to ask for free space is missing, that is told now. */
export async function requireDiskPermission(
  dataDir: string,
  { diskFreeBytes }: Pick<ProcessPorts, "diskFreeBytes">,
): Promise<void> {
  try {
    await diskFreeBytes(dataDir);
  } catch (error) {
    if (!SYSTEM_PATH.test(resolve(dataDir))) throw error;
    // The runtime asks for every permission there is before it touches these.
    throw new CannotStartError(`data directory ${dataDir} cannot be used: it is the system's own`);
  }
}

/** Rejects with DataDirInUseError or CannotStartError. */
export async function lockedDataDir(
  dataDir: string,
  { clock }: Pick<ProcessPorts, "clock">,
): Promise<DataDirLock> {
  try {
    return await lockDataDir(dataDir, { now: clock.now() });
  } catch (error) {
    if (error instanceof DataDirInUseError) throw error;
    throw new CannotStartError(`data directory ${dataDir} cannot be used: ${reasonOf(error)}`);
  }
}
