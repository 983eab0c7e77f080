// Owns the live connection to the broker: server-sent events by fetch (EventSource cannot send a credential), again when lost.
// Refuses to own reading events (event_parser.ts) and what is made of them (overview_state.ts).
// Invariant: one connection at a time; one that has gone silent counts as lost.
import type { Overview, OverviewNow } from "../../overview/overview.ts";
import { ApiProblem, textOf } from "../api_client.ts";
import { api, session } from "../session.ts";
import { Store } from "../store.ts";
import { reconnectDelayMs } from "./backoff.ts";
import { EventParser, type ServerEvent } from "./event_parser.ts";
import { type OverviewState, stateOf, withSample } from "./overview_state.ts";

/** A sample comes each second. */
const SILENT_MS = 10_000;
/** Refusals that asking again soon does not help. */
const REFUSED_DELAY_MS = 15_000;

export interface Live {
  readonly connection: "connecting" | "live" | "lost" | "refused";
  /** Why it is lost or refused. */
  readonly problem: string | null;
  readonly overview: OverviewState | null;
  /** The broker's wall clock less the browser's, ms: ages are by the broker's. */
  readonly clockOffsetMs: number;
}

export const live: Store<Live> = new Store<Live>({
  connection: "connecting",
  problem: null,
  overview: null,
  clockOffsetMs: 0,
});

/** The broker's wall time, ms, as well as it is known. */
export function brokerNow(): number {
  return Date.now() + live.value.clockOffsetMs;
}

/** Connects, and connects again whenever it is lost or the credential changes. Never returns. */
export async function keepLive(): Promise<void> {
  for (let attempt = 0;;) {
    const changed = new AbortController();
    const stop = session.onChange(() => changed.abort());
    try {
      if (session.value.asked === null) await watch(changed.signal, () => attempt = 0);
      else set({ connection: "refused", problem: "a token is needed" });
    } catch (error) {
      if (!changed.signal.aborted) lost(error);
    }
    if (!changed.signal.aborted) {
      const isRefused = live.value.connection === "refused";
      await pause(
        isRefused ? REFUSED_DELAY_MS : reconnectDelayMs(++attempt, Math.random()),
        changed.signal,
      );
    }
    stop();
  }
}

function lost(error: unknown): void {
  const isRefused = error instanceof ApiProblem && [401, 403, 404].includes(error.status);
  set({ connection: isRefused ? "refused" : "lost", problem: textOf(error) });
}

async function watch(signal: AbortSignal, onFirst: () => void): Promise<void> {
  const silent = new AbortController();
  let timer = setTimeout(() => silent.abort(), SILENT_MS);
  try {
    const response = await api.send("GET", "/api/overview:stream", {
      headers: { accept: "text/event-stream" },
      signal: AbortSignal.any([signal, silent.signal]),
    });
    const parser = new EventParser();
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      clearTimeout(timer);
      timer = setTimeout(() => silent.abort(), SILENT_MS);
      for (const event of parser.take(value)) {
        take(event);
        onFirst();
      }
    }
    throw new Error("the broker ended the connection");
  } catch (error) {
    throw silent.signal.aborted ? new Error("the broker has gone silent") : error;
  } finally {
    clearTimeout(timer);
  }
}

function take({ name, data }: ServerEvent): void {
  if (name === "overview") return show(stateOf(JSON.parse(data) as Overview));
  const { overview } = live.value;
  if (name === "sample" && overview !== null) {
    show(withSample(overview, JSON.parse(data) as OverviewNow));
  }
}

function show(overview: OverviewState): void {
  const at = overview.now?.point.at;
  const clockOffsetMs = at === undefined ? live.value.clockOffsetMs : at - Date.now();
  set({ connection: "live", problem: null, overview, clockOffsetMs });
}

function set(changed: Partial<Live>): void {
  live.set({ ...live.value, ...changed });
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve());
  return promise;
}
