"""One idea: documents are found by meaning and by words, in English and Chinese, at known offsets.

Run: .venv/bin/python examples/search_documents.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.knowledge.add import AddDocumentsParams, add_documents
from pipelines.knowledge.documents import ShowDocumentParams, show_document
from pipelines.knowledge.search import SearchDocumentsParams, search_documents
from pipelines.operation import open_context

HANDBOOK = Path(__file__).parent / "handbook"

with tempfile.TemporaryDirectory() as folder:
    context = open_context(Path(folder))
    added = add_documents(AddDocumentsParams(folder=HANDBOOK), context)
    print(f"{added.documents} documents in {added.chunks} chunks, {added.seconds:.1f} s")

    for query in ("Where are the plasters kept?", "周日几点开门？"):
        found = search_documents(SearchDocumentsParams(query=query, top_k=1), context).passages[0]
        text = show_document(ShowDocumentParams(document=found.document), context).text
        assert text[found.start : found.end] == found.text
        print(f"\n{query}\n{found.document}:{found.start}-{found.end}\n{found.text}")
