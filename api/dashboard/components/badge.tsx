// Owns short marks of a state. Refuses to own which state is which tone.
// Invariant: a tone is told by a sign and in words too, never by colour alone.
import type { ComponentChildren } from "preact";
import type { Tone } from "../tone.ts";

const SIGNS: Readonly<Record<Tone, string>> = {
  ok: "●",
  warn: "▲",
  bad: "◆",
  info: "◐",
  quiet: "○",
};

/** A state in one word or two. */
export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return (
    <span class={`badge badge-${tone}`}>
      <span aria-hidden="true" class="badge-sign">{SIGNS[tone]}</span>
      {children}
    </span>
  );
}
