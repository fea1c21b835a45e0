"""`python -m tests.fuzz`: mutates small models and judges what comes of fusing them."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Where the models and strategies of the tests are.
sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))

from .corpus import Corpus, corpus
from .making import make
from .processes import Outcome, minimized, outcomes

#: Of each class of bugs so many are minimized and saved.
_SAVED = 3


def main() -> int:
    """Runs the command; 1 if there was a bug."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutants", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--processes", type=int, default=2, help="at a time (default: 2)")
    parser.add_argument("--out", type=Path, help="folder for summary.json and the models of bugs")
    parser.add_argument("--replay", type=int, metavar="NUMBER", help="judges one mutant again")
    parser.add_argument("--keep", help="with --replay: which of its mutations, like 0,2")
    parser.add_argument("--no-cases", action="store_true", help="without onnx's own node tests")
    arguments = parser.parse_args()
    made_of = corpus(cases=not arguments.no_cases)
    if arguments.replay is not None:
        kept = None
        if arguments.keep is not None:
            kept = tuple(int(each) for each in arguments.keep.split(",") if each)
        return _replay(arguments.replay, kept, arguments.out, made_of)
    return _run(arguments, made_of)


def _replay(number: int, kept: tuple[int, ...] | None, out: Path | None, corpus: Corpus) -> int:
    made = make(number, corpus, kept)
    print(f"mutant {number} of {made.seed.name}, corpus {corpus.fingerprint}")
    for each in made.mutations:
        print(f"  {each}")
    print(f"  groups={made.groups} verify={made.verify} given={made.given}")
    if out is not None:
        _save(out, f"{number}", made.content, made.files)
    (outcome,) = outcomes([(number, kept)], corpus)
    print(f"{outcome.kind}: {outcome.reason}\n{outcome.detail}")
    return 1 if outcome.kind == "bug" else 0


def _save(folder: Path, name: str, content: bytes, files: dict[str, bytes | None]) -> Path:
    """Writes a model; with files of its own it gets a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not files:
        (folder / f"{name}.onnx").write_bytes(content)
        return folder / f"{name}.onnx"
    (folder / name).mkdir(exist_ok=True)
    for each, data in files.items():
        if data is not None:
            (folder / name / each).write_bytes(data)
    (folder / name / "model.onnx").write_bytes(content)
    return folder / name / "model.onnx"


def _run(arguments: argparse.Namespace, corpus: Corpus) -> int:
    begun = time.monotonic()
    counts: Counter[str] = Counter()
    classes: dict[str, Counter[str]] = {}
    examples: dict[tuple[str, str], list[Outcome]] = {}
    slowest: list[tuple[float, int]] = []
    tasks = [(arguments.seed + number, None) for number in range(arguments.mutants)]
    done = 0
    for outcome in outcomes(tasks, corpus, arguments.processes):
        done += 1
        counts[outcome.kind] += 1
        classes.setdefault(outcome.kind, Counter())[outcome.reason] += 1
        kept = examples.setdefault((outcome.kind, outcome.reason), [])
        if len(kept) < _SAVED:
            kept.append(outcome)
            if outcome.kind in ("bug", "refused-only-us", "fuzzer-error"):
                print(f"{outcome.number} {outcome.kind}: {outcome.reason}", flush=True)
        slowest = sorted([*slowest, (round(outcome.seconds, 2), outcome.number)])[-10:]
        if done % 200 == 0:
            rate = done / (time.monotonic() - begun)
            print(f"\r{done} mutants, {rate:.0f}/s, {counts['bug']} bugs", end="", file=sys.stderr)
    print(file=sys.stderr, flush=True)
    summary: dict[str, object] = {
        "corpus": corpus.fingerprint,
        "seeds": len(corpus.seeds),
        "mutants": done,
        "first": arguments.seed,
        "seconds": round(time.monotonic() - begun, 1),
        "counts": dict(counts.most_common()),
        "classes": {
            kind: [
                {
                    "count": count,
                    "reason": reason,
                    "mutants": sorted(each.number for each in examples[kind, reason]),
                    "detail": examples[kind, reason][0].detail[:400],
                }
                for reason, count in listed.most_common()
            ]
            for kind, listed in classes.items()
            if kind != "right"
        },
        "slowest": slowest[::-1],
    }
    for kind, count in counts.most_common():
        print(f"{count:7} {kind}")
    for kind in ("fuzzer-error", "bug", "refused-only-us"):
        for reason, count in classes.get(kind, Counter()).most_common():
            numbers = ", ".join(str(each.number) for each in examples[kind, reason])
            print(f"{count:5} {kind}: {reason}  ({numbers})", flush=True)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        summary["bugs"] = []
        for written in (summary, summary | {"bugs": list(_bugs(examples, corpus, arguments.out))}):
            (arguments.out / "summary.json").write_text(json.dumps(written, indent=1))
    return 1 if counts["bug"] else 0


def _bugs(
    examples: dict[tuple[str, str], list[Outcome]],
    corpus: Corpus,
    out: Path,
) -> Iterator[dict[str, object]]:
    """One of each class of bugs, with as few mutations as it takes."""
    for (kind, _), listed in examples.items():
        if kind != "bug":
            continue
        first = min(listed, key=lambda each: each.number)
        small, kept = minimized(first, 4, corpus)
        made = make(first.number, corpus, kept)
        path = _save(out, f"{first.number}", made.content, made.files)
        yield {
            "mutant": first.number,
            "keep": kept,
            "seed": made.seed.name,
            "mutations": made.mutations,
            "options": f"groups={made.groups} verify={made.verify} given={made.given}",
            "reason": small.reason,
            "detail": small.detail,
            "model": str(path),
        }


if __name__ == "__main__":
    sys.exit(main())
