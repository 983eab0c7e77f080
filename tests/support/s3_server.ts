// Owns a real S3-speaking server on loopback with one bucket, behind a door that checks signatures.
// Refuses to be more than a few objects' store: what it holds is gone when it is closed.
// Invariant: closing it frees its ports and its directory.
import S3rver from "s3rver";
import { S3Archive } from "../../storage/archive/s3_archive.ts";
import { crc32c } from "@node-rs/crc32";
import { openSigningDoor, type SigningDoor } from "./signing_door.ts";

const ACCESS_KEY_ID = "waybill-tests";
const SECRET = "a secret with / and + in it";

export interface S3Server {
  readonly door: SigningDoor;
  readonly config: {
    endpoint: string;
    bucket: string;
    region: string;
    accessKeyId: string;
    secretAccessKey: string;
  };
  archive(change?: { secretAccessKey?: string; bucket?: string; prefix?: string }): S3Archive;
  close(): Promise<void>;
}

export async function startS3(): Promise<S3Server> {
  const directory = Deno.makeTempDirSync({ prefix: "waybill-s3-" });
  const server = new S3rver({
    address: "127.0.0.1",
    port: 0,
    silent: true,
    directory,
    configureBuckets: [{ name: "waybill", configs: [] }],
  });
  const { port } = await server.run();
  const door = openSigningDoor(`http://127.0.0.1:${port}`, { [ACCESS_KEY_ID]: SECRET });
  const config = {
    endpoint: door.endpoint,
    bucket: "waybill",
    region: "eu-central-1",
    accessKeyId: ACCESS_KEY_ID,
    secretAccessKey: SECRET,
  };
  return {
    door,
    config,
    archive: (change = {}) => new S3Archive({ ...config, prefix: "", crc32c, ...change }),
    async close() {
      await door.close();
      await server.close();
      await Deno.remove(directory, { recursive: true });
    },
  };
}
