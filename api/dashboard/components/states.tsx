// Owns what stands where content is missing: nothing there, not there yet, could not be had; and progress.
// Refuses to own why. Invariant: each says in words what is the matter, to screen readers too.
import type { ComponentChildren } from "preact";
import type { Loaded } from "../hooks.ts";
import { percent } from "../format.ts";

/** There is nothing, and that is all right. */
export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

export function Loading({ what = "Loading" }: { what?: string }) {
  return (
    <p class="loading" role="status">
      <span class="spinner" aria-hidden="true" />
      {what}…
    </p>
  );
}

/** Why something could not be had or done. */
export function ErrorBox({ text, onRetry }: { text: string; onRetry?: (() => void) | undefined }) {
  return (
    <div class="notice notice-bad" role="alert">
      <p>{text}</p>
      {onRetry && <button type="button" class="button" onClick={onRetry}>Try again</button>}
    </div>
  );
}

/** A remark that stands beside content. */
export function Notice(
  { tone = "info", children }: {
    tone?: "info" | "warn" | "bad" | "ok";
    children: ComponentChildren;
  },
) {
  return <div class={`notice notice-${tone}`}>{children}</div>;
}

/** What was loaded, or what stands in for it. An answer that is there stays, with the error above it. */
export function WhenLoaded<Value>(
  { loaded, children }: { loaded: Loaded<Value>; children: (value: Value) => ComponentChildren },
) {
  const { value, error, reload } = loaded;
  return (
    <>
      {error !== null && <ErrorBox text={error} onRetry={reload} />}
      {value !== null ? children(value) : error === null && <Loading />}
    </>
  );
}

/** How much of something is done, `share` from 0 to 1. */
export function Progress({ share, label }: { share: number; label: string }) {
  const bounded = Math.min(1, Math.max(0, share));
  return (
    <div class="progress">
      <progress value={bounded} max={1} aria-label={label} />
      <span class="num">{percent(Math.floor(bounded * 1_000) / 1_000)}</span>
    </div>
  );
}
