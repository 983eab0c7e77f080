// Owns short messages about what was just done; read out by screen readers.
// Refuses to own errors of forms: they stand where they arose.
// Invariant: bounded, and each goes by itself.
import { useStore } from "../hooks.ts";
import { Store } from "../store.ts";

const SHOWN_MS = 6_000;
const MAX_TOASTS = 4;

interface Toast {
  readonly id: number;
  readonly text: string;
  readonly tone: "ok" | "bad";
}

const toasts = new Store<readonly Toast[]>([]);
let lastId = 0;

/** Tells something for some seconds. */
export function tell(text: string, tone: Toast["tone"] = "ok"): void {
  const id = ++lastId;
  toasts.set([...toasts.value, { id, text, tone }].slice(-MAX_TOASTS));
  setTimeout(() => forget(id), SHOWN_MS);
}

function forget(id: number): void {
  toasts.set(toasts.value.filter((toast) => toast.id !== id));
}

/** Where they are shown: once on a page. */
export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {useStore(toasts).map(({ id, text, tone }) => (
        <div key={id} class={`toast toast-${tone}`}>
          <span>{text}</span>
          <button type="button" class="close" aria-label="Dismiss" onClick={() => forget(id)}>
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
