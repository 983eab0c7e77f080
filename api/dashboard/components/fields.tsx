// Owns form fields with their labels, hints and errors.
// Refuses to own what a value means and checking it: the broker does, and says why.
// Invariant: every field has a visible label, and hint and error belong to it for screen readers.
import type { ComponentChildren } from "preact";
import { useId } from "preact/hooks";

interface FieldProps {
  readonly label: string;
  readonly hint?: ComponentChildren;
  readonly error?: string | null | undefined;
}

interface FrameProps extends FieldProps {
  readonly children: (ids: { id: string; "aria-describedby"?: string }) => ComponentChildren;
}

function Field({ label, hint, error, children }: FrameProps) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({ id, ...(described === "" ? {} : { "aria-describedby": described }) })}
      {hint && <p class="field-hint" id={`${id}-hint`}>{hint}</p>}
      {error && <p class="field-error" id={`${id}-error`}>{error}</p>}
    </div>
  );
}

export interface TextFieldProps extends FieldProps {
  readonly value: string;
  readonly onValue: (value: string) => void;
  readonly type?: "text" | "password" | "search" | "number" | "datetime-local";
  readonly placeholder?: string;
  readonly required?: boolean;
  readonly min?: number;
  readonly max?: number;
  readonly step?: number | "any";
  /** As HTML's `autocomplete`; default off. */
  readonly autocomplete?: string;
  /** Has the focus at first, in dialogs. */
  readonly autofocus?: boolean;
}

/** One line of text; with type "number" the value is still the text that was typed. */
export function TextField(
  { label, hint, error, onValue, type = "text", ...input }: TextFieldProps,
) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => (
        <input
          {...ids}
          // The types are a union over kinds of inputs, of which only one at a time can be said.
          type={type as "text"}
          autocomplete="off"
          spellcheck={false}
          aria-invalid={error ? true : undefined}
          {...input}
          onInput={(event) => onValue(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

export interface TextAreaProps extends FieldProps {
  readonly value: string;
  readonly onValue: (value: string) => void;
  readonly rows?: number;
  readonly required?: boolean;
}

export function TextArea({ label, hint, error, onValue, ...input }: TextAreaProps) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => (
        <textarea
          {...ids}
          rows={4}
          {...input}
          onInput={(event) => onValue(event.currentTarget.value)}
        />
      )}
    </Field>
  );
}

export interface SelectProps<Value extends string> extends FieldProps {
  readonly value: Value;
  readonly options: readonly { readonly value: Value; readonly label: string }[];
  readonly onValue: (value: Value) => void;
}

export function Select<Value extends string>(
  { label, hint, error, value, options, onValue }: SelectProps<Value>,
) {
  return (
    <Field label={label} hint={hint} error={error}>
      {(ids) => (
        <select
          {...ids}
          value={value}
          onChange={(event) => onValue(event.currentTarget.value as Value)}
        >
          {options.map((option) => (
            <option key={option.value} value={option.value}>{option.label}</option>
          ))}
        </select>
      )}
    </Field>
  );
}

export function Checkbox(
  { label, checked, onChecked }: {
    label: string;
    checked: boolean;
    onChecked: (checked: boolean) => void;
  },
) {
  return (
    <label class="checkbox">
      <input
        type="checkbox"
        checked={checked}
        onChange={(event) => onChecked(event.currentTarget.checked)}
      />
      {label}
    </label>
  );
}

/** Fields beside each other where there is room: filters above a list. */
export function FieldRow({ children }: { children: ComponentChildren }) {
  return <div class="field-row">{children}</div>;
}
