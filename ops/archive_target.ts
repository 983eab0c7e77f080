// Owns which archive a configuration asks for, and making it.
// Refuses to own how archives work (storage/archive/).
// Invariant: a configuration that names an archive in part, or two of them, is a ConfigError, never an archive of chance.
import { crc32c } from "@node-rs/crc32";
import type { ArchiveStore } from "../storage/archive.ts";
import { ArchivedLogStore } from "../storage/archive/archived_log_store.ts";
import { DirectoryArchive } from "../storage/archive/directory_archive.ts";
import { MarkedArchive } from "../storage/archive/marked_archive.ts";
import { S3Archive } from "../storage/archive/s3_archive.ts";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import type { LogStore } from "../storage/log.ts";
import type { Clock, Disk, Timers } from "../storage/ports.ts";
import { ConfigError } from "./config.ts";
import type { Config } from "./config_keys.ts";

const S3_KEYS = [
  "archiveS3Endpoint",
  "archiveS3Bucket",
  "archiveS3AccessKeyId",
  "archiveS3SecretAccessKey",
] as const;

/** The archive that `config` names, null when it names none. Throws ConfigError. */
export function archiveOf(config: Config): ArchiveStore | null {
  const missing = S3_KEYS.filter((key) => config[key] === undefined);
  if (missing.length === S3_KEYS.length) {
    return config.archiveDir === undefined
      ? null
      : new DirectoryArchive(new DenoDisk(config.archiveDir));
  }
  if (missing.length > 0) {
    throw new ConfigError(`an S3 archive also needs ${missing.join(", ")}`);
  }
  if (config.archiveDir !== undefined) {
    throw new ConfigError("archiveDir and archiveS3Endpoint are both set: there is one archive");
  }
  const endpoint = config.archiveS3Endpoint!;
  if (!/^https?:$/.test(URL.parse(endpoint)?.protocol ?? "")) {
    throw new ConfigError(`archiveS3Endpoint must be an http or https URL, not ${endpoint}`);
  }
  return new S3Archive({
    endpoint,
    bucket: config.archiveS3Bucket!,
    region: config.archiveS3Region,
    accessKeyId: config.archiveS3AccessKeyId!,
    secretAccessKey: config.archiveS3SecretAccessKey!,
    prefix: config.archiveS3Prefix,
    crc32c,
  });
}

/** `logs`, with the archive that `config` names behind them, or none: they know what they had archived. Throws ConfigError. */
export function archivedLogs(
  config: Config,
  parts: {
    logs: LogStore;
    disk: Disk;
    clock: Clock;
    timers: Timers;
    onWarning(warning: { log: string; message: string; error?: unknown }): void;
  },
): LogStore {
  const archive = archiveOf(config);
  return new ArchivedLogStore({
    ...parts,
    archive: archive === null ? null : new MarkedArchive(archive, parts.disk),
    crc32c,
    cacheBytes: config.archiveCacheBytes,
    onWarning: (warning) => parts.onWarning(warning),
  });
}
