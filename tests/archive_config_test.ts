// Owns which archive a configuration asks for, and the errors of one that does not say.
import assert from "node:assert/strict";
import { archiveOf } from "../ops/archive_target.ts";
import { ConfigError, readConfig } from "../ops/config.ts";
import type { Config } from "../ops/config_keys.ts";
import { DirectoryArchive } from "../storage/archive/directory_archive.ts";
import { S3Archive } from "../storage/archive/s3_archive.ts";

const S3 = [
  "--archive-s3-endpoint=https://s3.example.org",
  "--archive-s3-bucket=b",
  "--archive-s3-access-key-id=a",
  "--archive-s3-secret-access-key=s",
];

function configured(args: readonly string[]): Config {
  const config = readConfig({ args, environment: {}, readFile: () => "" });
  assert.ok(config !== "help");
  return config;
}

Deno.test("configuration names no archive, a directory, or an S3 bucket", () => {
  assert.equal(archiveOf(configured([])), null);
  assert.ok(archiveOf(configured(["--archive-dir=/nowhere"])) instanceof DirectoryArchive);
  assert.ok(archiveOf(configured(S3)) instanceof S3Archive);
});

Deno.test("configuration refuses an archive that is named in part, or twice", () => {
  for (const [index, left] of S3.entries()) {
    const args = S3.filter((_, at) => at !== index);
    const key = left.slice(0, left.indexOf("=")).replace(/^--/, "").replace(
      /-([a-z])/g,
      (_, letter) => letter.toUpperCase(),
    );
    assert.throws(
      () => archiveOf(configured(args)),
      (error) => error instanceof ConfigError && error.message.includes(key),
    );
  }
  assert.throws(() => archiveOf(configured([...S3, "--archive-dir=x"])), ConfigError);
  const ftp = [...S3.slice(1), "--archive-s3-endpoint=ftp://x"];
  assert.throws(() => archiveOf(configured(ftp)), /http/);
});
