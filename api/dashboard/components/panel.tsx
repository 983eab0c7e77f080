// Owns the frames that pages are laid out in: page head, panels, figures, lists of facts.
// Refuses to own what stands in them. Invariant: headings go down by one level: h1 the page, h2 a panel.
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

/** Title of a page with what may be done on it. */
export function PageHead(
  { title, children, lead }: {
    title: ComponentChildren;
    lead?: ComponentChildren;
    /** Buttons and links. */
    children?: ComponentChildren;
  },
) {
  return (
    <header class="page-head">
      <div>
        <h1 tabIndex={-1}>{title}</h1>
        {lead && <p class="lead">{lead}</p>}
      </div>
      {children && <div class="actions">{children}</div>}
    </header>
  );
}

export interface PanelProps {
  readonly title: string;
  /** Beside the title: a badge, a sum. */
  readonly aside?: ComponentChildren;
  /** Buttons and links at the right. */
  readonly actions?: ComponentChildren;
  readonly tone?: "bad" | "warn" | "ok";
  /** Its content reaches to the edges: a table. */
  readonly isFlush?: boolean;
  readonly children: ComponentChildren;
}

export function Panel({ title, aside, actions, tone, isFlush, children }: PanelProps) {
  const id = useId();
  const classes = ["panel", tone && `panel-${tone}`, isFlush && "panel-flush"];
  return (
    <section class={classes.filter(Boolean).join(" ")} aria-labelledby={id}>
      <header class="panel-head">
        <h2 id={id}>{title}</h2>
        {aside && <div class="panel-aside">{aside}</div>}
        {actions && <div class="actions">{actions}</div>}
      </header>
      <div class="panel-body">{children}</div>
    </section>
  );
}

/** One figure with its name, and what to know about it. */
export function Figure(
  { name, value, note, tone }: {
    name: string;
    value: ComponentChildren;
    note?: ComponentChildren;
    tone?: "ok" | "warn" | "bad" | undefined;
  },
) {
  return (
    <div class={`figure${tone ? ` figure-${tone}` : ""}`}>
      <dt>{name}</dt>
      <dd class="figure-value">{value}</dd>
      {note && <dd class="figure-note">{note}</dd>}
    </div>
  );
}

/** `Figure`s in a row. */
export function Figures({ children }: { children: ComponentChildren }) {
  return <dl class="figures">{children}</dl>;
}

/** Facts by name, one below the other. */
export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren])[] }) {
  return (
    <dl class="facts">
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
