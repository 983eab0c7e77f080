// Owns a member of the group as a child process: started, killed by signal 9, or asked to leave.
// Refuses to own consuming (member.ts). Invariant: an end that nobody asked for is told, with the member's last words.
import type { MemberSpec } from "./member_spec.ts";

const PROGRAM = new URL("member.ts", import.meta.url).pathname;
const LAST_WORDS_CHARS = 4_000;

export class MemberProcess {
  #endIsWanted = false;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #ended: Promise<void>;
  #hasEnded = false;
  #wasKilled = false;

  constructor(readonly spec: MemberSpec, onUnwantedEnd: (reason: string) => void) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", PROGRAM, JSON.stringify(spec)],
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#ended = this.#watch(onUnwantedEnd);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** By signal 9, here. */
  get wasKilled(): boolean {
    return this.#wasKilled;
  }

  /** Signal 9: no goodbye to anybody. Resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#endIsWanted = true;
    this.#wasKilled = !this.#hasEnded;
    if (this.#wasKilled) this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** Lets it commit and leave the group; killed when it takes longer than `limitMs`. */
  async leave(limitMs: number): Promise<void> {
    this.#endIsWanted = true;
    // The end of its input is its sign to go; it has no input when it has ended.
    this.#stdin.close().catch(() => undefined);
    const timer = setTimeout(() => this.#hasEnded || this.#child.kill("SIGKILL"), limitMs);
    await this.#ended;
    clearTimeout(timer);
  }

  async #watch(onUnwantedEnd: (reason: string) => void): Promise<void> {
    let words = "";
    const decoder = new TextDecoder();
    for await (const bytes of this.#child.stderr) {
      words = (words + decoder.decode(bytes, { stream: true })).slice(-LAST_WORDS_CHARS);
    }
    const { code } = await this.#child.status;
    this.#hasEnded = true;
    await this.#stdin.abort().catch(() => undefined);
    if (!this.#endIsWanted) onUnwantedEnd(`exit code ${code}: ${words.trim()}`);
  }
}
