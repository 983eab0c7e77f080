// Owns sharing the places of a bounded list among tenants.
// Refuses to own who is whose tenant. Invariant: pure; nobody who has few is crowded out by somebody who has many.

/** What belongs to a tenant; left out: to none, as all that is left out together. */
export interface Tenanted {
  readonly tenant?: string | undefined;
}

/** At most `max` of `all`, in their order: tenants take turns, each with those of its own that come first. */
export function sharedAmongTenants<One extends Tenanted>(
  all: readonly One[],
  max: number,
): readonly One[] {
  if (all.length <= max) return all;
  const turns = turnsOf(all);
  const perTurn: number[] = [];
  for (const turn of turns) perTurn[turn] = (perTurn[turn] ?? 0) + 1;
  let whole = 0;
  let left = max;
  while (perTurn[whole]! <= left) left -= perTurn[whole++]!;
  return all.filter((_, index) => {
    const turn = turns[index]!;
    return turn < whole || (turn === whole && left-- > 0);
  });
}

/** Of each, how many of the same tenant come before it. */
function turnsOf(all: readonly Tenanted[]): number[] {
  const seen = new Map<string | undefined, number>();
  return all.map(({ tenant }) => {
    const turn = seen.get(tenant) ?? 0;
    seen.set(tenant, turn + 1);
    return turn;
  });
}
