// Owns the frame around every page: brand, menu, connection, messages, and asking for a token where one is needed.
// Refuses to own the pages (pages.ts).
// Invariant: a new page has the focus on its title, so that the keyboard and screen readers follow.
import { useEffect, useRef, useState } from "preact/hooks";
import { Badge } from "./components/badge.tsx";
import { Login } from "./components/login.tsx";
import { Toasts } from "./components/toasts.tsx";
import { usePlace, useStore } from "./hooks.ts";
import { live } from "./live/live_overview.ts";
import { NOT_FOUND, type Page, PAGES } from "./pages.ts";
import { hrefOf, type Place } from "./router.ts";
import { forgetToken, session } from "./session.ts";

export function Shell() {
  const { asked, token } = useStore(session);
  const place = usePlace();
  const page = PAGES.find(({ name }) => name === (place.path[0] ?? "")) ?? NOT_FOUND;
  const title = [...place.path.slice(1), page.title].join(" · ");
  useEffect(() => {
    document.title = `${title} · Waybill`;
  }, [title]);
  return (
    <>
      <a class="skip" href="#main" onClick={skipToMain}>Skip to the content</a>
      <TopBar isSignedIn={token !== null && asked === null} />
      {asked !== null ? <Login reason={asked} /> : (
        <div class="layout">
          <Menu current={page} />
          <Content key={place.path.join("/")} page={page} place={place} />
        </div>
      )}
      <Toasts />
    </>
  );
}

/** The address names the page: a jump within it must not change it. */
function skipToMain(event: Event): void {
  event.preventDefault();
  document.getElementById("main")?.focus();
}

let isFirstContent = true;

function Content({ page, place }: { page: Page; place: Place }) {
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    if (isFirstContent) isFirstContent = false;
    else {
      scrollTo(0, 0);
      (main.current?.querySelector("h1") ?? main.current)?.focus();
    }
  }, []);
  const { Component } = page;
  return (
    <main id="main" tabIndex={-1} ref={main}>
      <Component place={place} />
    </main>
  );
}

function TopBar({ isSignedIn }: { isSignedIn: boolean }) {
  const { overview } = useStore(live);
  return (
    <header class="top">
      <a class="brand" href={hrefOf([])}>
        <img src="/dashboard/icon.svg" alt="" width="26" height="26" />
        Waybill
      </a>
      {overview !== null && (
        <span class="soft node">
          {`node ${overview.nodeId} · version ${overview.version}`}
        </span>
      )}
      <span class="top-end">
        <Connection />
        {isSignedIn && <button type="button" class="button" onClick={forgetToken}>Sign out</button>}
      </span>
    </header>
  );
}

function Connection() {
  const { connection, problem } = useStore(live);
  return (
    <span role="status" title={problem ?? undefined}>
      {connection === "live" && <Badge tone="ok">Live</Badge>}
      {connection === "connecting" && <Badge tone="info">Connecting</Badge>}
      {connection === "lost" && <Badge tone="bad">Not live</Badge>}
      {connection === "refused" && <Badge tone="quiet">Not live</Badge>}
    </span>
  );
}

function Menu({ current }: { current: Page }) {
  const [isOpen, setIsOpen] = useState(false);
  const shown = PAGES.filter(({ isInMenu }) => isInMenu);
  return (
    <nav class="menu" aria-label="Pages">
      <button
        type="button"
        class="button menu-button"
        aria-expanded={isOpen}
        aria-controls="menu-list"
        onClick={() => setIsOpen(!isOpen)}
      >
        <span aria-hidden="true">☰</span> {current.title}
      </button>
      <ul id="menu-list" class={isOpen ? "is-open" : ""}>
        {shown.map((page) => (
          <li key={page.name}>
            <a
              href={hrefOf(page.name === "" ? [] : [page.name])}
              aria-current={page === current ? "page" : undefined}
              onClick={() => setIsOpen(false)}
            >
              {page.title}
            </a>
          </li>
        ))}
        <li class="menu-more">
          <a href="/docs">API</a>
        </li>
      </ul>
    </nav>
  );
}
