// @ts-check
/** Requests that wait for their event: a button shows that it was pressed, and never pretends that it was done. */

/** @typedef {import("./run_state.js").RunEvent} RunEvent */

/** Which event answers which request. @type {Readonly<Record<string, (event: RunEvent) => boolean>>} */
const ANSWERS = Object.freeze({
  stop: (event) => event.kind === "run_finished",
  stop_now: (event) => event.kind === "run_finished",
  pause: (event) => event.kind === "run_finished" || (event.kind === "control" && event.action === "pause"),
  unpause: (event) =>
    event.kind === "run_finished" || (event.kind === "control" && ["resume", "lend"].includes(event.action)),
  checkpoint: (event) => event.kind === "checkpoint" || event.kind === "run_finished",
  sample: (event) => event.kind === "sample" || event.kind === "run_finished",
  resume: (event) => event.kind === "queued" || event.kind === "run_started",
});

export class Pending {
  constructor() {
    /** @type {Map<string, Set<string>>} actions by run */
    this.byRun = new Map();
  }

  /** @param {string} runId @param {string} action */
  has(runId, action) {
    return this.byRun.get(runId)?.has(action) ?? false;
  }

  /** Requests that no event answers (such as a deletion) are not kept. @param {string} runId @param {string} action */
  add(runId, action) {
    if (!Object.hasOwn(ANSWERS, action)) return;
    this.byRun.set(runId, (this.byRun.get(runId) ?? new Set()).add(action));
  }

  /** It was refused. @param {string} runId @param {string} action */
  drop(runId, action) {
    this.byRun.get(runId)?.delete(action);
  }

  /** An event came: what it answers waits no more. @param {string} runId @param {RunEvent} event */
  answer(runId, event) {
    for (const action of this.byRun.get(runId) ?? []) {
      if (ANSWERS[action](event)) this.drop(runId, action);
    }
  }

  /** A snapshot came: it shows what became of every request. @param {string} runId */
  forget(runId) {
    this.byRun.delete(runId);
  }
}
