"""What a process with an opened ComfyUI is asked for by the tests: figures, as plain JSON."""

from __future__ import annotations

from pathlib import Path

from tests.host_models import reduced, small_files


def knows(family: str) -> bool:
    import comfy.supported_models

    return hasattr(comfy.supported_models, reduced.FAMILIES[family][0])


def reduced_model(family: str, model=None, **options):
    import torch

    from kohya_bridge.engines.native.host_side.model import HostModel

    return HostModel(
        model or reduced.make(family),
        dtype=torch.float32,
        device=torch.device("cpu"),
        stride=8,
        guidance=1.0,
        **options,
    )


def gradients(family: str) -> dict:
    """The verdict of the check that runs before the first training."""
    from kohya_bridge.engines.native.host_side.gradients import check_gradients

    if not knows(family):
        return {"unknown": True}
    found = check_gradients(lambda: reduced_model(family), reduced.latents(family), reduced.condition(family))
    return {**found.to_json(), "problem": found.problem(rounded=False)}


def batched(family: str) -> dict:
    """Two pictures with two captions of one length, at two times: answered together, and each alone."""
    import torch

    if not knows(family):
        return {"unknown": True}
    model = reduced_model(family)
    one, other = reduced.condition(family, seed=1), reduced.condition(family, seed=9)
    condition = {name: torch.stack([one[name], other[name]]) for name in one}
    noisy = torch.stack([reduced.latents(family, seed=2), reduced.latents(family, seed=6)])
    times = model.objective(_settings(), torch.device("cpu"))
    times_B = torch.tensor([times.time_at(300), times.time_at(700)])
    edges = [float(edge * 8) for edge in noisy.shape[-2:]]
    sizes = torch.tensor([[*edges, 0.0, 0.0, *edges]] * 2)
    with torch.no_grad():
        together = model.predict(noisy, times_B, condition, sizes)
        alone = [
            model.predict(
                noisy[at : at + 1],
                times_B[at : at + 1],
                {k: v[at : at + 1] for k, v in condition.items()},
                sizes[at : at + 1],
            )
            for at in range(2)
        ]
    truth = torch.cat(alone)
    swapped = torch.cat(alone[::-1])
    return {
        "off": float((together - truth).abs().max() / truth.abs().max()),
        "swapped_off": float((together - swapped).abs().max() / truth.abs().max()),
    }


def _settings():
    from kohya_bridge.settings import TrainingSettings

    return TrainingSettings()


def uncured_gradients(family: str) -> dict:
    """The same with ComfyUI's blocks as they are: writing into what a norm has saved."""
    from kohya_bridge.engines.native.host_side import model as side
    from kohya_bridge.engines.native.host_side.gradients import check_gradients

    side.copy_before_writing = lambda network: None
    try:
        found = check_gradients(
            lambda: reduced_model(family), reduced.latents(family), reduced.condition(family)
        )
    except RuntimeError as error:
        return {"raised": str(error)[:200]}
    return {**found.to_json(), "problem": found.problem(rounded=False)}


def write_files(folder: str, family: str, architecture: str, fp8: bool = False) -> dict:
    """The files of a reduced family by the options of its architecture; `fp8` stores the diffusion model so, without scales."""
    import torch

    from kohya_bridge import architectures

    home, drawing = Path(folder), architectures.architecture(architecture).drawing
    kept = torch.float8_e4m3fn if fp8 else None
    own = (
        {} if drawing.vae else {f"first_stage_model.{k}": v for k, v in small_files.vae_state(family).items()}
    )
    base = small_files.write_diffusion_model(home / f"{family}.safetensors", family, dtype=kept, beside=own)
    files = {"base": str(base)}
    for option in drawing.text.files[:1] if architecture == "other" else drawing.text.files:
        files[option] = str(small_files.write_text_encoder(home / f"{option}.safetensors", family))
    if drawing.vae:
        files[drawing.vae] = str(small_files.write_vae(home / "vae.safetensors", family))
    return files


def quantised(folder: str, kind: str) -> dict:
    """The same for a format of the host's own, against its dequantised weights."""
    from tests.host_models.quantised import write

    files = write(Path(folder), "zimage", kind)
    return files if "unknown" in files else {**stored(files["stored"], files["plain"]), **files}


def loaded(file: str) -> str:
    """What is said where a diffusion model is loaded."""
    import torch

    from kohya_bridge.engines.native.host_side.loading import load_diffusion_model, read_file
    from kohya_bridge.errors import InvalidInput

    tensors, metadata = read_file(Path(file))
    try:
        load_diffusion_model(tensors, metadata, dtype=torch.float32, name=Path(file).name)
    except InvalidInput as error:
        return error.problem
    return "loaded"


