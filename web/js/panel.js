// @ts-check
/**
 * The panel: one element that shows the list of runs, one run, or several compared.
 *
 * In: a store and calls. Out: an element and the way to end it. Each view is a list of widgets; all of them are drawn at
 * most once a frame, from the store alone, so the page after a reload is the page before it.
 */

import { el, setText, show } from "./dom.js";
import { status } from "./format.js";
import { isAside, isBusy } from "./run_store.js";
import { followTheme } from "./theme.js";
import { createAsks } from "./widgets/asks.js";
import { createCheckpointTable } from "./widgets/checkpoint_table.js";
import { createCompare } from "./widgets/compare.js";
import { createControls } from "./widgets/controls.js";
import { createDamages } from "./widgets/damages.js";
import { createEmptyState } from "./widgets/empty_state.js";
import { createLogTail } from "./widgets/log_tail.js";
import { createLossChart } from "./widgets/loss_chart.js";
import { createNotices } from "./widgets/notices.js";
import { createOutcome } from "./widgets/outcome.js";
import { createPictureStrip } from "./widgets/picture_strip.js";
import { createPlanTable } from "./widgets/plan_table.js";
import { createProgress } from "./widgets/progress.js";
import { createQueue } from "./widgets/queue.js";
import { createRunHeader } from "./widgets/run_header.js";
import { createRunsList } from "./widgets/runs_list.js";

/**
 * @typedef {import("./run_store.js").RunStore} RunStore
 * @typedef {import("./steering.js").ActionId} ActionId
 * @typedef {{
 *   run: import("./run_store.js").RunView, asked: import("./pending.js").Pending, asks: import("./run_store.js").Ask[],
 *   answering: Set<string>, mending: boolean, tries: import("./tries.js").Tries, now: number,
 * }} WidgetView
 * @typedef {{
 *   open: (runId: string) => void, close: () => void, compare: (runIds: string[]) => void,
 *   act: (id: ActionId, runId: string, detail: Record<string, any>) => void,
 *   move: (runId: string, position: number) => void,
 *   waiting: (ask: import("./run_store.js").Ask) => Promise<string|null>,
 *   answer: (ask: import("./run_store.js").Ask, word: "agree"|"decline") => void, mend: (runId: string) => void,
 *   pictureUrl: (runId: string, name: string, size: number, version: string) => string,
 *   outputUrl: (picture: import("./tries.js").OutputPicture) => string,
 *   thumbnailUrl: (runId: string, version: string) => string,
 *   enlarge: (pictures: {url: string, caption: string}[], first: number) => void,
 *   losses: (runId: string, from: number, to: number) => Promise<any[][]|null>,
 *   log: (runId: string) => Promise<string|null>,
 *   setting: (id: string) => any,
 *   again: () => void, addTrainNode: () => void,
 * }} Calls what widgets may ask for; they know neither ComfyUI nor the server
 * @typedef {{element: HTMLElement, render: (view: any) => void, destroy: () => unknown}} Widget
 */

/** Widgets of one run: those of the card at its top, then the cards below. */
const CARD = [createOutcome, createProgress];
const BELOW = [createCheckpointTable, createPictureStrip, createNotices, createPlanTable, createLogTail];

const AGES_MS = 30_000;

