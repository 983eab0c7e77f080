// Owns how sequences of a producer go on: as Kafka's do, from 2^31 - 1 back to 0.
// Refuses to own who checks them (the partition).
// Invariant: a sequence is an integer from 0 to 2^31 - 1.

const SEQUENCES = 0x8000_0000;

/** The sequence `count` records after `sequence`. */
export function nextSequence(sequence: number, count: number): number {
  return (sequence + count) % SEQUENCES;
}