def stored(file: str, plain_file: str = "") -> dict:
    """A base in the format of its file against the same numbers in fp32: answers, gradients, what is kept for the backward."""
    import torch

    from kohya_bridge.engines.native.host_side import model as side
    from kohya_bridge.engines.native.host_side.loading import load_diffusion_model, number_format, read_file

    tensors, metadata = read_file(Path(file))
    family = metadata[small_files.MARK]
    plain = (
        read_file(Path(plain_file))[0]
        if plain_file
        else {name: each.float() for name, each in tensors.items()}
    )
    sides = {}
    for name, of in (("stored", tensors), ("plain", plain)):
        model = load_diffusion_model(dict(of), metadata, dtype=torch.float32, name=name)
        sides[name] = _answered(reduced_model(family, model), family)
    (said, gradient, kept, weights), (truth, right, _, _) = sides["stored"], sides["plain"]
    side.frozen = lambda layer: (
        layer.forward
    )  # the host's own layers: autograd keeps a cast copy of each weight
    model = load_diffusion_model(dict(tensors), metadata, dtype=torch.float32, name="uncured")
    try:
        usual = _answered(reduced_model(family, model), family)[2]
    except (RuntimeError, ValueError):  # two of the formats have no backward of their own
        usual = None
    return {
        "format": number_format(tensors, metadata),
        "weights": weights,
        "answer_off": float((said - truth).norm() / truth.norm()),
        "gradient_off": float((gradient - right).norm() / right.norm()),
        "kept_mib": kept,
        "usually_kept_mib": usual,
    }


def _answered(model, family: str):
    import torch

    from kohya_bridge.engines.native.host_side.gradients import _Bench

    bench = _Bench(model, reduced.latents(family), reduced.condition(family), recomputed=False)
    own = {_place(each) for each in model.network.parameters()}
    held: dict[int, int] = {}

    def keep(tensor):
        if _place(tensor) not in own:
            held[_place(tensor)] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        said = bench.answer()
    torch.autograd.backward((said.float() * bench.direction).sum())
    parameters = [p for _, p in bench._parameters()]
    gradient = torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in parameters]
    )
    weight = next(
        layer.weight for name, layer in model.network.named_modules() if name == "layers.0.attention.qkv"
    )
    return said.detach(), gradient, sum(held.values()) / 2**20, str(getattr(weight, "_qdata", weight).dtype)


def _place(tensor):
    """Where a tensor's numbers lie; a quantised one's are in a tensor of its own."""
    return getattr(tensor, "_qdata", tensor).untyped_storage().data_ptr()


def doctors_check(files: dict, cache: str, comfyui_dir: str) -> dict:
    """What the child of `doctor --gradients` says of a model."""
    from kohya_bridge.engines.native.gradients import check

    job = {**{name: file for name, file in files.items() if name != "base"}, "base_model_file": files["base"]}
    more = {
        "name": "small",
        "sha256": "a" * 64,
        "family": "zimage",
        "comfyui_dir": comfyui_dir,
        "cache_dir": cache,
    }
    return check({**job, **more})


def rendered(job: dict) -> dict:
    """Has the job's pictures drawn; what is said of one with a sampler that no ComfyUI has."""
    from kohya_bridge.engines.native.render import render_job
    from kohya_bridge.errors import InvalidInput

    render_job(job)
    try:
        render_job({**job, "sampler": "of_another_time"})
    except InvalidInput as error:
        return {"names": error.problem}
    return {}


def alive_when_loaded(run: str) -> list:
    """Trains, and says which of the parts loaded before were still alive as each was loaded."""
    import weakref

    from kohya_bridge.engines.native.__main__ import main
    from kohya_bridge.engines.native.host_side import side

    told, loaded = [], {}

    def watched(part, load, *, weights):
        def loading(*given, **named):
            told.append([part, sorted(name for name, each in loaded.items() if each() is not None)])
            made = load(*given, **named)
            loaded[part] = weakref.ref(next(weights(made).parameters()))
            return made

        return loading

    side.load_vae = watched("vae", side.load_vae, weights=lambda vae: vae.first_stage_model)
    side.load_text_encoders = watched(
        "text", side.load_text_encoders, weights=lambda clip: clip.cond_stage_model
    )
    side.load_diffusion_model = watched("model", side.load_diffusion_model, weights=lambda model: model)
    assert main([run]) == 0
    return told


def out_of_memory(file: str) -> dict:
    """What is said when the memory ends while a picture is encoded, and how many tiles were encoded in its place."""
    import comfy.model_management
    import torch

    from kohya_bridge.engines.native.host_side.loading import load_vae, read_file

    vae = load_vae(read_file(Path(file))[0], "vae")
    whole, tiles = vae.first_stage_model.encode, []

    def ends(pixels, *given, **named):
        if pixels.shape[-1] == 1024 or pixels.shape[-2] == 1024:
            raise comfy.model_management.OOM_EXCEPTION("a card of a test is full")
        tiles.append(tuple(pixels.shape))
        return whole(pixels, *given, **named)

    vae.first_stage_model.encode = ends
    try:
        vae.encode(torch.zeros(1, 1024, 1024, 3))
    except torch.OutOfMemoryError as error:
        return {"said": str(error), "tiles": len(tiles)}
    return {"said": "", "tiles": len(tiles)}


