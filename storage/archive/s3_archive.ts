// Owns the archive in a bucket of an S3-compatible service.
// Refuses to own signing and requests (s3mini), time limits beyond one request's and retries (guarded_archive.ts).
// Invariant: an object that was put is whole: it goes in one request that carries its checksum.
import { S3mini } from "s3mini";
import type { ArchivedObject, ArchiveStore } from "../archive.ts";
import type { Crc32c } from "../ports.ts";

/** A request that has not ended by then is given up, so that its connection is. */
const REQUEST_TIMEOUT_MS = 30_000;

export interface S3ArchiveOptions {
  /** Of the service, without bucket, for example `https://s3.eu-central-1.amazonaws.com`. */
  readonly endpoint: string;
  readonly bucket: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Goes before every key, without `/` at its ends; empty for none. */
  readonly prefix: string;
  readonly crc32c: Crc32c;
}

export class S3Archive implements ArchiveStore {
  readonly #bucket: S3mini;
  readonly #prefix: string;

  constructor(private readonly options: S3ArchiveOptions) {
    const { endpoint, bucket, region, accessKeyId, secretAccessKey, prefix } = options;
    this.#bucket = new S3mini({
      endpoint: `${endpoint.replace(/\/+$/, "")}/${bucket}`,
      region,
      accessKeyId,
      secretAccessKey,
      requestAbortTimeout: REQUEST_TIMEOUT_MS,
    });
    this.#prefix = prefix === "" ? "" : `${prefix}/`;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    // Services that know the header refuse what was changed on the way; the others ignore it.
    const checksum = { "x-amz-checksum-crc32c": base64OfUint32(this.options.crc32c(bytes)) };
    const response = await this.#bucket.putObject(
      this.#prefix + key,
      bytes,
      "application/octet-stream",
      undefined,
      checksum,
    );
    await response.body?.cancel();
    if (!response.ok) throw new Error(`S3 answered ${response.status} to the put of ${key}`);
  }

  async get(key: string): Promise<Uint8Array | null> {
    const found = await this.#bucket.getObjectArrayBuffer(this.#prefix + key);
    return found === null ? null : new Uint8Array(found);
  }

  async remove(key: string): Promise<void> {
    if (!await this.#bucket.deleteObject(this.#prefix + key)) {
      throw new Error(`S3 did not delete ${key}`);
    }
  }

  async list(prefix: string): Promise<readonly ArchivedObject[]> {
    const found = await this.#bucket.listObjects("/", this.#prefix + prefix);
    if (found === null) throw new Error(`there is no bucket ${this.options.bucket}`);
    return found.map(({ Key, Size }) => ({
      key: Key.slice(this.#prefix.length),
      sizeBytes: Number(Size),
    })).sort((a, b) => a.key < b.key ? -1 : 1);
  }
}

function base64OfUint32(value: number): string {
  const bytes = [value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff];
  return btoa(String.fromCharCode(...bytes));
}
