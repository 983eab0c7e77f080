// Owns proof that the checker can fail: each kind of harm is planted once and must be reported.
import assert from "node:assert/strict";
import { AckChecker, type Seen } from "../ops/drills/ack_checker.ts";

const at = (offset: number, value: string): Seen => ({ partition: 0, offset, value });
const sound = [at(0, "a:0"), at(1, "b:0"), at(2, "a:1")];

function checkerWith(acked: readonly Seen[]): AckChecker {
  const checker = new AckChecker();
  for (const message of acked) assert.deepEqual(checker.acknowledged(message), []);
  return checker;
}

Deno.test("checker finds nothing wrong with a sound log, nor with unanswered messages in it", () => {
  assert.deepEqual(checkerWith([sound[0]!, sound[2]!]).check(0, 0, sound), []);
});

Deno.test("checker reports a lost acknowledged message", () => {
  assert.match(checkerWith(sound).check(0, 0, sound.slice(0, 2)).join(), /I1: a:1/);
});

Deno.test("checker reports an offset with other content than acknowledged", () => {
  assert.match(
    checkerWith(sound).check(0, 0, [...sound.slice(0, 2), at(2, "a:2")]).join(),
    /I2: 0\/2 acknowledged a:1/,
  );
});

Deno.test("checker reports content that changed or vanished between two reads", () => {
  const checker = checkerWith([]);
  assert.deepEqual(checker.check(0, 0, sound), []);
  assert.match(checker.check(0, 2, [at(2, "a:7")]).join(), /I2: 0\/2 showed a:1/);
  assert.match(checkerWithRead().check(0, 0, sound.slice(0, 2)).join(), /I2: 0\/2 showed a:1/);
});

function checkerWithRead(): AckChecker {
  const checker = checkerWith([]);
  checker.check(0, 0, sound);
  return checker;
}

Deno.test("checker reports duplicates and reordering of one producer", () => {
  assert.match(checkerWith([]).check(0, 0, [at(0, "a:0"), at(1, "a:0")]).join(), /I4/);
  assert.match(checkerWith([]).check(0, 0, [at(0, "a:1"), at(1, "a:0")]).join(), /I4/);
});

Deno.test("checker reports one offset that is acknowledged twice", () => {
  assert.match(checkerWith(sound).acknowledged(at(1, "b:9")).join(), /I2: 0\/1/);
});
