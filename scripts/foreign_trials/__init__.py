"""`python -m scripts.foreign_trials`: what people bring from elsewhere, brought in by the shell as they would, and what became of it.

In: files as other programs, phones and hands make them, written anew by each trial. Out: a row for each: right, wrong (with what was said), or
crashed (exit code 70, or an exception), and the sums. The trials follow what users of other trainers report in public; none is a file of
theirs. Nothing is trained, and nothing outside a scratch folder is touched.
"""

from . import diagnosis, folders, repairs, settings
from .trial import RIGHT, TRIALS, outcome_of

__all__ = ["RIGHT", "TRIALS", "diagnosis", "folders", "outcome_of", "repairs", "settings"]
