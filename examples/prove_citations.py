"""One idea: what is shown as a citation stands in the document, or it is not shown.

Run: .venv/bin/python examples/prove_citations.py
"""

from __future__ import annotations

from pipelines.quotes import check_answer
from pipelines.records import Chunk

TEXT = "A used bicycle carries a warranty of 30 months. Brakes are bled on Mondays."
chunk = Chunk(id="1", document="booklet.pdf", start=100, end=100 + len(TEXT), text=TEXT)

for said in (
    '"A used bicycle carries a warranty of 30 months." [1]',
    '"A used bicycle carries a warranty of ten years." [1]',
    '"Brakes are  bled on Mondays." [7]',  # another spacing, and a passage that does not exist
):
    checked = check_answer(said, [chunk])
    print(said)
    for quote in checked.quotes:
        print(f"  proved: {quote.document}:{quote.start}-{quote.end} {quote.quote!r}")
    for invented in checked.unproved:
        print(f"  not shown: {invented!r}")
