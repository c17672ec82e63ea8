// @ts-check
/**
 * RunStore: what this page knows of the workspace's runs.
 *
 * In: snapshots over HTTP, then live events over ComfyUI's socket. Out: `runs`, `queue`, `open`, `compared`, and a "change"
 * event after each change of them. Events go through the same fold as on the server; those that came before are dropped
 * by `seq`, and a hole is filled by asking for the events behind the last known one. While nobody looks, live events cost
 * nothing but the badge; the next look starts with a snapshot.
 */

import { Pending } from "./pending.js";
import { EMPTY_STATE, fold, isFinished } from "./run_state.js";
import { isObject, soundList, soundView } from "./sound_answers.js";
import { Tries } from "./tries.js";

/**
 * @typedef {import("./run_state.js").RunState} RunState
 * @typedef {import("./run_state.js").RunEvent} RunEvent
 * @typedef {import("./failure.js").Failure} Failure
 * @typedef {{run_id: string, slug: string, event: RunEvent}} LiveEvent
 * @typedef {{
 *   run_id: string, slug: string, created: number, updated: number, character: string, dataset: string,
 *   base_model: string, family: string, engine: string, engine_title: string, preset: string, steps: number, problem?: string, odd_lines?: string,
 *   state: RunState, counts: Record<string, number>,
 * }} RunLine
 * @typedef {{name: string, kind: string, step: number|null, caption: string, time: number, version: string}} Picture
 * @typedef {{code: string, title: string, why: string, settings: Record<string, any>, kohya: Record<string, any>}} Suggestion
 * @typedef {{
 *   run_id: string, slug: string, dir: string, state: RunState, steps_told: number, plan: any, plan_problem: string,
 *   line: any, choices: string[], changes: {against: string, fields: {field: string, old: any, new: any}[]}|null,
 *   suggestions: Suggestion[], damages: Damage[], aside: Trouble|null, pictures: Picture[], grid_notices: import("./run_state.js").Row[], queue: string[], held: boolean, now: number,
 *   unknown: Record<string, number>,
 * }} RunView
 * @typedef {{problem: string, fix: string}} Trouble
 * @typedef {{file: string, problem: string, fix: string, can_be_mended: boolean, is_a_part?: boolean}} Damage
 * @typedef {{
 *   run_id: string, slug: string, what: string, kind: "prompt"|"grids"|"order", since: number, nodes: Record<string, number>,
 *   text: string,
 * }} Ask what came along with a run's folder and waits for a person's word
 * @typedef {{
 *   get: (path: string) => Promise<any>,
 *   post: (path: string, body?: Record<string, any>) => Promise<any>,
 *   onEvent: (listener: (detail: LiveEvent) => void) => (() => void),
 *   onGone: (listener: () => void) => (() => void),
 *   onReconnect: (listener: () => void) => (() => void),
 *   onPromptDone: (listener: () => void) => (() => void),
 *   onVisible: (listener: (visible: boolean) => void) => (() => void),
 * }} StoreHost
 */

const WHOLE_AGAIN_AFTER_GAP = 2000;

