// @ts-check
/** The end of the trainer's log, fetched only while it is unfolded. */

import { el, setText } from "../dom.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView @typedef {import("../panel.js").Calls} Calls */

const REFRESH_MS = 2000;

/** @param {Document} document @param {Calls} calls */
export function createLogTail(document, calls) {
  let runId = "";
  let seq = 0;
  let fetchedSeq = -1;
  /** @type {ReturnType<typeof setTimeout>|null} */
  let timer = null;
  const text = el(document, "pre", { class: "wz-log", tabindex: "0", "aria-label": "Log" });
  const details = el(
    document,
    "details",
    { ontoggle: () => details.open && fetchLog() },
    el(document, "summary", null, el(document, "h3", null, "Log")),
    text,
  );
  const element = el(document, "section", { class: "wz-card", "aria-label": "Log of the trainer" }, details);

  async function fetchLog() {
    const asked = { runId, seq };
    const told = await calls.log(runId);
    if (asked.runId !== runId || told === null) return;
    const atEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 8;
    fetchedSeq = asked.seq;
    setText(text, told || "The log is empty.");
    if (atEnd) text.scrollTop = text.scrollHeight;
  }

  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      if (runId !== run.run_id) {
        runId = run.run_id;
        details.open = false;
        fetchedSeq = -1;
        setText(text, "");
      }
      seq = run.state.last_seq;
      if (!details.open || seq === fetchedSeq || timer) return;
      timer = setTimeout(() => {
        timer = null;
        void fetchLog();
      }, REFRESH_MS);
    },
    destroy: () => timer && clearTimeout(timer),
  };
}