/** @param {Document} document @param {RunStore} store @param {Calls} calls */
export function createPanel(document, store, calls) {
  const announcer = el(document, "p", { class: "wz-sr", role: "status" });
  const alarm = createAlarm(document, calls);
  const list = createListView(document, calls);
  const run = createRunView(document, calls);
  const compare = createCompare(document, calls);
  const wait = el(document, "p", { class: "wz-muted wz-center" }, "Loading…");
  const old = el(document, "p", { class: "wz-alarm", role: "status", hidden: true });
  const element = el(
    document,
    "section",
    { class: "wz-panel", "aria-label": "Wizdroid training" },
    announcer,
    alarm.element,
    old,
    wait,
    list.element,
    run.element,
    compare.element,
  );

  let scheduled = 0;
  /** @type {HTMLElement|null} */
  let current = null;
  let announced = "";
  let listScroll = 0;

  function render() {
    scheduled = 0;
    const now = Date.now() / 1000;
    const { open, openId, compared } = store;
    if (current === list.element) listScroll = element.scrollTop;
    // Until a run's snapshot has come the view before it stays, instead of flashing by.
    const coming = openId !== null && !open;
    const wanted = compared ? compare.element : open ? run.element : (coming && current) || list.element;
    alarm.render(store.failure);
    element.classList.toggle("wz-old-numbers", store.gone !== null);
    show(old, store.gone !== null);
    if (store.gone !== null)
      setText(old, `ComfyUI is away. These numbers are of ${new Date(store.gone * 1000).toLocaleTimeString()}; a run goes on without it.`);
    element.setAttribute("aria-busy", String(coming));
    show(wait, !store.loaded && !store.failure && wanted === list.element);
    for (const each of [list.element, run.element, compare.element]) show(each, each === wanted);
    if (wanted === list.element)
      list.render({
        unknown: store.unknown,
        runs: store.runs,
        queue: store.queue,
        asks: store.asks,
        answering: store.answering,
        aside: store.aside,
        loaded: store.loaded,
        now,
      });
    if (compared) compare.render(compared);
    if (open) {
      run.render({
        run: open,
        asked: store.asked,
        asks: store.asks.filter((each) => each.run_id === open.run_id),
        answering: store.answering,
        mending: store.mending.has(open.run_id),
        tries: store.tries,
        now,
      });
      announce(open.state);
    }
    if (wanted !== current) {
      if (current) focusHeading(wanted);
      element.scrollTop = wanted === list.element ? listScroll : 0;
      if (wanted === list.element) list.settle();
      current = wanted;
    }
  }

  /** A screen reader hears of each new state of the run, not of each step. @param {import("./run_state.js").RunState} state */
  function announce(state) {
    if (announced !== state.status) setText(announcer, announced ? status(state) : "");
    announced = state.status;
  }

  function schedule() {
    if (!scheduled) scheduled = requestAnimationFrame(render);
  }

  /** Escape leads back, as the arrow does; menus and dialogs take it for themselves first. @param {KeyboardEvent} event */
  function leave(event) {
    if (event.key !== "Escape" || event.defaultPrevented || !(store.openId || store.compared)) return;
    if (element.querySelector("dialog[open], [role='menu']:not([hidden])")) return;
    event.preventDefault();
    event.stopPropagation();
    calls.close();
  }
  element.addEventListener("keydown", leave);
  store.addEventListener("change", schedule);
  const timer = setInterval(() => store.looking && schedule(), AGES_MS);
  const unwatch = store.watch();
  /** @type {() => void} */
  let unfollow = () => {};
  // The element has colours only once it is in the page.
  requestAnimationFrame(() => {
    unfollow = followTheme(element, () => {
      run.recolour();
      compare.recolour();
    });
  });
  render();
  return {
    element,
    destroy() {
      unwatch();
      unfollow();
      clearInterval(timer);
      cancelAnimationFrame(scheduled);
      store.removeEventListener("change", schedule);
      for (const each of [list, run, compare]) each.destroy();
      element.remove();
    },
  };
}

/** The list of runs with the queue above it, or what to do first. @param {Document} document @param {Calls} calls */
function createListView(document, calls) {
  const asks = createAsks(document, calls);
  const queue = createQueue(document, calls);
  const runs = createRunsList(document, calls);
  const empty = createEmptyState(document, calls);
  const summary = el(document, "p", { class: "wz-muted wz-summary" });
  const title = el(document, "h2", { class: "wz-title", tabindex: "-1" }, "Training");
  const odd = el(document, "p", { class: "wz-muted", role: "note", hidden: true });
  const element = el(
    document,
    "div",
    { class: "wz-stack" },
    el(
      document,
      "div",
      { class: "wz-row wz-baseline" },
      title,
      el(document, "span", { class: "wz-grow" }),
      summary,
    ),
    odd,
    empty.element,
    asks.element,
    queue.element,
    runs.element,
  );
  return {
    element,
    /**
     * @param {{
     *   unknown: Record<string, number>, runs: import("./run_store.js").RunLine[], queue: string[], asks: import("./run_store.js").Ask[],
     *   answering: Set<string>, aside: Record<string, import("./run_store.js").Trouble>, loaded: boolean, now: number,
     * }} view
     */
    render(view) {
      const busy = view.runs.filter((line) => isBusy(line.state)).length;
      const parts = [
        busy && `${busy} training`,
        view.queue.length && `${view.queue.length} queued`,
        view.runs.length && `${view.runs.length} ${view.runs.length === 1 ? "run" : "runs"}`,
      ];
      setText(summary, parts.filter(Boolean).join(" · "));
      setText(odd, leftOut(view.unknown));
      show(odd, odd.textContent !== "");
      show(empty.element, view.loaded && view.runs.length === 0);
      show(runs.element, view.runs.length > 0);
      draw(asks, { ...view, named: (/** @type {string} */ runId) => named(view.runs, runId) });
      draw(queue, view);
      draw(runs, view);
    },
    settle: runs.settle,
    destroy() {
      asks.destroy();
      queue.destroy();
      runs.destroy();
    },
  };
}

