// Owns an API with quotas at its door: an administrator, and principals of tenants who may do all.
// Refuses to own the quotas that a test sets. Invariant: time is virtual.
import assert from "node:assert/strict";
import { type Answer, type ApiUnderTest, apiUnderTest, type AskOptions } from "./api_app.ts";
import { VirtualClock } from "./virtual_time.ts";

const ADMIN_TOKEN = "the-administrator";
export const ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };

export interface QuotaDoor extends ApiUnderTest {
  admin(method: string, path: string, body?: unknown): Promise<Answer>;
  /** Headers of a principal of `tenant` who may do all with topics and groups. */
  member(tenant: string): Promise<Record<string, string>>;
}

/** `late`: refusals are told late, as they are by a broker. */
export async function quotaDoor(options: { late?: boolean } = {}): Promise<QuotaDoor> {
  const time = new VirtualClock();
  const api = await apiUnderTest({
    time,
    app: {
      security: { adminToken: ADMIN_TOKEN, allowedOrigins: [] },
      ...(options.late ? { timers: time } : {}),
    },
  });
  const admin = (method: string, path: string, body?: unknown) =>
    api.ask(method, path, { headers: ADMIN, body });
  const member = async (tenant: string) => {
    const { body } = await admin("POST", "/api/keys", { principal: `of-${tenant}`, tenant });
    return { authorization: `Bearer ${body.key}` };
  };
  for (const resource of ["topic", "group"]) {
    const acl = { principal: "*", resource, pattern: "*", patternType: "literal" };
    const { status } = await admin("POST", "/api/acls", {
      ...acl,
      operation: "all",
      effect: "allow",
    });
    assert.equal(status, 201);
  }
  await admin("POST", "/api/topics", { name: "orders", partitions: 1 });
  return { ...api, admin, member };
}

/** A publish of `count` messages. */
export function publishing(count: number, headers: Record<string, string>): AskOptions {
  const messages = Array.from({ length: count }, (_, n) => ({ value: `m${n}` }));
  return { headers, body: { topic: "orders", messages } };
}

export function publish(
  api: QuotaDoor,
  count: number,
  headers: Record<string, string>,
): Promise<Answer> {
  return api.ask("POST", "/api/messages:publish", publishing(count, headers));
}
