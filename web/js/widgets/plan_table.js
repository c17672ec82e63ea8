// @ts-check
/** The numbers of a plan, what changed against the run before, and all the rest on demand. */

import { el, isolated, keyed, setText, show } from "../dom.js";
import { count, plain, rate } from "../format.js";

/** @typedef {import("../panel.js").WidgetView} WidgetView */

/** @param {Document} document */
export function createPlanTable(document) {
  /** @type {any} */
  let shown = null;
  const key = el(document, "dl", { class: "wz-figures wz-plan" });
  const changesTitle = el(document, "h4");
  const changes = el(document, "ul", { class: "wz-changes" });
  const rest = el(document, "tbody");
  const more = el(
    document,
    "details",
    null,
    el(document, "summary", null, "All numbers"),
    el(
      document,
      "table",
      { class: "wz-table wz-numbers" },
      el(
        document,
        "thead",
        { class: "wz-sr" },
        el(
          document,
          "tr",
          null,
          el(document, "th", { scope: "col" }, "Setting"),
          el(document, "th", { scope: "col" }, "Value"),
        ),
      ),
      rest,
    ),
  );
  const broken = el(document, "p", { class: "wz-muted" });
  const element = el(
    document,
    "section",
    { class: "wz-card", "aria-label": "Plan" },
    el(document, "h3", null, "Plan"),
    broken,
    key,
    changesTitle,
    changes,
    more,
  );
  return {
    element,
    /** @param {WidgetView} view */
    render({ run }) {
      if (shown === run.plan && run.plan) return;
      shown = run.plan;
      show(broken, !run.plan);
      show(more, !!run.plan);
      setText(broken, run.plan_problem);
      keyed(
        key,
        run.plan ? figures(run.plan) : [],
        (each) => each,
        ([name, value]) =>
          el(document, "div", null, el(document, "dt", null, name), el(document, "dd", null, isolated(document, value))),
      );
      const settings = Object.entries(run.plan?.settings ?? {}).map(([name, value]) => [name, plain(value)]);
      keyed(
        rest,
        settings,
        (each) => each,
        ([name, value]) =>
          el(
            document,
            "tr",
            null,
            el(document, "th", { scope: "row" }, name),
            el(document, "td", null, isolated(document, value)),
          ),
      );
      const fields = run.changes?.fields ?? [];
      show(changesTitle, run.changes !== null);
      show(changes, fields.length > 0);
      setText(
        changesTitle,
        fields.length ? `Changed since run ${run.changes?.against}` : "Nothing changed since the run before",
      );
      keyed(
        changes,
        fields,
        (each) => each,
        (each) => changed(document, each.field.replace("settings.", ""), each.old, each.new),
      );
    },
    destroy() {},
  };
}

/** One number of a plan, before and after. @param {Document} document @param {string} name @param {any} old @param {any} value */
export function changed(document, name, old, value) {
  return el(
    document,
    "li",
    null,
    el(document, "span", { class: "wz-field" }, name),
    el(document, "span", { class: "wz-old" }, isolated(document, old === undefined ? "" : short(old))),
    el(document, "span", { class: "wz-sr" }, " becomes "),
    el(document, "span", { "aria-hidden": "true" }, " → "),
    el(document, "span", { class: "wz-new" }, isolated(document, short(value))),
  );
}

/** What people ask first. @param {any} plan @returns {[string, string][]} */
function figures({ settings, dataset, preset }) {
  return [
    ["Pictures", count(dataset.images)],
    ["Preset", preset || "none"],
    ["Steps", count(settings.max_train_steps)],
    ["Rank / alpha", `${settings.network_dim} / ${plain(settings.network_alpha)}`],
    ["Learning rate", rate(settings.unet_lr)],
    [
      "Batch",
      settings.gradient_accumulation_steps > 1
        ? `${settings.train_batch_size} x ${settings.gradient_accumulation_steps}`
        : String(settings.train_batch_size),
    ],
    ["Resolution", `${settings.resolution} px`],
    ["Optimiser", settings.optimizer_type],
    [
      "Text encoder",
      settings.network_train_unet_only ? "not trained" : `rate ${rate(settings.text_encoder_lr)}`,
    ],
    ["Trigger", dataset.trigger || "none"],
  ];
}

/** Digests and the like are too long to compare by eye. @param {any} value */
export function short(value) {
  const text = plain(value);
  return text.length > 24 ? `${text.slice(0, 10)}…` : text;
}
