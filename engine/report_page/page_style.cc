#include "engine/report_page/page_style.h"

namespace quantd {

const std::string_view kPageStyle = R"css(
:root{color-scheme:light dark;--bg:#fbfbfc;--panel:#fff;--ink:#1a1d21;--soft:#616a75;--line:#e3e6ea;
--grid:#eceef1;--accent:#3667c9;--good:#1b7a43;--bad:#b8322a;--warn:#8a5a00;--hover:#3667c914;
--c0:#2f63c4;--c1:#1c8a96;--c2:#4b9a3c;--c3:#7d54b8;--c4:#c9541f;--c5:#d08a00;--c6:#b32d5e;--c7:#6b7280}
@media (prefers-color-scheme:dark){:root{--bg:#121417;--panel:#1a1d21;--ink:#e8eaed;--soft:#9aa3ad;
--line:#2c3137;--grid:#272b31;--accent:#7ea6f4;--good:#5bc489;--bad:#f0857d;--warn:#e3b15b;
--hover:#7ea6f41f;--c0:#7ea6f4;--c1:#4fc3cf;--c2:#86cc74;--c3:#b79ae8;--c4:#f29063;--c5:#ecc04f;
--c6:#ee82a8;--c7:#9ca3af}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"DejaVu Sans",sans-serif}
main{max-width:1240px;margin:0 auto;padding:32px 24px 48px}
h1{font-size:28px;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:16px;margin:0}
p{margin:2px 0 0;color:var(--soft)}
header{display:flex;gap:16px;justify-content:space-between;align-items:flex-start;flex-wrap:wrap}
header p{font-size:16px}
.verdict{border:1px solid var(--line);border-radius:99px;padding:4px 14px;color:var(--soft);
white-space:nowrap;font-size:14px}
.verdict.good{color:var(--good);border-color:currentColor}
.verdict.bad{color:var(--bad);border-color:currentColor;font-weight:600}
.lines{margin:16px 0 0;padding:10px 16px;list-style:none;border-left:3px solid currentColor;
background:var(--panel);font-size:14px}
.lines.bad{color:var(--bad)}.lines.warn{color:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:1px;margin:24px 0;
background:var(--panel);border:1px solid var(--line);border-radius:10px;overflow:hidden}
.tile{padding:14px 16px;box-shadow:0 0 0 1px var(--line)}
.tile dt{color:var(--soft);font-size:13px}
.tile dd{margin:2px 0 0;font-size:21px;font-weight:600;line-height:1.3;
font-variant-numeric:tabular-nums;white-space:nowrap}
.tile small{display:block;font-size:12.5px;font-weight:400;color:var(--soft);white-space:normal}
.plots{display:grid;grid-template-columns:1fr 1fr;gap:20px}
figure,section{margin:0;background:var(--panel);border:1px solid var(--line);border-radius:10px;
padding:16px 18px;min-width:0;overflow-x:auto}
figure p,section p{font-size:13px}
.wide{grid-column:1/-1}
section{margin-top:20px}
.plot{display:block;width:100%;min-width:440px;height:auto;margin-top:12px;font-size:11.5px}
svg text{font-family:inherit}
.grid{stroke:var(--grid);stroke-width:1}
.tick{fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}.start{text-anchor:start}
.line{fill:none;stroke-width:1.7;stroke-linejoin:round}
.dash{stroke-dasharray:5 2.5}
.lead{fill:none;stroke-width:.7;opacity:.55}
.mark{stroke:none}
.name{font-weight:600}
.line.c0,.lead.c0{stroke:var(--c0)}.line.c1,.lead.c1{stroke:var(--c1)}
.line.c2,.lead.c2{stroke:var(--c2)}.line.c3,.lead.c3{stroke:var(--c3)}
.line.c4,.lead.c4{stroke:var(--c4)}.line.c5,.lead.c5{stroke:var(--c5)}
.line.c6,.lead.c6{stroke:var(--c6)}.line.c7,.lead.c7{stroke:var(--c7)}
.mark.c0,.t0{fill:var(--c0)}.mark.c1,.t1{fill:var(--c1)}.mark.c2,.t2{fill:var(--c2)}
.mark.c3,.t3{fill:var(--c3)}.mark.c4,.t4{fill:var(--c4)}.mark.c5,.t5{fill:var(--c5)}
.mark.c6,.t6{fill:var(--c6)}.mark.c7,.t7{fill:var(--c7)}
.hit{fill:transparent}.hit:hover{fill:var(--hover)}
.bar{fill:var(--accent);opacity:.8}.bar:hover{opacity:1}
.rule{stroke:var(--ink);stroke-width:1;stroke-dasharray:3 2;opacity:.7}
.note{fill:var(--ink)}
[class^=b][rx]{fill:var(--accent)}
.b1{fill-opacity:.1}.b2{fill-opacity:.18}.b3{fill-opacity:.29}.b4{fill-opacity:.42}
.b5{fill-opacity:.56}.b6{fill-opacity:.7}.b7{fill-opacity:.84}.b8{fill-opacity:1}
.b16[rx]{fill:var(--c7);fill-opacity:.45}
.bit{fill:var(--ink);text-anchor:middle;font-size:10.5px;pointer-events:none}
.bit.on{fill:var(--panel)}
.key{margin-right:16px}
.key svg{width:11px;height:11px;margin-right:6px;vertical-align:-1px}
.stack{display:flex;height:26px;gap:2px;margin:16px 0 8px;border-radius:5px;overflow:hidden}
.f0{background:var(--c7)}.f1{background:var(--c1)}.f2{background:var(--c0)}.f3{background:var(--c5)}
.f4{background:var(--c3)}
.dot{display:inline-block;width:10px;height:10px;border-radius:3px;margin-right:9px}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
td,th{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line);white-space:nowrap}
th{font-weight:600;color:var(--soft)}
.stages{display:flex;flex-wrap:wrap;gap:6px 32px;margin:14px 0 0;padding:0;list-style:none;
font-size:13px;color:var(--soft);font-variant-numeric:tabular-nums}.stages b{color:var(--ink)}
.n,.s{text-align:left}
td.n{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12px;
unicode-bidi:isolate}
.v{background:linear-gradient(to left,var(--hover) var(--p),transparent var(--p))}
th button{all:unset;cursor:pointer;font:inherit}
th button:hover,th button:focus-visible{color:var(--ink);text-decoration:underline}
th[aria-sort=ascending] button::after{content:" ↑"}
th[aria-sort=descending] button::after{content:" ↓"}
tbody tr:hover{background:var(--hover)}
.bar-line{display:flex;gap:12px;align-items:baseline;flex-wrap:wrap;margin-bottom:10px}
.bar-line input{margin-left:auto;min-width:220px;font:inherit;font-size:13px;padding:5px 10px;
border:1px solid var(--line);border-radius:6px;background:var(--bg);color:inherit}
.scroll{overflow:auto;max-height:80vh}
.scroll thead th{position:sticky;top:0;background:var(--panel)}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;font-size:13px;margin:10px 0}
.facts dt{color:var(--soft)}.facts dd{margin:0;overflow-wrap:anywhere}
code,pre{font-family:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
font-size:12px}
pre{overflow:auto;padding:12px;background:var(--bg);border-radius:6px;border:1px solid var(--line)}
details{margin-top:8px;font-size:13px}summary{cursor:pointer;color:var(--soft)}
footer{margin-top:24px;color:var(--soft);font-size:13px}
@media (max-width:960px){.plots{grid-template-columns:1fr}main{padding:20px 14px}}
@media print{:root{--bg:#fff;--panel:#fff;--ink:#000;--soft:#444;--line:#bbb;--grid:#ddd;
--accent:#3667c9;--good:#1b7a43;--bad:#b8322a;--warn:#8a5a00;--c0:#2f63c4;--c1:#1c8a96;--c2:#4b9a3c;
--c3:#7d54b8;--c4:#c9541f;--c5:#d08a00;--c6:#b32d5e;--c7:#6b7280}
main{max-width:none;padding:0}figure,.tile,header{break-inside:avoid}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
.plots{grid-template-columns:1fr 1fr;gap:10px}.plot{min-width:0}figure{padding:10px 12px}
.tiles{grid-template-columns:repeat(4,1fr)}.tile{padding:8px 12px}
.scroll{max-height:none;overflow:visible}.bar-line input,.bar-line p{display:none}
.scroll thead th{position:static}table{font-size:8px}td,th{padding:1px 4px}td.n{font-size:7.5px}}
@page{margin:12mm}
)css";

const std::string_view kPageScript = R"js(
const table = document.getElementById('linears');
if (table) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells], rows = [...body.rows];
  const value = (row, column) => {
    const text = row.cells[column].textContent;
    if (text === '∞') return Infinity;
    if (text === '–') return null;  // stays last
    const numbers = text.split(' × ').map(Number);
    return heads[column].className ? text : numbers.reduce((a, b) => a * b);
  };
  const before = (a, b, sign) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a === 'string') return sign * a.localeCompare(b, 'en', {numeric: true});
    return a === b ? 0 : a < b ? -sign : sign;
  };
  heads.forEach((head, column) => head.addEventListener('click', () => {
    const text = head.className !== '';
    const first = text ? 'ascending' : 'descending', second = text ? 'descending' : 'ascending';
    const order = head.getAttribute('aria-sort') === first ? second : first;
    heads.forEach(other => other.removeAttribute('aria-sort'));
    head.setAttribute('aria-sort', order);
    const sign = order === 'ascending' ? 1 : -1;
    const keyed = rows.map((row, index) => [value(row, column), index, row]);
    keyed.sort((a, b) => before(a[0], b[0], sign) || a[1] - b[1]);
    body.append(...keyed.map(entry => entry[2]));
  }));
  document.getElementById('filter').addEventListener('input', event => {
    const wanted = event.target.value.toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
)js";

}  // namespace quantd
