// Owns the search above a list: what is typed goes into the address (`?search=`) when typing pauses.
// Refuses to own searching: the broker does. Invariant: a link to the page keeps what was searched for.
import { useEffect, useRef, useState } from "preact/hooks";
import { goTo } from "../hooks.ts";
import { hrefOf, type Place } from "../router.ts";
import { TextField } from "./fields.tsx";

const PAUSE_MS = 250;

export function SearchField({ label, place }: { label: string; place: Place }) {
  const inAddress = place.query.search ?? "";
  const [text, setText] = useState(inAddress);
  const written = useRef(inAddress);
  useEffect(() => {
    // Somebody went back, or followed a link.
    if (inAddress !== written.current) setText(inAddress);
    written.current = inAddress;
  }, [inAddress]);
  useEffect(() => {
    if (text === inAddress) return;
    const timer = setTimeout(() => {
      written.current = text;
      goTo(hrefOf(place.path, { ...place.query, search: text }), { replace: true });
    }, PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return <TextField label={label} type="search" value={text} onValue={setText} />;
}
