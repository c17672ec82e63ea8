"""Licences that pictures and LoRAs are released under: SPDX ids, their names, and what the Hugging Face hub calls them.

In: what `metadata.yaml` says. Out: a `Licence`, or None when it is neither a known id nor terms written out. The table
holds the ids that this trade uses; another SPDX id is written as `LicenseRef-<id>` or as its text.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

SHORTEST_TERMS = 20
"""Characters; a licence that is no id must say something."""


@dataclass(frozen=True)
class Licence:
    """`identifier` is an SPDX id or `LicenseRef-...`; `hub` the Hugging Face id, "other" where it has none."""

    identifier: str
    title: str
    url: str = ""
    hub: str = "other"

    @property
    def text(self) -> str:
        return f"{self.title} ({self.identifier})" if self.title != self.identifier else self.title


_TABLE = (
    ("CC0-1.0", "Creative Commons Zero 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
    ("CC-BY-4.0", "Creative Commons Attribution 4.0", "https://creativecommons.org/licenses/by/4.0/", "cc-by-4.0"),
    ("CC-BY-3.0", "Creative Commons Attribution 3.0", "https://creativecommons.org/licenses/by/3.0/", "cc-by-3.0"),
    ("CC-BY-SA-4.0", "Creative Commons Attribution ShareAlike 4.0", "https://creativecommons.org/licenses/by-sa/4.0/", "cc-by-sa-4.0"),
    ("CC-BY-SA-3.0", "Creative Commons Attribution ShareAlike 3.0", "https://creativecommons.org/licenses/by-sa/3.0/", "cc-by-sa-3.0"),
    ("CC-BY-NC-4.0", "Creative Commons Attribution NonCommercial 4.0", "https://creativecommons.org/licenses/by-nc/4.0/", "cc-by-nc-4.0"),
    ("CC-BY-NC-SA-4.0", "Creative Commons Attribution NonCommercial ShareAlike 4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/", "cc-by-nc-sa-4.0"),
    ("CC-BY-NC-ND-4.0", "Creative Commons Attribution NonCommercial NoDerivatives 4.0", "https://creativecommons.org/licenses/by-nc-nd/4.0/", "cc-by-nc-nd-4.0"),
    ("CC-BY-ND-4.0", "Creative Commons Attribution NoDerivatives 4.0", "https://creativecommons.org/licenses/by-nd/4.0/", "cc-by-nd-4.0"),
    ("MIT", "MIT License", "https://opensource.org/license/mit", "mit"),
    ("Apache-2.0", "Apache License 2.0", "https://www.apache.org/licenses/LICENSE-2.0", "apache-2.0"),
    ("BSD-2-Clause", "BSD 2-Clause License", "https://opensource.org/license/bsd-2-clause", "bsd-2-clause"),
    ("BSD-3-Clause", "BSD 3-Clause License", "https://opensource.org/license/bsd-3-clause", "bsd-3-clause"),
    ("ISC", "ISC License", "https://opensource.org/license/isc-license-txt", "isc"),
    ("Unlicense", "The Unlicense", "https://unlicense.org/", "unlicense"),
    ("WTFPL", "Do What The F*ck You Want To Public License", "http://www.wtfpl.net/", "wtfpl"),
    ("MPL-2.0", "Mozilla Public License 2.0", "https://www.mozilla.org/MPL/2.0/", "mpl-2.0"),
    ("GPL-2.0-only", "GNU General Public License 2.0 only", "https://www.gnu.org/licenses/old-licenses/gpl-2.0", "gpl-2.0"),
    ("GPL-2.0-or-later", "GNU General Public License 2.0 or later", "https://www.gnu.org/licenses/old-licenses/gpl-2.0", "gpl-2.0"),
    ("GPL-3.0-only", "GNU General Public License 3.0 only", "https://www.gnu.org/licenses/gpl-3.0", "gpl-3.0"),
    ("GPL-3.0-or-later", "GNU General Public License 3.0 or later", "https://www.gnu.org/licenses/gpl-3.0", "gpl-3.0"),
    ("LGPL-3.0-or-later", "GNU Lesser General Public License 3.0 or later", "https://www.gnu.org/licenses/lgpl-3.0", "lgpl-3.0"),
    ("AGPL-3.0-only", "GNU Affero General Public License 3.0 only", "https://www.gnu.org/licenses/agpl-3.0", "agpl-3.0"),
    ("AGPL-3.0-or-later", "GNU Affero General Public License 3.0 or later", "https://www.gnu.org/licenses/agpl-3.0", "agpl-3.0"),
    ("OFL-1.1", "SIL Open Font License 1.1", "https://openfontlicense.org/", "ofl-1.1"),
    ("Artistic-2.0", "Artistic License 2.0", "https://opensource.org/license/artistic-2-0", "artistic-2.0"),
    ("LAL-1.3", "Licence Art Libre 1.3", "https://artlibre.org/", "other"),
    ("PDDL-1.0", "Open Data Commons Public Domain Dedication 1.0", "https://opendatacommons.org/licenses/pddl/1-0/", "pddl"),
    ("ODbL-1.0", "Open Database License 1.0", "https://opendatacommons.org/licenses/odbl/1-0/", "odbl"),
    # Not SPDX, but the ids under which the hub knows the licences of diffusion models.
    ("LicenseRef-CreativeML-OpenRAIL-M", "CreativeML Open RAIL-M", "https://huggingface.co/spaces/CompVis/stable-diffusion-license", "creativeml-openrail-m"),
    ("LicenseRef-OpenRAIL++", "CreativeML Open RAIL++-M", "https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md", "openrail++"),
)  # fmt: skip

LICENCES: dict[str, Licence] = {row[0]: Licence(*row) for row in _TABLE}


def find_licence(text: str) -> Licence | None:
    """The licence that `text` names (in any case) or spells out; None when it does neither."""
    text = text.strip()
    by_lower = {identifier.lower(): licence for identifier, licence in LICENCES.items()}
    if text.lower() in by_lower:
        return by_lower[text.lower()]
    if text.lower().startswith("licenseref-") and " " not in text and len(text) > len("LicenseRef-"):
        return Licence(text, text)
    if " " in text and len(text) >= SHORTEST_TERMS:
        return Licence("LicenseRef-terms", text)
    return None


def nearest_identifier(text: str) -> str | None:
    """The known id that looks most like `text`, for a person who mistyped one."""
    lowered = {identifier.lower(): identifier for identifier in LICENCES}
    near = difflib.get_close_matches(text.strip().lower(), lowered, n=1, cutoff=0.5)
    return lowered[near[0]] if near else None
