// Owns copying text. Refuses to own the text.
// Invariant: where the browser allows no clipboard (a page that is not served securely), it says so.
import { tell } from "./toasts.tsx";

export function CopyButton({ text, label }: { text: () => string; label: string }) {
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text());
      tell("Copied");
    } catch {
      tell("This browser allows copying on secure pages (https or localhost) only", "bad");
    }
  };
  return <button type="button" class="button button-small" onClick={copy}>{label}</button>;
}
