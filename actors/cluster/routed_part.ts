// Owns making a part of the Broker port out of its routes, and serving the same routes to other brokers.
// Refuses to own which routes there are (routes.ts) and how a leader is found (router.ts).
// Invariant: asker and answerer read one table: what is sent under a method's name calls that method there, of the broker
// itself and never on to a third.
import type { Broker } from "../broker.ts";
import type { Peers } from "./peers.ts";
import type { Attempt, Router } from "./router.ts";
import {
  DEFAULT_CALL_MS,
  type MethodsOf,
  type OwnedRoute,
  type PartName,
  peerMethod,
  type Place,
  type Route,
  ROUTES,
  type RoutesOf,
} from "./routes.ts";

/** What an answer may come late by, beyond the time that a call waits. */
const ANSWER_MS = 2_000;

type Method = (...args: readonly unknown[]) => unknown;

interface Waiting {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export function isOwned(route: Route): route is OwnedRoute {
  return typeof route === "object";
}

/** A part of `broker`, or the broker itself. */
export function partOf(broker: Broker, part: PartName): Record<string, Method> {
  return (part === "broker" ? broker : broker[part]) as unknown as Record<string, Method>;
}

/**
 * `part` of the Broker port as the routes say: what is owned goes to its owner, what is "here" to `local`. Those that are
 * composed must be in `composed`.
 */
export function routedPart<P extends object, C extends Partial<P>>(
  name: PartName,
  of: { readonly router: Router; readonly local: Broker },
  composed: C & ThisType<P>,
): P {
  const methods: Record<string, unknown> = {};
  const routes = ROUTES[name] as RoutesOf<P>;
  for (const method of Object.keys(routes) as (MethodsOf<P> & string)[]) {
    const route = routes[method] as Route;
    if (route === "here") {
      methods[method] = (...args: unknown[]) => partOf(of.local, name)[method]!(...args);
    } else if (route !== "composed") {
      methods[method] = (...args: unknown[]) => callOwner({ name, method, route }, of, args);
    }
  }
  return Object.assign(methods, composed) as unknown as P;
}

/** Brings one call to whoever owns it. */
// deno-lint-ignore require-await -- arguments that are meant for nobody must reject, as they would from afar
export async function callOwner<R>(
  { name, method, route }: {
    readonly name: PartName;
    readonly method: string;
    readonly route: OwnedRoute;
  },
  { router, local }: { readonly router: Router; readonly local: Broker },
  args: readonly unknown[],
): Promise<R> {
  const waiting = route.waitsAt === undefined ? undefined : args[route.waitsAt] as Waiting;
  const place = route.to(...args);
  const attempt: Attempt<R> = {
    here: (leftMs) => partOf(local, name)[method]!(...withTime(args, route, leftMs)) as Promise<R>,
    there: (nodeId, leftMs) => {
      const timeoutMs = leftMs === null ? route.timeoutMs ?? DEFAULT_CALL_MS : leftMs + ANSWER_MS;
      const said = withPlainPlace(withoutSignal(withTime(args, route, leftMs), route), place);
      const request = { method: peerMethod(name, method), args: said };
      const { signal } = waiting ?? {};
      return router.there<R>(nodeId, request, { timeoutMs, ...signal && { signal } });
    },
  };
  const { reads, hasEpoch: of = false } = route;
  const hasEpoch = typeof of === "function" ? of(...args) : of;
  const asked = { route: { ...reads && { reads }, hasEpoch }, place };
  if (waiting === undefined) return router.call(asked, attempt);
  const { timeoutMs: withinMs, signal } = waiting;
  return router.call({ ...asked, withinMs, ...signal && { signal } }, attempt);
}

/** What other brokers call here. `local` answers by itself alone. */
export function servePeers(peers: Peers, local: Broker): void {
  for (const [name, routes] of Object.entries(ROUTES) as [PartName, Record<string, Route>][]) {
    for (const [method, route] of Object.entries(routes)) {
      if (!isOwned(route) || peerMethod(name, method) in SERVED_OTHERWISE) continue;
      peers.handle(peerMethod(name, method), (args, _caller, signal) => {
        const said = withSignal((args as unknown[]).map(asSaid), route, signal);
        return Promise.resolve(partOf(local, name)[method]!(...said));
      });
    }
  }
}

/** Their handlers do more than call the method: see routed_groups.ts. */
const SERVED_OTHERWISE: Readonly<Record<string, true>> = { "broker.group": true };

/** What is left out among arguments arrives as null. */
function asSaid(value: unknown): unknown {
  return value === null ? undefined : value;
}

function withTime(args: readonly unknown[], { waitsAt }: OwnedRoute, leftMs: number | null) {
  if (waitsAt === undefined || leftMs === null) return args;
  return args.with(waitsAt, { ...args[waitsAt] as Waiting, timeoutMs: leftMs });
}

/** Who asks may name a partition by an object of its own, of which only the name is for others. */
function withPlainPlace(args: readonly unknown[], place: Place): readonly unknown[] {
  if (args[0] !== place || !("partition" in place)) return args;
  return args.with(0, { topic: place.topic, partition: place.partition });
}

function withoutSignal(args: readonly unknown[], { waitsAt }: OwnedRoute): readonly unknown[] {
  if (waitsAt === undefined) return args;
  const { signal: _signal, ...plain } = args[waitsAt] as Waiting;
  return args.with(waitsAt, plain);
}

function withSignal(args: unknown[], { waitsAt }: OwnedRoute, signal: AbortSignal): unknown[] {
  if (waitsAt === undefined) return args;
  return args.with(waitsAt, { ...args[waitsAt] as Waiting, signal });
}
