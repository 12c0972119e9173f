"""Is the data better, or only cleaner? Two students of one teacher, judged on questions that people wrote.

Both are written by the same teacher about the same documents, as many records each, and trained with
the same settings. One dataset is the factory's; the other is what a naive loop makes: one prompt a
passage, taken as it comes, without any check. The judge is the open SQuAD set, whose people's
questions no teacher has seen: three passages are shown, and for a quarter of the questions the one
that answers is left out, so that the right answer is to refuse.

    python -m benchmarks.quality documents SQUAD.jsonl.gz FOLDER
    python -m benchmarks.quality naive FOLDER URL MODEL COUNT
    python -m benchmarks.quality compare FOLDER WORKSPACE DATASET
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import openai

ARTICLES, PARAGRAPHS = 16, 8
_NAIVE_PROMPT = (Path(__file__).parent / "data" / "naive_prompt.txt").read_text(encoding="utf-8")
_PAIR = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "quote": {"type": "string"}},
    "required": ["question", "quote"],
}


def write_documents(squad: Path, folder: Path) -> None:
    """Write some articles as documents, and the questions that people asked about them."""
    (folder / "documents").mkdir(parents=True, exist_ok=True)
    with gzip.open(squad, "rt", encoding="utf-8") as file:
        paragraphs = [json.loads(line) for line in file]
    titles = sorted({paragraph["title"] for paragraph in paragraphs})
    step = len(titles) / ARTICLES
    questions = []
    for title in [titles[int(number * step)] for number in range(ARTICLES)]:
        chosen = [paragraph for paragraph in paragraphs if paragraph["title"] == title][:PARAGRAPHS]
        text = f"# {title.replace('_', ' ')}\n\n" + "\n\n".join(paragraph["text"] for paragraph in chosen) + "\n"
        (folder / "documents" / f"{title}.md").write_text(text, encoding="utf-8")
        for paragraph in chosen:
            for asked in paragraph["questions"]:
                answers = sorted({answer["text"] for answer in asked["answers"]})
                line = {
                    "id": asked["id"],
                    "question": asked["question"],
                    "answers": answers,
                    "paragraph": paragraph["text"],
                }
                questions.append(line)
    lines = "".join(json.dumps(question, ensure_ascii=False) + "\n" for question in questions)
    (folder / "questions.jsonl").write_text(lines, encoding="utf-8")


def run_naive_loop(folder: Path, url: str, model: str, count: int) -> None:
    """Ask the teacher once a passage, round after round, and keep whatever comes."""
    client = openai.OpenAI(base_url=url, api_key="none", timeout=600)
    path = folder / "naive.jsonl"
    done = len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
    passages = [
        (document.stem.replace("_", " "), paragraph)
        for document in sorted((folder / "documents").glob("*.md"))
        for paragraph in document.read_text(encoding="utf-8").strip().split("\n\n")[1:]
    ]
    with path.open("a", encoding="utf-8") as file:
        for number in range(done, count):
            title, passage = passages[number % len(passages)]
            completion = client.chat.completions.create(
                model=model,
                messages=[{"role": "user", "content": _NAIVE_PROMPT.format(passage=passage)}],
                temperature=0.7,
                max_tokens=256,
                response_format={"type": "json_schema", "json_schema": {"name": "pair", "schema": _PAIR}},
            )
            said = completion.choices[0].message.content or ""
            file.write(json.dumps({"title": title, "passage": passage, "said": said}, ensure_ascii=False) + "\n")
            file.flush()


def main(arguments: list[str]) -> int:
    """Run one of the steps."""
    match arguments:
        case ["documents", squad, folder]:
            write_documents(Path(squad), Path(folder))
        case ["naive", folder, url, model, count]:
            run_naive_loop(Path(folder), url, model, int(count))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
