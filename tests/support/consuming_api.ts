// Owns an API over a broker in memory with topic `orders` and HTTP members, asked in virtual time.
// Refuses to own what members are given to read. Invariant: time passes only while an answer is waited for.
import type { AppOptions } from "../../api/app.ts";
import { type ConsumingOptions, createConsuming } from "../../api/stream/consuming.ts";
import { type Answer, type ApiUnderTest, apiUnderTest, type AskOptions } from "./api_app.ts";
import { TOPIC_CONFIG } from "./memory_broker.ts";
import { passing } from "./passing_time.ts";
import { VirtualClock } from "./virtual_time.ts";

export interface ConsumingApi {
  readonly api: ApiUnderTest;
  readonly time: VirtualClock;
  /** An answer, letting virtual time go by until it is there. */
  ask(method: string, path: string, options?: AskOptions): Promise<Answer>;
  /** The same for the bearer of `token`. */
  askAs(token: string, method: string, path: string, body?: object): Promise<Answer>;
  close(): Promise<void>;
}

export interface ConsumingApiOptions {
  readonly adminToken?: string;
  readonly members?: ConsumingOptions["members"];
  readonly app?: Partial<AppOptions>;
}

export async function consumingApi(
  { adminToken, members, app = {} }: ConsumingApiOptions = {},
): Promise<ConsumingApi> {
  const time = new VirtualClock();
  const consuming = createConsuming({
    timers: time,
    ...(members === undefined ? {} : { members }),
  });
  const api = await apiUnderTest({
    time,
    group: { initialRebalanceDelayMs: 0, rebalanceDelayMs: 0 },
    app: {
      timers: time,
      security: { adminToken: adminToken ?? null, allowedOrigins: [] },
      ...app,
      routes: [consuming.routes, ...app.routes ?? []],
    },
  });
  await api.broker.createTopic({ name: "orders", partitions: 1, config: TOPIC_CONFIG });
  return {
    api,
    time,
    ask: (method, path, options) => passing(time, api.ask(method, path, options)),
    askAs: (token, method, path, body) =>
      passing(time, api.ask(method, path, asBearer(token, body))),
    close: async () => {
      await consuming.drain();
      await api.close();
    },
  };
}

/** For a request that is not waited for at once. */
export function asBearer(token: string, body?: object): AskOptions {
  const headers = { authorization: `Bearer ${token}` };
  return body === undefined ? { headers } : { headers, body };
}
