// Owns running the log contract over the file log on a real file system.
import { crc32c } from "@node-rs/crc32";
import { DenoDisk } from "../storage/file_log/deno_disk.ts";
import { FileLogStore } from "../storage/file_log/file_log_store.ts";
import { logContract } from "./contracts/log_contract.ts";
import { VirtualClock } from "./support/virtual_time.ts";

logContract("file log", () => {
  const root = Deno.makeTempDirSync({ prefix: "waybill-file-log-" });
  const clock = new VirtualClock();
  const open = () =>
    new FileLogStore({
      disk: new DenoDisk(root),
      clock,
      crc32c,
      onWarning: (warning) => {
        throw new Error(`${warning.log}: ${warning.message}`, { cause: warning.error });
      },
    });
  return Promise.resolve({
    store: open(),
    reopen: () => Promise.resolve(open()),
    dispose: () => Deno.remove(root, { recursive: true }),
  });
});
