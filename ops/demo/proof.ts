// Owns judging a run: what the producer got acknowledged against what the members received.
// Refuses to own gathering that evidence, and showing the verdict.
// Invariant: nothing but the evidence counts; whatever is missing, twice, altered or out of turn is counted.
import type { Flight } from "./flights.ts";

/** The broker has told the producer that it stored the flight there. */
export interface Acknowledgement {
  readonly number: number;
  readonly partition: number;
  readonly offset: number;
}

/** A member has received this; one entry for each delivery. */
export interface Receipt {
  readonly member: string;
  readonly partition: number;
  readonly offset: number;
  readonly key: string | null;
  readonly value: unknown;
}

export interface Evidence {
  readonly flights: readonly Flight[];
  readonly acknowledgements: readonly Acknowledgement[];
  /** In the order in which they happened, over all members. */
  readonly receipts: readonly Receipt[];
}

export interface Proof {
  readonly published: number;
  readonly acknowledged: number;
  /** Distinct flights that a member received. */
  readonly consumed: number;
  /** Flights acknowledged at an offset that no member received. */
  readonly lost: number;
  /** First deliveries of a flight that came after a later flight from the same origin. */
  readonly outOfOrder: number;
  /** Deliveries that are not the flight as published, or not what the offset held before or was acknowledged to hold. */
  readonly altered: number;
  /** Further deliveries of an offset that had been delivered before. */
  readonly redelivered: number;
  /** Further offsets that hold a flight which another offset holds: a publish was sent again after its answer was lost. */
  readonly publishedTwice: number;
  readonly origins: number;
  /** The first few faults in words. */
  readonly faults: readonly string[];
  /** Everything was acknowledged and received, as published, each origin in order. */
  readonly holds: boolean;
}

const MAX_FAULTS = 10;

/** Judges the evidence. Pure; takes time and memory in proportion to it. */
export function prove(evidence: Evidence): Proof {
  const { flights, acknowledgements, receipts } = evidence;
  const faults: string[] = [];
  const fault = (text: string) => void (faults.length < MAX_FAULTS && faults.push(text));
  const log = readLog(evidence, fault);
  const outOfOrder = countDisorder(log.firstDeliveries, fault);
  const lost = countLost(acknowledgements, log, fault);
  const acknowledged = new Set(acknowledgements.map(({ number }) => number));
  const published = flights.length;
  if (acknowledged.size < published) {
    fault(`${published - acknowledged.size} of ${published} flights were not acknowledged`);
  }
  const { altered, contentByOffset, offsetsByFlight } = log;
  return {
    published,
    acknowledged: acknowledged.size,
    consumed: offsetsByFlight.size,
    lost,
    outOfOrder,
    altered,
    redelivered: receipts.length - contentByOffset.size,
    publishedTwice: [...offsetsByFlight.values()].reduce((sum, offsets) => sum + offsets - 1, 0),
    origins: new Set(flights.map(({ origin }) => origin)).size,
    faults,
    holds: acknowledged.size === published && lost === 0 && outOfOrder === 0 && altered === 0,
  };
}

interface LogAsReceived {
  /** What each `partition/offset` held when it was first delivered. */
  readonly contentByOffset: ReadonlyMap<string, string>;
  /** How many offsets hold each flight that was received. */
  readonly offsetsByFlight: ReadonlyMap<number, number>;
  readonly firstDeliveries: readonly Flight[];
  readonly altered: number;
}

function readLog(
  { flights, acknowledgements, receipts }: Evidence,
  fault: (text: string) => void,
): LogAsReceived {
  const promised = new Map(acknowledgements.map((ack) => [placeOf(ack), ack.number]));
  const contentByOffset = new Map<string, string>();
  const offsetsByFlight = new Map<number, number>();
  const firstDeliveries: Flight[] = [];
  let altered = 0;
  for (const receipt of receipts) {
    const place = placeOf(receipt);
    const content = JSON.stringify([receipt.key, receipt.value]);
    const known = contentByOffset.get(place);
    const flight = flightIn(receipt, content, flights);
    const promise = promised.get(place);
    if (
      flight === null || (known ?? content) !== content ||
      (promise !== undefined && promise !== flight.number)
    ) {
      altered += 1;
      fault(`${place} brought ${content} to ${receipt.member}, not what was published there`);
    }
    if (known === undefined) contentByOffset.set(place, content);
    if (flight === null || known !== undefined) continue;
    const offsets = offsetsByFlight.get(flight.number) ?? 0;
    offsetsByFlight.set(flight.number, offsets + 1);
    if (offsets === 0) firstDeliveries.push(flight);
  }
  return { contentByOffset, offsetsByFlight, firstDeliveries, altered };
}

/** The flight that was published with exactly this content; null when there is none. */
function flightIn({ value }: Receipt, content: string, flights: readonly Flight[]): Flight | null {
  const number = (value as Partial<Flight> | null)?.number;
  const flight = typeof number === "number" ? flights[number - 1] : undefined;
  if (flight === undefined) return null;
  return JSON.stringify([flight.origin, flight]) === content ? flight : null;
}

function countLost(
  acknowledgements: readonly Acknowledgement[],
  { contentByOffset }: LogAsReceived,
  fault: (text: string) => void,
): number {
  let lost = 0;
  for (const ack of acknowledgements) {
    if (contentByOffset.has(placeOf(ack))) continue;
    lost += 1;
    fault(`flight ${ack.number} was acknowledged at ${placeOf(ack)} and never received from there`);
  }
  return lost;
}

function countDisorder(
  firstDeliveries: readonly Flight[],
  fault: (text: string) => void,
): number {
  const latest = new Map<string, Flight>();
  let outOfOrder = 0;
  for (const flight of firstDeliveries) {
    const before = latest.get(flight.origin);
    if (before === undefined || flight.originNumber > before.originNumber) {
      latest.set(flight.origin, flight);
      continue;
    }
    outOfOrder += 1;
    fault(
      `${flight.origin}: its flight ${flight.originNumber} came after its flight ${before.originNumber}`,
    );
  }
  return outOfOrder;
}

function placeOf({ partition, offset }: { partition: number; offset: number }): string {
  return `${partition}/${offset}`;
}
