// Owns proof that every commit frame of a session gets its answer, whenever it comes.
import assert from "node:assert/strict";
import { Commits } from "../api/stream/commits.ts";
import type { ServerFrame } from "../api/stream/frames.ts";
import type { Session } from "../api/stream/session.ts";
import { BrokerError, type ErrorCode } from "../storage/broker_error.ts";
import { settle } from "./support/virtual_time.ts";

type Item = { topic: string; partition: number; offset: number };

/** A session that holds everything and settles what it is told. */
const session = {
  held: new Map(),
  fence: () => {},
  fenceOutdated: () => {},
  arrived: () => ({ sentCount: 0, answerCount: 0 }),
  settledBy: () => [],
  committed: ({ offset }: Item) => offset,
} as unknown as Session;

function scene(nacksSettled = () => Promise.resolve(), faults: ErrorCode[] = []) {
  const codes: unknown[] = [];
  const answers: (string | number | undefined)[] = [];
  const commands: number[] = [];
  const commits = new Commits({
    broker: {
      group: (command: { offsets: readonly Item[] }) => {
        commands.push(command.offsets.length);
        const code = faults.shift();
        if (code !== undefined) return Promise.reject(new BrokerError(code, "refused"));
        return Promise.resolve(null);
      },
      partitionInfo: () => Promise.resolve({ highWatermark: 1_000 }),
    } as unknown as ConstructorParameters<typeof Commits>[0]["broker"],
    group: "g",
    memberId: "m",
    principal: "p",
    session,
    limits: { maxQueuedCommits: 1_000, maxQueuedCommitBytes: 10_000 },
    answer: (frame: ServerFrame) => void answers.push("id" in frame ? frame.id : undefined),
    nacksSettled,
    onSettled: () => {},
    onRefused: (_commit, { code }) => void codes.push(code),
  });
  const push = (n: number) =>
    commits.push({ id: String(n), offsets: [{ topic: "t", partition: 0, offset: n }] });
  return { commits, answers, commands, codes, push };
}

Deno.test("commit frames that come together go in one command, each with its answer", async () => {
  const { commits, answers, commands, push } = scene();
  for (let n = 1; n <= 5; n++) push(n);
  await commits.settled();
  assert.deepEqual(answers, ["1", "2", "3", "4", "5"]);
  assert.deepEqual(commands, [1]);
});

Deno.test("a commit frame is answered however many microtasks after another it comes", async () => {
  for (let microtasks = 0; microtasks < 40; microtasks++) {
    const { commits, answers, push } = scene();
    push(1);
    for (let n = 0; n < microtasks; n++) await null;
    push(2);
    await settle();
    assert.deepEqual(answers, ["1", "2"], `pushed ${microtasks} microtasks later`);
    assert.ok(commits.idle);
  }
});

Deno.test("of commits that were refused together each is tried by itself, unless they may have been carried out", async () => {
  for (
    const [code, count] of [["CONCURRENT_TRANSACTIONS", 4], ["STORAGE_FAILED", 1]] as const
  ) {
    const { commits, answers, commands, codes, push } = scene(undefined, [code]);
    for (let n = 1; n <= 3; n++) push(n);
    await commits.settled();
    assert.deepEqual(answers, ["1", "2", "3"], code);
    assert.equal(commands.length, count, code);
    assert.deepEqual(codes, count === 1 ? [code, code, code] : [], code);
  }
});

Deno.test("a commit is not sent before the nacks that came before it are durable", async () => {
  const nacks = Promise.withResolvers<void>();
  const { commits, commands, answers, push } = scene(() => nacks.promise);
  push(1);
  for (let turn = 0; turn < 5; turn++) await null;
  assert.deepEqual([commands, answers], [[], []]);
  nacks.resolve();
  await commits.settled();
  assert.deepEqual(answers, ["1"]);
});

Deno.test("commit frames that wait are bounded in what they hold, but one alone may hold more", async () => {
  const held = Promise.withResolvers<void>();
  const { commits, answers, push } = scene(() => held.promise);
  push(1);
  await settle();
  const large = (offset: number) =>
    commits.push({
      id: String(offset),
      offsets: [{ topic: "t", partition: 0, offset, metadata: "x".repeat(4_000) }],
    });
  large(2);
  large(3);
  assert.throws(() => large(4), { code: "OVERLOADED" });
  push(4);
  held.resolve();
  await settle();
  assert.deepEqual(answers, ["1", "2", "3", "4"]);
  const offsets = Array.from({ length: 100 }, (_, partition) => ({
    topic: "t",
    partition,
    offset: 5,
  }));
  commits.push({ id: "5", offsets });
  await settle();
  large(6);
  await settle();
  assert.deepEqual(answers.slice(4), ["5", "6"]);
});
