// Owns what may be done to a whole group: pause, resume, delete.
// Refuses to own moving its offsets (move_offsets.tsx). Invariant: each says first what it will do, and asks why where it can.
import { useState } from "preact/hooks";
import { pathOf } from "../../api_client.ts";
import { ActionDialog } from "../../components/dialog.tsx";
import { ReasonDialog } from "../../components/reason_dialog.tsx";
import { tell } from "../../components/toasts.tsx";
import { plural } from "../../format.ts";
import { goTo } from "../../hooks.ts";
import { hrefOf } from "../../router.ts";
import { api } from "../../session.ts";
import type { GroupProps } from "./group_page.tsx";

export function GroupActions({ group, reload }: GroupProps) {
  const [open, setOpen] = useState<"pause" | "resume" | "delete" | null>(null);
  const { groupId, members } = group;
  const path = pathOf("api", "groups", groupId);
  const close = () => setOpen(null);
  return (
    <>
      {group.paused === null
        ? (
          <button type="button" class="button" onClick={() => setOpen("pause")}>
            Pause…
          </button>
        )
        : (
          <button type="button" class="button button-main" onClick={() => setOpen("resume")}>
            Resume…
          </button>
        )}
      <button
        type="button"
        class="button button-danger"
        disabled={members.length > 0}
        title={members.length > 0 ? "Only a group without members can be deleted" : undefined}
        onClick={() => setOpen("delete")}
      >
        Delete…
      </button>
      {open === "pause" && (
        <ReasonDialog
          title={`Pause ${groupId}`}
          confirm="Pause"
          onClose={close}
          action={async (reason) => {
            await api.post(`${path}:pause`, { reason });
            tell(`${groupId} is paused`);
            reload();
          }}
        >
          <p>
            Nothing more is delivered to its {plural(members.length, "member")}{" "}
            until it is resumed. They stay, and may commit what they have.
          </p>
        </ReasonDialog>
      )}
      {open === "resume" && (
        <ReasonDialog
          title={`Resume ${groupId}`}
          confirm="Resume"
          isReasonNeeded={false}
          onClose={close}
          action={async (reason) => {
            await api.post(`${path}:resume`, { reason });
            tell(`${groupId} is delivered to again`);
            reload();
          }}
        >
          <p>Messages are delivered again, from the committed offsets on.</p>
        </ReasonDialog>
      )}
      {open === "delete" && (
        <ActionDialog
          title={`Delete ${groupId}`}
          confirm="Delete the group"
          isDangerous
          onClose={close}
          action={async () => {
            await api.delete(path);
            tell(`${groupId} is deleted`);
            goTo(hrefOf(["groups"]));
          }}
        >
          <p>
            The group goes with its {plural(group.offsets.length, "committed offset")}{" "}
            and its retries. Its messages stay in their topics; a group of this name would begin
            anew.
          </p>
        </ActionDialog>
      )}
    </>
  );
}
