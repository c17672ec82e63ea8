// @ts-check
/**
 * Queue a part of the open workflow: the outputs that hang on a node, without any that would train.
 *
 * In: the workflow as ComfyUI would send it, and what its server tells of the prompt. Out: which outputs; the pictures that come
 * of them. ComfyUI runs those outputs and what they need, nothing else (`partial_execution_targets`). Widgets are sent as they
 * stand: a seed that would move by itself after Run stays, so two checkpoints are drawn alike.
 */

import { Failure } from "./failure.js";

/** Types that train when they are run. */
const TRAINS = ["WizdroidKohyaTrain", "TrainLoraNode"];

/**
 * @typedef {{filename: string, subfolder: string, type: string}} OutputPicture a picture as ComfyUI's `/view` takes it
 * @typedef {Record<string, {class_type: string, inputs: Record<string, any>}>} Prompt
 */

/**
 * Ids of the outputs that hang on any node which `starts` names, and of those that would have been if they did not train.
 * @param {Prompt} prompt @param {(id: string) => boolean} starts @param {(type: string) => boolean} isOutput
 */
export function outputsOn(prompt, starts, isOutput) {
  const reached = new Set(Object.keys(prompt).filter(starts));
  for (let before = -1; before < reached.size; ) {
    before = reached.size;
    for (const [id, node] of Object.entries(prompt))
      if (needs(prompt, node).some((each) => reached.has(each))) reached.add(id);
  }
  const outputs = [...reached].filter((id) => isOutput(prompt[id].class_type));
  const train = outputs.filter((id) => [...neededFor(prompt, id)].some((each) => TRAINS.includes(prompt[each].class_type)));
  return { outputs: outputs.filter((id) => !train.includes(id)), train };
}

/** Ids of the nodes that an output needs, itself among them. @param {Prompt} prompt @param {string} output */
export function neededFor(prompt, output) {
  const found = new Set([output]);
  for (const id of found) for (const each of needs(prompt, prompt[id])) found.add(each);
  return found;
}

/** What is wired into a node. @param {Prompt} prompt @param {Prompt[string]} node @returns {string[]} */
function needs(prompt, node) {
  return Object.values(node.inputs ?? {})
    .filter((value) => Array.isArray(value) && value.length === 2 && String(value[0]) in prompt)
    .map((value) => String(value[0]));
}

/** Does ComfyUI run nodes of that type for their own sake? @param {string} type */
export function isOutput(type) {
  return /** @type {any} */ (window).LiteGraph.registered_node_types[type]?.nodeData?.output_node === true;
}

/**
 * Queue these outputs alone. Resolves when ComfyUI has taken the prompt; `told` hears of each picture and of the end.
 * @param {any} api @param {{output: Prompt, workflow: any}} sent @param {string[]} outputs
 * @param {(pictures: OutputPicture[], ended: ""|"done"|"failed") => void} told
 */
export async function queueOutputs(api, sent, outputs, told) {
  const follower = follow(api, told);
  try {
    const taken = await api.queuePrompt(0, sent, { partialExecutionTargets: outputs });
    follower.begin(taken.prompt_id);
  } catch (error) {
    follower.end();
    throw refusal(/** @type {any} */ (error), sent.output);
  }
}

const ENDS = Object.freeze({
  execution_success: "done",
  execution_error: "failed",
  execution_interrupted: "failed",
});

/**
 * Follow one prompt over ComfyUI's socket. What comes before its id is known, as of a prompt whose results are kept, is kept too.
 * @param {any} api @param {(pictures: OutputPicture[], ended: ""|"done"|"failed") => void} told
 */
function follow(api, told) {
  /** @type {string|null} */
  let mine = null;
  /** @type {{id: string, pictures: OutputPicture[], ended: ""|"done"|"failed"}[]} */
  let early = [];
  /** @type {OutputPicture[]} */
  const pictures = [];
  const take = (/** @type {typeof early[number]} */ each) => {
    if (mine === null) return void early.push(each);
    if (each.id !== mine) return;
    pictures.push(...each.pictures);
    told(pictures.slice(), each.ended);
    if (each.ended) end();
  };
  /** @type {[string, (event: any) => void][]} */
  const listeners = [
    [
      "executed",
      ({ detail }) =>
        detail?.output?.images?.length && take({ id: detail.prompt_id, pictures: detail.output.images, ended: "" }),
    ],
    .../** @type {(keyof typeof ENDS)[]} */ (Object.keys(ENDS)).map(
      (kind) =>
        /** @type {[string, (event: any) => void]} */ ([
          kind,
          ({ detail }) =>
            take({ id: detail?.prompt_id, pictures: [], ended: /** @type {"done"|"failed"} */ (ENDS[kind]) }),
        ]),
    ),
  ];
  const end = () => {
    for (const [kind, listener] of listeners) api.removeEventListener(kind, listener);
  };
  for (const [kind, listener] of listeners) api.addEventListener(kind, listener);
  return {
    end,
    /** @param {string} id */
    begin(id) {
      mine = id;
      const known = early;
      early = [];
      for (const each of known) take(each);
    },
  };
}

/** Why ComfyUI did not take a prompt, in its own words about the node. @param {any} error @param {Prompt} prompt */
function refusal(error, prompt) {
  const { error: general, node_errors: nodes } = error?.response ?? {};
  const [id, first] = Object.entries(nodes ?? {})[0] ?? [];
  const why = /** @type {any} */ (first)?.errors?.[0];
  if (!why) return new Failure("ComfyUI did not take the workflow.", general?.message ?? String(error?.message ?? error));
  const name = /** @type {any} */ (prompt[/** @type {string} */ (id)])?._meta?.title ?? id;
  return new Failure(`ComfyUI did not take the workflow: ${name} is not ready.`, [why.message, why.details].filter(Boolean).join(": "));
}
