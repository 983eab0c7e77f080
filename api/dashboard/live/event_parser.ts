// Owns reading server-sent events from pieces of text as they come.
// Refuses to own the connection (live_overview.ts) and what events mean.
// Invariant: an event is told once and whole, wherever its text was cut.
// Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

/** More text without the end of an event is none that this broker sends. */
const MAX_PENDING_CHARS = 8_388_608;

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

export class EventParser {
  #pending = "";
  #name = "";
  #data: string[] = [];

  /** Events that end in `text`, in order. Throws where one grows beyond all bounds. */
  take(text: string): ServerEvent[] {
    this.#pending += text;
    const found: ServerEvent[] = [];
    let start = 0;
    for (;;) {
      const end = this.#pending.indexOf("\n", start);
      if (end < 0) break;
      const event = this.#line(this.#pending.slice(start, end).replace(/\r$/, ""));
      if (event !== null) found.push(event);
      start = end + 1;
    }
    this.#pending = this.#pending.slice(start);
    if (this.#pending.length > MAX_PENDING_CHARS) throw new Error("an event without end");
    return found;
  }

  #line(line: string): ServerEvent | null {
    if (line === "") return this.#dispatch();
    const cut = line.indexOf(":");
    const field = cut < 0 ? line : line.slice(0, cut);
    const value = cut < 0 ? "" : line.slice(cut + 1).replace(/^ /, "");
    if (field === "event") this.#name = value;
    if (field === "data") this.#data.push(value);
    return null;
  }

  #dispatch(): ServerEvent | null {
    const event = { name: this.#name || "message", data: this.#data.join("\n") };
    const isEmpty = this.#data.length === 0;
    this.#name = "";
    this.#data = [];
    return isEmpty ? null : event;
  }
}
