// Owns writing HTML in which every text is escaped unless it is HTML already.
// Refuses to own any page.
// Invariant: a string that is put into `html` can never become markup.

/** Markup that is safe to put into markup. */
export class Html {
  constructor(readonly text: string) {}
}

/** What may stand in a template: text (escaped), numbers, markup, lists of markup, nothing. */
export type HtmlPart = string | number | Html | readonly Html[] | null | undefined | false;

/** Tagged template: markup from literal parts, with everything else escaped. */
export function html(strings: TemplateStringsArray, ...parts: readonly HtmlPart[]): Html {
  let text = strings[0]!;
  for (let index = 0; index < parts.length; index++) {
    text += partText(parts[index]) + strings[index + 1]!;
  }
  return new Html(text);
}

function partText(part: HtmlPart): string {
  if (part === null || part === undefined || part === false) return "";
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map((item) => item.text).join("");
  return escapeText(String(part));
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeText(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
}

/** Text in which `code` stands between backticks. */
export function prose(text: string): Html[] {
  return text.split("`").map((part, index) =>
    index % 2 === 1 ? html`<code>${part}</code>` : html`${part}`
  );
}

/** Text in paragraphs (between empty lines), of which those whose lines start with `- ` are lists. */
export function paragraphs(text: string): Html[] {
  return text.split(/\n{2,}/).map((block) => {
    const lines = block.split("\n");
    if (!lines.every((line) => line.startsWith("- "))) return html`<p>${prose(block)}</p>`;
    return html`<ul>${lines.map((line) => html`<li>${prose(line.slice(2))}</li>`)}</ul>`;
  });
}
