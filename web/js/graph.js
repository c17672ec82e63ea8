// @ts-check
/**
 * Changes of the open workflow on a person's click: try a checkpoint, train again, add a node.
 *
 * In: ComfyUI's `app` and plain values. Out: a sentence that says what was done. It uses nodes, widgets and links as a
 * person does; what it did can be undone like any other change.
 */

import { Failure } from "./failure.js";

/**
 * @typedef {{dataset: string, base_model: string, preset: string, engine: string, character: string, trigger?: string,
 *   settings: Record<string, any>, kohya: Record<string, any>}} Choices what leads to a plan, as the server tells it
 */

const LOADER = "WizdroidLoadTrainedLora";
const OPEN_RUN = "WizdroidTrainingRun";
const TRAIN = "WizdroidKohyaTrain";
const SETTINGS = "WizdroidTrainingSettings";
const LINT = "WizdroidDatasetLint";
/** Room between nodes that are added beside each other, in the canvas' own units. */
const GAP = 60;
/** Nodes that need the base model as it is. */
const WITHOUT_LORA = ["WizdroidLoraValidateGrid", LOADER];

/** Dials of the Kohya Train node and the settings they stand for; 0 leaves one to the preset. */
const DIALS = Object.freeze({
  steps: "max_train_steps",
  rank: "network_dim",
  alpha: "network_alpha",
  learning_rate: "unet_lr",
  resolution: "resolution",
  batch_size: "train_batch_size",
});

/**
 * Make a Load Trained LoRA node of the canvas use that checkpoint, and queue the canvas. Without such a node one is put
 * behind the checkpoint loader.
 * @param {any} app @param {{run_id: string, slug: string, step: number}} checkpoint
 */
export async function tryCheckpoint(app, { run_id: runId, slug, step }) {
  await refreshChoices(app); // the run may be newer than the page's lists
  const { graph } = app;
  graph.beforeChange();
  const found = ofType(graph, LOADER)[0];
  const loader = found ?? add(app, LOADER);
  const wired = found ? true : putBehindCheckpointLoader(graph, loader);
  const source = sourceOf(graph, loader, "run");
  const opener =
    source?.type === OPEN_RUN ? source : add(app, OPEN_RUN, [loader.pos[0] - 330, loader.pos[1] + 60]);
  if (opener !== source) opener.connect(0, loader, loader.findInputSlot("run"));
  set(opener, "run_name", `${slug}/${runId}`);
  set(loader, "package", widget(loader, "package").options.values[0]);
  set(loader, "which", "step");
  set(loader, "step", step);
  graph.afterChange();
  graph.setDirtyCanvas(true, true);
  if (!wired)
    return `Load Trained LoRA was added for step ${step}. Connect its model and clip, then press Run.`;
  await app.queuePrompt(0, 1);
  return `Load Trained LoRA uses step ${step} of ${slug}; the workflow is queued.`;
}

/**
 * Put a run's choices into the Kohya Train node (added if there is none) and, where they go beyond its dials, into a
 * Training Settings node. Nothing is queued: the person changes what they want first.
 * @param {any} app @param {Choices} request
 */
export async function trainAgain(app, request) {
  await refreshChoices(app);
  const { graph } = app;
  graph.beforeChange();
  const train = ofType(graph, TRAIN)[0] ?? addTraining(app);
  chooseDataset(graph, train, request.dataset);
  const rest = { ...request.settings };
  for (const name of /** @type {const} */ (["base_model", "preset", "engine"]))
    set(train, name, request[name]);
  set(train, "trigger", request.trigger ?? "");
  set(train, "character", request.character === request.dataset ? "" : request.character);
  if (rest.seed !== undefined) set(train, "seed", rest.seed);
  delete rest.seed;
  for (const [dial, setting] of Object.entries(DIALS)) {
    set(train, dial, rest[setting] ?? 0);
    delete rest[setting];
  }
  putSettings(app, train, rest, request.kohya);
  graph.afterChange();
  graph.setDirtyCanvas(true, true);
  app.canvas.centerOnNode?.(train);
  return "Kohya Train has the numbers of this run. Change what you like, then press Run.";
}

/** @param {any} app */
export async function addTrainNode(app) {
  const { graph } = app;
  graph.beforeChange();
  const train = addTraining(app);
  graph.afterChange();
  graph.setDirtyCanvas(true, true);
  app.canvas.centerOnNode?.(train);
  return "Choose a dataset in Dataset Lint and a base model in Kohya Train, then press Run.";
}

/** Fresh choices in the drop-downs of the open workflow, without the message of ComfyUI's own command where that can be. @param {any} app */
export async function refreshChoices(app) {
  await (app.reloadNodeDefs ? app.reloadNodeDefs() : app.refreshComboInNodes());
}

/** A Dataset Lint and, fed by it, a Kohya Train node, right of everything else. @param {any} app */
function addTraining(app) {
  const nodes = app.graph._nodes;
  const right = Math.max(0, ...nodes.map((/** @type {any} */ node) => node.pos[0] + node.size[0] + GAP));
  const top = nodes.length ? Math.min(...nodes.map((/** @type {any} */ node) => node.pos[1])) : 0;
  const lint = add(app, LINT, [right, top]);
  const train = add(app, TRAIN, [right + lint.size[0] + GAP, top]);
  lint.connect(0, train, train.findInputSlot("dataset"));
  return train;
}