/** @param {import("./run_store.js").RunLine[]} runs @param {string} runId @returns {import("./widgets/asks.js").Named} */
function named(runs, runId) {
  const line = runs.find((each) => each.run_id === runId);
  return { name: line?.character ?? runId, completed: line?.state.status === "completed" };
}

/** One run: its head, the card that says how it stands, and everything else below. @param {Document} document @param {Calls} calls */
function createRunView(document, calls) {
  const header = createRunHeader(document, calls);
  const controls = createControls(document, calls);
  header.corner.append(controls.menu);
  const card = [...CARD.map((create) => create(document, calls)), controls];
  const chart = createLossChart(document, calls);
  const below = [chart, ...BELOW.map((create) => create(document, calls))];
  const damages = createDamages(document, calls);
  const asks = createAsks(document, calls);
  /** @type {Widget[]} */
  const widgets = [header, damages, ...card, ...below];
  const hero = el(
    document,
    "section",
    { class: "wz-card wz-hero", "aria-label": "State" },
    ...card.map((each) => each.element),
  );
  const odd = el(document, "p", { class: "wz-muted", role: "note", hidden: true });
  const element = el(
    document,
    "div",
    { class: "wz-stack" },
    header.element,
    odd,
    damages.element,
    asks.element,
    hero,
    el(document, "div", { class: "wz-cards" }, ...below.map((each) => each.element)),
  );
  return {
    element,
    recolour: () => chart.recolour(),
    /** @param {WidgetView} view */
    render(view) {
      const { run } = view;
      hero.dataset.status = run.state.status;
      const failed = widgets.filter((each) => !draw(each, view)).map((each) => each.element.getAttribute("aria-label") ?? "a part");
      const cant = failed.length ? `Can't be shown, and the browser's console says why: ${failed.join(", ")}. The rest is here.` : "";
      setText(odd, [leftOut(run.unknown), cant].filter(Boolean).join(" "));
      show(odd, odd.textContent !== "");
      const known = { name: run.line?.character ?? run.slug, completed: run.state.status === "completed" };
      draw(asks, { ...view, named: () => known, linked: false });
      const aside = isAside(run);
      show(hero, !aside);
      if (aside) show(chart.element, false);
    },
    destroy() {
      for (const each of [...widgets, asks]) each.destroy();
    },
  };
}

/** What is not shown because this page does not know it; empty when nothing is. @param {Record<string, number>} unknown */
function leftOut(unknown) {
  const parts = Object.entries(unknown).map(([what, number]) => `${number} of the ${what}`);
  if (!parts.length) return "";
  return `Left out, because this page doesn't know what they are: ${parts.join(", ")}. If the pack was updated, reload the page.`;
}

/** Let a widget draw; false when what was told is nothing that it can draw. @param {Widget} widget @param {any} view */
function draw(widget, view) {
  const { element } = widget;
  try {
    if (element.dataset.odd) show(element, true);
    delete element.dataset.odd;
    widget.render(view);
    return true;
  } catch (error) {
    console.error("A part of the panel can't be shown.", error);
    element.dataset.odd = "true";
    show(element, false);
    return false;
  }
}

/** What went wrong with the last request, until the next one goes well. @param {Document} document @param {Calls} calls */
function createAlarm(document, calls) {
  const problem = el(document, "p", { class: "wz-strong" });
  const fix = el(document, "p", null);
  const retry = el(
    document,
    "button",
    { type: "button", class: "wz-button", onclick: () => calls.again() },
    "Try again",
  );
  const element = el(
    document,
    "div",
    { class: "wz-alarm", role: "alert", hidden: true },
    el(document, "div", { class: "wz-grow" }, problem, fix),
    retry,
  );
  return {
    element,
    /** @param {import("./failure.js").Failure|null} failure */
    render(failure) {
      show(element, failure !== null);
      setText(problem, failure?.problem ?? "");
      setText(fix, failure?.fix ?? "");
    },
  };
}

/** After a change of view the keyboard goes on at its heading. @param {HTMLElement} view */
function focusHeading(view) {
  view.querySelector("h2")?.focus({ preventScroll: true });
}
