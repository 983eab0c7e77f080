// Owns an API with replay and redrive jobs, asked in virtual time, and messages and letters for it.
// Refuses to own what a test expects of a job. Invariant: time passes only while a job is waited for.
import assert from "node:assert/strict";
import { type Answer, type ApiOptions, type ApiUnderTest, apiUnderTest } from "./api_app.ts";
import { FaultyLogStore } from "./faulty_logs.ts";
import { seededRandomness } from "./seeded_randomness.ts";

// deno-lint-ignore no-explicit-any -- what a test reads out of an answer is checked by its assertions
export type Any = any;

export async function jobScene(options: ApiOptions = {}) {
  const api = await apiUnderTest(options);
  const topic = async (name: string, partitions = 1) => {
    const made = await api.ask("POST", "/api/topics", { body: { name, partitions } });
    assert.equal(made.status, 201);
  };
  const publish = async (topic: string, messages: unknown[], partition?: number) => {
    const body = { topic, messages, ...(partition === undefined ? {} : { partition }) };
    const answer = await api.ask("POST", "/api/messages:publish", { body });
    assert.equal(answer.status, 200, JSON.stringify(answer.body));
  };
  const read = async (topic: string, partition = 0): Promise<Any[]> => {
    const path = `/api/topics/${topic}/partitions/${partition}/messages?maxMessages=10000`;
    return (await api.ask("GET", path)).body.messages;
  };
  const replay = (body: unknown, headers: Record<string, string> = {}) =>
    api.ask("POST", "/api/messages:replay", { body, headers });
  const redrive = (body: object, headers: Record<string, string> = {}) =>
    api.ask("POST", "/api/dlq:redrive", { body: { reason: "mended", ...body }, headers });
  const job = async (id: string): Promise<Any> => (await api.ask("GET", `/api/replays/${id}`)).body;
  const ended = async (answer: Answer): Promise<Any> => {
    assert.equal(answer.status, 202, JSON.stringify(answer.body));
    await api.time.advance(1_000);
    return await job(answer.body.jobId);
  };
  return { api, topic, publish, read, replay, redrive, job, ended };
}

export function numbered(count: number, from = 0): Any[] {
  return Array.from({ length: count }, (_, index) => ({
    key: `k${(from + index) % 7}`,
    value: `v${from + index}`,
  }));
}

export function letter(origin: Any, why: Any = {}): Any {
  const { topic = "orders", partition = 0, offset = 0, group = "billing" } = origin;
  return {
    key: `k${offset}`,
    value: `letter ${offset}`,
    headers: {
      "own": "kept",
      "idempotency-key": `id-${partition}-${offset}`,
      "waybill-origin-topic": topic,
      "waybill-origin-partition": String(partition),
      "waybill-origin-offset": String(offset),
      "waybill-origin-group": group,
      "waybill-reason": why.reason ?? "Timed out after 5 s",
      "waybill-code": why.code ?? "TIMEOUT",
      "waybill-attempts": "8",
    },
  };
}

/** A while in which appends fail, some of them although they were kept, and then one in which all is well. */
export async function failingAppends(
  api: ApiUnderTest,
  logs: FaultyLogStore,
  seed: number,
): Promise<void> {
  const { fraction, pick } = seededRandomness(seed);
  for (let step = 0; step < 40; step++) {
    if (fraction() < 0.6) logs.nextFault = pick(["KEPT_BUT_FAILED", "STORAGE_FAILED", "DISK_FULL"]);
    await api.time.advance(Math.floor(fraction() * 400));
  }
  logs.nextFault = null;
  await api.time.advance(120_000);
}