export class RunStore extends EventTarget {
  /** @param {StoreHost} host @param {Storage|null} [storage] where pictures that were tried are noted */
  constructor(host, storage = null) {
    super();
    this.host = host;
    this.tries = new Tries(storage);
    /** @type {RunLine[]} */
    this.runs = [];
    /** How many rows of the list this page does not know, by what they would have been. @type {Record<string, number>} */
    this.unknown = {};
    /** @type {string[]} */
    this.queue = [];
    /** @type {Ask[]} */
    this.asks = [];
    /** Asks that were answered and are still there. @type {Set<string>} */
    this.answering = new Set();
    /** Runs whose folder is being mended. @type {Set<string>} */
    this.mending = new Set();
    /** Runs that could not be dealt with, by their ids. @type {Record<string, Trouble>} */
    this.aside = {};
    this.loaded = false;
    /** @type {Failure|null} */
    this.failure = null;
    /** @type {RunView|null} */
    this.open = null;
    /** @type {string|null} the run whose view is wanted; `open` follows when it has come */
    this.openId = null;
    /** @type {any|null} */
    this.compared = null;
    /** When ComfyUI was last heard of, in seconds since the epoch, while it is away. @type {number|null} */
    this.gone = null;
    this.asked = new Pending();
    /** Runs that a child works on now, for the badge. @type {Set<string>} */
    this.busy = new Set();
    this.watching = 0;
    this.visible = true;
    this.stale = true;
    /** @type {RunEvent[]} */
    this.early = [];
    this.fetching = false;
    /** @type {Promise<void>|null} */
    this.listing = null;
    this.listAgain = false;
    this.unsubscribe = [
      host.onEvent((detail) => this.takeLive(detail)),
      host.onGone(() => this.#setGone(this.gone ?? Date.now() / 1000)),
      host.onReconnect(() => {
        this.#setGone(null);
        return this.lookAgain();
      }),
      host.onPromptDone(() => this.refreshPictures()),
      host.onVisible((visible) => this.setVisible(visible)),
    ];
  }

  /** Does anybody look at the panel now? */
  get looking() {
    return this.watching > 0 && this.visible;
  }

  /** A panel was opened: keep everything current until the returned function is called. */
  watch() {
    this.watching += 1;
    if (this.stale) this.lookAgain();
    let watched = true;
    return () => {
      if (watched) this.watching -= 1;
      watched = false;
    };
  }

  /** @param {boolean} visible */
  setVisible(visible) {
    this.visible = visible;
    if (this.looking && this.stale) this.lookAgain();
  }

  destroy() {
    for (const each of this.unsubscribe) each();
  }

  /** The list anew, and the open run. Nobody looking: only remember that it has to be done. */
  async lookAgain() {
    this.stale = true;
    if (!this.looking) return;
    this.stale = false;
    await Promise.all([this.refreshList(), this.openId ? this.openRun(this.openId) : null]);
  }

  /**
   * The list of runs. Whoever asks while one is on its way gets the next: that one may have been made before what they have heard of. However
   * many ask meanwhile, it is asked for once more.
   */
  refreshList() {
    this.listAgain = this.listing !== null;
    this.listing ??= this.#fetchUntilFresh();
    return this.listing;
  }

  async #fetchUntilFresh() {
    do {
      this.listAgain = false;
      await this.#fetchList();
    } while (this.listAgain);
    this.listing = null; // at once: who asks from now on must not be given this one
  }

