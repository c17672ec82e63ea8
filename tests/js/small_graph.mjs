// A graph with nodes, widgets and links that behave as LiteGraph's do, as far as the panel uses them.

const SHAPES = {
  CheckpointLoaderSimple: {
    outputs: ["MODEL", "CLIP", "VAE"],
    widgets: { ckpt_name: [["a.safetensors"], "a.safetensors"] },
  },
  KSampler: {
    inputs: [
      ["model", "MODEL"],
      ["positive", "CONDITIONING"],
    ],
    outputs: ["LATENT"],
  },
  CLIPTextEncode: {
    inputs: [
      ["clip", "CLIP"],
      ["text", "STRING"],
    ],
    outputs: ["CONDITIONING"],
  },
  SaveImage: { inputs: [["images", "LATENT"]], output: true },
  LoraLoader: {
    inputs: [
      ["model", "MODEL"],
      ["clip", "CLIP"],
      ["lora_name", "COMBO"],
    ],
    outputs: ["MODEL", "CLIP"],
  },
  WizdroidPackageLora: { inputs: [["run", "WIZDROID_RUN"]], outputs: ["COMBO", "STRING"], output: true },
  WizdroidLoraValidateGrid: {
    inputs: [
      ["run", "WIZDROID_RUN"],
      ["model", "MODEL"],
      ["clip", "CLIP"],
    ],
    outputs: ["IMAGE"],
    output: true,
  },
  WizdroidLoadTrainedLora: {
    inputs: [
      ["model", "MODEL"],
      ["clip", "CLIP"],
      ["run", "WIZDROID_RUN"],
      ["package", "COMBO"],
    ],
    outputs: ["MODEL", "CLIP"],
    widgets: {
      package: [["(the run's checkpoint)", "old.safetensors"], "old.safetensors"],
      which: [["best", "latest", "step"], "best"],
      step: [null, 0],
    },
  },
  WizdroidTrainingRun: {
    outputs: ["WIZDROID_RUN", "STRING", "STRING"],
    widgets: { run_name: [["x/0"], "x/0"] },
  },
  WizdroidKohyaTrain: {
    inputs: [
      ["dataset", "WIZDROID_DATASET"],
      ["settings", "WIZDROID_SETTINGS"],
      ["trigger", "STRING"],
    ],
    outputs: ["WIZDROID_RUN", "STRING"],
    output: true,
    widgets: {
      base_model: [null, ""],
      preset: [null, "standard"],
      engine: [null, "auto"],
      mode: [null, "wait"],
      steps: [null, 0],
      rank: [null, 0],
      alpha: [null, 0],
      learning_rate: [null, 0],
      resolution: [null, 0],
      batch_size: [null, 0],
      seed: [null, 42],
      trigger: [null, ""],
      character: [null, ""],
    },
  },
  WizdroidDatasetLint: {
    inputs: [["dataset", "WIZDROID_DATASET"]],
    outputs: ["WIZDROID_DATASET", "STRING", "IMAGE"],
    widgets: { dataset_name: [["(wired)", "wren"], "(wired)"] },
  },
  WizdroidTrainingSettings: {
    outputs: ["WIZDROID_SETTINGS"],
    widgets: {
      flip_aug: [["preset", "on", "off"], "on"],
      optimizer_type: [["preset", "AdamW", "Lion"], "Lion"],
      max_token_length: [["preset", "75", "150"], "preset"],
      noise_offset: [null, 0.1],
      network_weights: [["(none)", "a.safetensors"], "(none)"],
      more: [null, "left: over"],
    },
  },
};

export function smallApp() {
  const graph = {
    _nodes: [],
    links: new Map(),
    changes: 0,
    beforeChange: () => (graph.changes += 1),
    afterChange: () => (graph.changes -= 1),
    setDirtyCanvas() {},
    getNodeById: (id) => graph._nodes.find((each) => each.id === id) ?? null,
    add(node) {
      node.id = graph._nodes.length + 1;
      graph._nodes.push(node);
      return node;
    },
  };
  const app = {
    graph,
    refreshed: 0,
    canvas: {},
    refreshComboInNodes: async () => (app.refreshed += 1),
    graphToPrompt: async () => ({ output: asPrompt(graph), workflow: {} }),
  };
  const registered = Object.entries(SHAPES).map(([type, { output = false }]) => [type, { nodeData: { output_node: output } }]);
  globalThis.window = {
    LiteGraph: {
      createNode: (type) => (SHAPES[type] ? made(graph, type) : null),
      registered_node_types: Object.fromEntries(registered),
    },
  };
  return app;
}

/** The API form of the graph: links as [id, slot], widgets as their values. */
function asPrompt(graph) {
  const inputsOf = (node) => [
    ...node.widgets.map((each) => [each.name, each.value]),
    ...node.inputs
      .filter((each) => each.link !== null)
      .map((each) => [each.name, [String(graph.links.get(each.link).origin_id), graph.links.get(each.link).origin_slot]]),
  ];
  return Object.fromEntries(
    graph._nodes.map((node) => [String(node.id), { class_type: node.type, inputs: Object.fromEntries(inputsOf(node)) }]),
  );
}

/** ComfyUI's `api`: notes what is queued, and lets a test tell what its server would. */
export class SmallApi extends EventTarget {
  queued = [];
  async queuePrompt(number, { output }, options) {
    this.queued.push({ prompt: output, outputs: options.partialExecutionTargets });
    return { prompt_id: `prompt-${this.queued.length}` };
  }
  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

function made(graph, type) {
  const { inputs = [], outputs = [], widgets = {} } = SHAPES[type];
  const node = {
    type,
    title: type,
    pos: [0, 0],
    size: [200, 100],
    inputs: inputs.map(([name, kind]) => ({ name, type: kind, link: null })),
    outputs: outputs.map((kind) => ({ type: kind, links: null })),
    widgets: Object.entries(widgets).map(([name, [values, value]]) => ({
      name,
      value,
      options: values ? { values } : {},
    })),
    disconnectInput(at) {
      const link = graph.links.get(node.inputs[at].link);
      const origin = graph.getNodeById(link.origin_id).outputs[link.origin_slot];
      origin.links = origin.links.filter((each) => each !== link.id);
      graph.links.delete(link.id);
      node.inputs[at].link = null;
    },
    findInputSlot: (name) => node.inputs.findIndex((each) => each.name === name),
    connect(from, target, to) {
      const old = graph.links.get(target.inputs[to].link);
      if (old) {
        const origin = graph.getNodeById(old.origin_id).outputs[old.origin_slot];
        origin.links = origin.links.filter((each) => each !== old.id);
        graph.links.delete(old.id);
      }
      const link = {
        id: graph.links.size + 100 * (graph._nodes.length + 1),
        origin_id: node.id,
        origin_slot: from,
        target_id: target.id,
        target_slot: to,
      };
      while (graph.links.has(link.id)) link.id += 1;
      graph.links.set(link.id, link);
      node.outputs[from].links = [...(node.outputs[from].links ?? []), link.id];
      target.inputs[to].link = link.id;
    },
  };
  return node;
}

/** What feeds an input, as "type.slot". */
export function fedBy(app, node, name) {
  const link = app.graph.links.get(node.inputs.find((each) => each.name === name).link);
  return link ? `${app.graph.getNodeById(link.origin_id).type}.${link.origin_slot}` : null;
}

export const valueOf = (node, name) => node.widgets.find((each) => each.name === name).value;
