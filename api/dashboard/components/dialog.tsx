// Owns dialogs: the browser's own, so that focus stays inside, Escape closes, and focus goes back afterwards.
// Refuses to own what is confirmed. Invariant: an action that failed leaves the dialog open and says why.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { useAction } from "../hooks.ts";
import { ErrorBox } from "./states.tsx";

export interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
  readonly isWide?: boolean;
}

/** Open for as long as it is there. */
export function Dialog({ title, onClose, children, isWide }: DialogProps) {
  const id = useId();
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current!;
    const before = document.activeElement as HTMLElement | null;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      class={isWide ? "dialog dialog-wide" : "dialog"}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

export interface ActionDialogProps {
  readonly title: string;
  /** What the button that does it says. */
  readonly confirm: string;
  readonly isDangerous?: boolean;
  /** False: the button cannot be pressed yet (a reason is missing). */
  readonly isReady?: boolean;
  readonly isWide?: boolean;
  /** Fields, and what it comes to. */
  readonly children?: ComponentChildren;
  /** Does it; the dialog closes when it went well. */
  readonly action: () => Promise<void>;
  readonly onClose: () => void;
}

/** Asks before something is done; with fields, if need be. */
export function ActionDialog(props: ActionDialogProps) {
  const { title, confirm, isDangerous, isReady = true, isWide, children, action, onClose } = props;
  const { isBusy, error, run } = useAction();
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (isReady && await run(action)) onClose();
  };
  return (
    <Dialog title={title} onClose={onClose} {...isWide === undefined ? {} : { isWide }}>
      <form onSubmit={submit} aria-busy={isBusy}>
        <div class="dialog-body">{children}</div>
        {error !== null && <ErrorBox text={error} />}
        <div class="dialog-actions">
          <button type="button" class="button" onClick={onClose}>Cancel</button>
          <button
            type="submit"
            class={isDangerous ? "button button-danger" : "button button-main"}
            disabled={isBusy || !isReady}
          >
            {isBusy ? "Working…" : confirm}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
