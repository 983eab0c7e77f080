// Owns asking for a token. Refuses to own keeping it (session.ts).
// Invariant: what was typed goes to session storage and this broker only, and never into the address.
import { useState } from "preact/hooks";
import { keepToken } from "../session.ts";
import { TextField } from "./fields.tsx";

export function Login({ reason }: { reason: "needed" | "refused" }) {
  const [token, setToken] = useState("");
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (token.trim() !== "") keepToken(token.trim());
  };
  return (
    <main class="login" id="main">
      <form class="panel" onSubmit={submit}>
        <h1>Sign in</h1>
        <p class="soft">
          This broker asks for a credential: the administrator's token, an API key, or a JWT. It is
          kept in this tab until you close it.
        </p>
        <TextField
          label="Token"
          type="password"
          value={token}
          onValue={setToken}
          error={reason === "refused" ? "The broker refused the token that was sent." : null}
          autocomplete="current-password"
          autofocus
          required
        />
        <button type="submit" class="button button-main">Sign in</button>
      </form>
    </main>
  );
}
