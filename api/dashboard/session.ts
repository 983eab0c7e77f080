// Owns the credential that somebody typed, and the one API client that uses it.
// Refuses to own asking for it (components/login.tsx).
// Invariant: the token lives in this tab's session storage alone, and is sent to this broker alone.
import { ApiClient } from "./api_client.ts";
import { Store } from "./store.ts";

const KEY = "waybill.token";

export interface Session {
  readonly token: string | null;
  /** Null: nothing is asked for. Else why a token is asked for. */
  readonly asked: "needed" | "refused" | null;
}

export const session: Store<Session> = new Store<Session>({
  token: sessionStorage.getItem(KEY),
  asked: null,
});

/** Keeps a token and uses it from now on. */
export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
  session.set({ token, asked: null });
}

/** Forgets it. */
export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
  session.set({ token: null, asked: null });
}

/** The client that every page asks through. */
export const api: ApiClient = new ApiClient({
  token: () => session.value.token,
  onUnauthenticated: (refused) => {
    session.set({ ...session.value, asked: refused === null ? "needed" : "refused" });
  },
});
