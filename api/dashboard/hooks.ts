// Owns how components look at what changes: stores, the address, fields of forms, answers of the API, pages of lists.
// Refuses to own any component.
// Invariant: an answer that comes late, after another was asked for or the component has gone, changes nothing.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { type ApiPage, type Query, textOf } from "./api_client.ts";
import { type Place, placeOf } from "./router.ts";
import { api } from "./session.ts";
import type { Store } from "./store.ts";

/** The store's value, current. */
export function useStore<Value>(store: Store<Value>): Value {
  const [value, setValue] = useState(store.value);
  useEffect(() => {
    setValue(() => store.value);
    return store.onChange(() => setValue(() => store.value));
  }, [store]);
  return value;
}

/** Where somebody is. */
export function usePlace(): Place {
  const [hash, setHash] = useState(location.hash);
  useEffect(() => {
    const changed = () => setHash(location.hash);
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return placeOf(hash);
}

/** Goes to an address (`hrefOf`); `replace`: without a step in the browser's history. */
export function goTo(href: string, { replace = false } = {}): void {
  if (!replace) location.hash = href;
  else {
    history.replaceState(null, "", href);
    dispatchEvent(new HashChangeEvent("hashchange"));
  }
}

/** The fields of a form by their names; `field` is what an input of one takes. */
export function useFields<Fields extends object>(initial: Fields): {
  readonly fields: Fields;
  readonly set: (changed: Partial<Fields>) => void;
  readonly field: <Name extends keyof Fields>(name: Name) => {
    readonly value: Fields[Name];
    readonly onValue: (value: Fields[Name]) => void;
  };
} {
  const [fields, setFields] = useState(initial);
  return {
    fields,
    set: (changed) => setFields({ ...fields, ...changed }),
    field: (name) => ({
      value: fields[name],
      onValue: (value) => setFields({ ...fields, [name]: value }),
    }),
  };
}

/** What was asked for. While it is asked for again, the last answer stays. */
export interface Loaded<Value> {
  readonly value: Value | null;
  /** In words; null: the last answer is good. */
  readonly error: string | null;
  readonly isLoading: boolean;
  readonly reload: () => void;
}

export interface LoadOptions {
  /** Asks again so often while the page can be seen; left out: once. */
  readonly everyMs?: number;
}

/** Asks `load` at first, whenever `key` changes (then the last answer is forgotten), and again when told to. */
export function useLoaded<Value>(
  key: string,
  load: (signal: AbortSignal) => Promise<Value>,
  { everyMs }: LoadOptions = {},
): Loaded<Value> {
  type State = Pick<Loaded<Value>, "value" | "error" | "isLoading"> & { readonly key: string };
  const [state, setState] = useState<State>({ key, value: null, error: null, isLoading: true });
  const [turn, setTurn] = useState(0);
  const isAsking = useRef(false);
  const loadNow = useRef(load);
  loadNow.current = load;
  useEffect(() => {
    const asked = new AbortController();
    isAsking.current = true;
    setState((last) =>
      last.key === key
        ? { ...last, isLoading: true }
        : { key, value: null, error: null, isLoading: true }
    );
    loadNow.current(asked.signal).then(
      (value) => ({ key, value, error: null, isLoading: false }),
      (error) => ({ key, error: textOf(error), isLoading: false }),
    ).then((next) => {
      if (asked.signal.aborted) return;
      isAsking.current = false;
      setState((last) => ({ ...last, ...next }));
    });
    return () => asked.abort();
  }, [key, turn]);
  useEffect(() => {
    if (everyMs === undefined) return;
    const timer = setInterval(() => {
      // An answer that takes longer than a turn is waited for: asking again would give it up.
      if (!document.hidden && !isAsking.current) setTurn((last) => last + 1);
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  const reload = useCallback(() => setTurn((last) => last + 1), []);
  const { value, error, isLoading } = state.key === key
    ? state
    : { value: null, error: null, isLoading: true };
  return { value, error, isLoading, reload };
}

/** A list that the broker pages. */
export interface Paged<Entry> extends Loaded<ApiPage<Entry>> {
  /** From 1. */
  readonly pageNumber: number;
  /** Null where there is none. */
  readonly next: (() => void) | null;
  readonly previous: (() => void) | null;
}

export interface PagedOptions extends LoadOptions {
  readonly query?: Query;
  readonly limit?: number;
}

/** Pages of the list `name` at `path`; another path or query starts at the first. */
export function usePaged<Entry>(
  path: string,
  name: string,
  { query = {}, limit = 25, ...options }: PagedOptions = {},
): Paged<Entry> {
  const list = JSON.stringify([path, query, limit]);
  const [place, setPlace] = useState<{ list: string; cursors: readonly string[] }>({
    list,
    cursors: [],
  });
  const cursors = place.list === list ? place.cursors : [];
  const cursor = cursors.at(-1);
  const loaded = useLoaded(
    `${list} ${cursor ?? ""}`,
    (signal) => api.page<Entry>(path, name, { query: { ...query, limit, cursor }, signal }),
    options,
  );
  const nextCursor = loaded.value?.nextCursor ?? null;
  return {
    ...loaded,
    pageNumber: cursors.length + 1,
    next: nextCursor === null ? null : () => setPlace({ list, cursors: [...cursors, nextCursor] }),
    previous: cursors.length === 0 ? null : () => setPlace({ list, cursors: cursors.slice(0, -1) }),
  };
}

/** Whether the page is dark; for canvases, whose colours no style sheet sets. */
export function useIsDark(): boolean {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [isDark, setIsDark] = useState(query.matches);
  useEffect(() => {
    const changed = () => setIsDark(query.matches);
    query.addEventListener("change", changed);
    return () => query.removeEventListener("change", changed);
  }, []);
  return isDark;
}

/** Runs an action once at a time; its error is told in words until it is run again. */
export function useAction(): {
  readonly isBusy: boolean;
  readonly error: string | null;
  /** Resolves to whether it went well. */
  readonly run: (action: () => Promise<void>) => Promise<boolean>;
  readonly clear: () => void;
} {
  const [state, setState] = useState<{ isBusy: boolean; error: string | null }>({
    isBusy: false,
    error: null,
  });
  const busy = useRef(false);
  const run = useCallback(async (action: () => Promise<void>) => {
    if (busy.current) return false;
    busy.current = true;
    setState({ isBusy: true, error: null });
    try {
      await action();
      setState({ isBusy: false, error: null });
      return true;
    } catch (error) {
      setState({ isBusy: false, error: textOf(error) });
      return false;
    } finally {
      busy.current = false;
    }
  }, []);
  return { ...state, run, clear: useCallback(() => setState({ isBusy: false, error: null }), []) };
}
