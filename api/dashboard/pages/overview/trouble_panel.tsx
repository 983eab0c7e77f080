// Owns telling which groups are in trouble, since when and why: the first thing an operator asks.
// Refuses to own what trouble is (the broker says). Invariant: all three stand in one line of sight, with the way to the group.
import { Badge } from "../../components/badge.tsx";
import { Panel } from "../../components/panel.tsx";
import { Sparkline } from "../../components/sparkline.tsx";
import { clockTime, count, duration, plural } from "../../format.ts";
import { hrefOf } from "../../router.ts";
import { directionOf, groupsInTrouble, type OverviewSeen, type Trouble } from "./summary.ts";
import { directionWords, troubleCount, troubleTone, troubleWord, worstTone } from "./wording.ts";

/** More are counted; the list of groups shows them all. */
const MAX_SHOWN = 4;

export function TroublePanel({ overview }: { overview: OverviewSeen }) {
  const now = overview.now!;
  const inTrouble = groupsInTrouble(overview);
  if (inTrouble.length === 0) {
    return (
      <Panel title="Groups in trouble" tone="ok" aside={<Badge tone="ok">None</Badge>}>
        <p class="soft">
          {now.groups.length === 0
            ? "No group reads from this broker yet."
            : `${plural(now.groups.length, "group keeps", "groups keep")} up.`}
        </p>
      </Panel>
    );
  }
  const tone = worstTone(inTrouble);
  const rest = inTrouble.length - MAX_SHOWN;
  return (
    <Panel
      title="Groups in trouble"
      tone={tone}
      aside={<Badge tone={tone}>{troubleCount(inTrouble)}</Badge>}
    >
      <ul class="troubles">
        {inTrouble.slice(0, MAX_SHOWN).map((one) => (
          <Item
            key={one.group}
            one={one}
            nowMs={now.point.at}
            trend={overview.trends[one.group] ?? []}
          />
        ))}
      </ul>
      {rest > 0 && (
        <p>
          <a href={hrefOf(["groups"])}>and {plural(rest, "more group")}</a>
        </p>
      )}
    </Panel>
  );
}

interface ItemProps {
  readonly one: Trouble;
  readonly nowMs: number;
  readonly trend: readonly number[];
}

function Item({ one, nowMs, trend }: ItemProps) {
  const { group, trouble, totalLag, maxLagSeconds } = one;
  const direction = directionWords(directionOf(trend));
  const since = new Date(trouble.since).toISOString();
  return (
    <li class={one.isForgotten ? "trouble trouble-quiet" : "trouble"}>
      <div class="trouble-main">
        <p class="trouble-title">
          <a href={hrefOf(["groups", group])}>{group}</a>
          <Badge tone={troubleTone(one)}>{troubleWord(one)}</Badge>
          <span>
            for <b class="num">{duration(Math.floor((nowMs - trouble.since) / 1_000))}</b>,{" "}
            <span class="soft">
              since <time dateTime={since}>{clockTime(trouble.since, nowMs)}</time>
            </span>
          </span>
        </p>
        <p class="trouble-why">{trouble.why}</p>
        <p class="soft num">
          {plural(totalLag, "message")} behind
          {maxLagSeconds === null ? "" : `, the oldest ${duration(Math.round(maxLagSeconds))} old`}
          {direction === null ? "" : `; ${direction}`}
        </p>
      </div>
      <div class="trouble-side">
        <Sparkline values={trend} label={`Lag of ${group}`} format={count} />
        <a class="button button-small" href={hrefOf(["groups", group])}>
          Look at it<span class="unseen">: {group}</span>
        </a>
      </div>
    </li>
  );
}
