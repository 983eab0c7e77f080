// Owns the start of the dashboard in a browser. Refuses to own anything else.
// Invariant: one shell, one live connection.
import { render } from "preact";
import { keepLive } from "./live/live_overview.ts";
import { Shell } from "./shell.tsx";

render(<Shell />, document.getElementById("app")!);
void keepLive();
