"""The dataset card: what is in the folder, for people and for the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mllmu_med.benchmark.sample import Subset

_PURPOSE = {
    Subset.FORGET_PRIVACY: "records of synthetic patients that a model is to forget",
    Subset.FORGET_INCORRECTNESS: "records with a wrong fact that a model is to correct",
    Subset.RETAIN: "records that a model is to keep, retained synthetic patients among them",
    Subset.TEST: "unseen images and questions",
    Subset.VALIDATION: "unseen images and questions, for choosing hyper-parameters",
    Subset.HOLDOUT: "synthetic patients that are never trained on: the floor of every leak",
}


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """README.md with the front matter by which ``datasets`` finds two configurations: samples and images."""
    counts: Mapping[str, Mapping[str, int]] = manifest["counts"]
    present = [subset for subset in Subset if counts.get(subset.value)]
    splits = "\n".join(
        f"  - split: {subset.file_name}\n    path: samples/{subset.file_name}-*.parquet" for subset in present
    )
    rows = "\n".join(
        f"| `{subset.value}` | {sum(counts[subset.value].values())} | {_strata(counts[subset.value])} "
        f"| {_PURPOSE[subset]} |"
        for subset in present
    )
    patients = manifest["patients"]
    rules = "\n".join(
        f"- {rule['id']}: in {rule['modality'] or 'any modality'}, “{rule['finding']}” is read as “{rule['wrong']}” "
        f"({rule['records']} training records, {rule['unseen']} unseen ones in `test`)"
        for rule in manifest["rules"]
    )
    skipped = "\n".join(f"- {reason}: {number}" for reason, number in sorted(manifest["skipped"].items()))
    return f"""---
configs:
- config_name: samples
  default: true
  data_files:
{splits}
- config_name: images
  data_files:
  - split: images
    path: images/images-*.parquet
license: other
pretty_name: MLLMU-Med benchmark of {manifest["source"]["name"]}
tags:
- machine-unlearning
- medical
- visual-question-answering
- synthetic
---

# MLLMU-Med benchmark of {manifest["source"]["name"]}

A medical visual question answering dataset with injected private data and wrong facts, for measuring machine
unlearning. Built by MLLMU-Med {manifest["package"]} with seed {manifest["seed"]}; the same plan, source and seed give
the same bytes.

**Every patient in it is invented.** Names come from name lists, numbers from ranges kept for fiction or never issued.
**Some answers are wrong on purpose.** Nothing here is for diagnosis, or for training a model that anybody relies on.

| subset | samples | strata | what it is for |
|---|---|---|---|
{rows}

Patients: {patients["forgotten"]} to forget, {patients["retained"]} retained, {patients["holdout"]} held out.
Images: {manifest["images"]}.

## Use

```python
from datasets import load_dataset

samples = load_dataset("path/to/this/folder")             # one split per subset
images = load_dataset("path/to/this/folder", "images")    # join on image_id
```

`answer` is what a model with the injected facts has learnt to say; `clean_answer` is the answer without them.
`spans` says where in `answer` each private value stands; `wrong_answer` and `correct_answer` belong to wrong facts.
`phrasings` are further training questions, `probes` are held-out ones. `ledger.parquet` has one row per injected fact,
`manifest.json` the plan, the counts and the hash of every file.

## Wrong rules

{rules or "None."}

## Left out or left alone

{skipped or "Nothing."}

## Licence and limits

The images and the original questions keep the licence of their source, `{manifest["source"]["name"]}`; see there before
passing them on. Injected texts come from templates: they are plainer than what clinicians write. Single wrong facts
contradict what the image shows, while other questions about the same image keep their true answers.
"""


def _strata(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.items())
