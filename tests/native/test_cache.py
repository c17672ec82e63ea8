"""The cache of encodings: found again by content, never stale, whole or not there."""

import os

import pytest
import torch

from kohya_bridge.engines.training.cache import TensorCache, cache_key, part_digest
from kohya_bridge.engines.training.data import read_items
from kohya_bridge.engines.training.encoding import Encodings, Keys
from kohya_bridge.settings import TrainingSettings
from tests.native_world import SETTINGS, make_dataset

pytestmark = pytest.mark.torch


class CountingEncoders:
    """Stands for a loaded base model: encodes by simple arithmetic and counts how often it was asked."""

    def __init__(self):
        self.pictures, self.captions = 0, 0

    def latents(self, pixels_BCHW):
        self.pictures += 1
        return pixels_BCHW[:, :, ::8, ::8].contiguous()

    def caption(self, caption):
        self.captions += 1
        return {"hidden": torch.full((3, 4), float(len(caption)))}


def settings(**changes) -> TrainingSettings:
    return TrainingSettings(**{**SETTINGS, **changes})


def fill(cache_dir, dataset, *, vae="v1", text="t1", flips=(False,), **changes):
    """Encode a dataset; returns `(encoders, encodings)`."""
    wanted, encoders = settings(**changes), CountingEncoders()
    keys = Keys(wanted, {"vae": vae, "text": text}.get)
    encodings = Encodings(TensorCache(cache_dir), keys)
    items = read_items(dataset, wanted)
    uses = [(item, flipped) for item in items for flipped in flips]
    encodings.fill(uses, [item.caption for item in items], load=lambda parts: encoders, told=lambda *_: None)
    return encoders, encodings


def test_a_second_run_encodes_nothing_and_loads_nothing(tmp_path, dots):
    first, _ = fill(tmp_path, dots)
    assert (first.pictures, first.captions) == (8, 6)  # two captions occur twice
    second, _ = fill(tmp_path, dots, max_train_steps=99, unet_lr=1.0, train_batch_size=1)
    assert (second.pictures, second.captions) == (0, 0)


@pytest.mark.parametrize(
    ("change", "pictures", "captions"),
    [
        ({"resolution": 96}, 8, 0),
        ({"vae": "v2"}, 8, 0),
        ({"text": "t2"}, 0, 6),
        ({"clip_skip": 2}, 0, 6),
        ({"max_token_length": 150}, 0, 6),
        ({"flips": (False, True)}, 8, 0),
    ],
)
def test_what_an_entry_depends_on_makes_another_entry(tmp_path, change, pictures, captions):
    dataset = make_dataset(tmp_path / "dots", sizes=((128, 128), (192, 128)))
    fill(tmp_path / "cache", dataset)
    again, _ = fill(tmp_path / "cache", dataset, **change)
    assert (again.pictures, again.captions) == (pictures, captions)


def test_new_bytes_under_an_old_name_are_encoded_again(tmp_path):
    dataset = make_dataset(tmp_path / "dots", pictures=3)
    _, before = fill(tmp_path / "cache", dataset)
    (dataset / "images" / "0000.png").write_bytes((dataset / "images" / "0002.png").read_bytes())
    again, after = fill(tmp_path / "cache", dataset)
    assert again.pictures == 0  # those bytes are known from 0002.png
    item = read_items(dataset, settings())[0]
    assert not after.latents(item, False).equal(before.latents(item, False))


def test_a_damaged_entry_is_made_again(tmp_path, dots):
    fill(tmp_path, dots)
    entries = sorted(tmp_path.rglob("*.safetensors"))
    entries[0].write_bytes(entries[0].read_bytes()[:20])
    again, _ = fill(tmp_path, dots)
    assert again.pictures + again.captions == 1


def test_mirrored_latents_are_encoded_from_the_mirrored_picture(tmp_path, dots):
    _, encodings = fill(tmp_path, dots, flips=(False, True))
    item = read_items(dots, settings())[0]
    assert not encodings.latents(item, True).equal(encodings.latents(item, False))


def test_a_full_disk_leaves_no_part_of_an_entry(tmp_path):
    resource = pytest.importorskip("resource", reason="file size limits exist on POSIX only")
    pid = os.fork()
    if pid == 0:  # the limit cannot be lifted again, so a child takes it
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            TensorCache(tmp_path).write(cache_key("x"), {"a": torch.zeros(10_000)})
        except OSError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


def test_bases_with_the_same_vae_share_its_digest(tmp_path, tiny_base):
    one = part_digest(tiny_base, "vae", base_sha256="1" * 64, cache_dir=tmp_path)
    two = part_digest(tiny_base, "vae", base_sha256="2" * 64, cache_dir=tmp_path)
    text = part_digest(tiny_base, "text", base_sha256="1" * 64, cache_dir=tmp_path)
    assert one == two != text
