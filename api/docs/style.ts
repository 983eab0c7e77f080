// Owns the look of the documentation page: one style sheet, no outside font, image or script.
// Refuses to own what the page says.
// Invariant: readable in light and dark, on a phone and on paper, and without any script.

/** The style sheet, as it stands in the page: its hash allows it in the page's content security policy. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ink: light-dark(#1c2430, #dfe5ee);
  --soft: light-dark(#5a6675, #93a0b2);
  --paper: light-dark(#ffffff, #12161d);
  --panel: light-dark(#f5f7fa, #1a2029);
  --line: light-dark(#dfe4ea, #2b3442);
  --accent: light-dark(#0b5cad, #6cb2ff);
  --get: light-dark(#0b6e4f, #4fd1a1);
  --post: light-dark(#0b5cad, #6cb2ff);
  --patch: light-dark(#8a5a00, #e5b455);
  --put: light-dark(#8a5a00, #e5b455);
  --delete: light-dark(#b3261e, #ff8a80);
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body {
  margin: 0; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
}
code, pre, .path, .method, td.name {
  font-family: ui-monospace, "SF Mono", "Cascadia Code", Menlo, Consolas, monospace;
}
code { font-size: .88em; background: var(--panel); border-radius: 4px; padding: .1em .3em; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
.layout { display: grid; grid-template-columns: 19rem minmax(0, 1fr); max-width: 84rem; margin: 0 auto; }
nav {
  position: sticky; top: 0; align-self: start; height: 100vh; overflow-y: auto;
  padding: 2rem 1rem 2rem 1.5rem; border-right: 1px solid var(--line); font-size: .9rem;
}
nav h2 { margin: 1.4rem 0 .3rem; font-size: .75rem; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); }
nav ul { list-style: none; margin: 0; padding: 0; }
nav li { margin: .1rem 0; display: flex; gap: .5rem; align-items: baseline; }
nav .method { font-size: .62rem; width: 3.2rem; flex: none; text-align: right; }
nav a { color: var(--ink); }
main { padding: 2rem 2.5rem 6rem; min-width: 0; }
header h1 { margin: 0; font-size: 2.1rem; letter-spacing: -.02em; }
header p { margin: .4rem 0 0; color: var(--soft); max-width: 46rem; }
main h2 { margin: 3.5rem 0 1rem; padding-bottom: .4rem; border-bottom: 1px solid var(--line); font-size: 1.45rem; }
article { margin: 0 0 2.5rem; padding: 1.4rem 1.6rem; border: 1px solid var(--line); border-radius: 12px; }
article h3 { margin: 0; font-size: 1.1rem; }
article h4 { margin: 1.4rem 0 .4rem; font-size: .75rem; letter-spacing: .08em; text-transform: uppercase; color: var(--soft); }
article > p, article > ul { margin: .4rem 0 0; max-width: 46rem; color: var(--soft); }
.endpoint { display: flex; flex-wrap: wrap; gap: .6rem; align-items: baseline; margin: .6rem 0 0; }
.path { overflow-wrap: anywhere; font-size: .95rem; }
.path b { color: var(--accent); font-weight: 600; }
.method { font-weight: 700; font-size: .78rem; letter-spacing: .03em; }
.get { color: var(--get); } .post { color: var(--post); } .patch { color: var(--patch); }
.put { color: var(--put); } .delete { color: var(--delete); }
.tag { font-size: .72rem; color: var(--soft); border: 1px solid var(--line); border-radius: 99px; padding: .05em .6em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: 600; color: var(--soft); font-size: .78rem; }
th, td { padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.name { white-space: nowrap; font-size: .86rem; }
td.name i, .required { color: var(--delete); font-style: normal; font-size: .72rem; }
td.type { white-space: nowrap; color: var(--soft); font-size: .84rem; }
pre { margin: .3rem 0 0; padding: .9rem 1rem; overflow-x: auto; background: var(--panel); border-radius: 8px; font-size: .82rem; line-height: 1.5; }
pre code { background: none; padding: 0; font-size: 1em; }
details { margin: .3rem 0; }
details details { margin-left: 1rem; }
summary { cursor: pointer; }
summary:hover { color: var(--accent); }
.status { font-weight: 700; display: inline-block; min-width: 2.6rem; }
.bounds { color: var(--soft); font-size: .82rem; }
:target { outline: 2px solid var(--accent); outline-offset: 4px; border-radius: 12px; }
@media (max-width: 56rem) {
  .layout { display: block; }
  nav { position: static; height: auto; border-right: 0; border-bottom: 1px solid var(--line); }
  main { padding: 1.5rem 1rem 4rem; }
  article { padding: 1rem; }
}
@media print { nav { display: none; } .layout { display: block; } article { break-inside: avoid; } }
`;
