// Owns tabs: one part of a page at a time, by arrow keys too.
// Refuses to own which is chosen: the address knows (`?tab=`).
// Invariant: as https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ says.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { goTo } from "../hooks.ts";
import { hrefOf, type Place } from "../router.ts";

export interface Tab {
  readonly key: string;
  readonly title: string;
  readonly content: () => ComponentChildren;
}

/** The first tab is shown where the address names none; only the chosen one's content is made. */
export function Tabs(
  { label, tabs, place }: { label: string; tabs: readonly Tab[]; place: Place },
) {
  const id = useId();
  const list = useRef<HTMLDivElement>(null);
  const chosen = tabs.find(({ key }) => key === place.query.tab) ?? tabs[0]!;
  // Where there is little room the strip scrolls.
  useEffect(() => {
    document.getElementById(`${id}-${chosen.key}`)
      ?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [chosen.key]);
  const choose = (index: number) => {
    const at = (index + tabs.length) % tabs.length;
    goTo(hrefOf(place.path, { tab: at === 0 ? undefined : tabs[at]!.key }), { replace: true });
    (list.current?.children[at] as HTMLElement | undefined)?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const index = tabs.indexOf(chosen);
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[
      event.key
    ];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  };
  return (
    <div class="tabs">
      <div class="tab-list" role="tablist" aria-label={label} ref={list} onKeyDown={onKeyDown}>
        {tabs.map((tab, index) => (
          <button
            key={tab.key}
            type="button"
            role="tab"
            id={`${id}-${tab.key}`}
            aria-selected={tab === chosen}
            aria-controls={`${id}-panel`}
            tabIndex={tab === chosen ? 0 : -1}
            onClick={() => choose(index)}
          >
            {tab.title}
          </button>
        ))}
      </div>
      <div
        key={chosen.key}
        role="tabpanel"
        id={`${id}-panel`}
        aria-labelledby={`${id}-${chosen.key}`}
        tabIndex={0}
      >
        {chosen.content()}
      </div>
    </div>
  );
}
