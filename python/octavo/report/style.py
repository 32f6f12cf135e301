# SPDX-License-Identifier: Apache-2.0
"""The page's style sheet: one set of names for colours, two sets of values."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark;
  --ink: #1b2430; --muted: #5c6878; --grid: #d9dfe7; --paper: #fdfefe; --page: #f2f5f8;
  --c0: #0b66c3; --c1: #c2540a; --c2: #1a7f4b; --c3: #8a3fa8; --c4: #b3261e; --c5: #0f7f8c;
  --c6: #8a6d00; --c7: #64707f; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e8edf3; --muted: #a3b0bf; --grid: #3a4553; --paper: #1a2029; --page: #11161d;
  --c0: #62aef7; --c1: #f09a5a; --c2: #5cc98f; --c3: #cf94e6; --c4: #f58b82; --c5: #57c4d0;
  --c6: #d9bb4a; --c7: #a9b4c2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1500px; margin: 0 auto; padding: 14px 18px 40px; }
h1 { font-size: 1.25rem; margin: 0; overflow-wrap: anywhere; }
header p { margin: 2px 0 12px; color: var(--muted); font-size: .86rem; }
.cards, .plots { display: grid; gap: 12px; }
.cards { grid-template-columns: repeat(auto-fit, minmax(210px, 1fr)); margin-bottom: 12px; }
.plots { grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.card, figure, details { background: var(--paper); border: 1px solid var(--grid);
  border-radius: 8px; padding: 10px 14px; margin: 0; }
.card h2 { font-size: .78rem; font-weight: 600; color: var(--muted); margin: 0;
  text-transform: uppercase; letter-spacing: .04em; }
.card strong { display: block; font-size: 1.55rem; line-height: 1.25; color: var(--c0);
  font-variant-numeric: tabular-nums; }
.card p { margin: 0; font-size: .84rem; color: var(--muted); overflow-wrap: anywhere; }
figcaption { font-size: .82rem; color: var(--muted); margin-bottom: 6px; }
figcaption b { display: block; font-size: .95rem; color: var(--ink); }
svg { display: block; width: 100%; height: auto; max-height: 460px;
  font-family: system-ui, sans-serif; stroke-linejoin: round; stroke-linecap: butt; }
.empty { color: var(--muted); padding: 24px 0; text-align: center; }
details { margin-top: 12px; }
figure table { font-size: .78rem; }
figure th, figure td { padding: 3px 6px; }
summary { cursor: pointer; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .84rem; margin-top: 8px; width: 100%;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 3px 10px; border-bottom: 1px solid var(--grid);
  white-space: nowrap; }
th { color: var(--muted); font-weight: 600; }
th.text, td.text { text-align: left; }
code { font-size: .92em; }
@media print { body { background: none; } details { break-inside: avoid; } }
"""
