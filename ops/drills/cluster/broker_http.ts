// Owns asking one broker of a cluster by HTTP, within a bound.
// Refuses to own which broker is asked, and asking again. Invariant: no answer in time is an Unanswered, whatever the cause.

/** Nobody knows what became of the request. */
export class Unanswered extends Error {
  override name = "Unanswered";
}

export interface Answer {
  readonly status: number;
  // deno-lint-ignore no-explicit-any -- plain data, as the broker tells it
  readonly body: any;
}

export interface AskOptions {
  readonly token: string;
  readonly timeoutMs: number;
  readonly method?: string;
  readonly body?: unknown;
}

/** Rejects with Unanswered only. */
export async function ask(url: string, options: AskOptions): Promise<Answer> {
  const { token, timeoutMs, method = "GET", body } = options;
  try {
    const response = await fetch(url, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(timeoutMs),
    });
    return { status: response.status, body: await response.json() };
  } catch (error) {
    throw new Unanswered((error as Error).message);
  }
}
