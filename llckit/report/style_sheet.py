"""The style sheet of the page."""

__all__ = ["STYLE_SHEET"]

STYLE_SHEET = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.answer { border-left: .3rem solid #0072b2; background: #eef5fa; padding: .8rem 1rem; font-size: 1.05rem; }
figure { margin: 1rem 0; } figure svg { display: block; width: 100%; max-width: 41rem; height: auto; margin: 0 auto; }
figcaption, caption { color: #444; text-align: left; font-size: .9rem; padding: .3rem 0; }
caption { width: min(80vw, 60rem); }
.scroll { overflow: auto; max-height: 32rem; border: 1px solid #bbb; padding: 0 .5rem; }
.scroll:focus { outline: 2px solid #0072b2; }
table { border-collapse: collapse; overflow-wrap: normal; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; white-space: pre; border-bottom: 1px solid #ddd; }
tbody th, tbody td { vertical-align: top; }
th { background: #fff; } thead th { position: sticky; top: 0; border-bottom: 2px solid #555; }
.words, .settings th, .settings td { text-align: left; } .settings td { white-space: normal; }
tr.doubtful th, tr.doubtful td { background: #fde8e8; color: #7a0016; }
tr.scale-dependent th, tr.scale-dependent td { background: #fdf5dc; color: #5c4400; }
dt { font-weight: bold; } dd { margin: 0 0 .5rem 1rem; }
@media print { .scroll { max-height: none; overflow: visible; border: none; } }
"""
