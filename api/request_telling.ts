// Owns what telemetry is told of one request: how it was answered, and what it published.
// Refuses to own what becomes of it (telemetry.ts).
// Invariant: every request is told once; of routes that publish also what they published, stored or not.
import { asBrokerError, type ErrorCode } from "../storage/broker_error.ts";
import type { ApiDependencies, ServedRoute } from "./route.ts";

/** What handlers of routes that publish tell. */
export interface PublishTelling {
  /** What the request is about to store, and where. */
  to(topic: string, amount: { readonly messages: number; readonly bytes: number }): void;
  /** Some of it was not stored, though the request was answered with success. */
  failed(code: ErrorCode): void;
}

type Statuses = Partial<Readonly<Record<ErrorCode, number>>> | undefined;

/** One request, from its arrival on. */
export class RequestTelling implements PublishTelling {
  readonly #startedMs: number;
  #topic = "";
  #messages = 0;
  #bytes = 0;
  #failure: ErrorCode | null = null;

  constructor(
    private readonly route: Pick<ServedRoute, "operationId" | "publishes">,
    private readonly options: Pick<ApiDependencies, "clock" | "telemetry">,
  ) {
    this.#startedMs = options.clock.monotonic();
  }

  to(topic: string, { messages, bytes }: { messages: number; bytes: number }): void {
    this.#topic = topic;
    this.#messages = messages;
    this.#bytes = bytes;
  }

  failed(code: ErrorCode): void {
    this.#failure = code;
  }

  /** Once. `code`: of the problem; null for a success. */
  answered(status: number, code: ErrorCode | null, quotaOf?: string): void {
    const { route: { operationId, publishes }, options: { clock, telemetry } } = this;
    const durationMs = clock.monotonic() - this.#startedMs;
    const answer = { operationId, status, code, durationMs };
    telemetry.answered(quotaOf === undefined ? answer : { ...answer, quotaOf });
    if (!publishes) return;
    telemetry.published({
      topic: this.#topic,
      messages: this.#messages,
      bytes: this.#bytes,
      durationMs,
      code: code ?? this.#failure,
    });
  }

  /** The same of a request that `error` ended. */
  refused(error: unknown, statuses: Statuses): void {
    const { code, httpStatus, details: { tenant } } = asBrokerError(error);
    const isQuota = (code === "QUOTA_EXCEEDED" || code === "LIMIT_REACHED") &&
      typeof tenant === "string";
    this.answered(statuses?.[code] ?? httpStatus, code, isQuota ? tenant : undefined);
  }
}