def unknown_type(file: str) -> str:
    """What is said of text encoders of a type that the host has no name for."""
    from kohya_bridge.engines.native.host_side.loading import load_text_encoders
    from kohya_bridge.errors import InvalidInput

    try:
        load_text_encoders([Path(file)], "of_another_time")
    except InvalidInput as error:
        return error.problem
    return "loaded"


def belief(file: str, family: str) -> str:
    """The name under which the verdict on a model's gradients is kept."""
    import torch

    from kohya_bridge.architectures import architecture
    from kohya_bridge.engines.native.host_side.believed import Gradients
    from kohya_bridge.engines.native.host_side.loading import number_format, read_file
    from kohya_bridge.engines.native.host_side.opening import Host

    host = Host(Path(file).parent, "1", "")
    tensors, metadata = read_file(Path(file))
    gradients = Gradients(host, architecture(family), Path(file), torch.device("cpu"))
    return gradients._key(number_format(tensors, metadata), tensors)


def refused(file: str) -> dict:
    """What is said of files with a weight too many or too few, and of those with and without a layer that is never called."""
    import torch

    from kohya_bridge.engines.native.host_side.loading import load_diffusion_model, read_file
    from kohya_bridge.errors import InvalidInput

    tensors, metadata = read_file(Path(file))
    few = dict(tensors)
    few.pop(next(name for name in few if name.startswith("layers.1.") and name.endswith(".weight")))
    found = {}
    unused = {name: each for name, each in tensors.items() if name != "norm_final.weight"}
    width = tensors["cap_pad_token"].shape[-1]
    cases = {
        "unknown": {**tensors, "layers.0.strange": torch.ones(3)},
        "missing": few,
        "as Z-Image's files are": unused,
        "as Lumina's files are": {**unused, "norm_final.weight": torch.ones(width)},
    }
    for kind, state in cases.items():
        try:
            load_diffusion_model(dict(state), metadata, dtype=torch.float32, name=kind)
            found[kind] = "loaded"
        except InvalidInput as error:
            found[kind] = error.problem
    return found


def same_as_diffusers(file: str, comfyui_dir: str) -> dict:
    """A checkpoint of SD 1.x by both sides: how far latents, text and the prediction are apart, relative to the largest; and how far
    the two predictions are from the same network in 64 bits, which is what fp32 rounds away."""
    import torch

    from kohya_bridge.engines.native.diffusers_side.denoiser import denoise
    from kohya_bridge.engines.native.diffusers_side.models import load_base
    from kohya_bridge.engines.native.host_side.loading import load_diffusion_model, read_file
    from kohya_bridge.engines.native.host_side.side import HostSide
    from kohya_bridge.plan import BaseModelFacts
    from kohya_bridge.settings import TrainingSettings

    cpu, fp32 = torch.device("cpu"), torch.float32
    ours = load_base(Path(file), tokenizer_dir=Path(comfyui_dir) / "comfy" / "sd1_tokenizer")
    facts = BaseModelFacts(name="demo", sha256="d" * 64, family="sd15")
    paths = {"base_model_file": Path(file), "comfyui_dir": Path(comfyui_dir)}
    side = HostSide(facts, paths, dtype=fp32, device=cpu)
    encoders = side.load_encoders({"vae", "text"})
    draw = torch.Generator().manual_seed(3)
    pixels, caption = (
        torch.rand(1, 3, 128, 128, generator=draw) * 2 - 1,
        "a portrait of ohwx (person:1.5), red hair",
    )
    with torch.no_grad():
        latents = ours.vae.encode(pixels)
        hidden = ours.text.encode(ours.text.tokenize([caption], 75), 1).hidden
        theirs = encoders.caption(caption)
        tensors, metadata = read_file(Path(file))
        host = load_diffusion_model(tensors, metadata, dtype=fp32, name="demo")
        model = reduced_model("sd15", host)
        objective = model.objective(TrainingSettings(), cpu)
        times, noise = torch.tensor([500]), torch.randn(latents.shape, generator=draw)
        noisy = objective.noisy(latents, noise, times)
        sizes = torch.zeros(1, 6)
        said = model.predict(noisy, times, {"cross_attn": hidden[None]}, sizes)
        truth = denoise(ours.unet, fp32, noisy, times, {"hidden": hidden}, sizes)
        exact = ours.unet.double()(noisy.double(), times, encoder_hidden_states=hidden.double()).sample

    def apart(one, other) -> float:
        return float((one - other).abs().max() / other.abs().max())

    return {
        "latents": apart(encoders.latents(pixels), latents),
        "text": apart(theirs["cross_attn"], hidden),
        "prediction": apart(said, truth),
        "rounding": max(apart(said.double(), exact), apart(truth.double(), exact)),
    }


def real_encoders(folder: str, family: str, stored: str = "plain") -> dict:
    """Text encoders in their real layouts, found, loaded and asked."""
    from tests.host_models.real_encoders import asked

    return asked(folder, family, stored)
