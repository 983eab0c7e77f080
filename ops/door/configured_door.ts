// Owns what the configuration says of the door: its address, certificate and bounds.
// Refuses to own listening (door.ts) and what a failure means for the process.
// Invariant: a certificate without its key, or a key without its certificate, opens no door, least of all one without TLS.
import type { Clock, Timers } from "../../storage/ports.ts";
import { ConfigError } from "../config.ts";
import type { Config } from "../config_keys.ts";
import type { CertificateFiles } from "./certificates.ts";
import { type Door, type DoorOptions, openDoor } from "./door.ts";

/** The files that the configuration names; null when it names none. Throws ConfigError for one of the two alone. */
export function certificateFilesOf(config: Config): CertificateFiles | null {
  const { tlsCertFile: certFile, tlsKeyFile: keyFile } = config;
  if (certFile === undefined && keyFile === undefined) return null;
  if (certFile === undefined || keyFile === undefined) {
    throw new ConfigError("tlsCertFile and tlsKeyFile go together: set both or none");
  }
  return { certFile, keyFile };
}

/** Opens the door that `config` describes. Rejects as `openDoor` does, and with ConfigError. */
export async function openConfiguredDoor(
  config: Config,
  parts: Pick<DoorOptions, "fetch" | "report"> & { clock: Clock; timers: Timers },
): Promise<Door> {
  const { maxConnections, maxConnectionsPerAddress } = config;
  const { headerTimeoutMs, bodyTimeoutMs, idleTimeoutMs } = config;
  return await openDoor({
    ...parts,
    hostname: config.host,
    port: config.port,
    tls: certificateFilesOf(config),
    limits: {
      maxConnections,
      maxConnectionsPerAddress,
      headerTimeoutMs,
      bodyTimeoutMs,
      idleTimeoutMs,
    },
  });
}
