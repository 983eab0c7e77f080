// Owns dialogs in two steps: look at what would happen (a dry run), then do it.
// Refuses to own what is asked for, and the dialog itself (dialog.tsx).
// Invariant: only what was looked at can be done: another request needs another look.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { useAction } from "../hooks.ts";
import { Dialog } from "./dialog.tsx";
import { ErrorBox } from "./states.tsx";

export interface PreviewDialogProps<Preview> {
  readonly title: string;
  /** What the button that does it says, of what was found. */
  readonly confirm: (preview: Preview) => string;
  readonly isDangerous?: boolean;
  /** False: something is missing that the look needs. */
  readonly isReady?: boolean;
  /** Whether there is anything to do; default: always. */
  readonly hasWork?: (preview: Preview) => boolean;
  /** What is asked for, as text: a look at another one does not count. */
  readonly request: string;
  readonly preview: () => Promise<Preview>;
  /** What would happen, in words and tables. */
  readonly show: (preview: Preview) => ComponentChildren;
  readonly action: () => Promise<void>;
  readonly onClose: () => void;
  /** The fields. */
  readonly children: ComponentChildren;
}

export function PreviewDialog<Preview>(props: PreviewDialogProps<Preview>) {
  const { title, isReady = true, hasWork = () => true, request, onClose } = props;
  const { isBusy, error, run } = useAction();
  const [looked, setLooked] = useState<{ request: string; preview: Preview } | null>(null);
  const found = looked?.request === request ? looked.preview : null;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!isReady) return;
    if (found !== null) {
      if (hasWork(found) && await run(props.action)) onClose();
      return;
    }
    await run(async () => setLooked({ request, preview: await props.preview() }));
  };
  return (
    <Dialog title={title} onClose={onClose} isWide>
      <form onSubmit={submit} aria-busy={isBusy}>
        <div class="dialog-body">{props.children}</div>
        <div role="status" class="preview">
          {found === null
            ? <p class="soft">Preview first: it changes nothing and says what would happen.</p>
            : props.show(found)}
        </div>
        {error !== null && <ErrorBox text={error} />}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          {found === null
            ? (
              <button
                key="look"
                type="submit"
                class="button button-main"
                disabled={isBusy || !isReady}
              >
                {isBusy ? "Working…" : "Preview"}
              </button>
            )
            : (
              <button
                key="do"
                type="submit"
                class={props.isDangerous ? "button button-danger" : "button button-main"}
                disabled={isBusy || !hasWork(found)}
              >
                {isBusy ? "Working…" : props.confirm(found)}
              </button>
            )}
        </div>
      </form>
    </Dialog>
  );
}
