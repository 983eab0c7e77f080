// Owns traced requests to a whole broker in memory and virtual time, and its events in short words.
// Refuses to own what a trace is to tell. Invariant: everything goes through the API.
import assert from "node:assert/strict";
import { createConsuming } from "../../api/stream/consuming.ts";
import { type ApiOptions, type ApiUnderTest, apiUnderTest } from "./api_app.ts";
import { settle, VirtualClock } from "./virtual_time.ts";

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
export type Any = any;

export const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

export const OTHER = "0af7651916cd43dd8448eb211c80319c";

export const parentOf = (trace: string, span = "00f067aa0ba902b7") => `00-${trace}-${span}-01`;

export const traced = (trace = TRACE) => ({ headers: { traceparent: parentOf(trace) } });

interface Scene {
  readonly api: ApiUnderTest;
  publish(
    messages: readonly unknown[],
    options?: { topic?: string; trace?: string },
  ): Promise<void>;
  trace(id?: string, query?: string): Promise<Any>;
  /** What is told, as `kind offset-lastOffset group attempt`. */
  told(id?: string): Promise<string[]>;
  pass<T>(promise: Promise<T>): Promise<T>;
}

export async function scene(options: ApiOptions = {}, topics = ["orders"]): Promise<Scene> {
  const time = options.time ?? new VirtualClock();
  const consuming = createConsuming({ timers: time });
  const api = await apiUnderTest({
    ...options,
    time,
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
    app: { timers: time, routes: [consuming.routes], ...options.app },
  });
  for (const name of topics) {
    if (api.broker.topic(name) !== null) continue;
    await api.ask("POST", "/api/topics", { body: { name, partitions: 1 } });
  }
  const trace = async (id = TRACE, query = "") => {
    const { status, body } = await api.ask("GET", `/api/traces/${id}${query}`);
    assert.equal(status, 200, JSON.stringify(body));
    return body;
  };
  return {
    api,
    trace,
    publish: async (messages, { topic = "orders", trace } = {}) => {
      const headers: Record<string, string> = trace === undefined
        ? {}
        : { traceparent: parentOf(trace) };
      const body = { topic, messages };
      const answer = await api.ask("POST", "/api/messages:publish", { body, headers });
      assert.equal(answer.status, 200, JSON.stringify(answer.body));
    },
    told: async (id = TRACE) => (await trace(id)).events.map(shortly),
    pass: async (promise) => {
      let done = false;
      void promise.finally(() => done = true);
      for (let turn = 0; turn < 500 && !done; turn++) {
        await settle();
        await time.advance(turn < 50 ? 0 : 20);
      }
      return await promise;
    },
  };
}

export function shortly({ kind, topic, offset, lastOffset, group, attempt }: Any): string {
  const place = lastOffset === undefined ? `${offset}` : `${offset}-${lastOffset}`;
  return [kind, topic, place, group, attempt].filter((one) => one !== undefined).join(" ");
}
