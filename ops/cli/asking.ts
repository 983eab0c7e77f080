// Owns asking before something is done that cannot be taken back.
// Refuses to own what is done. Invariant: nothing is done unasked: by --yes, or by a yes at a terminal.
import type { Context } from "./command.ts";
import { FailedError, UsageError } from "./failures.ts";

/** Resolves when it may be done. UsageError where nobody can be asked, FailedError when the answer is no. */
export function confirm(context: Context, question: string): void {
  const { given, terminal } = context;
  if (given.flag("yes")) return;
  if (!terminal.inIsTerminal || !terminal.errIsTerminal) {
    throw new UsageError(`nobody can be asked here: give --yes to ${question}`);
  }
  const answer = terminal.ask(`Really ${question}? [y/N]`);
  if (!/^y(?:es)?$/i.test(answer?.trim() ?? "")) throw new FailedError("left as it is");
}
