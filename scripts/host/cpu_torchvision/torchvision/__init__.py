"""The torchvision that lies further down the path, beside a torch that can't load its compiled part.

The registry's torchvision is a CUDA build. Its Python part is all that ComfyUI needs, and that only asks for two operators to be
declared. So whoever has this folder on the path before the real one has a torchvision, without any code of their own: also the
trainers of ComfyUI's own models, which take over its path.
"""

import sys
from importlib.machinery import PathFinder
from pathlib import Path

import torch

_here = Path(__file__).resolve().parents[1]
_further = [each for each in sys.path if not each or Path(each).resolve() != _here]
_real = PathFinder.find_spec(__name__, _further)
if _real is None or _real.loader is None or _real.submodule_search_locations is None:
    raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

if torch.version.cuda is None:
    _declared = torch.library.Library("torchvision", "DEF")  # the operators live as long as this object
    for _name in ("nms", "qnms"):
        _declared.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

__path__ = list(_real.submodule_search_locations)
__file__ = _real.origin
_real.loader.exec_module(sys.modules[__name__])
