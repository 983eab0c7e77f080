// Owns asking the broker's public API: the credential's header, JSON, problems as errors, pages of lists.
// Refuses to own where the credential is kept (session.ts) and what answers mean.
// Invariant: whatever goes wrong is an ApiProblem that can be shown to somebody as it stands.

/** Longest wait for an answer that is not a stream. */
const TIMEOUT_MS = 30_000;

/** A refusal in the words of the broker (RFC 9457), or why there was no answer at all (status 0). */
export class ApiProblem extends Error {
  override name = "ApiProblem";

  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly more: { readonly retryable: boolean; readonly requestId: string | null },
  ) {
    super(detail);
  }

  /** Code and detail in one line. */
  get text(): string {
    return this.status === 0 ? this.message : `${this.code}: ${this.message}`;
  }
}

export type Query = Readonly<Record<string, string | number | boolean | null | undefined>>;

export interface AskOptions {
  /** Values that are null, undefined or empty are left out. */
  readonly query?: Query | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A page of a list. */
export interface ApiPage<Entry> {
  readonly entries: readonly Entry[];
  readonly nextCursor: string | null;
}

export interface ApiClientOptions {
  readonly token: () => string | null;
  /** Called when the broker asks for a credential, or refuses the one that was sent (`refused`). */
  readonly onUnauthenticated: (refused: string | null) => void;
  /** For tests. */
  readonly fetch?: typeof fetch;
}

export class ApiClient {
  constructor(private readonly options: ApiClientOptions) {}

  get<Answer>(path: string, query?: Query, signal?: AbortSignal): Promise<Answer> {
    return this.ask<Answer>("GET", path, { query, signal });
  }

  post<Answer>(path: string, body: unknown = {}, options: AskOptions = {}): Promise<Answer> {
    return this.ask<Answer>("POST", path, { ...options, body });
  }

  put<Answer>(path: string, body: unknown, options: AskOptions = {}): Promise<Answer> {
    return this.ask<Answer>("PUT", path, { ...options, body });
  }

  patch<Answer>(path: string, body: unknown, options: AskOptions = {}): Promise<Answer> {
    return this.ask<Answer>("PATCH", path, { ...options, body });
  }

  delete(path: string, options: AskOptions = {}): Promise<void> {
    return this.ask<void>("DELETE", path, options);
  }

  /** A page of the list that is called `name` in the answer. */
  async page<Entry>(
    path: string,
    name: string,
    options: { readonly query?: Query; readonly signal?: AbortSignal } = {},
  ): Promise<ApiPage<Entry>> {
    const answer = await this.ask<Record<string, unknown>>("GET", path, options);
    const entries = answer[name];
    if (!Array.isArray(entries)) throw notUnderstood(`the answer holds no list "${name}"`);
    return { entries, nextCursor: (answer.nextCursor as string | undefined) ?? null };
  }

  /** Asks, and answers the body; undefined where there is none. Rejects with ApiProblem, or AbortError when `signal` aborts. */
  async ask<Answer>(method: string, path: string, options: AskOptions = {}): Promise<Answer> {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const signal = options.signal === undefined
      ? timeout
      : AbortSignal.any([options.signal, timeout]);
    const response = await this.send(method, path, { ...options, signal });
    if (response.status === 204) return undefined as Answer;
    try {
      return await response.json() as Answer;
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw notUnderstood("the answer is not JSON");
    }
  }

  /** The response as it comes, once its status is good: for streams. */
  async send(method: string, path: string, options: AskOptions = {}): Promise<Response> {
    const token = this.options.token();
    const headers: Record<string, string> = { accept: "application/json", ...options.headers };
    if (token !== null) headers.authorization = `Bearer ${token}`;
    const init: RequestInit = { method, headers, cache: "no-store", credentials: "omit" };
    if (options.signal !== undefined) init.signal = options.signal;
    if (options.body !== undefined) {
      headers["content-type"] = "application/json";
      init.body = JSON.stringify(options.body);
    }
    const ask = this.options.fetch ?? fetch;
    let response: Response;
    try {
      response = await ask(`${path}${searchOf(options.query)}`, init);
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") throw error;
      const why = error instanceof DOMException && error.name === "TimeoutError"
        ? `no answer within ${TIMEOUT_MS / 1_000} s`
        : "the broker cannot be reached";
      throw new ApiProblem(0, "UNREACHABLE", why, { retryable: true, requestId: null });
    }
    if (response.ok) return response;
    if (response.status === 401 && token === this.options.token()) {
      this.options.onUnauthenticated(token);
    }
    throw await problemOf(response);
  }
}

/** `/api/groups/{group}` of a name that may hold any character. */
export function pathOf(...segments: readonly string[]): string {
  return `/${segments.map(encodeURIComponent).join("/")}`;
}

/** `?limit=10&topic=a`; empty where nothing is asked. */
export function searchOf(query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") search.set(name, String(value));
  }
  const text = search.toString();
  return text === "" ? "" : `?${text}`;
}

/** Whatever was thrown, in words. */
export function textOf(error: unknown): string {
  if (error instanceof ApiProblem) return error.text;
  return error instanceof Error ? error.message : String(error);
}

async function problemOf(response: Response): Promise<ApiProblem> {
  const fallback = `the broker answered ${response.status}`;
  let problem: Record<string, unknown> = {};
  try {
    problem = await response.json();
  } catch {
    // A proxy's own page, perhaps: its status is what can be told.
  }
  const detail = typeof problem.detail === "string" ? problem.detail : fallback;
  const code = typeof problem.code === "string" ? problem.code : `HTTP_${response.status}`;
  return new ApiProblem(response.status, code, detail, {
    retryable: problem.retryable === true,
    requestId: typeof problem.requestId === "string"
      ? problem.requestId
      : response.headers.get("x-request-id"),
  });
}

function notUnderstood(why: string): ApiProblem {
  return new ApiProblem(0, "NOT_UNDERSTOOD", why, { retryable: false, requestId: null });
}