/** Let the lint that feeds a training, if it takes none from a node before it, name that dataset. @param {any} graph @param {any} train @param {string} name */
function chooseDataset(graph, train, name) {
  const lint = sourceOf(graph, train, "dataset");
  if (lint?.type !== LINT || sourceOf(graph, lint, "dataset")) return;
  if (widget(lint, "dataset_name").options.values.includes(name)) set(lint, "dataset_name", name);
}

/** @param {any} app @param {any} train @param {Record<string, any>} settings @param {Record<string, any>} kohya */
function putSettings(app, train, settings, kohya) {
  const wired = sourceOf(app.graph, train, "settings");
  const known = wired?.type === SETTINGS ? wired : null;
  const { optimizer_args: optimizerArgs, ...plain } = settings;
  const more = {
    ...(Object.keys(optimizerArgs ?? {}).length ? { optimizer_args: optimizerArgs } : {}),
    ...(Object.keys(kohya ?? {}).length ? { kohya } : {}),
  };
  if (!known && !Object.keys(plain).length && !Object.keys(more).length) return;
  const node = known ?? add(app, SETTINGS, [train.pos[0] - 360, train.pos[1]]);
  if (!known) node.connect(0, train, train.findInputSlot("settings"));
  for (const each of node.widgets) {
    if (each.name === "more")
      set(
        node,
        "more",
        Object.entries(more)
          .map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
          .join("\n"),
      );
    else set(node, each.name, each.name in plain ? shown(each, plain[each.name]) : unset(each));
  }
}

/** A setting as its widget writes it; what a drop-down does not offer (such as a digest) stays with the preset. @param {any} each @param {any} value */
function shown(each, value) {
  const choices = each.options?.values;
  const text = typeof value === "boolean" ? (value ? "on" : "off") : choices ? String(value) : value;
  return !choices || choices.includes(text) ? text : unset(each);
}

/** What leaves a widget of Training Settings to the preset. @param {any} each */
function unset(each) {
  return each.options?.values ? each.options.values[0] : -1;
}

/**
 * Put `loader` between a checkpoint loader and whatever used its model and clip.
 * @param {any} graph @param {any} loader @returns {boolean} whether there was one
 */
function putBehindCheckpointLoader(graph, loader) {
  const base = graph._nodes.find(
    (/** @type {any} */ node) =>
      node !== loader &&
      slot(node.outputs, "MODEL") >= 0 &&
      slot(node.outputs, "CLIP") >= 0 &&
      !node.inputs?.some((/** @type {any} */ each) => each.type === "MODEL"),
  );
  if (!base) return false;
  for (const type of ["MODEL", "CLIP"]) {
    const from = slot(base.outputs, type);
    for (const id of [...(base.outputs[from].links ?? [])]) {
      const link = linkOf(graph, id);
      const target = link && graph.getNodeById(link.target_id);
      if (target && !WITHOUT_LORA.includes(target.type))
        loader.connect(slot(loader.outputs, type), target, link.target_slot);
    }
    base.connect(from, loader, slot(loader.inputs, type));
  }
  loader.pos = [base.pos[0] + base.size[0] + 60, base.pos[1] - 40];
  return true;
}

/** @param {any} app @param {string} type @param {[number, number]} [position] */
function add(app, type, position) {
  const node = /** @type {any} */ (window).LiteGraph.createNode(type);
  if (!node)
    throw new Failure(
      `ComfyUI does not know the node ${type}.`,
      "Restart ComfyUI; its console says why the pack's nodes did not load.",
    );
  const [x, y, width, height] = app.canvas.visible_area ?? [0, 0, 800, 600];
  node.pos = position ?? [x + width / 2 - 160, y + height / 2 - 120];
  app.graph.add(node);
  return node;
}

/** @param {any} graph @param {string} type @returns {any[]} */
function ofType(graph, type) {
  return graph._nodes.filter((/** @type {any} */ node) => node.type === type);
}

/** The node that feeds an input, or null. @param {any} graph @param {any} node @param {string} input */
function sourceOf(graph, node, input) {
  const link = linkOf(graph, node.inputs?.find((/** @type {any} */ each) => each.name === input)?.link);
  return link ? graph.getNodeById(link.origin_id) : null;
}

/** Older graphs keep their links in an object, newer ones in a map. @param {any} graph @param {any} id */
function linkOf(graph, id) {
  if (id === null || id === undefined) return null;
  return graph.links.get?.(id) ?? graph.links[id] ?? null;
}

/** @param {any[]|undefined} slots @param {string} type */
function slot(slots, type) {
  return (slots ?? []).findIndex((each) => each.type === type);
}

/** @param {any} node @param {string} name */
function widget(node, name) {
  const found = node.widgets?.find((/** @type {any} */ each) => each.name === name);
  if (!found)
    throw new Failure(
      `The node ${node.title} has no ${name}.`,
      "Restart ComfyUI so that page and pack are of the same version.",
    );
  return found;
}

/** @param {any} node @param {string} name @param {any} value */
function set(node, name, value) {
  const found = widget(node, name);
  found.value = value;
  found.callback?.(value, undefined, node);
}
