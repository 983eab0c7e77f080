// Owns knowing what a broker acknowledged, and finding what of it is lost, changed, doubled or out of order.
// Refuses to own sending. Invariant: it trusts nothing but acknowledgements and what readers were shown.
// Rules I1, I2 and I4 of the fault list: no acknowledged message lost; one offset, one content, for ever; no duplicate
// and no reordering for one producer. A request without an answer is "maybe": neither lost nor failed.

/** A message as a reader saw it. Its value is `<producer>:<n>`, n rising with each message of that producer. */
export interface Seen {
  readonly partition: number;
  readonly offset: number;
  readonly value: string;
}

export class AckChecker {
  /** Value by offset, by partition, as acknowledged. */
  readonly #acked = new Map<number, Map<number, string>>();
  /** Value by offset, by partition, as any reader was ever shown. */
  readonly #seen = new Map<number, Map<number, string>>();

  get ackedCount(): number {
    let count = 0;
    for (const offsets of this.#acked.values()) count += offsets.size;
    return count;
  }

  /** Notes an acknowledgement; gives back what it contradicts, empty when all is well. */
  acknowledged({ partition, offset, value }: Seen): string[] {
    const offsets = of(this.#acked, partition);
    const before = offsets.get(offset);
    offsets.set(offset, value);
    if (before === undefined || before === value) return [];
    return [`I2: ${partition}/${offset} was acknowledged for ${before} and again for ${value}`];
  }

  /** Notes one message that a reader was shown; gives back what it contradicts, empty when all is well. */
  shown({ partition, offset, value }: Seen): string[] {
    const violations: string[] = [];
    const acked = of(this.#acked, partition).get(offset);
    if (acked !== undefined && acked !== value) {
      violations.push(`I2: ${partition}/${offset} acknowledged ${acked}, holds ${value}`);
    }
    const seen = of(this.#seen, partition);
    const before = seen.get(offset);
    if (before !== undefined && before !== value) {
      violations.push(`I2: ${partition}/${offset} showed ${before}, now ${value}`);
    }
    seen.set(offset, value);
    return violations;
  }

  /** Acknowledgements that promised less than to survive what has just happened (durability "os" and a power cut). */
  forgetAcknowledged(partition: number): void {
    this.#acked.delete(partition);
  }

  /**
   * Violations in a read of one partition from offset `from` to its high watermark, or to `to` when it ended there while
   * the partition went on.
   */
  check(partition: number, from: number, read: readonly Seen[], to = Infinity): string[] {
    const violations: string[] = [];
    const now = new Map(read.map(({ offset, value }) => [offset, value]));
    const seen = of(this.#seen, partition);
    for (const [offset, value] of of(this.#acked, partition)) {
      if (offset < from || offset >= to || now.get(offset) === value) continue;
      violations.push(
        now.has(offset)
          ? `I2: ${partition}/${offset} acknowledged ${value}, holds ${now.get(offset)}`
          : `I1: ${value}, acknowledged at ${partition}/${offset}, is lost`,
      );
    }
    for (const [offset, value] of seen) {
      if (offset < from || offset >= to || now.get(offset) === value) continue;
      violations.push(`I2: ${partition}/${offset} showed ${value}, now ${now.get(offset)}`);
    }
    for (const [offset, value] of now) seen.set(offset, value);
    return [...violations, ...this.#orderViolations(partition)];
  }

  /** Over all that readers of the partition were ever shown. */
  #orderViolations(partition: number): string[] {
    const violations: string[] = [];
    const last = new Map<string, number>();
    for (const [offset, value] of [...of(this.#seen, partition)].sort((a, b) => a[0] - b[0])) {
      const [producer, n] = value.split(":") as [string, string];
      const before = last.get(producer) ?? -1;
      if (Number(n) <= before) {
        violations.push(`I4: ${value} at ${partition}/${offset} comes after ${producer}:${before}`);
      }
      last.set(producer, Math.max(before, Number(n)));
    }
    return violations;
  }
}

function of(
  map: Map<number, Map<number, string>>,
  partition: number,
): Map<number, string> {
  const offsets = map.get(partition) ?? new Map<number, string>();
  map.set(partition, offsets);
  return offsets;
}
