// Owns saving what was fetched as a file: links cannot send a credential, fetch can.
// Refuses to own fetching it. Invariant: the object URL is given back.

const KEPT_MS = 10_000;

export function saveAs(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  // The browser reads it after the click.
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}
