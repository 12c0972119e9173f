"""A dataset of twelve short conversations, for tests that train and do not care what is learnt."""

from __future__ import annotations

import json
from pathlib import Path


def write_splits(folder: Path) -> None:
    """Write six examples to learn, four to validate on, two to test on."""
    folder.mkdir(parents=True)
    for split, numbers in (("train", range(6)), ("validation", range(6, 10)), ("test", range(10, 12))):
        lines = [
            json.dumps(
                {
                    "messages": [
                        {"role": "user", "content": f"Where does tool {number} hang?"},
                        {"role": "assistant", "content": f"On hook {number}, beside the door."},
                    ]
                }
            )
            for number in numbers
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
