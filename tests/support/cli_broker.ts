// Owns commands run against a broker in memory, over a loopback port.
// Refuses to own running one command (cli_run.ts). Invariant: the broker is closed when the test ends.
import assert from "node:assert/strict";
import { cli, type CliWorld } from "./cli_run.ts";
import { consumingServer } from "./consuming_server.ts";

type Run = (words: string, world?: CliWorld) => ReturnType<typeof cli>;

/** Runs `test` with a broker; words of a command are split at spaces, `_` stands for a space. */
export async function withBroker(test: (run: Run, url: string) => Promise<void>): Promise<void> {
  const server = await consumingServer({ partitions: 2 });
  try {
    await test((words, world = {}) => {
      const split = words.split(" ").map((word) => word.replaceAll("_", " "));
      return cli(split, { ...world, environment: { WAYBILLCTL_URL: server.url } });
    }, server.url);
    assert.deepEqual(server.faults, []);
  } finally {
    await server.close();
  }
}

export async function done(end: ReturnType<typeof cli>) {
  const ended = await end;
  assert.equal(ended.code, 0, ended.err);
  return ended;
}

/** What `ask` gives once it is as `isThere` wants it: dead letters are written a little later. */
export async function until<T>(ask: () => Promise<T>, isThere: (value: T) => boolean): Promise<T> {
  for (let attempt = 1;; attempt++) {
    const value = await ask();
    if (isThere(value)) return value;
    assert.ok(attempt < 500, "it does not come");
  }
}
