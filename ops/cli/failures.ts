// Owns how commands fail: the exit codes, and what each failure says.
// Refuses to own when they fail. Invariant: no message holds a credential.
import { WaybillError } from "../../api/client.ts";

export const EXIT_OK = 0;
/** The broker refused, or what was asked about is not well. */
export const EXIT_FAILED = 1;
/** The command was not written as it must be. */
export const EXIT_USAGE = 2;
/** No broker answers there. */
export const EXIT_UNREACHABLE = 3;

/** A command that cannot be carried out as it was written. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** A command that was carried out, and whose result is not what one hopes for. */
export class FailedError extends Error {
  override name = "FailedError";
}

/** The exit code for `error`; null when it is a fault of this program. */
export function exitCodeOf(error: unknown): number | null {
  if (error instanceof UsageError) return EXIT_USAGE;
  if (error instanceof FailedError) return EXIT_FAILED;
  if (!(error instanceof WaybillError)) return null;
  const isUnreachable = error.code === "NETWORK_ERROR" || error.code === "TIMEOUT";
  return isUnreachable ? EXIT_UNREACHABLE : EXIT_FAILED;
}

/** What went wrong, for people: the code of the broker, its words, and what else it told. */
export function describe(error: unknown): string {
  if (!(error instanceof WaybillError)) {
    return error instanceof Error ? error.message : String(error);
  }
  const { title: _, ...details } = error.details;
  const told = Object.entries(details).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  const id = error.requestId === undefined ? [] : [`request ${error.requestId}`];
  const rest = [...told, ...id];
  return `${error.code}: ${error.detail}${rest.length === 0 ? "" : ` (${rest.join(", ")})`}`;
}

/** The same for programs. */
export function asJson(error: unknown): Record<string, unknown> {
  if (!(error instanceof WaybillError)) {
    const code = error instanceof UsageError ? "USAGE" : "FAILED";
    return { error: { code, detail: describe(error) } };
  }
  const { code, detail, status, retryable, requestId, details } = error;
  return { error: { ...details, code, detail, status, retryable, requestId } };
}
