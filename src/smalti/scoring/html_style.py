"""The style of an accuracy report, in the light and the dark scheme, for wide screens and for phones."""

from __future__ import annotations

from typing import Final

ROW_COLOURS: Final = ("#4a78c2", "#d9843b", "#3f9a5f", "#c2526e", "#8f72c4", "#4f9aac", "#a3903f")
"""Of the bars, by row of the table; they show on white and on black."""

STYLE: Final = """
:root{color-scheme:light dark;
--bg:#fff;--fg:#222;--soft:#666;--line:#e0e2e6;--head:#f4f5f7;--bad:#b3262e;--good:#2a7d46}
@media(prefers-color-scheme:dark){:root{--bg:#16181c;--fg:#e4e6ea;--soft:#9aa0aa;--line:#34383f;--head:#22262c;
--bad:#ff8a86;--good:#74d092}}
*{box-sizing:border-box}
body{font:15px/1.45 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:1100px;margin:2em auto;
padding:0 1em}
h1{font-size:1.5em;overflow-wrap:anywhere}
h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid var(--line);padding-bottom:.2em}
h3{font-size:1em;margin:1.4em 0 .3em}h4{font-size:.95em;font-weight:normal;margin:1em 0 .3em}
.f{font-weight:600;overflow-wrap:anywhere;margin-right:.6em}
.s{color:var(--soft);font-size:.9em}
.w{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;margin:.8em 0;font-variant-numeric:tabular-nums}
td,th{padding:.25em .8em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th{background:var(--head)}
td.l,th.l{text-align:left}
td:first-child,th:first-child{position:sticky;left:0}td:first-child{background:var(--bg)}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15em 1em;margin:.8em 0;font-size:.9em}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
code{font:.92em/1.4 ui-monospace,monospace}
.keys{display:flex;flex-wrap:wrap;gap:.2em 1.1em;margin:.3em 0}
.k{display:inline-block;width:.8em;height:.8em;margin-right:.35em;border:1px solid #8888}
.c{display:grid;grid-template-columns:minmax(5em,9em) minmax(0,1fr);gap:0 .8em;padding:.35em 0;
border-bottom:1px solid var(--line);align-items:center}
.c>b{font-weight:normal;text-align:right;overflow-wrap:anywhere}
.b{display:grid;grid-template-columns:minmax(0,1fr) 3.4em 4.2em;gap:.5em;align-items:center;font-size:.85em;
line-height:1.35;font-variant-numeric:tabular-nums;text-align:right}
.t{background:var(--head);height:.75em}.t>i{display:block;height:100%}
.bad{color:var(--bad)}.good{color:var(--good)}
details{margin:.4em 0}summary{cursor:pointer}
table.m{border-collapse:separate;border-spacing:1px;font-size:11px}
table.m td{min-width:27px;height:24px;padding:0 2px;border:0;text-align:center}
table.m th{font-weight:normal;padding:0 .5em;background:var(--bg);border:0}
table.m th.v{vertical-align:bottom;text-align:center;padding:.3em 0}
th.v>span{writing-mode:vertical-rl;transform:rotate(180deg);display:inline-block}
.p{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.6em}
figure{margin:0;max-width:320px}img{width:100%;height:auto;display:block}figcaption{font-size:.85em;color:var(--soft)}
@media(max-width:600px){body{margin:1em auto}table{font-size:13px}td,th{padding:.25em .5em}
.c{grid-template-columns:minmax(0,1fr)}.c>b{text-align:left}.p{grid-template-columns:1fr 1fr}}
"""
