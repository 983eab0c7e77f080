// Owns the dialog that shows one message whole: place, key, headers, value, and where its trace is told.
// Refuses to own how it is put as text (../message_text.ts). Invariant: text stays text, whatever it holds.
import type { Message } from "../answers.ts";
import type { ComponentChildren } from "preact";
import { dateTime } from "../format.ts";
import { copyText, keyText, traceIdOf, valueKind, valueText } from "../message_text.ts";
import { hrefOf } from "../router.ts";
import { CopyButton } from "./copy_button.tsx";
import { Dialog } from "./dialog.tsx";
import { Facts } from "./panel.tsx";

export function MessageDialog(
  { message, onClose, children }: {
    message: Message;
    onClose: () => void;
    /** More to know about it, above the value. */
    children?: ComponentChildren;
  },
) {
  const { topic, partition, offset, timestamp, headers, headersBase64 } = message;
  const traceId = traceIdOf(message);
  const all = [
    ...Object.entries(headers),
    ...Object.entries(headersBase64 ?? {}).map(([name, value]) => [name, `base64 ${value}`]),
  ];
  return (
    <Dialog title={`${topic} ${partition}, offset ${offset}`} onClose={onClose} isWide>
      <div class="dialog-body">
        <Facts
          facts={[
            ["Time", timestamp < 0 ? "none" : dateTime(timestamp)],
            ["Key", keyText(message) ?? "none"],
            ...(traceId === null ? [] : [
              [
                "Trace",
                <a key="trace" href={hrefOf(["traces", traceId])} onClick={onClose}>{traceId}</a>,
              ] as const,
            ]),
            ...all.map(([name, value]) =>
              [`Header ${name}`, <span key={name} class="mono">{value}</span>] as const
            ),
          ]}
        />
        {children}
        <h3>Value ({valueKind(message)})</h3>
        <pre tabIndex={0} class="value">{valueText(message)}</pre>
        <div class="dialog-actions">
          <CopyButton label="Copy the value" text={() => copyText(message)} />
          <CopyButton
            label="Copy the message"
            text={() => JSON.stringify(message, null, 2)}
          />
          <button type="button" class="button button-main" onClick={onClose}>Close</button>
        </div>
      </div>
    </Dialog>
  );
}
