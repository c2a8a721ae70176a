# Copyright 2026 aitable_ros maintainers
# SPDX-License-Identifier: Apache-2.0
"""Writes a report as one HTML file that needs no other files."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime, timezone
from functools import cache
import json
from pathlib import Path
from typing import TYPE_CHECKING

from aitable_ros import __version__
from aitable_ros.atomic import replacing
from aitable_ros.evaluation.report.charts import circumplex, common_layout, Figure
from aitable_ros.evaluation.report.elements import Report
from aitable_ros.evaluation.report.postures import shares as posture_shares
from aitable_ros.evaluation.report.tables import expression_shares, latencies, page_table
from aitable_ros.evaluation.report.timeline import timeline

if TYPE_CHECKING:
    from jinja2 import Template


def write_report(path: str | Path, report: Report) -> Path:
    """
    Write a report as one self-contained HTML file of about 5 MB (it contains plotly), atomically.

    :return: the file
    """
    from plotly.offline import get_plotlyjs

    charts = figures(report)
    page = _template().render(
        report=report,
        figures={name: _for_script(figure) for name, figure in charts.items()},
        plotly=get_plotlyjs() if charts else '',
        shares=expression_shares(report),
        posture_shares=posture_shares(report.posture_share),
        latencies=latencies(report),
        tables=[page_table(table) for table in report.tables],
        picture=_data_url(report.picture) if report.picture else '',
        events=sorted((*report.events, *report.posture_events), key=lambda event: event.start_s),
        pictures={event: _data_url(event.picture) for event in report.events if event.picture},
        version=__version__,
        made=datetime.now(timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
    )
    path = Path(path)
    with replacing(path) as draft:
        draft.write_text(page, encoding='utf-8', errors='backslashreplace')
    return path


@cache
def _template() -> Template:
    """Return the page without its contents; to compile it takes as long as 20 frames."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader('aitable_ros.evaluation.report', ''), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    ).get_template('page.html')


def figures(report: Report) -> dict[str, Figure]:
    """Return the charts that the report has data for, by the id of their element on the page."""
    found = {'timeline': timeline(report), 'circumplex': circumplex(report.measured)}
    found |= {
        f'plot-{number}': {**plot.figure, 'layout': {**common_layout(), **plot.figure['layout']}}
        for number, plot in enumerate(report.plots, 1)}
    return {name: figure for name, figure in found.items() if figure}


def _for_script(figure: object) -> str:
    """Return JSON for a script element."""
    return json.dumps(figure, allow_nan=False, separators=(',', ':')).replace('<', '\\u003c')


def _data_url(picture: bytes) -> str:
    kind = 'png' if picture.startswith(b'\x89PNG') else 'jpeg'
    return f'data:image/{kind};base64,{b64encode(picture).decode()}'
