// Owns what tests of the consumer ask of the broker behind it.
// Refuses to own the consumer's world (client_stream.ts). Invariant: time passes in steps that leave the broker its turns.
import type { StreamWorld } from "./stream_fakes.ts";

export async function committed(world: StreamWorld, partition = 0): Promise<number | null> {
  const group = await world.broker.group({ type: "Describe", group: "billing" });
  return group.offsets.find((at) => at.partition === partition)?.offset ?? null;
}

/** Lets time pass in steps that leave the broker its turns. */
export async function pass(world: StreamWorld, ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 25) {
    await world.time.advance(Math.min(25, left));
    for (let turn = 0; turn < 5; turn++) await world.time.advance(0);
  }
}

export const range = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => from + index);
