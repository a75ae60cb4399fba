"""The page's one style sheet: an engineer's test report, in light, in dark and in print, wide and at 390 px."""

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--paper:#fff;--ink:#16191d;--soft:#5a626c;--rule:#d9dde2;--grid:#e8ebee;--wash:#f5f6f8;
--policy:#0b62c4;--human:#b8500c;--reference:#6a727c;--good:#14733c;--wait:#8a5a00;--bad:#b3202c;--road:#dfe3e8}
@media (prefers-color-scheme:dark){:root{--paper:#101316;--ink:#e8eaed;--soft:#a2abb6;--rule:#30363d;--grid:#22272d;
--wash:#181c21;--policy:#62aefc;--human:#f29a5b;--reference:#9aa4b0;--good:#58c98a;--wait:#e3b04b;--bad:#f27982;
--road:#2a3037}}
*{box-sizing:border-box}
html{background:var(--paper);-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:1180px;padding:28px 28px 48px;color:var(--ink);background:var(--paper);
font:15px/1.5 ui-sans-serif,system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
h1{font-size:26px;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:17px;line-height:1.3;margin:40px 0 12px;padding-top:12px;border-top:2px solid var(--ink)}
h3{font-size:14px;margin:20px 0 6px}
p{margin:0 0 10px;max-width:88ch}
.soft,.unit{color:var(--soft)}
.small{font-size:13px}
code,pre{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"Liberation Mono",monospace;overflow-wrap:anywhere}
pre{margin:0 0 12px;padding:10px 12px;background:var(--wash);border:1px solid var(--rule);border-radius:3px;
white-space:pre-wrap}
header{display:grid;grid-template-columns:minmax(0,1fr) auto;gap:4px 28px;align-items:end;margin-bottom:18px}
.what{margin:6px 0 0;color:var(--soft);max-width:80ch}
.stamp{font-size:13px;color:var(--soft);text-align:right}
.verdict{display:grid;grid-template-columns:auto minmax(0,1fr);gap:4px 22px;align-items:baseline;padding:14px 18px;
border:1px solid var(--rule);border-left:6px solid var(--tone);background:var(--wash);border-radius:3px}
.verdict b{font-size:22px;line-height:1.2;color:var(--tone)}
.verdict p{margin:0;max-width:96ch}
.good{--tone:var(--good)}.wait{--tone:var(--wait)}.bad{--tone:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:1px;margin:14px 0 0;
border:1px solid var(--rule);border-radius:3px;overflow:hidden}
.tiles div{box-shadow:0 0 0 1px var(--rule);padding:10px 14px 11px}
.tiles dt{font-size:13px;color:var(--soft)}
.tiles dd{margin:0;font-size:20px;line-height:1.3;font-weight:600;overflow-wrap:anywhere}
.tiles dd span{display:block;font-size:13px;font-weight:400;color:var(--soft)}
.wide{overflow-x:auto;margin:0 0 12px}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:5px 14px 5px 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600;font-size:13px;color:var(--soft);white-space:nowrap}
td.n,th.n{text-align:right;white-space:nowrap}td.t{white-space:nowrap}
td:last-child,th:last-child{padding-right:2px}
tbody th{color:var(--ink);font-size:14px}
.two{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:8px 36px}
.lap{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,7fr);gap:12px 36px;align-items:start}
figure{margin:0}
.chart{margin:0 0 6px}
.group .chart{margin:0 0 4px}
figcaption{display:flex;flex-wrap:wrap;gap:0 10px;align-items:baseline;font-size:13px;line-height:1.6}
.keys{margin-left:auto;display:flex;flex-wrap:wrap;gap:0 14px;color:var(--soft)}
.key::before{content:"";display:inline-block;width:16px;height:0;margin-right:6px;vertical-align:middle;
border-top:2.5px solid var(--tone)}
.key.reference::before{border-top-style:dashed}
.policy{--tone:var(--policy)}.human{--tone:var(--human)}.reference{--tone:var(--reference)}
.room{padding:4px 2px 0 46px}
svg{display:block;max-width:100%;overflow:visible}
.map{height:auto;max-height:560px;margin:0 auto}
.lines{overflow:hidden}
.lines path{fill:none;stroke:var(--tone);stroke-width:1.6;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.lines path.reference{stroke-dasharray:5 3}
.lines path.dots{stroke-width:4;stroke-linecap:round;stroke-dasharray:none;opacity:.75}
.grid{stroke:var(--grid)}.zero{stroke:var(--soft)}.sector{stroke:var(--soft);stroke-dasharray:1 3}
.mark{stroke:var(--bad);stroke-dasharray:2 3}
.band{fill:var(--bad);opacity:.14}
text{font-size:11.5px;fill:var(--soft);font-family:inherit}
.label.before{text-anchor:end}.label.behind{text-anchor:start}
text.y{text-anchor:end}text.x{text-anchor:middle}text.first{text-anchor:start}text.last{text-anchor:end}
.road{fill:var(--road);fill-rule:evenodd;stroke:var(--soft);stroke-width:.6}
.under{fill:none;stroke:var(--reference);stroke-width:1.2;stroke-dasharray:5 3}
.left{fill:none;stroke:var(--bad);stroke-width:1.3;stroke-opacity:.7}
.driven{fill:none;stroke-width:3.2;stroke-linecap:round;stroke-linejoin:round}
.line{stroke:var(--ink);stroke-width:3;fill:none}.border{stroke:var(--soft);stroke-width:1.4;fill:none}
.arrow{fill:var(--ink)}
.label{font-size:13px;fill:var(--ink)}.label.over{text-anchor:middle}
ul{margin:0 0 12px;padding-left:20px}li{margin:0 0 4px;max-width:84ch}
details>summary{cursor:pointer;margin:4px 0 8px}
dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:4px 20px;margin:0 0 14px;font-size:14px}
dl.facts dt{color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:40px;padding-top:10px;border-top:1px solid var(--rule);font-size:13px;color:var(--soft)}
@media (max-width:760px){body{padding:18px 16px 36px}h1{font-size:22px}header,.two,.lap,.verdict{
grid-template-columns:minmax(0,1fr)}.stamp{text-align:left}.tiles{grid-template-columns:1fr 1fr}
.tiles dd{font-size:18px}.room{padding-left:42px}dl.facts{grid-template-columns:minmax(0,1fr);gap:0}
dl.facts dd{margin:0 0 8px}.keys{margin-left:0}th,td{padding-right:10px}}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#16191d;--soft:#4d545c;--rule:#cfd4da;--grid:#e5e8eb;
--wash:#fff;--policy:#0b62c4;--human:#b8500c;--reference:#6a727c;--good:#14733c;--wait:#8a5a00;--bad:#b3202c;
--road:#e2e5e9}*{print-color-adjust:exact;-webkit-print-color-adjust:exact}@page{margin:14mm}
body{max-width:none;padding:0;font-size:12px}h2{margin-top:22px;break-after:avoid}h3{break-after:avoid}
figure,.tiles,.verdict,tr,pre{break-inside:avoid}table,.tiles dt{font-size:11px}.tiles dd{font-size:15px}
.tiles{grid-template-columns:repeat(3,1fr)}}
""".strip()
