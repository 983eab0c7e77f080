// Owns tests of streams over a whole broker in memory that ends without a fault.
// Refuses to own clients (stream_fakes.ts). Invariant: what no test expects fails it.
import assert from "node:assert/strict";
import { StreamWorld, type StreamWorldOptions } from "./stream_fakes.ts";

export function consumes(
  name: string,
  options: StreamWorldOptions,
  test: (world: StreamWorld) => Promise<void>,
): void {
  Deno.test(name, async () => {
    const world = await StreamWorld.open(options);
    try {
      await test(world);
      assert.deepEqual(world.faults, []);
    } finally {
      await world.close();
    }
  });
}

export const range = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => from + i);
