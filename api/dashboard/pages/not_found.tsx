// Owns what is shown where the address names no page. Invariant: it says so, and where to go.
import { PageHead } from "../components/panel.tsx";
import { Empty } from "../components/states.tsx";
import { hrefOf } from "../router.ts";

export function NotFoundPage() {
  return (
    <>
      <PageHead title="Not found" />
      <Empty>
        There is no such page. <a href={hrefOf([])}>To the overview</a>
      </Empty>
    </>
  );
}
