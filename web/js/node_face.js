// @ts-check
/**
 * What our nodes show on themselves: the text that they told when they ran, and their rarer inputs only on demand.
 *
 * In: a node's type, as ComfyUI registers it. Out: nothing; its nodes get a read-only text and a button. Text of other
 * people's datasets is only ever set as a value, never as markup.
 */

const TOLD = "told";
const MORE = "Show all inputs";
const FEWER = "Show fewer inputs";
const TEXT_HEIGHT = 120;
const MOST_TEXT_HEIGHT = 420;
const LINE_HEIGHT = 15; // of ComfyUI's text fields
const LETTER_WIDTH = 6;
const MARGIN = 10; // of a widget on the canvas

/** @param {any} type a node's class in ComfyUI's page */
export function giveFace(type) {
  const created = type.prototype.onNodeCreated;
  type.prototype.onNodeCreated = function () {
    created?.apply(this, arguments);
    foldRareInputs(this);
  };
  const executed = type.prototype.onExecuted;
  type.prototype.onExecuted = function (/** @type {any} */ output) {
    executed?.apply(this, arguments);
    if (output?.text?.length) showText(this, output.text.join("\n"));
  };
}

/**
 * Hide what the node's definition calls advanced, and offer it by a button. ComfyUI's own menu entry "Show Advanced" does
 * the same; before its Nodes 2.0 the definition alone hides nothing. @param {any} node
 */
export function foldRareInputs(node) {
  const rare = (node.widgets ?? []).filter((/** @type {any} */ each) => each.options?.advanced);
  if (!rare.length || !node.toggleAdvanced) return;
  for (const widget of rare) fold(widget, node);
  const button = node.addWidget("button", "more", "", () => {
    node.toggleAdvanced();
    button.label = node.showAdvanced ? FEWER : MORE;
    if (!node.showAdvanced) node.setSize([node.size[0], node.computeSize()[1]]);
  });
  button.label = MORE;
  keepOutOfWorkflow(button);
  button.options.canvasOnly = true; // Nodes 2.0 has a button of its own
  node.setSize([node.size[0], node.computeSize()[1]]);
}

/** No room for a widget that is not shown: the canvas leaves a gap for it otherwise. @param {any} widget @param {any} node */
function fold(widget, node) {
  const own = widget.computeSize;
  widget.advanced = true;
  Object.defineProperty(widget, "computeSize", {
    configurable: true,
    get: () => (node.showAdvanced ? own : () => [0, -4]), // 4 is the canvas's own gap between two widgets
  });
}

/**
 * Nodes whose run this page queued go on telling of it: what a panel's Stop and Resume make of it, and how it ended. A frame
 * that ComfyUI drew around a node whose run had failed goes away while that run trains again.
 */
export class Followed {
  /** @param {() => any} graph the open workflow */
  constructor(graph) {
    this.graph = graph;
    /** @type {Map<string, string>} run id by node id */
    this.runs = new Map();
  }

  /** A node trains that run from now on. @param {{node: string, run_id: string, text?: string}} told */
  begin({ node: id, run_id: runId, text = "" }) {
    this.runs.set(String(id), runId);
    const node = this.#node(id);
    if (!node) return;
    frame(node, true);
    showText(node, [`Run ${runId}`, text].filter(Boolean).join("\n")); // what stands there may be of a run before
  }

  /** @param {string} runId @param {import("./run_state.js").RunEvent} event */
  take(runId, event) {
    const words = Object.hasOwn(WORDS, event.kind) ? WORDS[event.kind](event) : "";
    for (const [id, known] of words ? this.runs : []) {
      const node = known === runId ? this.#node(id) : null;
      if (!node) continue;
      showText(node, `Run ${runId}\n${words}`);
      frame(node, event.kind !== "run_started");
      node.graph?.setDirtyCanvas?.(true, true);
    }
  }

  /** @param {string} id */
  #node(id) {
    const node = this.graph()?.getNodeById?.(Number.isNaN(Number(id)) ? id : Number(id));
    return node?.type === TRAINING ? node : null;
  }
}

const TRAINING = "WizdroidKohyaTrain";

/** What a node says of its run from then on. @type {Record<string, (event: import("./run_state.js").RunEvent) => string>} */
const WORDS = {
  run_started: (event) =>
    event.resumed_from ? `It trains again, from step ${event.resumed_from} on.` : "It trains.",
  run_finished: (event) =>
    event.outcome === "completed"
      ? "It has finished; the LoRA is ready."
      : [event.problem || `The run was ${event.outcome}.`, event.fix].filter(Boolean).join("\n"),
};

/** Let ComfyUI draw its red frame of a failed prompt around a node, or not. @param {any} node @param {boolean} drawn */
function frame(node, drawn) {
  const strokes = node.strokeStyles;
  if (!strokes?.executionError) return;
  node.wizdroidFrame ??= strokes.executionError;
  strokes.executionError = drawn ? node.wizdroidFrame : () => undefined;
}

/** @param {any} node @param {string} text */
export function showText(node, text) {
  let widget = node.widgets?.find((/** @type {any} */ each) => each.name === TOLD);
  if (!widget) {
    const area = document.createElement("textarea");
    area.readOnly = true;
    area.className = "comfy-multiline-input";
    area.style.minHeight = `${TEXT_HEIGHT - 2 * MARGIN}px`; // Nodes 2.0 asks the element alone
    area.setAttribute("aria-label", `What ${node.title} told`);
    widget = node.addDOMWidget(TOLD, TOLD, area, {
      serialize: false,
      getMinHeight: () => heightOf(area.value, node.size[0]),
      getValue: () => area.value,
      setValue: (/** @type {string} */ value) => (area.value = value),
    });
    keepOutOfWorkflow(widget);
  }
  widget.value = text;
  if (widget.element?.style) widget.element.style.minHeight = `${heightOf(text, node.size[0]) - 2 * MARGIN}px`;
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
}

/** What a text needs to be read without scrolling, up to a limit: it may be of thousands of findings. @param {string} text @param {number} width */
function heightOf(text, width) {
  const letters = Math.max(20, (width - 4 * MARGIN) / LETTER_WIDTH);
  const rows = String(text)
    .split("\n")
    .reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / letters)), 0);
  return Math.min(MOST_TEXT_HEIGHT, Math.max(TEXT_HEIGHT, rows * LINE_HEIGHT + 3 * MARGIN));
}

/** Neither saved with the workflow nor sent with the prompt. @param {any} widget */
function keepOutOfWorkflow(widget) {
  widget.serialize = false;
  widget.options = { ...widget.options, serialize: false };
}
