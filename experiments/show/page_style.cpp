#include "experiments/show/page_style.h"

namespace notch::experiments {

const std::string_view kPageStyle = R"(
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --quiet: #555; --rule: #ccc;
        --head: #f0f0f0; --over: #f6f6f6; --focus: #0062a3; --other: #fbe7bf;
        --heat0: #fff; --heat1: #fdf3e4; --heat2: #fbe7c9; --heat3: #f8d8ac; --heat4: #f5c78e; --heat5: #f1b371; --heat6: #ec9d57; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --ink: #e8e8e8; --quiet: #b4b8be; --rule: #4a4e55; --head: #262a30;
          --over: #20242a; --focus: #7cc0f0; --other: #4a3a12;
          --heat0: #16181c; --heat1: #2a2418; --heat2: #3a2f17; --heat3: #4a3914; --heat4: #5b4312; --heat5: #6d4c0f; --heat6: #80540c; }
}
body { margin: 0 auto; max-width: 1280px; padding: 24px; background: var(--paper);
       color: var(--ink); font: 15px/1.5 Verdana, "DejaVu Sans", Helvetica, Arial, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 32px 0 8px; border-bottom: 1px solid var(--rule);
     padding-bottom: 4px; }
.headline { font-size: 18px; max-width: 860px; }
.header, figcaption, .notes, dd { color: var(--quiet); font-size: 13px; }
.header, .notes, dl { max-width: 860px; overflow-wrap: anywhere; }
dt { font-weight: bold; font-size: 13px; }
dd { margin: 0 0 6px 16px; }
.verdict li { margin: 4px 0; max-width: 860px; }
figure { margin: 0 0 24px; max-width: 860px; }
.fronts { display: grid; gap: 0 24px; align-items: start;
          grid-template-columns: repeat(auto-fit, minmax(min(580px, 100%), 1fr)); }
.plot { overflow-x: auto; }
.plot svg { display: block; width: 100%; min-width: min(580px, 160vw); height: auto; }
.small .plot svg { min-width: 0; }
.readout { min-height: 3em; margin: 4px 0; font-size: 13px; }
.mark.on { stroke: var(--ink); stroke-width: 2.5; }
.small { display: grid; gap: 8px;
         grid-template-columns: repeat(auto-fill, minmax(min(380px, 100%), 1fr)); }
.small figure { margin: 0; }
.samples { display: grid; gap: 8px 16px;
           grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); }
.samples figure { margin: 0; }
blockquote { margin: 0; padding: 8px; background: var(--over); font-size: 13px;
             white-space: pre-wrap; overflow-wrap: anywhere; }
mark { background: var(--other); color: inherit; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 8px; text-align: right; white-space: nowrap; }
th { background: var(--head); border-bottom: 2px solid var(--rule); }
td { border-bottom: 1px solid var(--rule); background: var(--paper); }
th.text, td.text { text-align: left; }
.heat0 { background: var(--heat0); }
.heat1 { background: var(--heat1); }
.heat2 { background: var(--heat2); }
.heat3 { background: var(--heat3); }
.heat4 { background: var(--heat4); }
.heat5 { background: var(--heat5); }
.heat6 { background: var(--heat6); }
h3 { font-size: 15px; margin: 16px 0 4px; }
tr:hover td:not([class^=heat]) { background: var(--over); }
.scroll td:first-child, .scroll th:first-child { position: sticky; left: 0; }
pre { background: var(--over); padding: 10px; overflow-x: auto; font-size: 12px;
      line-height: 1.4; }
summary { cursor: pointer; font-weight: bold; padding: 4px 0; }
th button { all: unset; cursor: pointer; font-weight: bold; }
label { display: inline-block; margin-right: 16px; }
input[type=range] { width: min(320px, 60vw); vertical-align: middle; }
select { font: inherit; color: var(--ink); background: var(--paper); }
:focus-visible, th button:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
)";

}  // namespace notch::experiments
