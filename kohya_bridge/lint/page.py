"""The report as one self-contained HTML page: findings with their reasons, thumbnails with their badges, nothing from outside.

In: a dataset, its report, and where a training is planned the trainer's view. Out: HTML text. Every word of a dataset is
escaped; a content policy in the page forbids scripts and foreign addresses.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from html import escape

from PIL import Image

from ..dataset import Dataset, DatasetItem
from ..datasets.pictures import DECODER_FAILURES, as_trained
from ..datasets.trainer_view import COLUMNS, TrainerView, view_rows
from .catalogue import rule
from .finding import Finding, in_number
from .report import LintReport, one_line

THUMBNAIL_PX, THUMBNAIL_QUALITY, MOST_PICTURES = 220, 82, 1000
_STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--ink:#1d1f23;--soft:#6b7280;--card:#fff;--line:#e3e4e8;--error:#d13c41;
--warning:#c27a10;--info:#5f6f83;--clean:#2f8f5b}
@media (prefers-color-scheme:dark){:root{--paper:#18191d;--ink:#eceef0;--soft:#9aa1ab;--card:#26292f;--line:#363a42}}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:auto;padding:24px}h1{font-size:26px;margin:0}h2{font-size:19px;margin:36px 0 12px}
.verdict{color:var(--soft);margin:2px 0 18px}.badge{display:inline-block;border-radius:6px;padding:1px 8px;color:#fff;
font:600 12px/1.6 system-ui,sans-serif;text-decoration:none;margin:0 4px 4px 0}
.error{background:var(--error)}.warning{background:var(--warning)}.info{background:var(--info)}.clean{background:var(--clean)}
details{background:var(--card);border:1px solid var(--line);border-radius:8px;margin:0 0 10px;padding:10px 14px}
summary{cursor:pointer;font-weight:600}dl{display:grid;grid-template-columns:auto 1fr;gap:2px 14px;margin:10px 0 0}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}ul{margin:8px 0 0;padding-left:20px}li{overflow-wrap:anywhere}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:14px}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden}
figure img{display:block;width:100%;aspect-ratio:1;object-fit:contain;background:rgba(127,127,127,.12)}
figcaption{padding:8px 10px;font-size:13px;overflow-wrap:anywhere}figcaption p{margin:4px 0 0;color:var(--soft)}
.none{aspect-ratio:1;display:grid;place-items:center;color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px}th,td{border-bottom:1px solid var(--line);
padding:4px 10px;text-align:left;vertical-align:top}td:last-child{color:var(--error)}
"""


def report_page(dataset: Dataset, report: LintReport, *, views: tuple[TrainerView, ...] = ()) -> str:
    """The whole report as one HTML document."""
    by_subject = defaultdict(list)
    for finding in report.findings:
        by_subject[finding.subject].append(finding)
    pictures = "".join(_figure(item, by_subject[item.name]) for item in dataset.items[:MOST_PICTURES])
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Lint of {_text(report.slug)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body><main>'
        f'<h1>{_text(report.slug)}</h1><p class="verdict">{_text(report.headline())}</p>{_counts(report)}'
        f"{_findings(report)}{_table(views)}<h2>Pictures</h2><div class=grid>{pictures}</div></main></body></html>\n"
    )


def _counts(report: LintReport) -> str:
    counts = report.counts()
    return "".join(f'<span class="badge {severity}">{in_number(severity, n)}</span>' for severity, n in counts.items() if n) or '<span class="badge clean">clean</span>'  # fmt: skip


def _findings(report: LintReport) -> str:
    if not report.findings:
        return ""
    parts = ["<h2>Findings</h2>"]
    for id, found in report.by_rule().items():
        known = rule(id)
        title = known.title if known else ""
        lines = "".join(f"<li>{_finding(each)}</li>" for each in found)
        fixes = "<br>".join(_text(fix) for fix in dict.fromkeys(each.fix for each in found[:5]))
        why = f"<dt>Why</dt><dd>{_text(known.trainer)}</dd>" if known else ""
        parts.append(
            f'<details id="{id}" open><summary><span class="badge {found[0].severity}">{id}</span>{_text(title)} '
            f"({len(found)})</summary><ul>{lines}</ul><dl>{why}<dt>Fix</dt><dd>{fixes}</dd></dl></details>"
        )
    return "".join(parts)


def _finding(finding: Finding) -> str:
    subject = f"<b>{_text(finding.subject)}</b>: " if finding.subject else ""
    waived = f" <i>waived: {_text(finding.waived)}</i>" if finding.waived else ""
    return f"{subject}{_text(finding.problem)}{waived}"


def _figure(item: DatasetItem, findings: list[Finding]) -> str:
    badges = "".join(f'<a class="badge {each.severity}" href="#{each.rule}">{each.rule}</a>' for each in {f.rule: f for f in findings}.values())  # fmt: skip
    return f"<figure>{_thumbnail(item)}<figcaption>{badges}<b>{_text(item.name)}</b><p>{_text(item.caption[:400])}</p></figcaption></figure>"  # fmt: skip


def _thumbnail(item: DatasetItem) -> str:
    try:
        picture = as_trained(item.file)
    except DECODER_FAILURES:
        return '<div class="none">not readable</div>'
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=THUMBNAIL_QUALITY)
    return f'<img alt="" loading="lazy" src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode("ascii")}">'


def _table(views: tuple[TrainerView, ...]) -> str:
    if not views:
        return ""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in view_rows(views)
    )
    return f'<h2>What the trainer will see</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _text(text: str) -> str:
    return escape(one_line(text))
