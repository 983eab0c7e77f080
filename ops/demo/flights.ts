// Owns the demo's input: 20,000 flights of 2001 as `vega-datasets` ships them, numbered overall and per origin.
// Refuses to own publishing. Invariant: read from the installed package, in its order, never from the network.
import "vega-datasets";

/** Beside the package's entry; the package exports only that, so its place on disk leads to the data. */
const FILE = new URL("../data/flights-20k.json", import.meta.resolve("vega-datasets"));

interface Row {
  readonly date: string;
  /** Minutes. */
  readonly delay: number;
  /** Miles. */
  readonly distance: number;
  readonly origin: string;
  readonly destination: string;
}

/** One message of the demo: the flight as published, keyed by `origin`. */
export interface Flight extends Row {
  /** From 1, over all flights. */
  readonly number: number;
  /** From 1, over the flights from the same origin. */
  readonly originNumber: number;
}

/** All flights, in the order in which they are to be published. */
export async function loadFlights(): Promise<Flight[]> {
  const rows: Row[] = JSON.parse(await Deno.readTextFile(FILE));
  const perOrigin = new Map<string, number>();
  return rows.map(({ date, delay, distance, origin, destination }, index) => {
    const originNumber = (perOrigin.get(origin) ?? 0) + 1;
    perOrigin.set(origin, originNumber);
    return { number: index + 1, originNumber, date, delay, distance, origin, destination };
  });
}
