"""Fixtures that several test files share: the one real ComfyUI of a session, the browser, small base models."""

import os
import shutil
import signal
import sys
import tempfile

import hypothesis
import pytest

from scripts.host.comfy_host import ComfyHost
from tests import tiers
from tests.host.canvas import BASE_MODEL, REDUCED_MODELS, small_dataset
from tests.panel.browsing import browser, new_page  # noqa: F401  fixtures

# The same examples every time, and no folder of them beside the tests; campaigns with other seeds are commands.
# How long an example takes to draw says something of the machine's other work, not of the code.
hypothesis.settings.register_profile(
    "gate",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("gate")


@pytest.fixture(scope="session", autouse=True)
def key_of_this_machine():
    """The tests sign with a key of their own, and so does every process that they start."""
    with tempfile.TemporaryDirectory(prefix="key-") as folder:
        os.environ["WIZDROID_KEY_DIR"] = folder
        yield
        os.environ.pop("WIZDROID_KEY_DIR", None)


def pytest_configure(config):
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A script starts what it puts behind with `&` deaf to Ctrl-C, and so would be all that the tests start and interrupt.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the same of `nohup`
    if tiers.is_quick(config):
        tiers.without_torch()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Each test begins with the processor's floats as IEEE 754 has them, whatever a trainer in an earlier one made of them."""
    if sys.float_info.min / 2 == 0.0:
        import torch

        torch.set_flush_denormal(False)


def pytest_ignore_collect(collection_path, config):
    return True if tiers.is_quick(config) and tiers.is_needy(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if tiers.is_left_out(item, config.option.markexpr)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    tiers.mark_quick(items)
    if hasattr(config, "workerinput"):  # one of several workers of pytest-xdist
        items.sort(key=tiers.by_length)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return tiers.scheduler(config, log)


divided = tiers.Divided()


def pytest_runtest_logreport(report):
    if hasattr(report, "node"):  # of pytest-xdist
        divided.take(report.nodeid, report.node.gateway.id)


def pytest_sessionfinish(session):
    if divided.groups():
        pytest.exit(
            f"Several workers ran parts of {', '.join(divided.groups())}: see tests/tiers.py.", returncode=1
        )


@pytest.fixture(scope="session")
def demo_base(tmp_path_factory):
    """The demo's reduced SD 1.5 checkpoint, which real ComfyUI detects and samples."""
    from scripts.make_demo_base import demo_base as weights
    from scripts.make_demo_base import save_base

    return save_base(tmp_path_factory.mktemp("base") / BASE_MODEL, weights())


@pytest.fixture(scope="session")
def comfy(tmp_path_factory, demo_base):
    """A running ComfyUI with this pack, the demo's base model and a small dataset in its input folder.

    Its absence is a failure, not a skip: `make test` installs it.
    """
    host = ComfyHost(tmp_path_factory.mktemp("comfy"))
    stock(host, demo_base)
    host.start()
    yield host
    host.stop()


@pytest.fixture
def own_comfy(tmp_path, demo_base):
    """A ComfyUI that a test may end as it likes: not started yet."""
    host = ComfyHost(tmp_path / "comfy")
    stock(host, demo_base)
    yield host
    host.stop()


def stock(host, base_model):
    """Put into a ComfyUI's folders what the tests train on."""
    host.prepare()
    host.environment["PYTHONPATH"] = os.pathsep.join(
        [str(REDUCED_MODELS), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    )
    (host.base_dir / "custom_nodes" / "reduced_models").symlink_to(REDUCED_MODELS)
    try:
        (host.checkpoints_dir / BASE_MODEL).hardlink_to(base_model)
    except OSError:
        shutil.copy(base_model, host.checkpoints_dir / BASE_MODEL)
    small_dataset(host.base_dir / "input" / "wren")


@pytest.fixture(scope="session")
def sd15_file(tmp_path_factory):
    """A tiny SD 1.5 checkpoint in LDM layout."""
    from tests.bases import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("sd15"), "sd15")


@pytest.fixture(scope="session")
def sdxl_file(tmp_path_factory):
    """A tiny SDXL checkpoint in SGM layout, with both text encoders."""
    from tests.bases import make_tiny_base

    return make_tiny_base(tmp_path_factory.mktemp("sdxl"), "sdxl")