  async #fetchList() {
    try {
      const told = await this.host.get("runs");
      const { runs, queue, asks, unknown } = soundList(told);
      Object.assign(this, { runs, queue, asks, unknown });
      this.aside = isObject(told.aside) ? told.aside : {};
      this.loaded = true;
      this.failure = null;
      this.busy = new Set(this.runs.filter((line) => isBusy(line.state)).map((line) => line.run_id));
      this.changed("activity");
    } catch (error) {
      this.failure = asFailure(error);
      this.stale = true;
    }
    this.changed();
  }

  /** Show one run: its snapshot, then live events. @param {string} runId */
  async openRun(runId) {
    if (this.openId !== runId) {
      this.openId = runId;
      this.open = null;
      this.early = [];
      this.changed();
    }
    this.compared = null;
    try {
      const view = soundView(await this.host.get(`runs/${runId}`));
      if (this.openId !== runId) return;
      // A snapshot that was under way while live events came must not take the page back.
      if (!this.open || view.state.last_seq >= this.open.state.last_seq) this.open = view;
      this.queue = view.queue;
      this.failure = null;
      this.asked.forget(runId);
      this.#foldEarly();
    } catch (error) {
      if (this.openId !== runId) return;
      this.failure = asFailure(error);
      if (/** @type {Failure} */ (this.failure).status === 404) this.openId = this.open = null;
    }
    this.changed();
  }

  closeRun() {
    this.openId = null;
    this.open = null;
    this.compared = null;
    this.early = [];
    this.failure = null;
    this.changed();
  }

  /** @param {string[]} runIds */
  async compare(runIds) {
    this.openId = null;
    this.open = null;
    try {
      this.compared = await this.host.get(`compare?runs=${runIds.join(",")}`);
      this.failure = null;
    } catch (error) {
      this.failure = asFailure(error);
    }
    this.changed();
  }

  /** Grids are made by prompts, not by the trainer, so no event tells of them. */
  async refreshPictures() {
    const view = this.open;
    if (!view || !this.looking) return;
    const told = await this.host.get(`runs/${view.run_id}/pictures`).catch(() => null);
    if (!told || this.open?.run_id !== view.run_id) return;
    this.open = { ...this.open, pictures: told.pictures, grid_notices: told.grid_notices };
    this.changed();
  }

  /**
   * POST a request for a run. Resolves with the answer; what happens is told by events.
   * @param {string} runId @param {string} action @param {Record<string, any>} [body] @param {string} [route]
   */
  async ask(runId, action, body = {}, route = action) {
    this.asked.add(runId, action);
    this.changed();
    try {
      return await this.host.post(`runs/${runId}/${route}`, body);
    } catch (error) {
      this.asked.drop(runId, action);
      this.changed();
      throw error;
    }
  }

  /** Let act what came along with a run's folder, or put it aside. @param {Ask} ask @param {"agree"|"decline"} word */
  async answer(ask, word) {
    const key = `${ask.run_id}/${ask.what}`;
    this.answering.add(key);
    this.changed();
    try {
      await this.host.post(`runs/${ask.run_id}/${word}`, { what: ask.what });
    } finally {
      await this.refreshList(); // also after a refusal: somebody else may have answered
      this.answering.delete(key);
      this.changed();
    }
  }

  /** Put aside what is damaged in a run's folder. @param {string} runId @returns {Promise<string[]>} names of what was moved */
  async mend(runId) {
    this.mending.add(runId);
    this.changed();
    try {
      const { moved } = await this.host.post(`runs/${runId}/mend`);
      await Promise.all([this.refreshList(), this.openId === runId ? this.openRun(runId) : null]);
      return moved;
    } finally {
      this.mending.delete(runId);
      this.changed();
    }
  }

  /**
   * A checkpoint is drawn in the open workflow. Returns who is to be told what comes of it.
   * @param {string} runId @param {number} step
   * @returns {(pictures: import("./tries.js").OutputPicture[], ended: ""|"done"|"failed") => void}
   */
  trying(runId, step) {
    this.tries.begin(runId, step);
    this.changed();
    return (pictures, ended) => {
      this.tries.take(runId, step, pictures, ended === "");
      this.changed();
    };
  }

  /** @param {string} runId @param {number} position counted from 1 */
  async move(runId, position) {
    const told = await this.host.post("queue", { run_id: runId, position });
    this.queue = told.queue;
    this.changed();
  }

  /** @param {LiveEvent} detail */
  takeLive({ run_id: runId, event }) {
    if (!isObject(event) || typeof event.kind !== "string" || !Number.isSafeInteger(event.seq)) return;
    if (event.kind === "run_started") this.#setBusy(runId, true);
    if (event.kind === "run_finished") {
      this.#setBusy(runId, false);
      this.dispatchEvent(new CustomEvent("finished", { detail: { run_id: runId, event } }));
    }
    if (!this.looking) {
      this.stale = true;
      return;
    }
    this.asked.answer(runId, event);
    this.#takeIntoList(runId, event);
    if (runId === this.openId) {
      this.early.push(event);
      this.#foldEarly();
      // What could be tried next depends on how it ended, and the server knows that.
      if (event.kind === "run_finished") void this.openRun(runId);
    }
    this.changed();
  }

  /** @param {string} runId @param {RunEvent} event */
  #takeIntoList(runId, event) {
    const at = this.runs.findIndex((line) => line.run_id === runId);
    if (at < 0 || event.kind === "queued" || event.kind === "run_finished" || event.kind === "run_started") {
      void this.refreshList();
    }
    if (at < 0) return;
    const line = this.runs[at];
    const state = { ...fold([event], { ...EMPTY_STATE, ...line.state, ...NO_SERIES }), ...NO_SERIES };
    this.runs = this.runs.slice();
    this.runs[at] = { ...line, state, updated: event.time, counts: counted(line.counts, event.kind) };
  }

  /** Fold what came live into the open run, in order; ask for what is missing in between. */
  #foldEarly() {
    const view = this.open;
    if (!view) return;
    const last = view.state.last_seq;
    const due = this.early.filter((event) => event.seq > last).sort((a, b) => a.seq - b.seq);
    let end = 0;
    while (end < due.length && due[end].seq <= (end ? due[end - 1].seq : last) + 1) end += 1;
    this.early = due.slice(end);
    if (end) this.open = { ...view, state: fold(due.slice(0, end), view.state) };
    if (this.early.length) void this.#fillGap();
  }

  async #fillGap() {
    if (this.fetching || !this.open) return;
    this.fetching = true;
    const { run_id: runId, state } = this.open;
    const asked = new Set(this.early);
    try {
      if (this.early[0].seq - state.last_seq > WHOLE_AGAIN_AFTER_GAP) {
        await this.openRun(runId);
        this.early = this.early.filter((event) => !asked.has(event));
        return;
      }
      const told = await this.host.get(`runs/${runId}/events?after=${state.last_seq}`);
      if (this.open?.run_id !== runId) return;
      this.open = { ...this.open, state: fold(told.events, this.open.state) };
      // An event is in the file before it is sent: what came before the server was asked, and it has not got, is no event of this run. What
      // came meanwhile may be behind what it read, and is asked for again.
      const reached = this.open.state.last_seq;
      this.early = this.early.filter((event) => event.seq > reached && (told.more || !asked.has(event)));
    } catch (error) {
      this.stale = true;
      this.failure = asFailure(error);
    } finally {
      this.fetching = false;
    }
    this.#foldEarly();
    this.changed();
  }

  /** @param {number|null} since */
  #setGone(since) {
    if (this.gone === since) return;
    this.gone = since;
    this.changed();
  }

  /** @param {string} runId @param {boolean} busy */
  #setBusy(runId, busy) {
    if (this.busy.has(runId) === busy) return;
    if (busy) this.busy.add(runId);
    else this.busy.delete(runId);
    this.changed("activity");
  }

  /** @param {"change"|"activity"} [kind] */
  changed(kind = "change") {
    this.dispatchEvent(new Event(kind));
  }
}

const NO_SERIES = { losses: [], validations: [], checkpoints: [], states: [], samples: [], notices: [] };

/** A new sample is a new thumbnail. @param {Record<string, number>} counts @param {string} kind */
function counted(counts, kind) {
  const name = `${kind}s`;
  return name in counts ? { ...counts, [name]: counts[name] + 1 } : counts;
}

/** Is so much of its folder unreadable that it can only be looked at, mended and deleted? @param {RunView} run */
export function isAside(run) {
  return !run.plan || run.damages.some((each) => each.file === "events.jsonl" && !each.is_a_part);
}

/** Is a child at work on it? @param {RunState} state */
export function isBusy(state) {
  return !isFinished(state) && state.status !== "queued";
}

/** @param {unknown} error @returns {Failure} */
function asFailure(error) {
  const known = /** @type {any} */ (error);
  if (known && typeof known.problem === "string") return known;
  throw error;
}
