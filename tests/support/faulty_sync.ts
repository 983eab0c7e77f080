// Owns control over a process whose syncs fail or take long (faulty_sync.c): building it, telling it, reading its trace.
// Refuses to own the process and judgement. Invariant: one fault at a time, and none that was not asked for.
import { run, works } from "./system_needs.ts";

/** One write or sync of a log file, in the order in which they happened. */
export interface SyncEvent {
  readonly type: "wrote" | "synced" | "failed";
  readonly path: string;
  /** Of a write. */
  readonly position: number;
  readonly bytes: number;
}

export class FaultySync implements AsyncDisposable {
  private constructor(private readonly directory: string) {}

  /** Whether it can be built here. */
  static available(): Promise<boolean> {
    return works("gcc", "--version");
  }

  static async build(): Promise<FaultySync> {
    const directory = await Deno.makeTempDir({ prefix: "waybill-sync-" });
    const source = new URL("faulty_sync.c", import.meta.url).pathname;
    await run(
      "gcc",
      "-O1",
      "-shared",
      "-fPIC",
      "-o",
      `${directory}/faulty_sync.so`,
      source,
      "-ldl",
    );
    return new FaultySync(directory);
  }

  /** For the process that is to be faulty. */
  get environment(): Readonly<Record<string, string>> {
    return {
      LD_PRELOAD: `${this.directory}/faulty_sync.so`,
      FAULTY_SYNC_DIR: this.directory,
    };
  }

  /** The next sync of a file with `part` in its path fails. */
  async failNext(part: string): Promise<void> {
    await this.forget("failed");
    await this.tell("fail", part);
  }

  /** Whether a sync has failed since `failNext`. */
  async hasFailed(): Promise<boolean> {
    return await Deno.stat(`${this.directory}/failed`).then(() => true, () => false);
  }

  /** From now on every sync of a file with `part` in its path takes `ms` longer. */
  async delay(part: string, ms: number): Promise<void> {
    await this.tell("delay", `${ms} ${part}`);
  }

  /** No fault from now on. */
  async heal(): Promise<void> {
    await this.forget("fail");
    await this.forget("delay");
  }

  /** All writes and syncs of log files with `part` in their paths. */
  async trace(part: string): Promise<SyncEvent[]> {
    const text = await Deno.readTextFile(`${this.directory}/trace`);
    return text.split("\n").filter((line) => line.includes(part)).map((line) => {
      const [type, path, position, bytes] = line.split(" ");
      return {
        type: type as SyncEvent["type"],
        path: path!,
        position: Number(position ?? -1),
        bytes: Number(bytes ?? 0),
      };
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }

  /** Renamed into place: the process never reads half of it. */
  private async tell(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.directory}/${name}.new`, text);
    await Deno.rename(`${this.directory}/${name}.new`, `${this.directory}/${name}`);
  }

  private async forget(name: string): Promise<void> {
    await Deno.remove(`${this.directory}/${name}`).catch(() => undefined);
  }
}
