"""An analysis as one page of HTML that needs nothing but itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape

from experiments.posteriors.analysis import Analysis
from experiments.posteriors.section import Block, Figure, Section, Table

RESOLUTION, PIXELS = 150, 88  # of an inch of a figure: dots in the file, and CSS pixels on the page
BROAD = 7.0  # inches

STYLE = """
:root { color-scheme: light dark; }
:root { --ink: #1c1e21; --paper: #fff; --faint: #667; --line: #dde; --box: #f4f5f8; --warn: #b34700; --good: #1a7f4b; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e6ea; --paper: #16181c; --faint: #9aa; --line: #353a42; --box: #20242a; --warn: #ffab66;
    --good: #6fd3a0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); overflow-wrap: break-word; }
h1 { font-size: 1.6rem; margin: 0.5rem 0; } h2 { font-size: 1.25rem; margin: 0 0 0.5rem; }
section { border-top: 1px solid var(--line); padding: 1.25rem 0 0.5rem; }
a { color: inherit; } nav a { margin-right: 0.9rem; white-space: nowrap; color: var(--faint); font-size: 0.9rem; }
.summary { background: var(--box); border-radius: 0.5rem; padding: 0.75rem 1rem; margin: 1rem 0; }
.summary ul { margin: 0.25rem 0; padding-left: 1.2rem; } .summary li { margin: 0.3rem 0; }
.verdict { font-weight: 600; margin: 0.4rem 0; border-left: 0.25rem solid var(--good); padding-left: 0.75rem; }
.verdict.warning { border-color: var(--warn); }
.head { font-weight: 600; margin: 0; } .warning.head { color: var(--warn); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; margin: 0.25rem 0 1rem; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
th { border-bottom-width: 2px; } .name { text-align: left; } td:not(.name) { font-variant-numeric: tabular-nums; }
caption, figcaption { color: var(--faint); font-size: 0.9rem; text-align: left; padding: 0.25rem 0; }
figure { margin: 1rem 0; overflow-x: auto; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 0.5rem; } img.broad { min-width: 44rem; }
summary { cursor: pointer; color: var(--faint); }
"""


def page(analysis: Analysis, title: str) -> str:
    """The whole page.

    Args:
        analysis: what to tell.
        title: of the page.
    """
    links = "".join(f'<a href="#{section.name}">{_text(section.title)}</a> ' for section in analysis.sections)
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>",
            _summary(analysis),
            f"<nav>{links}</nav>",
            *(_section(section) for section in analysis.sections),
            "</body></html>\n",
        ]
    )


def _summary(analysis: Analysis) -> str:
    """Bad news first, then the first verdict of every section that has none."""
    warnings = analysis.warnings
    head = "Look at this first" if warnings else "Nothing here gives cause for doubt"
    good = [section.verdicts[0] for section in analysis.sections if not section.warnings]
    bad = f'<p class="head{" warning" if warnings else ""}">{head}</p>{_list(warnings)}'
    also = f'<p class="head">For the rest</p>{_list(good)}' if good else ""
    return f'<div class="summary">{bad}{also}</div>'


def _text(text: str) -> str:
    """Escaped, and a number never parted from its percent sign."""
    return escape(text).replace(" %", "&nbsp;%")


def _list(sentences: Iterable[str]) -> str:
    lines = "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<ul>{lines}</ul>" if lines else ""


def _section(section: Section) -> str:
    verdicts = (
        f'<p class="verdict{" warning" if sentence in section.warnings else ""}">{_text(sentence)}</p>'
        for sentence in section.verdicts
    )
    blocks = (_block(block) for block in section.blocks)
    return "\n".join(
        [f'<section id="{section.name}"><h2>{_text(section.title)}</h2>', *verdicts, *blocks, "</section>"]
    )


def _block(block: Block) -> str:
    if isinstance(block, Table):
        table = _table(block)
        return f"<details><summary>{_text(block.caption)}</summary>{table}</details>" if block.folded else table
    if isinstance(block, Figure):
        return _figure(block)
    return f"<p>{_text(block.text)}</p>"


def _table(table: Table) -> str:
    def row(cells: Iterable[str], tag: str) -> str:
        kinds = (' class="name"' if place < table.names else "" for place in range(len(table.header)))
        inside = (f"<{tag}{kind}>{_text(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True))
        return f"<tr>{''.join(inside)}</tr>"

    caption = "" if table.folded else f"<caption>{_text(table.caption)}</caption>"
    head = f"<thead>{row(table.header, 'th')}</thead>" if any(table.header) else ""
    body = "".join(row(cells, "td") for cells in table.rows)
    return f'<div class="wide"><table>{caption}{head}<tbody>{body}</tbody></table></div>'


def _figure(figure: Figure) -> str:
    """A PNG inside the page; one too broad for a phone is scrolled there."""
    drawn, caption = figure.axes.figure, escape(figure.caption)
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png", dpi=RESOLUTION)
    source = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    inches = float(drawn.get_figwidth())
    kind = ' class="broad"' if inches > BROAD else ""
    image = f'<img{kind} alt="{caption}" width="{inches * PIXELS:.0f}" src="{source}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"
